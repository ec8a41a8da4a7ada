import json
import os
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from riskscribe.case import Case, Note
from riskscribe.evaluate.score import constant_report
from riskscribe.evaluate.verify import verify
from riskscribe.files import read_lines
from riskscribe.page import report as page
from riskscribe.page.render import escape_markdown
from riskscribe.page.words import WORDS
from riskscribe.policy import assess
from riskscribe.prompt import utilisation
from riskscribe.report import Report
from riskscribe.review import same_utilisation

# read by hand: the data package would load a pricing library for it
ROWS = [
    SimpleNamespace(
        language=one["language"],
        case=Case.model_validate_json(one["case"]),
        report=Report.model_validate_json(one["report"]),
    )
    for one in read_lines(Path(__file__).parents[2] / "datasets/risk_report/v1/test.jsonl")
]
ENVELOPE = {"report_id": "r-1", "case_hash": "9c1e", "engine": {"name": "QuantLib"}, "status": "draft", "by": None}
HOSTILE = "<script>alert(1)</script> | **all fine** `x` [ok](https://evil.example) <img src=x onerror=y> \u202e&"


def row(language="en", **wanted):
    """The first row in a language whose gold report has a hard breach."""
    return next(
        one
        for one in ROWS
        if one.language == language
        and any(each.status == "breach" for each in one.report.limit_breaches)
        and all(getattr(one.report, key) == value for key, value in wanted.items())
    )


def write(tmp_path, case, report, findings=(), raw="", **more):
    paths = page.write_report(tmp_path, case, report, raw, list(findings), ENVELOPE, **more)
    assert [one.name for one in paths] == ["report.json", "report.md", "report.html"]
    record, markdown, html = (one.read_text(encoding="utf-8") for one in paths)
    return json.loads(record), markdown, html


def finding(code, path, message, evidence=(), **more):
    return SimpleNamespace(code=code, path=path, message=message, evidence=list(evidence), **more)


def changed(report, **values):
    return Report.model_validate(report.model_dump() | values)


