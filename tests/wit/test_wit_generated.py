"""The ABI in `wit/` is documented, served, and what is derived from it is up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from symphony.errors import BY_CODE
from symphony.syscall import wasi
from symphony.syscall.signatures import LIP_TYPES_ERROR_CODE, RESOURCES, SIGNATURES
from symphony.syscall.table import HANDLERS
from tools.witgen.__main__ import outputs
from tools.witgen.library import load
from tools.witgen.tree import Composite, Resource

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = load(ROOT / "wit")


def test_generated_files_are_up_to_date() -> None:
    for path, text in outputs(ROOT).items():
        assert path.read_text("utf-8") == text, f"{path.relative_to(ROOT)} is out of date: run `make gen`"


def declared() -> Iterator[tuple[str, str]]:
    """(what, doc comment) of everything that must have one."""
    for interface in LIBRARY.interfaces.values():
        yield interface.id, interface.doc
        for declaration in interface.types.values():
            yield f"{interface.id} {declaration.name}", declaration.doc
            functions = declaration.functions if isinstance(declaration, Resource) else ()
            yield from ((f"{interface.id} {declaration.name}.{f.name}", f.doc) for f in functions)
        yield from ((f"{interface.id} {f.name}", f.doc) for f in interface.functions.values())
    for name, world in LIBRARY.worlds.items():
        yield name, world.doc
        yield from ((f"{name} {f.name}", f.doc) for f in world.functions.values())


def test_everything_is_documented() -> None:
    found = list(declared())
    assert len(found) > 60
    assert [what for what, doc in found if not doc] == []


def test_members_are_documented_all_or_by_their_type() -> None:
    """A field or case without a comment is one of a type whose own comment explains them all."""
    for interface in LIBRARY.interfaces.values():
        for declaration in interface.types.values():
            if isinstance(declaration, Composite):
                bare = [m.name for m in declaration.members if not m.doc]
                partly = bare and len(bare) < len(declaration.members)
                assert not partly, f"{interface.id} {declaration.name}: no comment on {', '.join(bare)}"


def test_every_function_has_a_handler_and_every_handler_a_function() -> None:
    assert {name for name in SIGNATURES if name.startswith("symphony:")} == set(HANDLERS)
    served = {**wasi.HANDLERS, **HANDLERS}
    assert set(SIGNATURES) <= set(served)
    assert all(callable(served[name]) for name in SIGNATURES)


def test_wasi_is_declared_as_the_host_serves_it() -> None:
    declared_here = {name for name in SIGNATURES if name.startswith("wasi:")}
    assert declared_here
    for name in declared_here & set(wasi.SIGNATURES):
        assert SIGNATURES[name] == wasi.SIGNATURES[name]


def test_signatures_name_only_declared_resources() -> None:
    def named(type: object) -> Iterator[str]:
        if isinstance(type, tuple):
            if len(type) == 2 and type[0] in ("own", "borrow"):
                yield type[1]
            for part in type:
                yield from named(part)

    assert set(named(tuple(SIGNATURES.values()))) == set(RESOURCES)


def test_error_codes_are_the_hosts_exceptions() -> None:
    assert set(LIP_TYPES_ERROR_CODE[1]) == set(BY_CODE)
