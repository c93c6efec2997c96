"""Figures of a benchmark, as a table for people or JSON for programs.

A figure has a bound where the project promises one; the report says whether it holds, and never fails because of it
(time on a shared machine is no assertion).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(slots=True, frozen=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool | None:
        """None: nothing was promised."""
        if self.at_most is not None:
            return self.value <= self.at_most
        if self.at_least is not None:
            return self.value >= self.at_least
        return None


@dataclass(slots=True)
class Report:
    """Figures under a title, with what they were measured on."""

    title: str
    conditions: dict[str, str] = field(default_factory=dict[str, str])
    figures: list[Figure] = field(default_factory=list[Figure])

    def add(
        self, name: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        self.figures.append(Figure(name, value, unit, at_most, at_least))

    def as_json(self) -> str:
        figures = [{**asdict(figure), "holds": figure.holds} for figure in self.figures]
        return json.dumps({"title": self.title, "conditions": self.conditions, "figures": figures}, indent=2)

    def as_text(self) -> str:
        lines = [self.title, "  " + ", ".join(f"{k} {v}" for k, v in self.conditions.items())]
        width = max((len(figure.name) for figure in self.figures), default=0)
        for figure in self.figures:
            lines.append(f"  {figure.name:<{width}}  {_number(figure.value):>9} {figure.unit:<9}{_bound(figure)}")
        return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _bound(figure: Figure) -> str:
    if figure.holds is None:
        return ""
    sign, bound = ("<=", figure.at_most) if figure.at_most is not None else (">=", figure.at_least)
    assert bound is not None
    return f"  {sign} {_number(bound):<8} {'ok' if figure.holds else 'MISSED'}"