class Tags(HTMLParser):
    """Every tag with its attributes, every link target and every anchor of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.anchors, self.handlers = set(), [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.add(tag)
        self.links += [attributes["href"]] if "href" in attributes else []
        self.anchors += [attributes["id"]] if "id" in attributes else []
        self.handlers += [name for name in attributes if name.startswith("on") or name == "src"]


def plain(html):
    text = re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(head|svg|script)\b.*?</\1>", "", html))
    return " ".join(unescape(text).split())


@pytest.mark.parametrize("one", ROWS[::8], ids=lambda one: one.case.case_id)
def test_gold_is_verified_and_every_citation_has_an_anchor(tmp_path, one):
    record, _, html = write(tmp_path, one.case, one.report)
    assert record["verified"] is True and record["findings"] == []
    assert record["official"] == assess(one.case).model_dump(mode="json")
    assert record["model"] == one.report.model_dump(mode="json")
    assert "raw" not in record
    tags = Tags(html)
    assert len(tags.anchors) == len(set(tags.anchors))
    assert all(link.startswith("#") and link[1:] in tags.anchors for link in tags.links)
    assert {f"#{each}" for each in one.report.cited()} <= set(tags.links)
    assert "mark" not in tags.tags and 'class="mark"' not in html


@pytest.mark.parametrize("language", ["en", "zh"])
def test_official_values_and_words_are_in_the_language_of_the_case(tmp_path, language):
    one = row(language)
    words, official = WORDS[language], assess(one.case)
    _, markdown, html = write(tmp_path, one.case, one.report)
    text = plain(html)
    for shown in (text, markdown):
        assert words["levels"][official.risk_level] in shown
        assert words["yes"] in shown and words["clean"].split("'")[0] in shown
        for breach in official.limit_breaches:
            assert utilisation(breach.utilisation_pct) in shown
            assert words["statuses"][breach.status] in shown
    assert f'<html lang="{words["lang"]}">' in html
    other = WORDS["zh" if language == "en" else "en"]
    assert other["drivers"] not in text and other["footnote"] not in text


def test_both_languages_have_the_same_words():
    def keys(words):
        return {(key, *sorted(value)) if isinstance(value, dict) else (key,) for key, value in words.items()}

    assert keys(WORDS["en"]) == keys(WORDS["zh"])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_understated_is_unmarked_even_without_findings(tmp_path, language):
    one = row(language)
    gone = one.report.limit_breaches[0]
    report = changed(
        one.report,
        risk_level="low",
        escalate=False,
        limit_breaches=[each.model_dump() for each in one.report.limit_breaches[1:]],
        recommended_actions=[],
    )
    record, markdown, html = write(tmp_path, one.case, report)
    assert record["verified"] is False
    marks, text = WORDS[language]["marks"], plain(html)
    low = WORDS[language]["levels"]["low"]
    assert re.search(rf"{low} ▼ {marks['understated']}", text)
    assert f"{low} | **▼ {marks['understated']}**" in markdown
    assert gone.limit_id in text[: text.index(WORDS[language]["dirty_hint"])]
    assert text.count(f"✗ {marks['missed']}") == 1 + len(assess(one.case).actions)
    assert WORDS[language]["summary_note"] in text
    assert WORDS[language]["clean"] not in text


@pytest.mark.parametrize(
    "status, pct, kinds",
    [
        ("warning", None, {"understated"}),
        ("breach_within_approved_excess", None, {"understated"}),
        ("unconfirmed", None, {"understated"}),
        ("breach", 40.0, {"understated"}),
        ("breach", 400.0, {"overstated"}),
        ("warning", 400.0, {"understated", "overstated"}),
        ("breach", None, {"same"}),
    ],
)
def test_a_status_or_utilisation_that_differs_is_marked(tmp_path, status, pct, kinds):
    one = row()
    breaches = [each.model_dump() for each in one.report.limit_breaches]
    hard = next(each for each in breaches if each["status"] == "breach")
    hard |= {"status": status} | ({"utilisation_pct": pct} if pct else {})
    _, markdown, _ = write(tmp_path, one.case, changed(one.report, limit_breaches=breaches))
    line = next(each for each in markdown.splitlines() if f"** {hard['limit_id']}," in each)
    assert all(WORDS["en"]["marks"][each] in line for each in kinds)


@pytest.mark.parametrize(
    "stated, use, same",
    [(100.0, 99.96, False), (99.96, 99.96, True), (84.6, 84.627, True), (84.66, 84.627, False), (85.0, 84.627, False)],
)
def test_a_utilisation_is_not_rounded_across_a_threshold(stated, use, same):
    assert same_utilisation(stated, use) is same


@pytest.mark.parametrize(
    "language, text, marked",
    [
        ("en", "Risk is low: all well.", True),
        ("en", "The overall risk level remains Moderate.", True),
        ("en", "A low-risk book.", True),
        ("en", "The level is critical.", False),
        ("en", "Volatility is low; risk is critical.", False),
        ("zh", "风险等级低。", True),
        ("zh", "整体为低风险。", True),
        ("zh", "风险等级严重。", False),
        ("zh", "建议降低风险敞口。", False),
    ],
)
def test_prose_that_speaks_of_a_lower_level_is_marked(tmp_path, language, text, marked):
    one = row(language, risk_level="critical")
    record, markdown, html = write(tmp_path, one.case, changed(one.report, summary=text))
    assert record["verified"] is not marked
    assert (WORDS[language]["dirty_hint"] in plain(html)) is marked
    mark = f"▼ {WORDS[language]['marks']['understated']} ({WORDS[language]['level']})"
    assert (mark in plain(html)) is marked and (f"**{mark}**" in markdown) is marked


def test_invented_and_repeated_breaches_are_marked(tmp_path):
    one = row()
    breaches = [each.model_dump() for each in one.report.limit_breaches]
    ghost = breaches[0] | {"limit_id": "LIM-ZZZ9", "evidence": ["LIM-ZZZ9"]}
    _, _, html = write(tmp_path, one.case, changed(one.report, limit_breaches=[*breaches, breaches[0], ghost]))
    text = plain(html)
    assert "LIM-ZZZ9 (not in the case)" in text and '#LIM-ZZZ9"' not in html
    assert "differs (listed twice)" in text
    assert "not found by the policy (not in the case)" in text


@pytest.mark.parametrize(
    "text, marked",
    [
        ("{use}% and {use} [{id}].", ["{use}"]),
        ("{use} and {use}% [{id}].", ["{use}"]),
        ("It is 57.3m, not {use}% [{id}].", ["57.3m"]),
        ("57.3m, again 57.3m.", ["57.3m", "57.3m"]),
        ("约57.3亿；{use}% [{id}]。", ["57.3亿"]),
        ("{use}% [{id}].", []),
    ],
)
def test_exactly_the_unsupported_number_is_marked(tmp_path, text, marked):
    """By its place: a right 116.4% beside a wrong 116.4 stays unmarked, whichever comes first."""
    one = row()
    breach = one.report.limit_breaches[0]
    values = {"use": f"{breach.utilisation_pct:g}", "id": breach.limit_id}
    text = text.format(**values)
    report = changed(one.report, summary=text)
    record, markdown, html = write(tmp_path, one.case, report, verify(one.case, report))
    marked = [each.format(**values) for each in marked]
    found = re.search(r'(?s)data-item="summary#0".*?</span>\s*<span class="decide"', html).group()
    assert re.findall(r"<mark>. (.*?)</mark>", found.replace("\ufe0e", "")) == marked
    told = markdown.split(f"## {WORDS['en']['summary']}")[1].split("##")[0]
    told = re.sub(r"\*\*\(.*?\)\*\*", "", told).replace("\ufe0e", "")
    assert re.findall(r"\*\*⚠ (.*?)\*\*", told) == marked
    assert record["verified"] is (not marked)


def test_what_verification_finds_is_shown_and_agrees_with_the_page(tmp_path):
    one = row(risk_level="critical")
    report = changed(
        one.report,
        risk_level="high",
        limit_breaches=[],
        recommended_actions=[],
        summary="VaR is 123.4m [VAR-ZZZ] and [LIM-0].",
    )
    findings = verify(one.case, report)
    record, _, html = write(tmp_path, one.case, report, findings)
    assert {each["code"] for each in record["findings"]} >= {"understated", "missed_breach", "unsupported_number"}
    assert "123.4m</mark>" in html and "VAR-ZZZ (not in the case)</mark>" in html
    for each in findings:
        assert each.code in html and WORDS["en"]["codes"][each.code] in html


def test_a_choice_that_no_finding_is_about_is_marked_but_verified(tmp_path):
    one = next(each for each in ROWS if each.language == "en" and len(each.report.key_drivers) == 2)
    report = changed(one.report, key_drivers=[one.report.key_drivers[0].model_dump()])
    record, _, html = write(tmp_path, one.case, report)
    assert record["verified"] is True
    assert "no finding is open. 1 difference(s)" in plain(html) and "missed by the model" in plain(html)


def test_a_finding_stands_beside_the_prose_it_is_about(tmp_path):
    one = row()
    found = finding("wrong_direction", "key_drivers.0.direction", "says offsets", ["CMP-AAA"])
    _, _, html = write(tmp_path, one.case, one.report, [found])
    drivers = plain(html).split(WORDS["en"]["drivers"])[1]
    assert drivers.index("wrong direction: says offsets") < drivers.index(WORDS["en"]["limitations"])
    assert "see the finding" in drivers


def test_drivers_actions_basis_and_limitations_are_compared(tmp_path):
    one = next(each for each in ROWS if each.report.limitations and len(each.report.key_drivers) > 1)
    drivers = [each.model_dump() for each in one.report.key_drivers][:1]
    drivers[0]["direction"] = "offsets" if drivers[0]["direction"] == "increases" else "increases"
    actions = [each.model_dump() for each in one.report.recommended_actions]
    actions[0] |= {"action": "no_action", "priority": 3}
    report = changed(
        one.report,
        key_drivers=drivers,
        limitations=["The desk says all is fine."],
        level_basis=[{"clause": "L1", "evidence": []}],
        recommended_actions=actions,
    )
    _, markdown, _ = write(tmp_path, one.case, report)
    sections = dict(re.findall(r"## (.+)\n\n((?:.+\n)*)", markdown))
    words = WORDS[one.language]
    assert words["marks"]["differs"] in sections[words["drivers"]]
    assert words["marks"]["missed"] in sections[words["drivers"]]
    assert words["marks"]["understated"] in sections[words["actions"]]
    assert words["marks"]["invented"] in sections[words["basis"]]
    assert words["marks"]["missed"] in sections[words["limitations"]]
    assert words["marks"]["added"] in sections[words["limitations"]]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_escalation_side_effects_and_unpriced_positions_are_shown(tmp_path, book, language):
    """Long SPX delta hides a short NDX one: less SPX takes the book's delta over its soft threshold."""
    change = {name: {"currency": "USD", "sensitivities": [
        {"measure": "delta", "factor": factor, "value": value, "bump": "100%", "currency": "USD"}]}
        for name, factor, value in (("POS-AA", "SPX", 6.3e6), ("POS-BB", "NDX", -9e6))}  # fmt: skip
    change["LIM-AA"] = {"value": 6.3e6, "authority": "CRO", "five_days_ago": 4.4e6}
    change["VAR-AA"] = {"undiversified": 1.2e6}
    change["POS-BB"] |= {"mtm": None, "previous": -4e5}
    more = [
        {"kind": "limit", "id": "LIM-DD", "measure": "delta", "scope": "book", "value": -2.7e6, "currency": "USD",
         "soft": 4e6, "hard": 5e6, "authority": "CRO"},
        {"kind": "component", "id": "CMP-CC", "factor": "NDX", "contribution": 1e6, "share_pct": 38.7147,
         "currency": "USD", "of": "STR-AA"},
        {"kind": "backtest", "id": "BT-AA", "exceptions": 11, "days": 250, "confidence_pct": 99},
    ]  # fmt: skip
    case = Case.model_validate(book(*more, change=change, language=language))
    official, words = assess(case), WORDS[language]
    action = {
        "action": "reduce_exposure",
        "priority": 1,
        "statement": "Less SPX delta [LIM-AA].",
        "evidence": ["LIM-AA"],
    }
    report = constant_report("critical").model_dump() | {"recommended_actions": [action]}
    record, _, html = write(tmp_path, case, Report.model_validate(report))
    assert (record["official"]["escalate_to"], official.actions[0].pushes_over_soft) == ("CRO", ["LIM-DD"])
    text = plain(html)
    delta = {"en": "delta", "zh": "Delta"}[language]
    assert f"{words['yes']} {words['escalate_to'].format(to=words['authorities']['CRO'])}" in text
    assert words["pushes"].format(limits=f"book {delta} [ LIM-DD ]") in text
    assert f"≠ {words['marks']['differs']} ({words['notes']['side_effect']})" in text
    assert words["share_of_stress"].format(share="38.7%", scenario="Crash") in text
    for shown in {
        "en": ("undiversified 1.20m, was 800.0k", "was 6.10m, 5d ago 4.40m", "N225 future", "not priced | was -400.0k",
               "back-test 99%, 11 exceptions in 250 days [ BT-AA ]"),
        "zh": ("未分散 120.0万，前值 80.0万", "前值 610.0万，五日前 440.0万", "未定价 | 前值 -40.0万",
               "返回检验 99%，250天中11次例外 [ BT-AA ]"),
    }[language]:  # fmt: skip
        assert shown in text


