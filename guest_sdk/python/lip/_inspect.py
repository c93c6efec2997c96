"""A look at a source without running it: does it compile, and what are the parameters of its main function?

The host asks this at upload, of the interpreter, because only the interpreter knows its own grammar and because a
hostile source is parsed best inside the sandbox.
"""

from __future__ import annotations

import ast


def parameters_of(source: str, filename: str) -> dict[str, str]:
    """The annotations of the `@main` function's parameters, '' where there is none. Raises SyntaxError."""
    compile(source, filename, "exec", dont_inherit=True)
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(_is_main, node.decorator_list)):
            return {
                a.arg: ast.unparse(a.annotation) if a.annotation else ""
                for a in (*node.args.args, *node.args.kwonlyargs)
            }
    return {}


def _is_main(decorator: ast.expr) -> bool:
    return ast.unparse(decorator) in ("main", "lip.main")
