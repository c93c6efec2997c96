"""witgen: reads the one copy of the ABI in `wit/` and writes what is derived from it.

    lexer -> parser -> tree (one `Document` a file) -> library (packages; names resolved) -> signatures, manual

It knows the subset of WIT that `wit/` uses, and nothing of wasmtime or of the host.
Grammar: https://github.com/WebAssembly/component-model/blob/main/design/mvp/WIT.md
"""