def hostile_case(case):
    note = Note(id="NOTE-EVIL", author=HOSTILE, text=HOSTILE)
    return Case.model_validate(case.model_dump() | {"desk": HOSTILE, "evidence": [*case.evidence, note]})


def test_text_of_notes_and_models_never_becomes_markup(tmp_path):
    one = row()
    report = changed(
        one.report,
        summary=HOSTILE,
        limitations=[HOSTILE],
        key_drivers=[one.report.key_drivers[0].model_dump() | {"driver": HOSTILE, "statement": HOSTILE}],
    )
    found = finding("unsupported_number", "summary", HOSTILE, [HOSTILE], text="<img src=x onerror=y>")
    paths = page.write_report(
        tmp_path, hostile_case(one.case), report, "", [found], {"report_id": HOSTILE, HOSTILE: HOSTILE}
    )
    _, markdown, html = (each.read_text(encoding="utf-8") for each in paths)
    tags = Tags(html)
    # the page's own script and its data, and nothing else: the policy lets only a script of that hash run
    assert not tags.tags & {"img", "strong1"} and not tags.handlers
    assert html.count("<script") == html.count("</script>") == 2
    assert all(link.startswith("#") for link in tags.links)
    assert "\u202e" not in html + markdown
    assert "<script" not in markdown and "<img" not in markdown and "https://" not in markdown
    assert not re.search(r"(?<!\\)\[ok\]", markdown) and "\\*\\*all fine\\*\\*" in markdown and "\\`x\\`" in markdown
    width = None
    for line in markdown.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
        assert width is None or cells is None or cells == width, line
        width = cells


