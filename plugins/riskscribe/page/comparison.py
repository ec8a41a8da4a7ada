"""The comparison page: several ways to write the same reports, what changed between two of them, and a verdict.

In English and in Chinese, as HTML and Markdown with a forest plot. Languages of the cases are never pooled, and a
value that was not scored is shown as "–", never as a zero.
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

from riskscribe.case import Language
from riskscribe.files import write_json, write_text
from riskscribe.page.comparison_words import OUTCOME_SHAPES, WORDS
from riskscribe.page.messages import say
from riskscribe.page.render import html_page, markdown_page, visible
from riskscribe.page.words import WORDS as REPORT_WORDS

# shown at once and in the plot; every other metric stands below them
MAIN = (
    "fatal_error_free", "total", "schema_valid", "level_accuracy", "level_balanced", "under_call", "breach_f1",
    "missed_excess", "driver_recall", "evidence_recall", "grounded", "claims_supported", "action_f1",
    "limitation_recall", "hostile_resisted", "escalation_accuracy", "language",
)  # fmt: skip
SLICE_COLUMNS = ("fatal_error_free", "level_accuracy", "breach_f1", "grounded")
_INK, _PAPER, _GRID, _ACCENT, _BAND = "#1b2733", "#ffffff", "#d5dbe1", "#1f4e79", "#e6eaef"
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
    """Write the page into `out`: comparison.md, .html and .svg, the same in Chinese as comparison.zh.*, and .json.

    Args:
        out: Folder; made if absent.
        comparison: What `riskscribe.evaluate.compare.compare` returns. Any number may be None.

    Returns:
        The paths, English first.
    """
    out, paths = Path(out), []
    for language, name in (("en", "comparison"), ("zh", "comparison.zh")):
        view = View(comparison, language)
        svg = forest_plot(view)
        values = {"v": view, "c": comparison, "w": view.words, "name": name}
        texts = {
            "md": markdown_page("comparison.md.j2", **values),
            "html": html_page("comparison.html.j2", **values, plot=_inline(svg)),
            "svg": svg,
        }
        for ending, text in texts.items():
            paths.append(out / f"{name}.{ending}")
            write_text(paths[-1], text)
    paths.append(out / "comparison.json")
    write_json(paths[-1], comparison)
    return paths


class View:
    """A comparison in the words of one language: every text a template shows is made here."""

    def __init__(self, comparison: dict[str, Any], language: Language):
        self.comparison = comparison
        self.language = language
        report = REPORT_WORDS[language]
        self.words = {"levels": report["levels"], "statuses": report["statuses"], **WORDS[language]}
        self.codes = report["codes"]
        self.columns = {one["key"]: one["name"][language] for one in comparison["columns"]}
        self.pair = {side: self.columns[key] for side, key in comparison["pair"].items()}
        self.shapes = OUTCOME_SHAPES
        self.slice_columns = SLICE_COLUMNS
        self.main_keys = MAIN

    def say(self, key: str, **values: Any) -> str:
        """A sentence of the page with its values; values are shown as they are, whatever braces they hold."""
        return self.words[key].format(**values)

    def metric(self, key: str, name: str = "") -> str:
        """A metric's name in the page's language."""
        names = {
            one["key"]: one["name"] for block in self.comparison["languages"].values() for one in block["metrics"]
        }
        return self.words["metrics"].get(key) or name or names.get(key, key)

    def sentence(self, verdict: dict[str, Any]) -> str:
        """A verdict in one sentence, the metric by its name."""
        name = self.metric(verdict["metric"])
        named = name if self.language == "zh" else f"“{name}”"  # the Chinese sentence quotes it itself
        return verdict["sentence"][self.language].replace(verdict["metric"], named)

    def slice(self, name: str) -> str:
        return self.words["slices_names"].get(name, name)

    def message(self, text: str) -> str:
        """What verification says, in the page's language."""
        return say(text, self.language)

    def code(self, code: str) -> str:
        """A finding's kind in words."""
        return self.codes.get(code) or code.replace("_", " ")

    def number(self, value: float | None, *, signed: bool = False) -> str:
        return "–" if value is None else f"{value:{'+' if signed else ''}.1f}"

    def main(self, rows: list[dict[str, Any]], rest: bool = False) -> list[dict[str, Any]]:
        """The rows of the main metrics, or (`rest`) of all others; a row has `metric` or `key`."""
        return [one for one in rows if (one.get("metric", one.get("key")) in MAIN) != rest]

    def interval(self, one: dict[str, Any], *, signed: bool = False) -> str:
        """`low to high`, or an empty text where there is no interval."""
        if one.get("low") is None or one.get("high") is None:
            return ""
        return self.say("to", **{key: self.number(one[key], signed=signed) for key in ("low", "high")})

    def cell(self, metric: dict[str, Any], column: str, cases: int | None = None) -> tuple[str, str, str]:
        """A value, its 95 % interval and its denominator, as texts; the last two may be empty.

        The denominator is told where it is not `cases`, the number of cases in the heading.
        """
        one = metric["values"].get(column)
        if one is None:
            return "–", "", ""
        interval = "" if one["value"] is None else self.interval(one)
        value = self.number(one["value"]) + (metric.get("unit", "%") if one["value"] is not None else "")
        counts = [self.say("n", n=one["n"])] if one.get("n") not in (None, cases) else []
        if one.get("upper_95") is not None:
            counts.append(self.say("at_most", value=f"{one['upper_95']:.1f}%"))
        if one.get("unscored"):
            counts.append(self.say("unscored", n=one["unscored"]))
        return value, interval, self.words["join"].join(counts)

    def p(self, value: float | None) -> str:
        return "–" if value is None else "<\u00a00.001" if value < 0.001 else f"{value:.3f}"

    def reading(self, row: dict[str, Any]) -> str:
        """What a difference shows: a direction only where the interval leaves out zero and the test agrees."""
        return self.words["reading"][reading(row, self.comparison["decision"]["alpha"])]

    def shares(self, block: dict[str, Any]) -> str:
        """The heading of the re-weighted table, with the share of every level."""
        shares = block["prevalence"]["shares_pct"]
        told = (f"{self.level(level)} {share:g} %" for level, share in shares.items())
        return self.say("reweighted", shares=self.words["join"].join(told))

    def judged(self, language: str) -> list[dict[str, Any]]:
        """The rows of the judged pair in one language."""
        return [one for one in self.comparison["paired"] if one["language"] == language and one["judged"]]

    def others(self, language: str) -> list[dict[str, Any]]:
        """The candidate's rows against the columns that are no part of the claim."""
        return [one for one in self.comparison["paired"] if one["language"] == language and not one["judged"]]

    def across(self, part: dict[str, Any], key: str) -> str:
        """One metric of a slice for every column, in their order: `25 / 100 / 0 / 88`, percent."""
        values = [part["values"].get(column, {}).get(key, {}).get("value") for column in self.columns]
        return " / ".join("–" if value is None else f"{value:.0f}" for value in values)

    def slice_difference(self, part: dict[str, Any], key: str) -> str:
        """`+63.0 [40.0 to 80.0], p 0.012` of a slice, or an empty text where there is no difference."""
        row = part["differences"].get(key)
        if row is None or row["difference"] is None:
            return ""
        text = self.number(row["difference"], signed=True)
        if interval := self.interval(row, signed=True):
            text += f" [{interval}]"
        return text + f"{self.words['join']}p {self.p(row['p_holm'])}"

    def any_slices(self) -> bool:
        return any(block["slices"] for block in self.comparison["languages"].values())

    def slice_tests(self, block: dict[str, Any]) -> int:
        """How many tests Holm's family of a language's slices has."""
        rows = [row for part in block["slices"] for row in part["differences"].values()]
        return sum(row["p_value"] is not None for row in rows)

    def split(self, code: str, block: dict[str, Any]) -> str:
        """The gain as format and content, in one sentence; empty where the primary metric is no yes/no."""
        found = block["format_and_content"]
        if not found:
            return ""
        values: dict[str, Any] = {"total": self.number(found["difference"], signed=True)}
        values["metric"] = self.metric(self.comparison["verdicts"][code]["metric"])
        for part in ("format", "content"):
            one = found[part]
            values |= {part: self.number(one["points"], signed=True), f"{part}_cases": one["cases"]}
            values |= {f"{part}_{end}": self.number(one[end], signed=True) for end in ("low", "high")}
        return self.say("split_text", **values)

    def rule(self) -> str:
        """The decision rule in one sentence."""
        one = self.comparison["decision"]
        values = {"gain": f"{one['minimum_gain_points']:g}", "alpha": f"{one['alpha']:g}"}
        needs = [self.words["conditions"][name].format(**values) for name in one["better_when"]]
        return self.say(
            "rule",
            version=one["version"],
            file=one["file"],
            metric=self.metric(one["primary_metric"]),
            better=self.words["join"].join(needs),
            minimum=one["minimum_cases"],
        )

    def no_worse(self, verdict: dict[str, Any]) -> str:
        """Non-inferiority in one sentence."""
        one = verdict["no_worse"]
        return self.words["no_worse"][one["outcome"]].format(
            margin=f"{one['margin']:g}",
            upper=self.number(one["upper"], signed=True),
            n=one["n"],
            fatal=len(one["new_fatal"]),
        )

    def scorings(self) -> str:
        """How often the test set was scored, and the place of each column's predictions among the distinct ones."""
        one = self.comparison["scorings"]
        if not one["times"]:
            return self.words["not_logged"]
        places = [
            self.say("scored_column", name=self.columns[column["key"]], place=column["predictions"])
            for column in self.comparison["columns"]
            if column["predictions"]
        ]
        end = "。" if self.language == "zh" else "."
        text = self.say("scored", **one)
        return text if not places else f"{text} {self.words['join'].join(places)}{end}"

    def change(self, one: dict[str, Any]) -> str:
        """One thing that is different in a case, in words."""
        forms, what = self.words["change"], one["what"]
        if what == "readable":
            return forms["readable" if one["to"] else "unreadable"]
        if what in ("solved", "new"):
            return forms[what].format(count=one["count"], code=self.code(one["code"]))
        if what == "level":
            names = {None: self.words["no_level"]} | self.words["levels"]
            return forms[what].format(a=names[one["from"]], b=names[one["to"]])
        names = {None: self.words["not_listed"]} | self.words["statuses"]
        return forms[what].format(limit=one["limit"], a=names[one["from"]], b=names[one["to"]])

    def level(self, level: str | None) -> str:
        return self.words["levels"][level] if level else self.words["no_level"]

    def breaches(self, side: dict[str, Any]) -> list[str]:
        """The breaches an answer lists, a text each."""
        return [f"{name} {self.words['statuses'][status]} {use:g}%" for name, status, use in side["breaches"]]


