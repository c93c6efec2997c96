"""Grants: which program of which tenant may call which tool, and fetch from where. What no grant gives is denied.

A grant names tenants and programs (none named: all), and gives tools, by name or pattern, and places. Grants add up. A
program is named by its id, or by the name under which it is stored: whoever may upload programs may give a name another
content, so that an id is the stricter word. What a program starts gets at most what the program has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from symphony.errors import Invalid, NotFound
from symphony.outside.fetch import Browser, Internet
from symphony.outside.places import Place, place_of
from symphony.outside.tool import Tool

_SHOWN = 8
FETCH = "fetch"
"""Among the tools that a parent names for its child, this stands for fetching."""


@dataclass(slots=True, frozen=True)
class Reach:
    """What one process may reach outside."""

    tools: Mapping[str, Tool] = field(default_factory=dict[str, Tool])
    """By name, sorted."""
    browser: Browser | None = None
    """None: it may fetch nothing."""

    def only(self, names: Sequence[str]) -> Reach:
        """Of these tools, and of fetching if it is named. Raises NotFound for a tool that is not there."""
        for name in names:
            if name not in self.tools and not (name == FETCH and self.browser is not None):
                known = ", ".join(self.tools) or "none were granted"
                raise NotFound(f"there is no tool {name!r} to pass on", f"tools of this process: {known}")
        tools = {name: self.tools[name] for name in sorted(set(names)) if name in self.tools}
        return Reach(tools, self.browser if FETCH in names else None)


NOTHING = Reach()


@dataclass(slots=True, frozen=True)
class Grant:
    """What some programs of some tenants may do."""

    tenants: tuple[str, ...] = ()
    """Names; none: every tenant."""
    programs: tuple[str, ...] = ()
    """Names or ids; none: every program."""
    tools: tuple[str, ...] = ()
    """Names, or patterns such as `files_*` or `*`."""
    fetch: tuple[str, ...] = ()
    """Places, as `outside.places` has them."""

    def is_for(self, tenant: str, program: Sequence[str]) -> bool:
        return (not self.tenants or tenant in self.tenants) and (
            not self.programs or not set(self.programs).isdisjoint(program)
        )


class Grants:
    """All grants of a host, over the tools that it has."""

    def __init__(self, grants: Iterable[Grant], tools: Mapping[str, Tool], internet: Internet) -> None:
        """Raises Invalid for a grant of a tool that there is not, or of what is no place."""
        self._tools = {name: tools[name] for name in sorted(tools)}
        self._internet = internet
        self._grants = [(grant, _places(grant)) for grant in grants]
        for grant, _ in self._grants:
            for pattern in grant.tools:
                if not any(fnmatchcase(name, pattern) for name in tools) and pattern != "*":
                    known = ", ".join(self._tools) or "there are none"
                    raise Invalid(f"a grant names the tool {pattern!r}, which is not there", f"tools: {known}")

    def reach(self, tenant: str, program: Sequence[str]) -> Reach:
        """Of a process that a client starts; `program` is what the program is called: its name, its id."""
        patterns: list[str] = []
        places: list[Place] = []
        for grant, its_places in self._grants:
            if grant.is_for(tenant, program):
                patterns += grant.tools
                places += its_places
        if not patterns and not places:
            return NOTHING
        tools = {
            name: tool for name, tool in self._tools.items() if any(fnmatchcase(name, pattern) for pattern in patterns)
        }
        if not tools and not places:
            return NOTHING
        return Reach(tools, Browser(self._internet, places, tenant) if places else None)

    def describe(self) -> dict[str, str]:
        """For the boot report; empty where nothing can be reached."""
        names, places = list(self._tools), [str(place) for _, places in self._grants for place in places]
        found = {"tools": names, "fetch from": list(dict.fromkeys(places))}
        return {what: _shortened(words) for what, words in found.items() if words}

    def idle_tools(self) -> list[str]:
        """Tools that nobody may call."""
        given = [pattern for grant, _ in self._grants for pattern in grant.tools]
        return [name for name in self._tools if not any(fnmatchcase(name, pattern) for pattern in given)]


def _shortened(words: list[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more


def _places(grant: Grant) -> list[Place]:
    return [place_of(text) for text in grant.fetch]
