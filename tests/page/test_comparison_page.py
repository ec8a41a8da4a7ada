"""The comparison page: what it shows, that no text becomes markup, and that a browser shows it on any screen."""

import copy
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from riskscribe.evaluate import statistics
from riskscribe.evaluate.compare import compare
from riskscribe.page.comparison import MAIN, View, reading, write_comparison
from riskscribe.page.comparison_words import WORDS

FILES = [f"{name}.{ending}" for name in ("comparison", "comparison.zh") for ending in ("md", "html", "svg")]
CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = "</svg><script>alert(1)</script> | $x^2$ {0} 指标"


@pytest.fixture(scope="module")
def comparison(scored_runs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "PERMUTATIONS", 99)
        names = ("constant", "policy_template", "base_few_shot", "tuned")
        seeds = [scored_runs / f"seed{n}" for n in (1, 2, 3)]
        found = compare([scored_runs / one for one in names], "Base against tuned", seeds=seeds)
    return found | {"commands": ["riskscribe compare a b --out c"]}


@pytest.fixture(scope="module")
def pages(comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    paths = write_comparison(folder, comparison)
    assert [one.name for one in paths] == [*FILES, "comparison.json"]
    assert sorted(one.name for one in folder.iterdir()) == sorted(one.name for one in paths)
    return folder


def text(folder, name):
    return (folder / name).read_text(encoding="utf-8")


def test_both_pages_show_verdict_rule_and_provenance(pages, comparison):
    for suffix, language in (("", "en"), (".zh", "zh")):
        words = WORDS[language]
        for ending in ("md", "html"):
            page = text(pages, f"comparison{suffix}.{ending}")
            plain = page.replace("\\", "")
            assert words["fidelity"] in plain and words["outcomes"]["inconclusive"] in page
            assert comparison["decision"]["sha256"] in page and comparison["dataset"]["sha256"] in page
            assert "24" in page and "riskscribe compare a b --out c" in page
            for part in ("verdict", "split", "slices", "examples", "failures", "missing", "seeds"):
                assert words[part] in plain, part
            assert "None" not in page and not re.search(r"\bnan\b", page)
    assert "Tuned is better than Base with two examples on “Free of fatal errors” (English): +45.8 points" in text(
        pages, "comparison.html"
    )
    assert "微调模型优于基础模型（两个示例）" in text(pages, "comparison.zh.html")


def test_every_word_is_there_in_both_languages():
    def keys(words, path=""):
        for key, one in words.items():
            yield f"{path}/{key}"
            # a Chinese page names metrics and slices; an English one has their own names
            if isinstance(one, dict) and key not in ("metrics", "slices_names"):
                yield from keys(one, f"{path}/{key}")

    assert set(keys(WORDS["en"])) == set(keys(WORDS["zh"]))
    forms = [(WORDS["en"][key], WORDS["zh"][key]) for key in WORDS["en"] if isinstance(WORDS["en"][key], str)]
    for english, chinese in forms:
        assert set(re.findall(r"{(\w+)}", english)) == set(re.findall(r"{(\w+)}", chinese)), english


def test_metrics_and_slices_have_chinese_names(comparison):
    view = View(comparison, "zh")
    for block in comparison["languages"].values():
        for metric in block["metrics"]:
            if metric["key"] in MAIN:
                assert re.search("[\u4e00-\u9fff]", view.metric(metric["key"])), metric["key"]
        for one in block["slices"]:
            assert re.search("[\u4e00-\u9fff]", view.slice(one["name"])), one["name"]
        for one in block["failures"]:
            assert re.search("[\u4e00-\u9fff]", view.code(one["code"])), one["code"]


def test_ten_cases_stand_side_by_side_with_their_marks(pages, comparison):
    page = text(pages, "comparison.html")
    assert page.count('<article class="case"') == 10 and page.count('<div class="side">') == 20
    assert page.count("<mark") >= 4 and ">7.77m" in page and "unsupported" in page
    regressed = next(one for one in comparison["cases"]["shown"] if one["kind"] == "regressed")
    assert f"▼ regressed · {regressed['case_id']}" in page and "no longer a valid report" in page
    assert f"### ▼ regressed · {regressed['case_id']}" in text(pages, "comparison.md")


def test_failures_have_counts_and_one_example(pages):
    (row,) = [one for one in text(pages, "comparison.md").splitlines() if one.startswith("| Unreadable answer |")][:1]
    cells = [one.strip() for one in row.strip("|").split("|")]
    assert cells[1:5] == ["0", "0", "8", "1"] and "Tuned, c-" in cells[5]


def test_models_words_never_become_markup(pages):
    for name in FILES:
        assert "<script" not in text(pages, name), name
    assert "&lt;script&gt;alert(x)&lt;/script&gt;" in text(pages, "comparison.html")


def test_names_never_become_markup(comparison, tmp_path):
    found = copy.deepcopy(comparison)
    found["title"] = found["columns"][0]["name"]["en"] = found["dataset"]["name"] = HOSTILE
    found["languages"]["en"]["metrics"][0]["name"] = found["languages"]["en"]["slices"][0]["name"] = HOSTILE
    found["languages"]["en"]["failures"][0]["example"]["message"] = HOSTILE
    found["cases"]["shown"][0]["a"] |= {"readable": True, "summary": [[HOSTILE, None], [HOSTILE, HOSTILE]]}
    found["verdicts"]["en"]["sentence"]["en"] = found["decision"]["file"] = HOSTILE
    for row in found["paired"]:
        row["name"] = HOSTILE
    write_comparison(tmp_path, found)
    for name in FILES:
        assert "<script" not in text(tmp_path, name), name
    assert text(tmp_path, "comparison.html").count("</svg>") == 1
    markdown = text(tmp_path, "comparison.md").splitlines()
    for table in [one for one in markdown if one.startswith("| ")]:
        assert "](" not in table and "<b>" not in table
    root = ElementTree.fromstring(text(tmp_path, "comparison.svg"))
    assert any(HOSTILE in "".join(one.itertext()) for one in root.iter())


def test_tables_of_the_markdown_are_whole(pages):
    for name in ("comparison.md", "comparison.zh.md"):
        width = None
        for line in text(pages, name).splitlines():
            if not line.startswith("|"):
                width = None
                continue
            cells = len(re.findall(r"(?<!\\)\|", line))
            assert width in (None, cells), line
            width = cells


def test_the_plot_has_a_panel_a_language_and_turns_what_is_worse(pages, comparison):
    svg = text(pages, "comparison.svg")
    ElementTree.fromstring(svg)
    for words in ("English: 24 cases", "Chinese: 12 cases", "Free of fatal errors", "better to the right"):
        assert words in svg
    (row,) = [
        one
        for one in comparison["paired"]
        if one["judged"] and one["language"] == "en" and one["metric"] == "missed_excess"
    ]
    assert row["difference"] < 0 and f"{-row['difference']:+.1f} [" in svg, "less is missed: to the right"
    assert "无致命错误" in text(pages, "comparison.zh.svg")


def test_nothing_is_loaded_and_nothing_is_red_or_green(pages):
    for name in ("comparison.html", "comparison.zh.html"):
        page = text(pages, name)
        assert "default-src 'none'" in page
        assert not re.search(r"(src|href)=[\"'](?!#|comparison)", page)
        for colour in re.findall(r"#([0-9a-f]{6})\b", page):
            red, green, blue = (int(colour[i : i + 2], 16) for i in (0, 2, 4))
            assert not (red > 150 and max(green, blue) < 80) and not (green > 120 and max(red, blue) < 80), colour


def test_the_same_comparison_gives_the_same_files(pages, comparison, tmp_path):
    write_comparison(tmp_path, comparison)
    for name in FILES:
        assert text(tmp_path, name) == text(pages, name)
    assert json.loads(text(tmp_path, "comparison.json")) == comparison


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "better"),
        ({"higher_is_better": False}, "worse"),
        ({"p_holm": 0.06}, "same"),
        ({"low": -1.0}, "same"),
        ({"low": None, "high": None}, "better"),
        ({"difference": None}, "none"),
        ({"p_value": None}, "none"),
        ({"seed_band": {"range": 5.0}}, "noise"),
        ({"seed_band": {"range": 4.9}}, "better"),
    ],
)
def test_a_reading_needs_interval_and_test(fields, says):
    row = {"difference": 5.0, "low": 1.0, "high": 9.0, "p_value": 0.01, "p_holm": None, "higher_is_better": True}
    assert reading(row | fields, 0.05) == says


def test_in_a_browser(pages):
    """No console message, no request but for the file, and nothing wider than the screen, on paper or on a phone."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there: the page was not looked at in a browser")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for name in ("comparison.html", "comparison.zh.html"):
            for width, scheme in ((1280, "light"), (390, "dark")):
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                told: list[str] = []
                page.on("console", lambda message, told=told: told.append(message.text))
                page.on("pageerror", lambda error, told=told: told.append(str(error)))
                page.on("request", lambda request, told=told: told.append(request.url))
                address = (pages / name).as_uri()
                page.goto(address)
                assert told == [address]
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert page.locator("article.case").count() == 10 and page.locator(".plot svg").count() == 1
                page.close()
        browser.close()
