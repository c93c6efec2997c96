"""The CPU's attention and products as native operations, where a compiler is present; nothing depends on them."""
