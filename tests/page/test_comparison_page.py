import copy
import re
import xml.etree.ElementTree as ElementTree

import pytest

from riskscribe.page.comparison import FIDELITY, _verdict, write_comparison


def value(number, low=None, high=None, n=48, unscored=0):
    return {"value": number, "low": low, "high": high, "n": n, "unscored": unscored}


def metric(key, name, *values, unit="%", higher=True):
    return {
        "key": key,
        "name": name,
        "unit": unit,
        "higher_is_better": higher,
        "values": dict(zip(("constant", "tuned"), values, strict=True)),
    }


def part(free, level):
    return {"fatal_error_free": value(free), "level_accuracy": value(level)}


COMPARISON = {
    "title": "Base against tuned",
    "dataset": {"name": "v0 test", "sha256": "ab" * 32, "cases": 60, "books": 24},
    "columns": [
        {"key": "constant", "name": "Constant majority report", "note": "floor"},
        {"key": "tuned", "name": "Tuned", "note": ""},
    ],
    "languages": {
        "en": {
            "cases": 48,
            "slices": [
                {"name": "standard", "cases": 30, "values": {"constant": part(0.0, 26.4), "tuned": part(61.5, 99.6)}},
                {"name": "gain-only stress", "cases": 3, "values": {"constant": {}, "tuned": part(None, 33.3)}},
            ],
            "metrics": [
                metric("fatal", "Fatal-error-free", value(0.0, 0.0, 7.4), value(47.9, 33.3, 62.8)),
                metric("under", "Level understated", value(50.0, 35.2, 64.8), value(8.3, 2.3, 20.0), higher=False),
                metric("numbers", "Numbers supported", value(None, n=0, unscored=48), value(88.1, 75.0, 95.0)),
                metric("length", "Length", value(310.0), value(280.5), unit="tokens"),
            ],
        },
        "zh": {
            "cases": 12,
            "slices": [],
            "metrics": [metric("fatal", "Fatal-error-free", value(None, n=0, unscored=12), value(None, n=0))],
        },
    },
    "paired": [
        {"language": "en", "metric": "under", "name": "Level understated", "a": "constant", "b": "tuned"}
        | {"difference": -41.7, "low": -56.0, "high": -27.1, "p_value": 1e-6, "test": "McNemar exact", "n": 48},
        {"language": "zh", "metric": "fatal", "name": "Fatal-error-free", "a": "constant", "b": "tuned"}
        | {"difference": None, "low": None, "high": None, "p_value": None, "test": "McNemar exact", "n": 0},
    ],
    "notes": ["Intervals are clustered by book."],
    "commands": ["riskscribe compare a b --out c"],
    "smoke_test": False,
}


def written(tmp_path, comparison):
    paths = write_comparison(tmp_path, comparison)
    assert [one.name for one in paths] == ["comparison.md", "comparison.html", "comparison.svg"]
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(one.name for one in paths)
    return [one.read_text(encoding="utf-8") for one in paths]


def test_values_intervals_and_denominators_are_shown_by_language(tmp_path):
    markdown, html, svg = written(tmp_path, COMPARISON)
    for text in (markdown, html):
        assert FIDELITY in text
        assert "English, 48 cases" in text and "Chinese, 12 cases" in text
        assert "47.9%" in text and "33.3% to 62.8%" in text and "n 48" in text
        assert "n 0, 48 unscored" in text and "None" not in text and "nan" not in text.lower()
        assert "-41.7 points" in text and "-56.0 to -27.1 points" in text and "0.001" in text
        assert "▲ better" in text and "– not tested" in text
        assert "smoke test" not in text and "ab" * 32 in text
        assert text.index("Fatal-error-free") < text.index("Level understated")
    assert "riskscribe compare a b --out c" in html
    assert "<svg" in html and "lower is better" in svg and "not scored" in svg and "Fatal-error-free" in svg
    ElementTree.fromstring(svg)


def test_slices_are_shown_for_every_column(tmp_path):
    markdown, html, _ = written(tmp_path, COMPARISON)
    rows = [line for line in markdown.splitlines() if line.startswith(("| standard", "| gain-only"))]
    assert rows == [
        "| standard | 30 | 0 / 62 | 26 / 100 | – / – | – / – |",
        "| gain-only stress | 3 | – / – | – / 33 | – / – | – / – |",
    ]
    assert "By slice, constant majority report / tuned:" in markdown
    for text in ("By slice", ">gain-only stress</th>", "0 / 62", "– / 33"):
        assert text in html
    none = copy.deepcopy(COMPARISON)
    none["languages"]["en"]["slices"] = []
    assert not any("By slice" in text for text in written(tmp_path / "none", none))


def test_a_smoke_test_says_so(tmp_path):
    markdown, html, _ = written(tmp_path, COMPARISON | {"smoke_test": True})
    for text in (markdown, html):
        assert "This is a smoke test on 60 cases, not a claim" in text


def test_nothing_scored_at_all(tmp_path):
    empty = {"columns": [], "languages": {}, "paired": [], "notes": [], "commands": []}
    markdown, html, svg = written(tmp_path, COMPARISON | empty)
    assert "No pair was tested." in markdown and "No pair was tested." in html
    ElementTree.fromstring(svg)


def test_names_never_become_markup(tmp_path):
    comparison = copy.deepcopy(COMPARISON)
    hostile = "</svg><script>alert(1)</script> | $x^2$ 指标"
    comparison["title"] = comparison["notes"][0] = comparison["columns"][0]["name"] = hostile
    comparison["languages"]["en"]["metrics"][0]["name"] = hostile
    comparison["languages"]["en"]["slices"][0]["name"] = hostile
    markdown, html, svg = written(tmp_path, comparison)
    assert not any("<script" in text for text in (markdown, html, svg))
    assert html.count("</svg>") == 1
    assert not re.search(r"(src|href)=[\"']http", html.replace("http://www.w3.org", ""))
    rows = [line for line in markdown.splitlines() if line.startswith("| Level understated (lower")]
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 4
    root = ElementTree.fromstring(svg)
    assert any(hostile in "".join(one.itertext()) for one in root.iter())


def test_the_same_comparison_gives_the_same_files(tmp_path):
    assert written(tmp_path, COMPARISON) == written(tmp_path, COMPARISON)


@pytest.mark.parametrize(
    "low, high, p, higher, says",
    [
        (1.0, 9.0, 0.01, True, "▲ better"),
        (1.0, 9.0, 0.01, False, "▼ worse"),
        (-9.0, -1.0, 0.01, True, "▼ worse"),
        (-9.0, -1.0, None, False, "▲ better"),
        (1.0, 9.0, 0.2, True, "= no difference shown"),
        (-1.0, 9.0, 0.01, True, "= no difference shown"),
        (0.0, 9.0, 0.01, True, "= no difference shown"),
        (None, None, 0.01, True, "– not tested"),
    ],
)
def test_a_verdict_needs_interval_and_test(low, high, p, higher, says):
    assert _verdict({"difference": 5.0, "low": low, "high": high, "p_value": p, "higher": higher}) == says