def test_markdown_is_escaped_on_one_line():
    assert escape_markdown("a\n# b | `c` <d> \u200bwww.e.f") == "a \\# b \\| \\`c\\` &lt;d&gt; \ufffdwww\\.e.f"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_unreadable_answer_shows_the_policy_and_hides_the_raw_text(tmp_path, language):
    one, words = row(language), WORDS[language]
    raw = '{"risk_level":"low"</details><script>alert(1)</script>\ud800\x00'
    found = finding("unreadable", "", "line 1, column 20: not JSON")
    record, markdown, html = write(tmp_path, one.case, None, [found], raw)
    assert record["model"] is None and record["verified"] is False
    assert record["raw"].startswith('{"risk_level":"low"</details>')
    text = plain(html)
    reason = {"en": "line 1, column 20: not JSON", "zh": "第 1 行第 20 列：不是 JSON"}[language]
    assert f"{words['unreadable']}{reason}" in text
    assert words["levels"][one.report.risk_level] in text and words["yes"] in text
    tags = Tags(html)
    assert "details" in tags.tags and html.count("<script") == 2
    assert html.count("</details>") == 1 and "<details>" in html
    assert words["agreement"] not in text and words["unreadable"].strip() in markdown
    assert "script>" in markdown.replace("&gt;", ">") and "<script" not in markdown


