"""A look at a source without running it: does it compile, has it a main function, and what are its parameters?

The host asks this at upload, of the interpreter, because only the interpreter knows its own grammar and because a
hostile source is parsed best inside the sandbox.
"""

from __future__ import annotations

import ast


def parameters_of(source: str, filename: str) -> dict[str, str] | None:
    """The annotations of the `@main` function's parameters, '' where there is none; nothing if only running the source
    would show them. None: it has no entry point, because it uses `lip.main` nowhere. Raises SyntaxError."""
    compile(source, filename, "exec", dont_inherit=True)
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(_is_main, node.decorator_list)):
            return {
                a.arg: ast.unparse(a.annotation) if a.annotation else ""
                for a in (*node.args.args, *node.args.kwonlyargs)
            }
    return {} if _uses_main(tree) else None


def _is_main(decorator: ast.expr) -> bool:
    return ast.unparse(decorator) in ("main", "lip.main")


def _uses_main(tree: ast.Module) -> bool:
    """Under whatever name it was imported, anywhere."""
    names: set[str] = set()
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "lip":
            names |= {"main" if a.name == "*" else a.asname or a.name for a in node.names if a.name in ("main", "*")}
        elif isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.Attribute) and node.attr == "main":
            return True
    return bool(names & used)
