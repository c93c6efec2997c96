"""The WIT parser: each construct, names across interfaces, and errors that say where."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.witgen.layout import WIDTH, layout
from tools.witgen.lexer import WitError
from tools.witgen.library import Library, load
from tools.witgen.manual import expression, render, signature
from tools.witgen.parser import parse
from tools.witgen.signatures import render as render_signatures
from tools.witgen.tree import Alias, Composite, Resource

SAMPLE = """
package demo:shop@0.3.0;

/// Things for sale.
/// In two lines.
interface goods {
  use wasi:io/poll@0.2.6.{pollable, pollable as waiter};

  type price = u32;
  record item { name: string, price: price }
  /// Kinds.
  enum kind { food, %record }
  variant choice {
    none,
    /// With a payload.
    some(list<item>),
  }
  flags marks { cheap, fresh, }
  resource shelf {
    constructor(size: u8);
    open: static func(name: option<string>) -> result<shelf, choice>;
    @since(version = 0.2.0)
    put: func(%in: item, owner: borrow<shelf>) -> tuple<u32, f64>;
    wait: func() -> waiter;
  }
  /* not a doc comment */
  // neither is this
  %list: func() -> result<_, kind>;
  nothing: func(a: result, b: result<u8>);
}

interface other {
  use goods.{item as thing};
  take: func(it: thing);
}