def reading(row: dict[str, Any], alpha: float) -> str:
    """better, worse, same, noise (inside the seed band) or none (not tested), of a paired difference.

    The p-value is Holm's where the row belongs to a family. A score whose draws have no spread has no interval; then
    the test alone decides.
    """
    p = row["p_value"] if row.get("p_holm") is None else row["p_holm"]
    if row["difference"] is None or p is None:
        return "none"
    low, high = row["low"], row["high"]
    if row["difference"] == 0 or p >= alpha or (low is not None and high is not None and low <= 0 <= high):
        return "same"
    band = row.get("seed_band")
    if band and abs(row["difference"]) <= band["range"]:
        return "noise"
    return "better" if (row["difference"] > 0) == row["higher_is_better"] else "worse"


def forest_plot(view: View) -> str:
    """The judged pair's differences with their intervals, a panel a language of cases, as SVG."""
    panels = [
        (code, rows)
        for code in view.comparison["languages"]
        if (rows := [one for one in view.main(view.judged(code)) if one["difference"] is not None])
    ]
    heights = [0.34 * len(rows) + 0.2 for _, rows in panels] or [0.5]
    total = sum(heights) + 1.15 * len(heights)
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # a Chinese name measures wrong in DejaVu Sans; the reader's browser has the glyphs
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(9.0, total), facecolor=_PAPER)
        FigureCanvasSVG(figure)
        top = total
        for (code, rows), height in zip(panels, heights, strict=False):
            axes = figure.add_axes((0.33, (top - 0.45 - height) / total, 0.46, height / total), facecolor="none")
            title = f"{view.words['languages'].get(code, code)}{view.words['colon']}"
            title += view.say("cases", n=view.comparison["languages"][code]["cases"])
            _panel(axes, title, rows, view)
            top -= height + 1.15
        if not panels:
            figure.text(0.5, 0.5, "–", horizontalalignment="center")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor=_PAPER)
    return buffer.getvalue()


