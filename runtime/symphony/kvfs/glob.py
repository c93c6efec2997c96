"""Patterns for paths: `*`, `?`, `[a-z]`, `[!a-z]` within a component, `**` for any number of components.

A component is matched by a set of positions in its pattern, as bits, one step a character; a path by a set of positions
among the pattern's components, one step a component. So time is linear in what is looked at, whatever the pattern, and
how much that is has a limit. Knows names, not who may see them.
"""

from __future__ import annotations

import itertools
import operator
import sys
from bisect import bisect_right
from collections.abc import Iterable

from symphony.errors import Invalid, LimitExceeded
from symphony.kvfs.file import File
from symphony.kvfs.names import Directory, Parts

ANY = "**"
_SPECIAL = frozenset("*?[")


class Component:
    """The pattern of one component. Bit i of a state: the first i places of the pattern are matched."""

    __slots__ = ("_accept", "_bounds", "_fills", "_loops", "literal")

    def __init__(self, pattern: str) -> None:
        self.literal = None if _SPECIAL & set(pattern) else pattern
        self._loops = 0
        """Bits of the places where any number of characters may follow."""
        toggles: dict[str, int] = {"\0": 0}
        """From this character on, these places change between refusing and accepting."""
        place, i = 0, 0
        while i < len(pattern):
            c = pattern[i]
            if c == "*":
                self._loops |= 1 << place
                i += 1
                continue
            refuses, ranges = False, [(c, c)]
            i += 1
            if c == "?":
                refuses, ranges = True, []
            elif c == "[":
                refuses, ranges, i = _class(pattern, i)
            toggles["\0"] ^= refuses << place
            for low, high in _disjoint(ranges):
                toggles[low] = toggles.get(low, 0) ^ 1 << place
                if ord(high) < sys.maxunicode:
                    above = chr(ord(high) + 1)
                    toggles[above] = toggles.get(above, 0) ^ 1 << place
            place += 1
        self._accept = 1 << place
        self._bounds = sorted(toggles)
        self._fills = list(itertools.accumulate((toggles[bound] for bound in self._bounds), operator.xor))
        """The places that accept a character from a bound up to the next."""

    def matches(self, name: str) -> bool:
        if self.literal is not None:
            return name == self.literal
        state, loops, bounds, fills = 1, self._loops, self._bounds, self._fills
        for c in name:
            state = (state & fills[bisect_right(bounds, c) - 1]) << 1 | state & loops
            if not state:
                return False
        return bool(state & self._accept)


def _class(pattern: str, i: int) -> tuple[bool, list[tuple[str, str]], int]:
    """What stands in the brackets that were opened before i: whether it is refused, the ranges, and where it ends."""
    refuses = pattern.startswith("!", i)
    i += refuses
    end = pattern.find("]", i + 1)
    if end < 0:
        raise Invalid(f"the pattern {pattern!r} has a [ without ]", "write [[] for the character itself")
    ranges: list[tuple[str, str]] = []
    while i < end:
        low = high = pattern[i]
        if i + 2 < end and pattern[i + 1] == "-":
            high = pattern[i + 2]
            i += 2
        if low <= high:
            ranges.append((low, high))
        i += 1
    return refuses, ranges, end + 1


def _disjoint(ranges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same characters in ranges that do not overlap or touch."""
    merged: list[tuple[str, str]] = []
    for low, high in sorted(ranges):
        if merged and ord(low) <= ord(merged[-1][1]) + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged


class Glob:
    """A pattern, given as the components of its path. Raises Invalid."""

    def __init__(self, parts: Parts) -> None:
        self.parts = [None if part == ANY else Component(part) for part in parts]
        """None: `**`."""
        self._cost = 0

    def files(self, root: Directory, limit: int) -> list[Parts]:
        """The paths of the files below `root` that match, sorted.

        Raises LimitExceeded after `limit` names. A name counts once for each part of the pattern that it is held
        against, and once more for every 8 characters of it.
        """
        self._cost = 0
        found: list[Parts] = []
        end = len(self.parts)
        stack: list[tuple[Parts, Directory, set[int]]] = [((), root, self._reach({0}))]
        while stack:
            above, directory, states = stack.pop()
            for name, node in self._candidates(directory, states):
                after = self._step(states, name)
                if self._cost > limit:
                    raise LimitExceeded(
                        f"the pattern has more than {limit} names to look at, the limit", "begin it with a directory"
                    )
                if isinstance(node, File):
                    if end in after:
                        found.append((*above, name))
                elif after - {end}:
                    stack.append(((*above, name), node, after))
        return sorted(found)

    def _candidates(self, directory: Directory, states: set[int]) -> Iterable[tuple[str, Directory | File]]:
        """The members that one of the states may go on with."""
        members = directory.members
        chosen: dict[str, Directory | File] = {}
        for state in states:
            if state < len(self.parts):
                part = self.parts[state]
                if part is None or part.literal is None:
                    return members.items()
                if part.literal in members:
                    chosen[part.literal] = members[part.literal]
        return chosen.items()

    def _reach(self, states: set[int]) -> set[int]:
        """With what `**` reaches by standing for nothing."""
        reached = set(states)
        for state in states:
            while state < len(self.parts) and self.parts[state] is None:
                state += 1
                reached.add(state)
        return reached

    def _step(self, states: set[int], name: str) -> set[int]:
        after: set[int] = set()
        for state in states:
            if state < len(self.parts):
                part = self.parts[state]
                self._cost += 1
                if part is None:
                    after.add(state)
                    continue
                if part.literal is None:
                    self._cost += len(name) >> 3
                if part.matches(name):
                    after.add(state + 1)
        return self._reach(after)
