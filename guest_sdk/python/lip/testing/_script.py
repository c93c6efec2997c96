"""What the model writes: the test's replies, and the distributions that a program sees of them.

A reply is asked for when a generation begins, or a prediction follows text that the model did not write. From then on
it is fixed what the model would write at each place, also in forks, and where the program picks another token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any

from . import _records as abi
from ._basics import ScriptError, refusal
from ._text import START, STOP, decode, encode

Reply = str | Exception
"""A text, or the `lip.Error` that the model fails with."""
Replies = Sequence[Reply] | Callable[[str], Reply]
Odds = Callable[[str], Mapping[str, float]]

_OTHERS = encode(" the and of to a in is it for on with as be at by not we you or yes no . , : ; ! ? - ( )")
_LIKELY, _UNLIKELY, _NEVER = 0.9, 1e-9, -30.0


@dataclass
class Plan:
    """A reply, from the `start`th token of a file on; the stop token ends it."""

    start: int
    tokens: list[int]


@dataclass
class Text:
    """What a file holds, and what the model writes there."""

    ids: list[int] = field(default_factory=list)
    plan: Plan | None = None

    def copy(self) -> Text:
        return Text(list(self.ids), self.plan)


class Script:
    """The replies in order, or a function from the text so far to the reply; `prompts` are the texts so far."""

    def __init__(self, replies: Replies, odds: Odds | None) -> None:
        self._replies = replies
        self._odds = odds
        self.prompts: list[str] = []

    def rest(self, text: Text) -> list[int]:
        """What a generation writes: what is left of a reply that is being written, else a new one."""
        plan = text.plan
        if plan is not None and len(text.ids) >= plan.start:
            written = text.ids[plan.start :]
            if len(written) < len(plan.tokens) and plan.tokens[: len(written)] == written:
                return plan.tokens[len(written) :]
        return self._ask(text, len(text.ids)).tokens

    def distribution(self, text: Text, at: int, new: int, readings: Any) -> Any:
        """The host's `distribution` of the token at place `at`; `new` tokens before it came with the prediction."""
        prefix = text.ids[:at]
        given = self._odds is not None
        odds = self._given(decode(prefix)) if given else dict(_spread(self._token(text, at, new)))
        ranked = _allowed(odds, readings.allowed)
        top = None
        if readings.top_k is not None:
            chosen = ranked[: readings.top_k]
            top = abi.types.Ranked([token for token, _ in chosen], [log(p) for _, p in chosen])
        known = dict(ranked)
        logprobs = None
        if readings.logprobs is not None:
            logprobs = [log(known[token]) if token in known else _NEVER for token in readings.logprobs]
        sampled = None if readings.sample is None else ranked[0][0]
        entropy = -sum(p * log(p) for _, p in ranked) if readings.entropy else None
        return abi.infer.Distribution(sampled, top, logprobs, entropy)

    def _token(self, text: Text, at: int, new: int) -> int:
        """What the model would write at a place."""
        plan = text.plan
        if plan is not None and plan.start <= at < plan.start + len(plan.tokens):
            written = text.ids[plan.start : at]
            foreign = new > 1 and written != plan.tokens[: len(written)]
            if not foreign and START not in written and STOP not in written:
                return plan.tokens[at - plan.start]
        return self._ask(text, at).tokens[0]

    def _given(self, prefix: str) -> dict[int, float]:
        assert self._odds is not None
        given = self._odds(prefix)
        odds: dict[int, float] = {}
        for name, weight in given.items():
            ids = encode(name)
            if len(ids) != 1 or not weight > 0:
                raise ScriptError(f"odds: {name!r}: {weight} is not one token and a weight above 0")
            odds[ids[0]] = float(weight)
        if not odds:
            raise ScriptError(f"odds: nothing was given for {prefix[-60:]!r}")
        return odds

    def _ask(self, text: Text, at: int) -> Plan:
        prompt = decode(text.ids[:at])
        self.prompts.append(prompt)
        if callable(self._replies):
            reply = self._replies(prompt)
        elif len(self.prompts) <= len(self._replies):
            reply = self._replies[len(self.prompts) - 1]
        else:
            raise ScriptError(
                f"the model is asked for reply {len(self.prompts)}, and the script has {len(self._replies)}; "
                f"the text ends with {prompt[-80:]!r}"
            )
        if isinstance(reply, Exception):
            raise refusal(getattr(reply, "code", "internal"), *(getattr(reply, n, "") for n in ("message", "hint")))
        text.plan = Plan(at, [*encode(reply), STOP])
        return text.plan


def _spread(token: int) -> Iterator[tuple[int, float]]:
    """The token that is written, and others far behind."""
    yield token, _LIKELY
    share = 1 - _LIKELY
    for other in _OTHERS:
        if other != token:
            share = max(share / 2, _UNLIKELY)
            yield other, share


def _allowed(odds: dict[int, float], allowed: Any) -> list[tuple[int, float]]:
    """Tokens with probabilities that sum to 1, descending; those of a mask only."""
    for other in _OTHERS:
        odds.setdefault(other, _UNLIKELY)
    if allowed is not None:
        words = allowed.value if isinstance(allowed, abi.infer.AllowedTokens_Mask) else allowed.value.mask()
        kept = {token: p for token, p in odds.items() if words[token >> 5] >> (token & 31) & 1}
        odds = kept or {32 * i + (word & -word).bit_length() - 1: 1.0 for i, word in enumerate(words) if word}
        if not odds:
            raise refusal("invalid", "the mask allows no token", "allow at least one")
    total = sum(odds.values())
    return sorted(((token, p / total) for token, p in odds.items()), key=lambda one: -one[1])
