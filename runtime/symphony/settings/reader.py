"""From a TOML file, the environment and flags to sections, which are frozen dataclasses. A flag wins over the
environment, the environment over the file, the file over the default.

    [server]                      the file: a table for each section
    least-nice = -5
    SYMPHONY_LEAST_NICE=-5        the environment: the field's name alone, so it is the only one of that name
    --least-nice -5               the flag likewise

A section that is a map of records (`[tenants.acme]`) or a list of them (`[[grants]]`) is a table in the file and a JSON
text elsewhere. What is wrong is said with the place where it stands, the value, and the fix. It knows no section.
"""

from __future__ import annotations

import os
import re
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from symphony.errors import Invalid, NotFound

T = TypeVar("T")

PREFIX = "SYMPHONY_"
_SCALARS = "a text, a number, true or false"


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing to set."""

    section: str
    """Empty: it is a whole section by itself."""
    name: str
    """As in Python; with hyphens in files and flags."""
    kind: Any
    """Its annotation."""
    default: Any
    says: str
    """A sentence for people; empty for a section."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def is_switch(self) -> bool:
        return _bare(self.kind) is bool

    @property
    def is_many(self) -> bool:
        """Whether the flag may be given several times."""
        return not _records(self.kind) and get_origin(_bare(self.kind)) is tuple


def settings_of(whole: type[Any]) -> list[Setting]:
    """Everything that can be set in a dataclass of sections, in its order. Raises TypeError for a name that is there
    twice: flags and variables have no section."""
    found: dict[str, Setting] = {}
    for section, kind, of in _fields(whole):
        if is_dataclass(kind):
            inner = [
                Setting(section, name, kind, _default(field), says(kind))
                for name, kind, field in _fields(cast("type[Any]", kind))
            ]
        else:
            inner = [Setting("", section, kind, _default(of), says(kind))]
        for setting in inner:
            if setting.name in found:
                raise TypeError(f"two settings are called {setting.name!r}")
            found[setting.name] = setting
    return list(found.values())


def read(
    whole: type[T],
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] = {},
) -> T:
    """The sections. `flags` are texts, lists of texts and switches by field name; None: not given.

    Raises NotFound (no such file) and Invalid: where it stands, what is wrong, the fix.
    """
    environment = os.environ if environment is None else environment
    written = {} if file is None else _tables(whole, _load(file), str(file))
    values: dict[str, dict[str, Any]] = {}
    for setting in settings_of(whole):
        given = flags.get(setting.name)
        if given is not None:
            value = _from_text(setting, given, setting.flag)
        elif setting.variable in environment:
            value = _from_text(setting, environment[setting.variable], setting.variable)
        elif (setting.section, setting.name) in written:
            place = ".".join(filter(None, (setting.section, spelled(setting.name))))
            value = _convert(setting.kind, written[setting.section, setting.name], f"{file}: {place}", setting.says)
        else:
            continue
        values.setdefault(setting.section, {})[setting.name] = value
    top = values.pop("", {})
    sections = [(name, cast("type[Any]", kind)) for name, kind, _ in _fields(whole) if is_dataclass(kind)]
    made = {name: kind(**values.get(name, {})) for name, kind in sections}
    return whole(**made, **top)


# ---- the file
def _load(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"there is no configuration file {file}", "check the path") from None
    except OSError as cause:
        raise Invalid(f"cannot read {file}: {cause.strerror}", "check the file's permissions") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise Invalid(
            f"{file} is not TOML: {cause}", "write [server], and below it lines such as port = 8080"
        ) from None


def _tables(whole: type[Any], table: Mapping[str, Any], file: str) -> dict[tuple[str, str], Any]:
    """What the file sets, by section and name. Raises Invalid for a name that is not there."""
    found: dict[tuple[str, str], Any] = {}
    sections = {name: kind for name, kind, _ in _fields(whole)}
    homes = {setting.name: setting.section for setting in settings_of(whole) if setting.section}
    for written, value in table.items():
        name = _identifier(written)
        if name in homes and name not in sections:
            raise Invalid(f"{file}: {written} stands outside of its section", f"move it below [{homes[name]}]")
        if name not in sections:
            raise Invalid(
                f"{file}: there is no section [{written}].{_close(name, sections)}", _names(sections, "sections")
            )
        kind = sections[name]
        if not is_dataclass(kind):
            found["", name] = value
            continue
        if not isinstance(value, Mapping):
            raise Invalid(f"{file}: {written} is a section", f"write [{written}], and its settings below")
        members = _known(kind, cast("Mapping[str, Any]", value), f"{file}: [{written}]", "setting")
        found |= {(name, member): inside for member, inside in members.items()}
    return found


