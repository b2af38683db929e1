"""Draw the figures of `ganserve bench` as SVG, which needs no library."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from ganserve._commands.load_generator import Outcome

_WIDTH, _PANEL, _HEIGHT, _MARGIN, _TOP = 1200, 400, 380, 62, 74
# Colour-blind people can tell these apart (Okabe and Ito 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_PERCENTILES = (50.0, 90.0, 99.0)
_BINS_PER_DECADE = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class _Axis:
    """Place of a quantity: pixels from `start` to `end` for values from `low` to `high`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def place(self, value: float) -> float:
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log10(max(value, low)), math.log10(low), math.log10(high)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(decades) <= 4 else (1,)
            ticks = [step * 10.0**decade for decade in decades for step in steps]
        else:
            rough = (self.high - self.low) / 6
            unit = 10 ** math.floor(math.log10(rough))
            step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * 0.999)
            ticks = [step * number for number in range(math.ceil(self.high / step) + 1)]
        return [tick for tick in ticks if self.low * 0.999 <= tick <= self.high * 1.001]


def picture(outcomes: Sequence[Outcome], *, title: str) -> str:
    """Return calls a second and latencies by load, and histograms of latencies, as SVG."""
    by_level = sorted(outcomes, key=lambda outcome: outcome.stage.level)
    answered = [outcome for outcome in by_level if outcome.latencies.count]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_WIDTH / 2, 24, title, size=15),
        *_throughput(by_level),
        *(_latencies(answered) + _histograms(answered) if answered else ()),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _throughput(outcomes: Sequence[Outcome]) -> list[str]:
    highest = max(max(outcome.calls_per_s for outcome in outcomes), 1e-3) * 1.1
    across, up = _level_axis(outcomes, 0), _up(0, highest, logarithmic=False)
    points = [(across.place(o.stage.level), up.place(o.calls_per_s)) for o in outcomes]
    levels = [outcome.stage.level for outcome in outcomes]
    parts = _frame(0, "calls answered a second", _level_title(outcomes), across, up, levels)
    if outcomes[0].stage.loop == "open":
        due = [(across.place(o.stage.level), up.place(min(o.stage.level, highest))) for o in outcomes]
        parts += [_line(due, "#999999", dashed=True), _text(due[-1][0], due[-1][1] - 6, "due", colour="#777777")]
    return [*parts, _line(points, _COLOURS[0]), *_dots(points, _COLOURS[0])]


def _latencies(outcomes: Sequence[Outcome]) -> list[str]:
    values = [[o.latencies.percentile_s(percent) * 1e3 for o in outcomes] for percent in _PERCENTILES]
    low, high = _decade_bounds(value for each in values for value in each)
    across, up = _level_axis(outcomes, 1), _up(low, high, logarithmic=True, legend=len(_PERCENTILES))
    parts = _frame(1, "latency, ms", _level_title(outcomes), across, up, [o.stage.level for o in outcomes])
    for number, each in enumerate(values):
        points = [(across.place(o.stage.level), up.place(value)) for o, value in zip(outcomes, each, strict=True)]
        parts += [_line(points, _COLOURS[number]), *_dots(points, _COLOURS[number])]
    return [*parts, *_legend(1, [f"p{percent:g}" for percent in _PERCENTILES])]


def _histograms(outcomes: Sequence[Outcome]) -> list[str]:
    low, high = _decade_bounds(bound * 1e3 for o in outcomes for bound in (o.latencies.lowest_s, o.latencies.highest_s))
    across = _Axis(low=low, high=high, start=2 * _PANEL + _MARGIN, end=3 * _PANEL - 16, logarithmic=True)
    shares = [_binned(outcome) for outcome in outcomes]
    highest = max(share for each in shares for share in each.values()) * 100
    up = _up(0, highest, logarithmic=False, legend=len(shares))
    parts = _frame(2, "% of the calls", "latency, ms", across, up, across.ticks())
    for number, each in enumerate(shares):
        points = []
        for index in range(min(each) - 1, max(each) + 2):
            edges = (10 ** (index / _BINS_PER_DECADE), 10 ** ((index + 1) / _BINS_PER_DECADE))
            height = up.place(each.get(index, 0.0) * 100)
            points += [(min(max(across.place(edge), across.start), across.end), height) for edge in edges]
        parts.append(_line(points, _COLOURS[number % len(_COLOURS)]))
    unit = "calls/s" if outcomes[0].stage.loop == "open" else "callers"
    return [*parts, *_legend(2, [f"{outcome.stage.level:g} {unit}" for outcome in outcomes])]


