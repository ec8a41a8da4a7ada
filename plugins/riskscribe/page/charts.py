"""The pictures of the report page as inline SVG: limit use, stress P&L, the waterfall of a bridge.

Each is drawn on a width of 100 and stretched to its place; words and numbers stand beside it as text, so that they
stay readable on a narrow screen and to a screen reader. No colour says gain or loss: position, hatching and words do.
"""

from typing import NamedTuple

from markupsafe import Markup

ROW = 30  # height of a row of the waterfall, in px
_EDGE = 'vector-effect="non-scaling-stroke"'


class Level(NamedTuple):
    """A row of a waterfall: the bar from `start` to `end`, whole for a total (yesterday, today)."""

    start: float
    end: float
    total: bool


def _rect(css: str, x0: float, x1: float, y: float, height: float) -> str:
    """A bar between two places, never too thin to be seen."""
    left, right = min(x0, x1), max(x0, x1)
    if right - left < 0.8:
        middle = min(max((left + right) / 2, 0.4), 99.6)
        left, right = middle - 0.4, middle + 0.4
    return f'<rect class="{css}" x="{left:.2f}" y="{y:g}" width="{right - left:.2f}" height="{height:g}" {_EDGE}/>'


def _line(css: str, x: float, y0: float, y1: float) -> str:
    return f'<line class="{css}" x1="{x:.2f}" x2="{x:.2f}" y1="{y0:g}" y2="{y1:g}" {_EDGE}/>'


def _svg(css: str, height: float, label: str, parts: list[str]) -> Markup:
    return Markup(
        '<svg class="{}" viewBox="0 0 100 {:g}" height="{:g}" preserveAspectRatio="none" role="img" aria-label="{}">'
        "<title>{}</title>{}</svg>"
    ).format(css, height, height, label, label, Markup("".join(parts)))


def utilisation(use: float, soft: float, scale: float, label: str) -> Markup:
    """A bar of percent of hard up to `scale`: dashed mark at soft, solid mark at hard, hatched above hard."""
    place = 98.0 / scale
    parts = [_rect("track", 0, 98, 4, 8), _rect("use", 0, min(use, 100.0) * place, 4, 8)]
    if use > 100.0:
        parts.append(_rect("over", 100.0 * place, min(use, scale) * place, 4, 8))
    parts += [_line("soft-mark", soft * place, 0, 16), _line("hard-mark", 100.0 * place, 0, 16)]
    if use > scale:
        parts.append('<path class="more" d="M97 2 l3 6 l-3 6 z"/>')
    return _svg("chart", 16, label, parts)


def stress(pnl: float, previous: float | None, lowest: float, highest: float, label: str) -> Markup:
    """P&L of a scenario from a common zero: a loss to the left, hatched, a gain to the right; a tick for yesterday."""
    lowest, highest = min(lowest, 0.0), max(highest, 0.0)
    width = (highest - lowest) or 1.0

    def at(value: float) -> float:
        return 1.0 + 98.0 * (value - lowest) / width

    parts = [_rect("loss" if pnl < 0 else "gain", at(0.0), at(pnl), 3, 10), _line("hard-mark", at(0.0), 0, 16)]
    if previous is not None:
        parts.append(_line("soft-mark", at(previous), 0, 16))
    return _svg("chart", 16, label, parts)


def waterfall(levels: list[Level], label: str) -> tuple[Markup, bool]:
    """The picture of a bridge, a row a step, and whether its axis was cut (it does not start at zero).

    Totals are filled; a step is filled where it goes up and hatched where it goes down, and joined to the next.
    """
    running = [value for one in levels for value in ((one.end,) if one.total else (one.start, one.end))]
    lowest, highest = min(running), max(running)
    span = highest - lowest
    # steps that zero would squeeze to nothing are drawn on a cut axis
    cut = span < 0.25 * max(abs(lowest), abs(highest)) and lowest * highest > 0
    if cut:
        pad = span * 0.35 or abs(highest) * 0.01 or 1.0
        lowest, highest = lowest - pad, highest + pad
    else:
        lowest, highest = min(lowest, 0.0), max(highest, 0.0)
    width = (highest - lowest) or 1.0

    def at(value: float) -> float:
        return 1.0 + 98.0 * (value - lowest) / width

    # a total grows from zero, or on a cut axis from the side on which zero lies
    base = at(0.0) if not cut else (0.0 if lowest > 0 else 100.0)
    parts = [] if cut else [_line("zero", at(0.0), 0, ROW * len(levels))]
    for i, one in enumerate(levels):
        start = base if one.total else at(one.start)
        css = "total" if one.total else "up" if one.end >= one.start else "down"
        parts.append(_rect(css, start, at(one.end), i * ROW + 7, ROW - 14))
        if i + 1 < len(levels):
            parts.append(_line("join", at(one.end), i * ROW + 7, (i + 2) * ROW - 7))
    return _svg("waterfall", ROW * len(levels), label, parts), cut
