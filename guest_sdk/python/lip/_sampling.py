"""How to pick a token: keyword arguments become the host's records. The host checks the ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import _host
from .errors import Invalid

_FLOATS = ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
NAMES = ("temperature", "top_k", "top_p", "min_p", *_FLOATS[3:], "logit_bias", "seed")


def sampling(options: Mapping[str, Any]) -> Any:
    """The `sampling` record. Raises `Invalid` for a name that is not one, or a value of the wrong type."""
    values = dict.fromkeys(NAMES)
    for name, value in options.items():
        if name not in values:
            raise Invalid(f"{name!r} is not a sampling argument", f"there are: {', '.join(NAMES)}")
        try:
            values[name] = _convert(name, value)
        except (TypeError, ValueError, AttributeError):
            raise Invalid(
                f"sampling argument {name}={value!r} has the wrong type", _EXPECTED.get(name, "give a number")
            ) from None
    return _host.infer.Sampling(**values)


_EXPECTED = {
    "top_k": "give a whole number",
    "seed": "give a whole number",
    "logit_bias": "give a dict from token id to the number that is added to its logit",
}


def _convert(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "logit_bias":
        return _host.types.Ranked([_count(i) for i in value], [float(v) for v in value.values()])
    if name == "seed":
        return int(value) & 0xFFFF_FFFF_FFFF_FFFF
    if name == "top_k":
        return _count(value)
    return float(value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise ValueError(value)
    return value


def count(name: str, value: Any) -> int:
    """A whole number that fits the host's u32; outside of that range the call would trap. Raises `Invalid`."""
    try:
        return _count(value)
    except ValueError:
        raise Invalid(f"{name} is {value!r}", "give a whole number from 0 on") from None


def ids(name: str, values: Sequence[Any]) -> list[int]:
    """Token ids that fit the host's u32. Raises `Invalid`."""
    return [count(name, value) for value in values]


def stops(stop: str | int | Sequence[str | int]) -> tuple[list[str], list[int]]:
    """Stop strings and stop token ids, told apart."""
    given = [stop] if isinstance(stop, str | int) else list(stop)
    strings = [s for s in given if isinstance(s, str)]
    token_ids = [s for s in given if isinstance(s, int) and not isinstance(s, bool)]
    if len(strings) + len(token_ids) != len(given):
        raise Invalid(f"stop={stop!r} is not understood", "give strings, or token ids, or a list of them")
    return [_host.text(s) for s in strings], token_ids
