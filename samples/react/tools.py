"""The tools of the react sample: a small directory of people and things, and a pocket calculator."""

import ast
import operator

FACTS = {
    "owner of the green lamp": "Omar Reed",
    "owner of the red bicycle": "Nora Brandt",
    "job of Omar Reed": "baker",
    "job of Nora Brandt": "pilot",
    "age of Omar Reed": "52",
    "age of Nora Brandt": "34",
    "city of Nora Brandt": "Lisbon",
}
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def lookup(key: str) -> str:
    """Look up a fact, such as "age of Omar Reed"."""
    if key not in FACTS:
        raise KeyError(f"nothing is known about the {key}")
    return f"The {key} is {FACTS[key]}."


def calc(expression: str) -> str:
    """Compute a sum, difference or product of whole numbers, such as "3 + 4"."""
    return str(_value(ast.parse(expression, mode="eval").body))


def _value(node: ast.expr) -> int:
    match node:
        case ast.Constant(int(value)):
            return value
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(left), _value(right))
    raise ValueError("only whole numbers, +, - and *")
