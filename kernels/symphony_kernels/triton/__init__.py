"""The Triton back end: `backend.py` is what the engine sees, the other modules hold one kernel or two each."""