def _binned(outcome: Outcome) -> dict[int, float]:
    """Return the share of latencies in each bin of equal width on a logarithmic axis of milliseconds."""
    bins: dict[int, float] = {}
    for upper_s, count in outcome.latencies.buckets():
        index = math.floor(math.log10(upper_s * 1e3) * _BINS_PER_DECADE)
        bins[index] = bins.get(index, 0.0) + count / outcome.latencies.count
    return bins


def _decade_bounds(values: Iterable[float]) -> tuple[float, float]:
    """Return bounds of a logarithmic axis around values: 1, 2 or 5 times a power of ten."""
    found = list(values)
    steps = [step * 10.0**decade for decade in range(-3, 8) for step in (1, 2, 5)]
    low = max((step for step in steps if step < min(found)), default=steps[0])
    high = min((step for step in steps if step > max(found)), default=steps[-1])
    return low, high


def _level_axis(outcomes: Sequence[Outcome], panel: int) -> _Axis:
    levels = [outcome.stage.level for outcome in outcomes]
    low, high = min(levels), max(levels)
    if low == high:
        low, high = low * 0.5, high * 1.5
    start, end = panel * _PANEL + _MARGIN + 14, (panel + 1) * _PANEL - 34
    return _Axis(low=low, high=high, start=start, end=end, logarithmic=high / low > 8)


def _up(low: float, high: float, *, logarithmic: bool, legend: int = 0) -> _Axis:
    """Return a vertical axis, with room for the legend's lines above its highest value."""
    return _Axis(low=low, high=high, start=_HEIGHT - _MARGIN, end=_TOP + 16 * legend, logarithmic=logarithmic)


def _level_title(outcomes: Sequence[Outcome]) -> str:
    return "calls due a second" if outcomes[0].stage.loop == "open" else "callers at a time"


def _frame(panel: int, title: str, below: str, across: _Axis, up: _Axis, across_ticks: Sequence[float]) -> list[str]:
    left, right = panel * _PANEL + _MARGIN, (panel + 1) * _PANEL - 16
    bottom = _HEIGHT - _MARGIN
    parts = [_text((left + right) / 2, _TOP - 20, title, size=13), _text((left + right) / 2, bottom + 38, below)]
    for tick in up.ticks():
        y = up.place(tick)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#dddddd"/>')
        parts.append(_text(left - 6, y + 4, f"{tick:g}", anchor="end"))
    last = -math.inf
    for tick in across_ticks:
        x = across.place(tick)
        if x - last >= 26:  # closer ones would overlap
            parts.append(_text(x, bottom + 18, f"{tick:g}"))
            parts.append(f'<path d="M{x:.1f} {bottom}v4" stroke="#444444"/>')
            last = x
    parts.append(f'<path d="M{left} {_TOP}V{bottom}H{right}" fill="none" stroke="#444444"/>')
    return parts


def _legend(panel: int, names: Sequence[str]) -> list[str]:
    left = panel * _PANEL + _MARGIN + 12
    parts = []
    for number, name in enumerate(names):
        y = _TOP + 10 + 16 * number
        parts.append(f'<path d="M{left} {y}h16" stroke="{_COLOURS[number % len(_COLOURS)]}" stroke-width="2.5"/>')
        parts.append(_text(left + 22, y + 4, name, anchor="start"))
    return parts


def _line(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'


def _dots(points: Sequence[tuple[float, float]], colour: str) -> list[str]:
    return [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "middle", colour: str = "#222222") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
    )
