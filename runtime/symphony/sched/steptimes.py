"""How long a step over n rows takes: a table of what was measured, and the line through it.

Pure code: seconds and rows are passed in.
"""

from __future__ import annotations

_MEMORY = 0.9
"""What a cell of the table keeps at each measurement."""
_FADING = 0.98
"""What a cell keeps of that, and of its weight, at each step elsewhere..."""
_FLOOR = 0.01
"""...down to this weight: the slope stays known however long all steps are of one size."""

_EVERY = 8
"""Steps between two fits; the first steps are fitted one by one."""


_NOISE = 3e-4
"""Spread of rows, squared and relative, below which a slope is mostly the noise of the measurements."""


class _Cell:
    """Steps of about one size: means of what the line is fitted to."""

    __slots__ = ("at", "count", "product", "rows", "seconds", "squares")

    def __init__(self) -> None:
        self.rows = self.seconds = self.count = self.squares = self.product = 0.0
        self.at = 0
        """The number of the last step that was measured here."""


class StepTimes:
    """f(n) = base + row * n, fitted to a table with a cell for each power of two. What was measured long ago fades."""

    __slots__ = ("_cells", "_due", "_steps", "base", "row")

    def __init__(self) -> None:
        self._cells: dict[int, _Cell] = {}
        self._steps = 0
        self._due = False
        """The line is to be fitted again."""
        self.base = 0.0
        """Seconds; both are up to date after `predict`."""
        self.row = 0.0

    def add(self, rows: int, seconds: float) -> None:
        self._steps += 1
        if self._steps <= _EVERY or not self._steps % _EVERY:
            self._due = True
        size = rows.bit_length()
        cell = self._cells.get(size)
        if cell is None:
            cell = self._cells[size] = _Cell()
        keep = _MEMORY * _FADING ** (self._steps - cell.at) if cell.count else 0.0
        cell.rows = keep * cell.rows + (1 - keep) * rows
        cell.seconds = keep * cell.seconds + (1 - keep) * seconds
        cell.squares = keep * cell.squares + (1 - keep) * rows * rows
        cell.product = keep * cell.product + (1 - keep) * rows * seconds
        cell.count = min(cell.count + 1, 10)
        cell.at = self._steps

    def predict(self, rows: float) -> float:
        """0 before the first measurement."""
        if self._due:
            self._fit()
        return self.base + self.row * rows

    def _fit(self) -> None:
        """At least proportional, at most constant where the line would be absurd."""
        self._due = False
        w = n = nn = t = nt = 0.0
        for cell in self._cells.values():
            weight = cell.count * max(_FLOOR, _FADING ** (self._steps - cell.at))
            w += weight
            n += weight * cell.rows
            nn += weight * cell.squares
            t += weight * cell.seconds
            nt += weight * cell.product
        n, nn, t, nt = n / w, nn / w, t / w, nt / w
        slope = (nt - n * t) / (nn - n * n + _NOISE * n * n)
        self.row = min(max(slope, 0.0), t / n)
        self.base = t - self.row * n