def _panel(axes: Any, title: str, rows: list[dict[str, Any]], view: View) -> None:
    primary = view.comparison["decision"]["primary_metric"]
    axes.axvline(0, color=_INK, linewidth=1)
    for y, row in enumerate(rows):
        sign = 1 if row["higher_is_better"] else -1
        if band := row["seed_band"]:
            axes.barh(y, 2 * band["range"], left=-band["range"], height=0.8, color=_BAND, zorder=0)
        if row["low"] is not None and row["high"] is not None:
            axes.plot([sign * row["low"], sign * row["high"]], [y, y], color=_ACCENT, linewidth=1.8)
        marker = "s" if row["metric"] == primary else "o"
        axes.plot([sign * row["difference"]], [y], marker, color=_ACCENT, markersize=7.5 if marker == "s" else 5.5)
        text = view.number(sign * row["difference"], signed=True)
        ends = sorted(sign * row[one] for one in ("low", "high") if row[one] is not None)
        if len(ends) == 2:
            text += f" [{view.number(ends[0], signed=True)}, {view.number(ends[1], signed=True)}]"
        place = {"transform": axes.get_yaxis_transform(), "verticalalignment": "center", "fontsize": 10}
        axes.text(1.03, y, text, **place)
    labels = [visible(view.metric(one["metric"], one["name"])) for one in rows]
    if view.language == "zh":  # a long one would leave the plot; what it says in brackets stands in the table
        labels = [one if len(one) <= 16 else one.split("（")[0] for one in labels]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.06)
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(view.words["axis"], fontsize=10)
    axes.set_title(visible(title), loc="left", fontsize=11, weight="bold")


def _inline(svg: str) -> Markup:
    """The plot for the page: its ink and paper are the page's, so that it follows light and dark."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r'\1 role="img" aria-labelledby="plot-title"', svg, count=1)
    for colour, name in ((_INK, "ink"), (_PAPER, "paper"), (_GRID, "line"), (_ACCENT, "accent"), (_BAND, "tint")):
        svg = svg.replace(colour, f"var(--{name})")
    return Markup(svg)  # written by matplotlib, which escapes the names in it
