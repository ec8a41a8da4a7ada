"""The comparison page: several ways to write the same reports, side by side, with intervals and paired tests.

Languages are never pooled, and a value that was not scored is shown as "–", never as a zero.
"""

import io
import re
import warnings
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from riskscribe.files import write_text
from riskscribe.page.render import html_page, markdown_page, visible

FIDELITY = "These figures measure fidelity to the written policy, not risk judgement."
SLICE_COLUMNS = {
    "fatal_error_free": "Free of fatal errors, %",
    "level_accuracy": "Level right, %",
    "breach_f1": "Breach F1, %",
    "grounded": "Numbers grounded, %",
}
LANGUAGES = {"en": "English", "zh": "Chinese"}
# Okabe-Ito colours tell columns apart for every kind of sight; the marker tells them apart without any
_LOOKS = [("s", "#7a7a7a"), ("D", "#8a6d00"), ("o", "#0072b2"), ("^", "#b34700"), ("v", "#007d5c"), ("P", "#a0508a")]
_INK, _PAPER, _GRID = "#1b2733", "#ffffff", "#d5dbe1"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "riskscribe",
    "text.parse_math": False,
    "font.size": 11,
    "font.family": ["DejaVu Sans", "sans-serif"],
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GRID,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def write_comparison(out: Path, comparison: dict[str, Any]) -> list[Path]:
    """Write comparison.md, comparison.html and comparison.svg into `out` and return their paths.

    Args:
        out: Folder; made if absent.
        comparison: title; dataset {name, sha256, cases, books}; columns [{key, name, note}]; languages {code: {cases,
            metrics [{key, name, unit, higher_is_better, values {column: {value, low, high, n, unscored}}}], slices
            [{name, cases, values {column: {metric: {value, low, high, n, unscored}}}}]}}; paired [{language, metric,
            name, a, b, difference (b - a), low, high, p_value, test, n}]; notes; commands;
            smoke_test. Any number may be None. Rows keep their order: headline and fatal ones come first.
    """
    svg = _svg(comparison)
    values = {
        "c": comparison,
        "fidelity": FIDELITY,
        "languages": LANGUAGES,
        "cell": _cell,
        "quantity": _quantity,
        "interval_of": _interval,
        "p_value": _p_value,
        "verdict": _verdict,
        "paired": _paired(comparison),
        "slice_columns": SLICE_COLUMNS,
        "across": _across,
        "floor_to_last": _columns_in_order,
        "cases_in_all": sum(one["cases"] for one in comparison["languages"].values()),
    }
    html = html_page("comparison.html.j2", **values, plot=_inline(svg))
    markdown = markdown_page("comparison.md.j2", **values)
    out = Path(out)
    paths = [out / "comparison.md", out / "comparison.html", out / "comparison.svg"]
    for path, text in zip(paths, (markdown, html, svg), strict=True):
        write_text(path, text)
    return paths


def _columns_in_order(comparison: dict[str, Any]) -> str:
    return " / ".join(column["name"].lower() for column in comparison["columns"])


def _across(part: dict[str, Any], key: str, comparison: dict[str, Any]) -> str:
    """One metric of a slice for every column, in their order: `25 / 100 / 0 / 88`, percent."""
    values = [part["values"].get(column["key"], {}).get(key, {}).get("value") for column in comparison["columns"]]
    return " / ".join("–" if value is None else f"{value:.0f}" for value in values)


def _quantity(value: float | None, unit: str, *, signed: bool = False) -> str:
    """A value with its unit, or "–" where there is none; a difference of percentages is in points."""
    if value is None:
        return "–"
    sign = "+" if signed else ""
    if unit == "%":
        return f"{value:{sign}.1f}{' points' if signed else '%'}"
    return f"{value:{sign}.3g} {unit}".strip()


def _interval(low: float | None, high: float | None, unit: str, *, signed: bool = False) -> str:
    if low is None or high is None:
        return "–"
    if signed:
        return f"{_quantity(low, unit, signed=True).removesuffix(' points')} to {_quantity(high, unit, signed=True)}"
    return f"{_quantity(low, unit)} to {_quantity(high, unit)}"


def _cell(metric: dict[str, Any], column: str) -> tuple[str, str, str]:
    """A value, its 95 % interval and its denominator, as texts; the last two may be empty."""
    one = metric["values"].get(column)
    if one is None:
        return "–", "", ""
    unit = metric["unit"]
    interval = "" if one["value"] is None else _interval(one.get("low"), one.get("high"), unit).strip("–")
    count = f"n {one['n']}" if one.get("n") is not None else ""
    if one.get("unscored"):
        count += f"{', ' if count else ''}{one['unscored']} unscored"
    return _quantity(one["value"], unit), interval, count


