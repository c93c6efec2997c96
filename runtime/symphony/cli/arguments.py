"""`key=value` words on the command line become a program's arguments.

A value is text where the program's parameter is annotated `str`, else JSON (semantics 25). What a Python program's
parameters are is read from its source with `ast`; nothing is executed. Of a component nothing is known: a value is
JSON if it parses, else text. Wrong or missing names are refused here, before a model is loaded.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from symphony.cli.lazy import did_you_mean
from symphony.errors import Invalid, InvalidProgram

EXAMPLE = "from lip import main / @main / async def app(prompt: str = 'Hello') -> str: ..."


@dataclass(slots=True, frozen=True)
class Parameter:
    name: str
    is_text: bool
    """Annotated `str`, or `str | None`."""
    required: bool
    annotation: str
    """As written; empty if there is none."""


@dataclass(slots=True, frozen=True)
class Signature:
    """The parameters of a program's entry point."""

    parameters: tuple[Parameter, ...]
    open: bool
    """It takes any further name (`**kwargs`)."""

    def find(self, name: str) -> Parameter | None:
        return next((parameter for parameter in self.parameters if parameter.name == name), None)


def read_signature(source: str, name: str) -> Signature | None:
    """The signature of the function that `@main` decorates.

    None if this interpreter cannot parse the source (the guest's, which may be newer, is the judge). Raises
    InvalidProgram if nothing is decorated.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    decorators = _names_of_main(tree)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(
            ast.unparse(decorator).removesuffix("()") in decorators for decorator in node.decorator_list
        ):
            return _signature(node.args)
    raise InvalidProgram(f"{name} has no entry point: no function is decorated with @main", f"write {EXAMPLE}")


def from_annotations(parameters: Mapping[str, str] | None) -> Signature | None:
    """The signature of a stored program, of which only names and annotations are known: it judges the rest itself."""
    if parameters is None:
        return None
    known = (Parameter(name, _is_text(text), False, text) for name, text in parameters.items())
    return Signature(tuple(known), open=True)


@dataclass(slots=True, frozen=True)
class Words:
    """The arguments as they were typed; what they mean depends on the program."""

    assignments: Sequence[str]
    whole: str | None
    """The JSON of `--json`."""

    def parse(self, signature: Signature | None) -> dict[str, Any]:
        return parse(self.assignments, self.whole, signature)


def parse(assignments: Sequence[str], whole: str | None, signature: Signature | None) -> dict[str, Any]:
    """The arguments from `key=value` words and `whole`, the JSON of `--json`; a word wins over `whole`.

    Raises Invalid, naming the word and the fix.
    """
    args = _parse_whole(whole) if whole is not None else {}
    for word in assignments:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise Invalid(f"{word!r} is not an argument", f"write key=value, such as prompt={json.dumps(word)}")
        if signature is not None:
            _check_name(key, signature)
        args[key] = _value(key, text, signature)
    if signature is not None:
        _check_all(args, signature)
    return args


def _parse_whole(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise Invalid(
            f"--json is not JSON: {cause}", """quote it for the shell: --json '{"prompt": "Hello"}'"""
        ) from None
    if not isinstance(value, dict):
        raise Invalid("--json is not a JSON object", """name each argument: --json '{"prompt": "Hello"}'""")
    return value


def _value(key: str, text: str, signature: Signature | None) -> Any:
    parameter = signature.find(key) if signature else None
    if parameter is not None and parameter.is_text:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if signature is None:
            return text
    kind = f"annotated {parameter.annotation}" if parameter and parameter.annotation else "not annotated str"
    quoted = json.dumps(text, ensure_ascii=False)
    raise Invalid(
        f"{key}={text} is not JSON, and the parameter {key!r} is {kind}",
        f"give JSON, such as {key}=3 or '{key}={quoted}', or annotate the parameter: {key}: str",
    )


def _check_name(name: str, signature: Signature) -> None:
    known = [parameter.name for parameter in signature.parameters]
    if name not in known and not signature.open:
        takes = f"it takes {', '.join(known)}" if known else "it takes no arguments"
        raise Invalid(f"the program has no parameter {name!r}.{did_you_mean(name, known)}", takes)


def _check_all(args: dict[str, Any], signature: Signature) -> None:
    for name in args:
        _check_name(name, signature)
    for parameter in signature.parameters:
        if parameter.required and parameter.name not in args:
            example = "text" if parameter.is_text else "JSON"
            raise Invalid(f"the program needs the argument {parameter.name!r}", f"add {parameter.name}={example}")


def _names_of_main(tree: ast.Module) -> set[str]:
    """What `lip.main` is called in this module."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "lip":
            names |= {alias.asname or "main" for alias in node.names if alias.name in ("main", "*")}
        elif isinstance(node, ast.Import):
            names |= {f"{alias.asname or 'lip'}.main" for alias in node.names if alias.name == "lip"}
    return names


def _signature(arguments: ast.arguments) -> Signature:
    positional = [*arguments.posonlyargs, *arguments.args]
    optional = len(arguments.defaults)
    needed = {argument.arg for argument in positional[: len(positional) - optional]}
    needed |= {
        argument.arg
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    }
    parameters: list[Parameter] = []
    for argument in (*positional, *arguments.kwonlyargs):
        annotation = _annotation(argument.annotation)
        parameters.append(Parameter(argument.arg, _is_text(annotation), argument.arg in needed, annotation))
    return Signature(tuple(parameters), open=arguments.kwarg is not None)


def _annotation(node: ast.expr | None) -> str:
    if node is None:
        return ""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)


def _is_text(annotation: str) -> bool:
    return annotation.replace(" ", "") in ("str", "str|None", "None|str", "Optional[str]", "typing.Optional[str]")
