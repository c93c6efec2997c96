"""The CPU's attention as a native operation, where a compiler is present; nothing depends on it."""
