"""What comes out: figures with their spread and their bar, as JSON and as Markdown tables."""

import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_COMPARED: Mapping[str, Callable[[float, float], bool]] = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.low == self.high:
            return short(self.median)
        return f"{short(self.median)} ({short(self.low)}–{short(self.high)})"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the result: a value, its unit, and the bar that it should reach, such as ("≤", 2.5)."""

    bar: str
    name: str
    value: Spread
    unit: str = ""
    bound: tuple[str, float] | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Tell whether the median reaches the bar; None if there is none."""
        return None if self.bound is None else _COMPARED[self.bound[0]](self.value.median, self.bound[1])


@dataclass(frozen=True, kw_only=True)
class Line:
    """One contestant under one load: answers per second, its ratio to bare Flask in the same round, latencies in ms."""

    load: str
    who: str
    what: str
    per_second: Spread | None = None
    ratio: Spread | None = None
    p50: Spread | None = None
    p99: Spread | None = None
    p999: Spread | None = None
    note: str = ""


@dataclass
class Report:
    """All that was measured, and where."""

    machine: dict[str, str]
    lines: list[Line] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        figures = [{**asdict(figure), "reached": figure.reached} for figure in self.figures]
        lines = [asdict(line) for line in self.lines]
        return {"machine": self.machine, "lines": lines, "figures": figures, "failures": self.failures}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Report":
        """Return what `as_dict` made into a dict."""

        def made(kind: type[Line] | type[Figure], item: Mapping[str, Any]) -> Any:
            names = {name: value for name, value in item.items() if name != "reached"}
            spreads = {name: Spread(**value) for name, value in names.items() if isinstance(value, dict)}
            bound = {"bound": tuple(names["bound"])} if names.get("bound") else {}
            return kind(**{**names, **spreads, **bound})

        lines = [made(Line, item) for item in found["lines"]]
        figures = [made(Figure, item) for item in found["figures"]]
        return cls(found["machine"], lines, figures, found["failures"])

    def markdown(self) -> str:
        """Return the tables."""
        parts = ["  \n".join(f"{name}: {value}" for name, value in self.machine.items())]
        for load in dict.fromkeys(line.load for line in self.lines):
            parts.append(f"**{load}**\n\n" + _contestants([line for line in self.lines if line.load == load]))
        if self.figures:
            parts.append(_bars(self.figures))
        if self.failures:
            parts.append("\n".join(f"- FAILED: {failure}" for failure in self.failures))
        return "\n\n".join(parts) + "\n"


def short(value: float) -> str:
    """Return a number as a person wants it: 12,300; 45; 3.2; 0.15."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def _contestants(lines: Sequence[Line]) -> str:
    rows = [
        [
            line.who,
            *(str(value) if value else "–" for value in (line.per_second, line.ratio, line.p50, line.p99, line.p999)),
            line.note,
        ]
        for line in lines
    ]
    return table(["", "answers/s", "× bare Flask", "p50 ms", "p99 ms", "p99.9 ms", "note"], rows)


def _bars(figures: Sequence[Figure]) -> str:
    words = {None: "", True: "yes", False: "NO"}
    rows = [
        [
            figure.bar,
            figure.name,
            f"{figure.value} {figure.unit}".strip(),
            f"{figure.bound[0]} {figure.bound[1]:g}" if figure.bound else "",
            words[figure.reached],
            figure.note,
        ]
        for figure in figures
    ]
    return table(["bar", "figure", "median (min–max)", "bound", "reached", "note"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
