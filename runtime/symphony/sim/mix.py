"""Workloads: which LIPs arrive when, what they do, and on what device.

A mix is a TOML or JSON file, or one of those shipped in `mixes/`:

    seconds = 60.0                       # no LIP is started after so long
    [device]                             # see device.StepModel
    base = 0.005
    [pool]
    pages = 8192
    [[group]]
    name = "agents"
    lips = 200
    at_once = 64                         # closed loop: 64 clients, each starts its next LIP when the last one ended

Every field is a field of `Mix`, `Pool`, `StepModel` or `Group`. A range is a number, or `[low, high]`: drawn between
them, log-uniformly, so that short ones are frequent and long ones occur. Knows nothing of how a mix is run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast, get_type_hints

from symphony.errors import Invalid, NotFound
from symphony.sim.device import StepModel

SHIPPED = Path(__file__).with_name("mixes")


class Range(NamedTuple):
    low: float
    high: float

    def draw(self, rng: random.Random) -> float:
        if self.low >= self.high:
            return self.low
        low = max(self.low, self.high * 1e-4)
        return low * math.exp(rng.random() * math.log(self.high / low))

    def count(self, rng: random.Random) -> int:
        return round(self.draw(rng))


NONE = Range(0, 0)
ONE = Range(1, 1)
SOME = Range(64, 64)
THOUGHT = Range(60e-6, 60e-6)


@dataclass(slots=True, frozen=True)
class Pool:
    """KV pages."""

    pages: int = 8192
    page_size: int = 16
    host_pages: int = 0


@dataclass(slots=True, frozen=True)
class Group:
    """LIPs of one kind. Times are seconds, lengths tokens.

    `kind`: "line" appends `prompt`, writes `output`, waits for a tool or a person for `pause`, appends `result`, and so
    on for `rounds`. "tree" forks each of `beam` files into `branches`, writes `output` to each, keeps the best `beam`,
    and so on for `rounds`.
    `at_once` > 0: a closed loop of so many clients. Else `rate` > 0: they arrive at random, so many a second. Else
    `burst` > 0: so many arrive together, `every` so often.
    """

    name: str
    kind: str = "line"
    lips: int = 64
    tenant: str = ""
    """None given: the group's name."""
    tenants: int = 1
    """The LIPs are dealt to so many tenants."""
    at_once: int = 0
    rate: float = 0.0
    burst: int = 0
    every: float = 1.0
    start: float = 0.0
    prompt: Range = SOME
    shared: int = 0
    """Leading tokens of the prompt that all of the group have in common."""
    save: bool = False
    """The common tokens are a named file, which the LIPs open; else they are found by the prefix cache."""
    output: Range = SOME
    in_loop: float = 0.0
    """Which share of the LIPs choose every token themselves."""
    think: Range = THOUGHT
    """CPU for each token in the loop, and for each chunk of the others."""
    away: Range = NONE
    """Time beside the CPU that passes between two tokens in the loop, such as a call to another service."""
    rounds: Range = ONE
    pause: Range = NONE
    result: Range = NONE
    branches: int = 4
    beam: int = 2
    nice: int = 0
    deadline: float = math.inf
    """From its start."""

    def tenant_of(self, index: int) -> str:
        name = self.tenant or self.name
        return name if self.tenants == 1 else f"{name}-{index % self.tenants}"


@dataclass(slots=True, frozen=True)
class Mix:
    name: str
    group: tuple[Group, ...]
    about: str = ""
    device: StepModel = field(default_factory=StepModel)
    pool: Pool = field(default_factory=Pool)
    step_tokens: int = 2048
    step_rows: int = 256
    seconds: float = 60.0
    """No LIP is started after so long..."""
    cut: bool = False
    """...and those that run then are ended."""
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    """Of tenants."""


