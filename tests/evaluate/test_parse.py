"""Parsing is strict: a text is one report, or the error says in one line why not."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskscribe.evaluate.parse import REPAIR_LIMIT, parse_report, repair_report

REPORT = {
    "schema_version": "1",
    "limit_breaches": [{"limit_id": "LIM-QX7", "status": "breach", "utilisation_pct": 126.0, "evidence": ["LIM-QX7"]}],
    "key_drivers": [],
    "limitations": [],
    "assumptions": [],
    "assessment_status": "complete",
    "level_basis": [{"clause": "H1", "evidence": ["LIM-QX7"]}],
    "risk_level": "high",
    "escalate": True,
    "recommended_actions": [],
    "summary": "Risk is high.",
}
TEXT = json.dumps(REPORT)


def test_a_report_is_parsed_with_space_around_it():
    parsed = parse_report(f"\n  {TEXT}\n")
    assert parsed.report.risk_level == "high"
    assert parsed.is_json and parsed.error is None


def test_a_whole_utilisation_is_a_number():
    assert parse_report(TEXT.replace("126.0", "126")).report is not None


@pytest.mark.parametrize(
    ("text", "is_json", "says"),
    [
        ("", False, "line 1, column 1"),
        (f"Here is the report: {TEXT}", False, "line 1"),
        (f"```json\n{TEXT}\n```", False, "line 1"),
        (f"{TEXT} {TEXT}", False, "extra data"),
        (TEXT[:-1], False, "delimiter"),
        ("\ufeff" + TEXT, False, "not one JSON object"),
        (TEXT.replace("126.0", "NaN"), False, "NaN"),
        (TEXT.replace("126.0", "-Infinity"), False, "Infinity"),
        (TEXT.replace("126.0", "9" * 5000), False, "not one JSON object"),
        ("[" * 100_000, False, "nested too deeply"),
        ('{"a":' * 100_000, False, "nested too deeply"),
        (TEXT[:-1] + ', "risk_level": "low"}', False, "'risk_level' is given twice"),
        ("[]", True, "list"),
        ("null", True, "NoneType"),
        ("{}", True, "field schema_version"),
        (TEXT.replace("126.0", "1e999"), True, "utilisation_pct"),
        (TEXT.replace("126.0", '"126"'), True, "utilisation_pct"),
        (TEXT.replace("true", '"yes"'), True, "escalate"),
        (TEXT.replace('"high"', '"High"'), True, "risk_level"),
        (TEXT[:-1] + ', "confidence": 0.9}', True, "confidence"),
        (TEXT.replace("Risk is high.", "\\ud800"), True, "summary"),
        (TEXT[:-1] + ', "\\ud800": 1}', True, "field"),
    ],
)
def test_anything_else_is_refused_with_a_reason(text, is_json, says):
    parsed = parse_report(text)
    assert parsed.report is None
    assert parsed.is_json is is_json
    assert says in parsed.error and "\n" not in parsed.error
    parsed.error.encode()


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_no_text_makes_it_raise(text):
    assert parse_report(text).report is None


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_to_a_report_makes_it_raise(data):
    start = data.draw(st.integers(0, len(TEXT)))
    end = data.draw(st.integers(start, len(TEXT)))
    parsed = parse_report(TEXT[:start] + data.draw(st.text(max_size=5)) + TEXT[end:])
    assert (parsed.report is None) == (parsed.error is not None)


# --- repaired, apart


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT[:-1],
        f"Here is the report: {TEXT}",
        f"```json\n{TEXT}\n```\nI hope it helps.",
        f"```\n{TEXT}",
        TEXT.replace('"escalate": true', "'escalate': True"),
        TEXT.replace(', "summary"', ' "summary"'),
        TEXT[:-1] + ",}",
        "\ufeff" + TEXT,
    ],
)
def test_what_json_repair_can_mend(text):
    assert repair_report(text).report == parse_report(TEXT).report


@pytest.mark.parametrize(
    ("text", "is_json", "says"),
    [
        ("", False, "no object found"),
        ("Risk is low.", False, "no object found"),
        ("{}", True, "field schema_version"),
        ("[]", True, "list"),
        (TEXT.replace("126.0", '"126"'), True, "utilisation_pct"),
        (TEXT.replace('"high"', '"High"'), True, "risk_level"),
        (TEXT.replace("126.0", "NaN"), True, "utilisation_pct"),
        (TEXT.replace('"risk_level": "high", ', ""), True, "risk_level"),
        ("[" * 5_000, False, "beyond repair"),
        ("x" * (REPAIR_LIMIT + 1), False, "longer than"),
    ],
)
def test_repair_mends_the_json_and_nothing_else(text, is_json, says):
    parsed = repair_report(text)
    assert parsed.report is None and says in parsed.error and "\n" not in parsed.error
    assert parsed.is_json is is_json


def test_a_strict_parse_stays_strict():
    fenced = f"```json\n{TEXT}\n```"
    assert parse_report(fenced).report is None and repair_report(fenced).report is not None


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_repair_never_raises(data):
    start = data.draw(st.integers(0, len(TEXT)))
    end = data.draw(st.integers(start, len(TEXT)))
    for text in (TEXT[:start] + data.draw(st.text(max_size=5)) + TEXT[end:], data.draw(st.text(max_size=60))):
        parsed = repair_report(text)
        assert (parsed.report is None) == (parsed.error is not None)
