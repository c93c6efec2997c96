"""The models that ship: the text that they are trained on, the training, and what they are measured by.

Not part of the wheel. `corpus` writes text, `train` makes both models of it, `evaluate` is `symphony bench tiny`; the
figures are in `docs/tiny.md`. All text is made here, from the words in these files.
"""
