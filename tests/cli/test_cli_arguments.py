"""key=value words against a program's parameters."""

from __future__ import annotations

from typing import Any

import pytest

from symphony.cli.arguments import Signature, Words, from_annotations, parse, read_signature
from symphony.errors import Invalid, InvalidProgram

SOURCE = """
from lip import main, Context

def helper(prompt: int): ...

@main
async def app(prompt: str, n: int = 3, style: "str" = "a", maybe: str | None = None, free=None, *, flag: bool = False):
    ...
"""


def signature(parameters: str, imports: str = "from lip import main", decorator: str = "main") -> Signature:
    found = read_signature(f"{imports}\n@{decorator}\nasync def app({parameters}): ...\n", "app.py")
    assert found is not None
    return found


def test_a_signature_is_read_without_running_anything() -> None:
    found = read_signature(SOURCE, "app.py")
    assert found is not None
    assert [(p.name, p.is_text, p.required, p.annotation) for p in found.parameters] == [
        ("prompt", True, True, "str"),
        ("n", False, False, "int"),
        ("style", True, False, "str"),
        ("maybe", True, False, "str | None"),
        ("free", False, False, ""),
        ("flag", False, False, "bool"),
    ]
    assert not found.open


@pytest.mark.parametrize(
    ("imports", "decorator"),
    [
        ("from lip import main", "main"),
        ("from lip import main", "main()"),
        ("from lip import main as start", "start"),
        ("import lip", "lip.main"),
        ("import lip as l", "l.main"),
        ("from lip import *", "main"),
    ],
)
def test_every_way_to_name_the_decorator(imports: str, decorator: str) -> None:
    assert signature("a: str", imports, decorator).parameters[0].name == "a"


@pytest.mark.parametrize(
    "source",
    ["", "print('hi')", "def main(): ...", "from other import main\n@main\ndef app(): ...", "@main\ndef app(): ..."],
)
def test_without_an_entry_point_the_fix_is_shown(source: str) -> None:
    with pytest.raises(InvalidProgram, match=r"app\.py has no entry point") as caught:
        read_signature(source, "app.py")
    assert "@main" in caught.value.hint


@pytest.mark.parametrize("source", ["def (", "x = '\0'", "(" * 5000])
def test_what_this_interpreter_cannot_parse_is_left_to_the_guests(source: str) -> None:
    assert read_signature(source, "app.py") is None


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("text=hello", "hello"),
        ("text=3", "3"),
        ("text=", ""),
        ("text=a=b", "a=b"),
        ("text=null", "null"),
        ('text="x"', '"x"'),
        ("maybe=3", "3"),
        ("n=3", 3),
        ("n=3.5", 3.5),
        ("n=[1, 2]", [1, 2]),
        ('n="quoted"', "quoted"),
        ("n=true", True),
        ("n=null", None),
        ('n={"a": 1}', {"a": 1}),
    ],
)
def test_text_where_annotated_str_else_json(word: str, value: Any) -> None:
    assert list(parse([word], None, signature("text: str = '', maybe: str | None = None, n=0")).values()) == [value]


def test_of_a_component_a_value_is_json_if_it_parses() -> None:
    words = ["a=3", "b=hello", "c=[1", 'd="x"']
    assert parse(words, None, None) == {"a": 3, "b": "hello", "c": "[1", "d": "x"}


def test_what_is_not_json_names_both_fixes() -> None:
    with pytest.raises(Invalid, match="'n' is annotated int") as caught:
        parse(["n=many"], None, signature("n: int"))
    assert "'n=\"many\"'" in caught.value.hint
    assert "n: str" in caught.value.hint


def test_wrong_and_missing_names() -> None:
    one = signature("prompt: str, n: int = 1")
    with pytest.raises(Invalid, match=r"no parameter 'promt'\. Did you mean prompt\?") as caught:
        parse(["promt=x"], None, one)
    assert "prompt, n" in caught.value.hint
    with pytest.raises(Invalid, match="needs the argument 'prompt'"):
        parse(["n=2"], None, one)
    with pytest.raises(Invalid, match="no parameter"):
        parse([], '{"other": 1, "prompt": ""}', one)
    assert parse(["extra=1", "prompt=p"], None, signature("prompt: str, **more")) == {"extra": 1, "prompt": "p"}


@pytest.mark.parametrize("word", ["hello", "=x", ""])
def test_what_is_not_an_assignment(word: str) -> None:
    with pytest.raises(Invalid, match="is not an argument"):
        parse([word], None, None)


def test_words_win_over_json() -> None:
    assert Words(["n=2"], '{"n": 1, "prompt": "p"}').parse(None) == {"n": 2, "prompt": "p"}
    for bad in ("{", "[1]", "3", "[" * 100_000):
        with pytest.raises(Invalid, match="--json is not"):
            parse([], bad, None)


def test_a_stored_programs_annotations_decide_and_the_rest_is_the_programs_to_judge() -> None:
    stored = from_annotations({"prompt": "str", "n": "int"})
    assert parse(["prompt=3", "n=3", "other=3"], None, stored) == {"prompt": "3", "n": 3, "other": 3}
    assert parse([], None, stored) == {}
    assert from_annotations(None) is None
