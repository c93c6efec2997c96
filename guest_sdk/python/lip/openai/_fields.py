"""The members of a request, checked one by one: type before range, and every refusal names the member.

Knows nothing of what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_KINDS = {str: "a string", bool: "a boolean", int: "an integer", list: "an array", dict: "an object"}


class Refused(Exception):
    """A request that cannot be answered, in OpenAI's words."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status


class Fields:
    """An object of a request. Absent and null mean the same. Every method raises `Refused`."""

    def __init__(self, given: Any, where: str = "") -> None:
        if not isinstance(given, dict):
            raise Refused(f"{where or 'the request'} must be an object, not {kind(given)}.", where or None)
        self._given: dict[str, Any] = given
        self._where = where

    def name(self, member: str) -> str:
        """The member as error messages name it."""
        return f"{self._where}.{member}" if self._where else member

    def only(self, *known: str) -> None:
        """Refuse members that are not known: a typing error is no default."""
        for member in self._given:
            if member not in known:
                raise Refused(f"Unrecognized request argument supplied: {self.name(member)[:200]}", self.name(member))

    def get(self, member: str, *types: type) -> Any:
        """The member, of one of these types (any where none is given), or None."""
        value = self._given.get(member)
        if value is None or not types or (type(value) in types):
            return value
        wanted = " or ".join(_KINDS[t] for t in types)
        raise Refused(f"'{self.name(member)}' must be {wanted}, not {kind(value)}.", self.name(member))

    def text(self, member: str) -> str:
        """A string that must be there."""
        value = self.get(member, str)
        if value is None:
            raise Refused(f"Missing required parameter: '{self.name(member)}'.", self.name(member))
        return value

    def flag(self, member: str) -> bool | None:
        return self.get(member, bool)

    def integer(self, member: str, least: int, most: int) -> int | None:
        value = self.get(member, int)
        return None if value is None else self._within(member, value, least, most)

    def number(self, member: str, least: float, most: float) -> float | None:
        value = self._given.get(member)
        if value is None:
            return None
        if type(value) not in (int, float) or not math.isfinite(value):
            raise Refused(f"'{self.name(member)}' must be a number, not {kind(value)}.", self.name(member))
        return self._within(member, value, least, most)

    def choice(self, member: str, *known: str) -> str | None:
        value = self.get(member, str)
        if value is not None and value not in known:
            listed = ", ".join(map(repr, known))
            raise Refused(f"'{self.name(member)}' is {value[:100]!r}; supported are {listed}.", self.name(member))
        return value

    def refuse(self, advice: Mapping[str, str]) -> None:
        """Members that are known and not served, with what to do instead."""
        for member, instead in advice.items():
            if self._given.get(member) not in (None, False, [], {}):
                raise Refused(f"'{self.name(member)}' is not supported: {instead}.", self.name(member))

    def _within(self, member: str, value: Any, least: float, most: float) -> Any:
        if not least <= value <= most:
            raise Refused(f"'{self.name(member)}' is {value}; it must be from {least} to {most}.", self.name(member))
        return value


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    return "null" if value is None else _KINDS.get(type(value), "a number")
