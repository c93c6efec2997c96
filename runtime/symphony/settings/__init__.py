"""What an operator sets: one TOML file of sections, each value also a variable of the environment and a flag.

sections   the sections, as frozen dataclasses: every field has its type, its limits, a sentence and a default
reader     from files, environment and flags to those dataclasses; knows no section
"""
