"""Gold reports: every wording fills, in both languages, and none of them has a finding."""

import string
from pathlib import Path

import pytest

from riskscribe.case import Case
from riskscribe.data import gold
from riskscribe.data.gold import WORDINGS, gold_report
from riskscribe.data.splits import read_rows
from riskscribe.evaluate.verify import verify

V0 = Path(__file__).parents[2] / "datasets" / "v0"
MONEY = {"currency": "USD"}
POSITION = {"kind": "position", "id": "POS-AA", "instrument": "long SPX call", "mtm": 9e6, **MONEY}
SMALL = {"kind": "position", "id": "POS-BB", "instrument": "short HSI put", "mtm": -1e5, **MONEY}
VAR = {"kind": "var", "id": "VAR-AA", "value": 850000, "confidence_pct": 99, "horizon_days": 1, **MONEY}
LOSS = {"kind": "stress", "id": "STR-AA", "scenario": "Crash", "shocks": "spot -20%", "pnl": -2.583e6, **MONEY}
GAIN = LOSS | {"id": "STR-BB", "scenario": "Rally", "shocks": "spot +10%", "pnl": 1.2e6}
FLAG = {"kind": "data_quality", "id": "DQ-AA", "issue": "stale_quote", "affects": ["POS-BB"], "material": True,
        "detail": "quote is 5 days old"}  # fmt: skip


def limit(code: str, value: float, **fields) -> dict:
    return {"kind": "limit", "id": f"LIM-{code}", "measure": "delta", "scope": "SPX", "value": value, "soft": 4e6,
            "hard": 5e6, "authority": "desk", **MONEY, **fields}  # fmt: skip


def component(code: str, contribution: float) -> dict:
    return {"kind": "component", "id": f"CMP-{code}", "factor": code, "contribution": contribution,
            "share_pct": contribution / 8500, "of": "VAR-AA", **MONEY}  # fmt: skip


def scaled(code: str, method: str) -> dict:
    return VAR | {"id": f"VAR-{code}", "horizon_days": 10, "value": 2.6e6, "horizon_method": method}


INCREASE = {"amount": 1e6, "approved_by": "CRO", "expires": "2024-06-30"}
# between them they use every key of WORDINGS
EVIDENCE = {
    "busy": [
        POSITION, SMALL, VAR, scaled("BB", "sqrt_of_time"), scaled("CC", "overlapping"), LOSS, GAIN, FLAG,
        limit("AA", -6.3e6), limit("BB", 5.5e6, temporary_increase=INCREASE), limit("CC", 4.998e6),
        limit("DD", 45_000, unit="money_per_bp", measure="pv01", soft=40_000, hard=44_000),
        limit("EE", 16, unit="percent", measure="concentration", soft=12, hard=15),
        component("AA", 1e6), component("BB", -1.5e5),
    ],
    "calm": [POSITION, VAR, GAIN, limit("AA", 1e6)],
    "bare": [POSITION],
}  # fmt: skip


def case(name: str, language: str, case_id: str = "c-abcdef12") -> Case:
    head = {"case_id": case_id, "as_of": "2024-06-25", "desk": "equity", "base_currency": "USD", "language": language}
    return Case.model_validate(head | {"engine": {"name": "t", "snapshot": "t"}, "evidence": EVIDENCE[name]})


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("nth", range(3))
def test_every_wording_fills_and_is_clean(monkeypatch, language, nth):
    used = set()
    say = gold._Writer.say

    def noting(self, key, **values):
        used.add(key)
        return say(self, key, **values)

    monkeypatch.setattr(gold._Writer, "say", noting)
    for key, wordings in WORDINGS[language].items():
        monkeypatch.setitem(WORDINGS[language], key, [wordings[nth % len(wordings)]])
    for name in EVIDENCE:
        one = case(name, language)
        report = gold_report(one, varied=False)
        assert name == "bare" or verify(one, report) == []
        assert all(text and "{" not in text and ".." not in text for _, text, _ in report.prose())
    assert used == set(WORDINGS[language])


def test_the_wordings_of_a_key_need_the_same_facts_in_both_languages():
    def facts(wordings: list[str]) -> set[frozenset]:
        return {frozenset(name for _, name, _, _ in string.Formatter().parse(one) if name) for one in wordings}

    assert WORDINGS["en"].keys() == WORDINGS["zh"].keys()
    for key in WORDINGS["en"]:
        assert len(facts(WORDINGS["en"][key]) | facts(WORDINGS["zh"][key])) == 1, key


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_template_is_one_wording_and_the_varied_one_depends_on_the_case_id_alone(language):
    ids = [f"c-abcdef{i}" for i in range(20)]
    templates = {gold_report(case("busy", language, one), varied=False).to_json() for one in ids}
    varied = [gold_report(case("busy", language, one)).to_json() for one in ids]
    assert len(templates) == 1 and len(set(varied)) > 10
    assert varied == [gold_report(case("busy", language, one)).to_json() for one in ids]


@pytest.mark.parametrize(("split", "every"), [("train", 5), ("val", 1), ("test", 1)])
def test_the_frozen_reports_are_the_gold_of_their_cases(split, every):
    for row in read_rows(V0 / f"{split}.jsonl")[::every]:
        assert row.report == gold_report(row.case)


def test_the_template_is_clean_on_the_test_set():
    for row in read_rows(V0 / "test.jsonl")[::2]:
        assert verify(row.case, gold_report(row.case, varied=False)) == []


def test_a_gold_report_in_english():
    report = gold_report(case("busy", "en"), varied=False)
    assert [(one.limit_id, one.status, one.utilisation_pct) for one in report.limit_breaches] == [
        ("LIM-AA", "breach", 126.0),
        ("LIM-BB", "breach_within_approved_excess", 110.0),
        ("LIM-EE", "breach", 106.7),
        ("LIM-DD", "breach", 102.3),
        ("LIM-CC", "warning", 99.96),
    ]
    assert [one.statement for one in report.recommended_actions[:3]] == [
        "Cut SPX delta by 2.30m to return below soft [LIM-AA].",
        "Cut SPX concentration by 4.0% to return below soft [LIM-EE].",
        "Cut SPX PV01 by 5.0k/bp to return below soft [LIM-DD].",
    ]
    assert report.assumptions == [
        "The 10-day VaR is scaled by the square root of time [VAR-BB].",
        "The 10-day VaR uses overlapping windows [VAR-CC].",
    ]
    assert report.summary == (
        "Risk is critical: SPX delta uses 126.0% of hard [LIM-AA]. "
        "VaR is 850.0k [VAR-AA]; the worst stress, Crash, loses 2.58m [STR-AA]."
    )


def test_a_gold_report_in_chinese():
    report = gold_report(case("busy", "zh"), varied=False)
    assert report.summary == (
        "风险等级严重：SPX Delta限额使用率126.0% [LIM-AA]。"
        "VaR为85.0万 [VAR-AA]；最差压力情景Crash亏损258.3万 [STR-AA]。"
    )
    assert report.key_drivers[1].statement == "BB对冲15.0万，占VaR的17.6% [CMP-BB]。"


def test_a_book_without_limits_can_be_verified():
    one = case("bare", "en")
    assert verify(one, gold_report(one)) == []


def test_a_book_without_limits_var_or_stress():
    report = gold_report(case("bare", "en"), varied=False)
    assert (report.risk_level, report.assessment_status) == ("high", "insufficient")
    assert report.summary == "Risk is high. No VaR is available; no stress result is supplied."
    assert [one.statement for one in report.recommended_actions] == ["No action is needed."]