def _paired(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """The paired tests with the names of their columns and the unit and direction of their metric."""
    columns = {one["key"]: one["name"] for one in comparison["columns"]}
    rows = []
    for one in comparison["paired"]:
        metrics = comparison["languages"].get(one["language"], {}).get("metrics", [])
        metric = next((each for each in metrics if each["key"] == one["metric"]), {})
        names = {side: columns.get(one[side], one[side]) for side in ("a", "b")}
        rows.append(one | names | {"unit": metric.get("unit", ""), "higher": metric.get("higher_is_better", True)})
    return rows


def _verdict(row: dict[str, Any]) -> str:
    """What the pair shows: a direction only where the interval leaves out zero and the test agrees at 5 %."""
    low, high, p = row.get("low"), row.get("high"), row.get("p_value")
    if row.get("difference") is None or low is None or high is None:
        return "– not tested"
    if low <= 0 <= high or (p is not None and p >= 0.05):
        return "= no difference shown"
    return "▲ better" if (low > 0) == row["higher"] else "▼ worse"


def _p_value(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _panels(comparison: dict[str, Any]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """(title, unit, metrics with any value) a panel: a language and a unit each, so that an axis means one thing."""
    panels: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for language, block in comparison["languages"].items():
        for metric in block["metrics"]:
            if any(one and one["value"] is not None for one in metric["values"].values()):
                panels.setdefault((language, metric["unit"]), []).append(metric)
    titles = {one: f"{LANGUAGES.get(one, one)}, {comparison['languages'][one]['cases']} cases" for one, _ in panels}
    return [(titles[language], unit, metrics) for (language, unit), metrics in panels.items()]


def _svg(comparison: dict[str, Any]) -> str:
    """A dot plot with intervals: a row a metric, a marker a column, a panel a language and unit."""
    panels = _panels(comparison)
    columns = comparison["columns"]
    # inches: a line a column within a metric's row, and room for title and axis around each panel
    heights = [len(metrics) * (0.17 * len(columns) + 0.16) for _, _, metrics in panels] or [1.0]
    legend = 0.28 * len(columns) + 0.2
    total = sum(heights) + 0.95 * len(heights) + legend
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # a Chinese name measures wrong in DejaVu Sans; the reader's browser has the glyphs
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(9.0, total), facecolor=_PAPER)
        FigureCanvasSVG(figure)
        top, handles = total - legend, []
        for (title, unit, metrics), height in zip(panels, heights, strict=False):
            axes = figure.add_axes((0.34, (top - 0.4 - height) / total, 0.62, height / total), facecolor="none")
            handles = _panel(axes, title, unit, metrics, columns)
            top -= height + 0.95
        if handles:
            names = [visible(one["name"]) for one in columns]
            figure.legend(handles, names, loc="upper left", bbox_to_anchor=(0.33, 1.0), frameon=False, numpoints=1)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor=_PAPER)
    return buffer.getvalue()


def _panel(axes: Any, title: str, unit: str, metrics: list[dict[str, Any]], columns: list[dict[str, Any]]) -> list:
    step = 0.8 / max(len(columns), 1)
    handles = []
    for index, column in enumerate(columns):
        marker, colour = _LOOKS[index % len(_LOOKS)]
        look = {"marker": marker, "color": colour, "markersize": 6.5, "linestyle": "none", "markeredgecolor": colour}
        # past the last look, the same shapes come back hollow
        look["markerfacecolor"] = colour if index < len(_LOOKS) else "none"
        handles += axes.plot([], [], **look)
        for row, metric in enumerate(metrics):
            one = metric["values"].get(column["key"])
            y = row - 0.4 + step * (index + 0.5)
            if not one or one["value"] is None:
                words = {"color": colour, "fontsize": 8.5, "verticalalignment": "center"}
                axes.text(0.02, y, "– not scored", transform=axes.get_yaxis_transform(), **words)
                continue
            if one.get("low") is not None and one.get("high") is not None:
                axes.plot([one["low"], one["high"]], [y, y], color=colour, linewidth=1.6)
            axes.plot([one["value"]], [y], **look, clip_on=False, zorder=3)
    labels = [visible(one["name"]) + ("" if one["higher_is_better"] else "\n(lower is better)") for one in metrics]
    axes.set_yticks(range(len(metrics)), labels)
    axes.set_ylim(len(metrics) - 0.5, -0.5)
    if unit == "%":
        axes.set_xlim(-2, 102)
    else:
        axes.margins(x=0.08)
    for row in range(1, len(metrics)):
        axes.axhline(row - 0.5, color=_GRID, linewidth=0.8)
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(
        visible(f"{title} ({unit or 'score'}, bars are 95 % intervals)"), loc="left", fontsize=11, weight="bold"
    )
    return handles


def _inline(svg: str) -> Markup:
    """The plot for the page: its ink and paper are the page's, so that it follows light and dark."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r'\1 role="img" aria-labelledby="plot-title"', svg, count=1)
    for colour, name in ((_INK, "ink"), (_PAPER, "paper"), (_GRID, "line")):
        svg = svg.replace(colour, f"var(--{name})")
    return Markup(svg)  # written by matplotlib, which escapes the names in it