def _known(kind: Any, table: Mapping[str, Any], where: str, what: str) -> dict[str, Any]:
    """A table's members by field name. Raises Invalid for one that `kind` does not have."""
    names = [name for name, _, _ in _fields(kind)]
    found: dict[str, Any] = {}
    for written, value in table.items():
        name = _identifier(written)
        if name not in names:
            raise Invalid(f"{where}: there is no {what} {written!r}.{_close(name, names)}", _names(names, f"{what}s"))
        found[name] = value
    return found


# ---- values
def _from_text(setting: Setting, given: Any, where: str) -> Any:
    """What a flag or a variable says."""
    if isinstance(given, str) and _records(setting.kind):
        try:
            given = msgspec.json.decode(given)
        except msgspec.DecodeError:
            raise Invalid(f"{where}: {_shown(given)} is not JSON", "write it into the file instead") from None
    elif isinstance(given, str) and setting.is_many:
        given = [part for part in given.split(os.pathsep) if part]
    return _convert(setting.kind, given, where, setting.says, strict=_records(setting.kind))


def _convert(kind: Any, value: Any, where: str, says: str = "", *, strict: bool = True) -> Any:
    """`value` as what `kind` says: records are walked here, so that names are checked, the rest is msgspec's."""
    bare = _bare(kind)
    if is_dataclass(bare):
        if not isinstance(value, Mapping):
            raise Invalid(f"{where}: {_shown(value)} is no table", "give each of its settings a line")
        table = _known(bare, cast("Mapping[str, Any]", value), where, "setting")
        return _record(cast("type[Any]", bare), table, where)
    if _records(kind):
        (inner,) = [arg for arg in get_args(bare) if arg is not str and arg is not Ellipsis]
        if get_origin(bare) is tuple:
            if not isinstance(value, list):
                raise Invalid(f"{where}: {_shown(value)} is no list of tables", f"write [[{_last(where)}]]")
            return tuple(_convert(inner, one, f"{where}[{at}]") for at, one in enumerate(cast("list[Any]", value)))
        if not isinstance(value, Mapping):
            raise Invalid(f"{where}: {_shown(value)} is no table", f"write [{_last(where)}.NAME]")
        items = cast("Mapping[str, Any]", value).items()
        return {name: _convert(inner, one, f"{where}.{name}") for name, one in items}
    if strict and get_origin(bare) is tuple and not isinstance(value, list | Mapping):
        value = [value]  # one is a list of one
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as cause:
        raise Invalid(f"{where} is {_shown(value)}: {_plain(str(cause))}", says or f"write {_SCALARS}") from None


def _record(kind: type[Any], table: Mapping[str, Any], where: str) -> Any:
    made: dict[str, Any] = {}
    for name, inner, field in _fields(kind):
        if name in table:
            made[name] = _convert(inner, table[name], f"{where}.{spelled(name)}", says(inner))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise Invalid(f"{where}: {spelled(name)} is missing", f"add a line: {spelled(name)} = ...")
    return kind(**made)


_EXPECTED = {
    "`int`": "a whole number",
    "`float`": "a number",
    "`str`": "a text",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "a table",
    "`null`": "nothing",
}


def _plain(text: str) -> str:
    """msgspec's sentence in the words of a file."""
    for word, plain in _EXPECTED.items():
        text = text.replace(word, plain)
    text = re.sub(r" - at `\$.*`$", "", re.sub(r"`(\w+) \| null`", lambda m: _EXPECTED.get(f"`{m[1]}`", m[1]), text))
    return text[:1].lower() + text[1:]


# ---- types
def _fields(kind: Any) -> Iterator[tuple[str, Any, Field[Any]]]:
    """Name, annotation and field of each member of a dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        yield field.name, hints[field.name], field


def _bare(kind: Any) -> Any:
    """Without `Annotated` and without `| None`."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        rest = [arg for arg in get_args(kind) if arg is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else kind
    return kind


def _records(kind: Any) -> bool:
    """Whether it is a list or a map of dataclasses."""
    return any(is_dataclass(arg) for arg in get_args(_bare(kind)))


def says(kind: Any) -> str:
    """The sentence of an annotation."""
    for arg in get_args(kind):
        if isinstance(arg, msgspec.Meta) and arg.description:
            return arg.description
    return ""


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


# ---- words
def _identifier(written: str) -> str:
    return written.replace("-", "_")


def spelled(name: str) -> str:
    return name.replace("_", "-")


def _last(where: str) -> str:
    return where.rsplit(" ", 1)[-1].lstrip("-").lower()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _close(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), n=2, cutoff=0.7)
    return f" Did you mean {' or '.join(map(spelled, close))}?" if close else ""


def _names(known: Any, what: str) -> str:
    return f"the {what} are {', '.join(map(spelled, known))}"
