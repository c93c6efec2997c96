"""So much a second: of tokens that a tenant's programs have computed, of requests that it makes.

What is taken is paid for afterwards: whoever took more than its rate gives waits until it has paid, and nobody is
refused what costs more than a second's worth. Who took little has saved up for a burst. Pure code; the caller has the
clock. (The generic cell rate algorithm of ATM networks, ITU-T I.371.)
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

_REMEMBERED = 4096


class Pace:
    """Of many names. Amounts are of any one unit, times are seconds of any one clock."""

    def __init__(
        self, rate: float | None = None, rates: Mapping[str, float] | None = None, *, burst_seconds: float = 1.0
    ) -> None:
        """`rate`: a second, for each name that `rates` does not have; None: no limit."""
        self._rate = rate
        self._rates = rates or {}
        self._burst = burst_seconds
        self._paid: dict[str, float] = {}
        """When each name will have paid for all that it took."""

    @property
    def limits(self) -> bool:
        """Whether anybody has a limit."""
        return self._rate is not None or bool(self._rates)

    def take(self, name: str, amount: float, now: float) -> None:
        """It has what it takes; it may have to wait for the next."""
        rate = self._rates.get(name, self._rate)
        if rate is None:
            return
        self._paid[name] = max(self._paid.get(name, -inf), now - self._burst) + amount / rate
        if len(self._paid) > _REMEMBERED:
            self._paid = {name: paid for name, paid in self._paid.items() if paid > now - self._burst}

    def wait(self, name: str, now: float) -> float:
        """Seconds until it may take something; 0: now."""
        return max(self._paid.get(name, -inf) - now, 0.0)