def shipped() -> list[str]:
    """Names of the mixes that travel with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load(source: str) -> Mix:
    """A shipped mix by its name, or a file. Raises NotFound, and Invalid that says what is wrong and where."""
    if source in shipped():
        path = SHIPPED / f"{source}.toml"
    else:
        path = Path(source)
        if not path.is_file():
            raise NotFound(f"there is no mix {source}", f"give a .toml or .json file, or one of {', '.join(shipped())}")
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, OSError) as e:
        raise Invalid(f"{source}: {e}", "see the head of symphony/sim/mix.py for an example") from e
    return parse(path.stem, data)


def parse(name: str, data: object) -> Mix:
    """A mix out of plain data. Raises Invalid."""
    try:
        table = _table(data, "the mix")
        groups = table.get("group")
        if not isinstance(groups, list) or not groups:
            raise Invalid("the mix has no group", "add [[group]] with a name")
        parts: dict[str, Any] = {
            "group": tuple(
                _record(Group, part, f"group {i + 1}") for i, part in enumerate(cast("list[object]", groups))
            )
        }
        if "device" in table:
            parts["device"] = _record(StepModel, table["device"], "device")
        if "pool" in table:
            parts["pool"] = _record(Pool, table["pool"], "pool")
        if "weights" in table:
            weights = _table(table["weights"], "weights")
            parts["weights"] = {tenant: _number(w, f"weights.{tenant}") for tenant, w in weights.items()}
        plain = {key: value for key, value in table.items() if key not in parts}
        mix = _record(Mix, {"name": name} | plain, "the mix", parts)
        _check(mix)
    except Invalid as e:
        raise Invalid(f"mix {name}: {e.message}", e.hint) from None
    return mix


def _check(mix: Mix) -> None:
    def require(holds: bool, text: str, hint: str) -> None:
        if not holds:
            raise Invalid(text, hint)

    require(mix.device.base > 0 or mix.device.row > 0, "a step takes no time", "give device.base")
    require(min(dataclasses.astuple(mix.device)) >= 0, "device: a time is negative", "use seconds, 0 or more")
    require(mix.pool.pages > 1 and mix.pool.page_size > 0, "the pool has no pages", "give pool.pages")
    require(mix.step_rows > 0 and mix.step_tokens > 0, "a step has no room", "give step_rows and step_tokens above 0")
    require(mix.seconds > 0, "seconds is not positive", "say how long LIPs arrive")
    require(all(w > 0 for w in mix.weights.values()), "a weight is not positive", "use 1 for an ordinary tenant")
    for group in mix.group:
        at = f"group {group.name}"
        require(group.kind in ("line", "tree"), f"{at}: kind is {group.kind!r}", "use line or tree")
        loads = [group.at_once > 0, group.rate > 0, group.burst > 0]
        require(sum(loads) == 1, f"{at}: arrivals are not clear", "give one of at_once, rate and burst")
        require(group.every > 0 and group.start >= 0, f"{at}: a time is negative", "use seconds")
        require(group.lips > 0 and group.tenants > 0, f"{at}: no LIPs", "give lips and tenants, at least 1")
        require(group.shared >= 0, f"{at}: shared is negative", "give tokens, 0 or more")
        require(group.prompt.low >= 1, f"{at}: the prompt may be empty", "give prompt at least 1 token")
        require(group.output.low >= 1, f"{at}: the output may be empty", "give output at least 1 token")
        require(0 <= group.in_loop <= 1, f"{at}: in_loop is a share", "use 0 to 1")
        require(group.branches > 0 and group.beam > 0, f"{at}: no branches", "give branches and beam, at least 1")
        require(-20 <= group.nice <= 19, f"{at}: nice is {group.nice}", "use -20 to 19")


def _record(kind: type[Any], data: object, at: str, ready: Mapping[str, Any] | None = None) -> Any:
    """A dataclass out of a table; `ready`: fields that are made already."""
    table = _table(data, at)
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(set(table) - known):
        raise Invalid(f"{at}: there is no field {unknown[0]}", f"known: {', '.join(sorted(known))}")
    hints = get_type_hints(kind)
    values = {name: _value(hints[name], value, f"{at}: {name}") for name, value in table.items()}
    values |= ready or {}
    for f in dataclasses.fields(kind):
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and f.name not in values:
            raise Invalid(f"{at}: {f.name} is missing", f"add {f.name}")
    return kind(**values)


def _table(data: object, at: str) -> dict[str, object]:
    if not isinstance(data, dict):
        raise Invalid(f"{at} is not a table", "write fields as name = value")
    return cast("dict[str, object]", data)


def _value(kind: object, value: object, at: str) -> Any:
    if kind is Range:
        ends = cast("list[object]", value) if isinstance(value, list) else [value, value]
        if len(ends) != 2:
            raise Invalid(f"{at}: a range has two ends", "write [low, high], or a number")
        low, high = (_number(end, at) for end in ends)
        if not 0 <= low <= high:
            raise Invalid(f"{at}: the range {low:g} to {high:g} is none", "write [low, high] with 0 <= low <= high")
        return Range(low, high)
    if kind is float:
        return _number(value, at)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= abs(value) < 1 << 31:
            raise Invalid(f"{at}: {value} is too large", "use less than two thousand million")
        return value
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str):
        return value
    expected = "text" if kind is str else getattr(kind, "__name__", str(kind))
    raise Invalid(f"{at}: {value!r} is not {expected}", "see symphony/sim/mix.py")


def _number(value: object, at: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Invalid(f"{at}: {value!r} is not a number", "write a number")
    return float(value)
