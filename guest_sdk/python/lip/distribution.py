"""The next-token distribution, as far as it was read.

Every reading is computed on the device within the model's step and arrives with the prediction, so a program names what
it will ask for when it calls `pred`. Asking for more later is an error that says how to ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

from . import _host
from .errors import Invalid, call


class Dist:
    """One next-token distribution. Log-probabilities are natural, at temperature 1."""

    __slots__ = ("_asked", "_kept", "_raw")

    def __init__(self, raw: Any, asked: Sequence[int] | None, kept: Any = None) -> None:
        self._raw = raw
        self._asked = asked
        self._kept = kept

    async def ask(
        self,
        *,
        top_k: int | None = None,
        sample: bool | Mapping[str, Any] | None = None,
        logprobs: Sequence[int] | None = None,
        entropy: bool = False,
    ) -> Dist:
        """More of a distribution that `pred(keep=True)` kept, without running the model again. Arguments of `pred`."""
        from .context import readings_of

        if self._kept is None:
            raise Invalid("this distribution was not kept", "use pred(..., keep=True)")
        readings = readings_of(top_k, sample, logprobs, entropy)
        return Dist(call(_host.infer.ask, [self._kept], readings)[0], logprobs, self._kept)

    def forget(self) -> None:
        """Keep it no longer; a process keeps at most 256."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.__exit__(None, None, None)

    @property
    def sampled(self) -> int:
        """The token drawn. Needs `pred(sample=...)`."""
        token = self._raw.sampled
        if token is None:
            raise _unread("a sampled token", "sample=True, or sample={'temperature': 0.7}")
        return token

    def argmax(self) -> int:
        """The most probable token. Needs `pred()` without readings, or with `top_k=`."""
        return self._top(1).ids[0]

    def top_k(self, k: int | None = None) -> list[tuple[int, float]]:
        """The k most probable tokens with their probabilities, descending; all that were read without k."""
        top = self._top(1 if k is None else k)
        return [(token, exp(value)) for token, value in zip(top.ids[:k], top.values, strict=False)]

    def logprob(self, ids: int | Sequence[int]) -> Any:
        """Log-probability of a token (a float), or of several (a list). Needs `pred(logprobs=[...])` or a top-k that
        holds them."""
        if isinstance(ids, int):
            return self._logprob(ids)
        return [self._logprob(token) for token in ids]

    def entropy(self) -> float:
        """In nats. Needs `pred(entropy=True)`."""
        value = self._raw.entropy
        if value is None:
            raise _unread("the entropy", "entropy=True")
        return value

    def _top(self, k: int) -> Any:
        top = self._raw.top
        if top is None or len(top.ids) < k:
            raise _unread(f"the {k} most probable tokens", f"top_k={k}", f"; {len(top.ids)} were read" if top else "")
        return top

    def _logprob(self, token: int) -> float:
        if self._asked is not None and token in self._asked:
            return self._raw.logprobs[self._asked.index(token)]
        top = self._raw.top
        if top is not None and token in top.ids:
            return top.values[top.ids.index(token)]
        raise _unread(f"the log-probability of token {token}", f"logprobs=[{token}]")

    def __repr__(self) -> str:
        return f"Dist({self._raw!r})"


def _unread(what: str, argument: str, more: str = "") -> Invalid:
    return Invalid(
        f"{what} was not read with this distribution{more}", f"ask in advance: await ctx.pred(..., {argument})"
    )