/// The whole.
world whole {
  import wasi:io/poll@0.2.6;
  import goods;
  import other;
  export run: func(args: string) -> result<string, string>;
}
"""
POLL = "package wasi:io@0.2.6; interface poll { resource pollable { ready: func() -> bool; } }"


@pytest.fixture
def library() -> Library:
    return Library([parse(SAMPLE, "shop.wit"), parse(POLL, "poll.wit")])


def signatures(library: Library) -> dict[str, object]:
    space: dict[str, object] = {}
    exec(render_signatures(library), space)
    return space


def test_declarations(library: Library) -> None:
    goods = library.interfaces["demo:shop/goods"]
    assert goods.doc == "Things for sale.\nIn two lines."
    assert list(goods.types) == ["price", "item", "kind", "choice", "marks", "shelf"]
    assert isinstance(goods.types["price"], Alias)
    kind, choice, shelf = goods.types["kind"], goods.types["choice"], goods.types["shelf"]
    assert isinstance(kind, Composite)
    assert [m.name for m in kind.members] == ["food", "record"]
    assert kind.doc == "Kinds."
    assert isinstance(choice, Composite)
    assert [(m.name, m.doc, m.type is None) for m in choice.members] == [
        ("none", "", True),
        ("some", "With a payload.", False),
    ]
    assert isinstance(shelf, Resource)
    assert [(f.name, f.kind) for f in shelf.functions] == [
        ("constructor", "constructor"),
        ("open", "static"),
        ("put", "method"),
        ("wait", "method"),
    ]
    assert list(goods.functions) == ["list", "nothing"]
    assert goods.functions["list"].doc == ""


def test_signatures(library: Library) -> None:
    item = ("record", (("name", ("string",)), ("price", ("u32",))))
    choice = ("variant", (("none", None), ("some", ("list", item))))
    shelf = "demo:shop/goods#shelf"
    assert signatures(library)["SIGNATURES"] == {
        "demo:shop/goods#[constructor]shelf": ((("size", ("u8",)),), ("own", shelf)),
        "demo:shop/goods#[static]shelf.open": (
            (("name", ("option", ("string",))),),
            ("result", ("own", shelf), choice),
        ),
        "demo:shop/goods#[method]shelf.put": (
            (("self", ("borrow", shelf)), ("in", item), ("owner", ("borrow", shelf))),
            ("tuple", (("u32",), ("f64",))),
        ),
        "demo:shop/goods#[method]shelf.wait": ((("self", ("borrow", shelf)),), ("own", "wasi:io/poll#pollable")),
        "demo:shop/goods#list": ((), ("result", None, ("enum", ("food", "record")))),
        "demo:shop/goods#nothing": ((("a", ("result", None, None)), ("b", ("result", ("u8",), None))), None),
        "demo:shop/other#take": ((("it", item),), None),
        "wasi:io/poll#[method]pollable.ready": ((("self", ("borrow", "wasi:io/poll#pollable")),), ("bool",)),
    }
    assert signatures(library)["RESOURCES"] == (shelf, "wasi:io/poll#pollable")
    assert signatures(library)["SHOP_GOODS_MARKS"] == ("flags", ("cheap", "fresh"))


def test_manual_shows_what_was_written(library: Library) -> None:
    text = render(library, "demo:shop/whole")
    for expected in (
        "Package `demo:shop@0.3.0`.",
        "Things for sale.\nIn two lines.",
        "#### `shelf.put: func(in: item, owner: borrow<shelf>) -> tuple<u32, f64>`",
        "#### `shelf(size: u8)`",
        "#### `list: func() -> result<_, kind>`",
        "- `some(list<item>)`: With a payload.",
        "Uses `pollable`, `waiter` of [`poll`](#poll).",
    ):
        assert expected in text


def test_expressions_read_as_written(library: Library) -> None:
    functions = library.interfaces["demo:shop/goods"].functions
    assert signature(functions["nothing"]) == "nothing: func(a: result, b: result<u8>)"
    assert expression(None) == "_"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("package a:b; interface i { type t = $; }", "x.wit:1", "unexpected character '$'"),
        ("package a:b;\ninterface i {\n  f: func(", "x.wit:3", "expected a name, found `end of file`"),
        ("package a:b;\ninterface i { record r { a } }", "x.wit:2", "expected `:`, found `}`"),
        ("package a:b; interface i { f: func(); f: func(); }", "x.wit:1", "`f` is declared twice"),
        ("package a:b; interface i { type t = list; }", "x.wit:1", "`list` takes 1 to 1 types, found 0"),
        ("package a:b; bogus", "x.wit:1", "expected an interface or a world, found `bogus`"),
        ("package a:b; interface i { bogus x; }", "x.wit:1", "expected a type or a function, found `bogus`"),
    ],
)
def test_errors_say_where_and_what(text: str, where: str, what: str) -> None:
    with pytest.raises(WitError) as caught:
        parse(text, "x.wit")
    assert str(caught.value) == f"{where}: {what}"


def test_unknown_names_are_errors() -> None:
    with pytest.raises(WitError, match=r"x\.wit:2: no interface a:b/gone"):
        Library([parse("package a:b; interface i {\n use gone.{t}; }", "x.wit")])
    library = Library([parse("package a:b; interface i {\n\n f: func(x: gone); }", "x.wit")])
    with pytest.raises(WitError, match=r"x\.wit:3: no type `gone` in interface a:b/i"):
        render_signatures(library)


def test_one_package_has_one_version() -> None:
    with pytest.raises(WitError, match=r"package a:b is also there as 1\.0\.0"):
        Library([parse("package a:b@1.0.0;", "x.wit"), parse("package a:b@1.1.0;", "y.wit")])


def test_load_reads_dependencies(tmp_path: Path) -> None:
    (tmp_path / "deps/io").mkdir(parents=True)
    (tmp_path / "shop.wit").write_text(SAMPLE)
    (tmp_path / "deps/io/poll.wit").write_text(POLL)
    assert set(load(tmp_path).interfaces) == {"demo:shop/goods", "demo:shop/other", "wasi:io/poll"}


def test_layout_breaks_lines_at_the_width() -> None:
    long = tuple(("x" * 30, None) for _ in range(4))
    text = layout(long, 4, 10)
    assert eval(text) == long
    assert text.count("\n") == len(long) + 1
    assert max(map(len, text.splitlines())) <= WIDTH
    assert layout(("a", ("b",)), 0) == '("a", ("b",))'