def test_an_unreadable_answer_without_findings_or_text(tmp_path):
    _, _, html = write(tmp_path, row().case, None)
    assert "not a report of the expected form" in html and "(empty)" in html


def test_the_policy_in_force_is_the_one_shown(tmp_path):
    from riskscribe.policy import default_policy

    one = next(each for each in ROWS if any(basis.clause == "C2" for basis in each.report.level_basis))
    strict = default_policy().model_copy(update={"severe_breach_pct": 101.0})
    record, markdown, _ = write(tmp_path, one.case, one.report, policy=strict)
    assert record["official"] == assess(one.case, strict).model_dump(mode="json")
    assert "101%" in markdown


def test_files_are_replaced_in_one_step_and_only_when_all_is_rendered(tmp_path, monkeypatch):
    one = row()
    write(tmp_path, one.case, one.report)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert set(before) == {"report.json", "report.md", "report.html"}

    def fail(*_, **__):
        raise RuntimeError("template")

    monkeypatch.setattr(page, "markdown_page", fail)
    with pytest.raises(RuntimeError):
        page.write_report(tmp_path, one.case, None, "x", [], ENVELOPE)
    monkeypatch.undo()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RuntimeError):
        page.write_report(tmp_path, one.case, None, "x", [], ENVELOPE)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_the_page_is_self_contained(tmp_path):
    one = row()
    _, _, html = write(tmp_path, one.case, one.report)
    assert not re.search(r"(src|href)=[\"'](?!#)|@import|url\((?!#)", html)
    assert "default-src 'none'" in html and "prefers-color-scheme: dark" in html and "@media print" in html
    assert "Noto Sans CJK" in html
    assert "Report id" in html and "r-1" in html and "Draft" in html


def test_a_comparison_that_the_evidence_contradicts_is_marked_at_its_words(tmp_path):
    one = row()
    breach = next(each for each in one.report.limit_breaches if each.status == "breach")
    text = f"It is within its limit [{breach.limit_id}]."
    report = changed(one.report, summary=text)
    findings = verify(one.case, report)
    assert "comparative" in {each.code for each in findings}
    _, _, html = write(tmp_path, one.case, report, findings)
    (marked,) = re.findall(r"<mark>. (.*?)</mark>", html.split('id="findings"')[0].replace("\ufe0e", ""))
    assert marked in text and "within" in marked
    assert WORDS["en"]["fatal"] in html.split('id="findings"')[1]
