"""Faults of real data: each is in the evidence, says so in a DQ- line, and changes what the policy says."""

import random
from pathlib import Path

import pytest
import yaml

from riskscribe import policy
from riskscribe.case import Case, DataQuality, Limit, Position, Stress, ValueAtRisk
from riskscribe.data import faults
from riskscribe.data.rows import read_rows
from riskscribe.evaluate.grounding import facts_of, ground_text
from riskscribe.prompt import render_case

HERE = Path(__file__).parent
V1 = HERE.parents[1] / "datasets" / "risk_report" / "v1"
DESK = yaml.load((HERE / "desk_case.yaml").read_text(encoding="utf-8"), yaml.SafeLoader)
LANGUAGES = ("en", "zh")


def desk(language: str, **fields) -> Case:
    return Case.model_validate(DESK | {"language": language} | fields)


def gaining(language: str) -> Case:
    """The same book with no scenario in which it loses."""
    rows = [
        row | ({"pnl": 1e5} if row["kind"] == "stress" else {"value": 1e5} if row["id"] == "LIM-E6" else {})
        for row in DESK["evidence"]
    ]
    return desk(language, evidence=rows)


def case_for(kind: str, language: str) -> Case:
    return gaining(language) if kind == "untested_loss" else desk(language)


def new_flag(before: Case, after: Case) -> DataQuality:
    known = {one.id for one in before.evidence}
    (flag,) = [one for one in after.of_kind(DataQuality) if one.id not in known]
    return flag


@pytest.fixture(scope="module")
def generated() -> list[Case]:
    return [row.case for row in read_rows(V1 / "train_quick.jsonl")[::12]] + [
        row.case for row in read_rows(V1 / "test.jsonl") if row.language == "zh"
    ][:4]


def test_wordings_cover_every_kind_in_both_languages():
    for language in LANGUAGES:
        table = faults.wordings()[language]
        assert set(table) == {*faults.KINDS, "failed_pricing_stress"}
        for kind, texts in table.items():
            assert len(set(texts)) == len(texts) >= 6, (language, kind)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", faults.KINDS)
def test_a_fault_changes_the_policy_and_is_well_formed(kind, language):
    before = case_for(kind, language)
    held = before.model_dump_json()
    assert kind in faults.applicable(before)
    for seed in range(12):
        after = faults.apply(kind, before, random.Random(seed))
        assert before.model_dump_json() == held
        assert Case.model_validate_json(after.model_dump_json()) == after
        flag = new_flag(before, after)
        assert flag.issue == kind
        was, now = policy.assess(before), policy.assess(after)
        assert flag.id in now.limitation_ids and flag.id not in was.limitation_ids
        assert flag.detail in render_case(after)
        again = faults.apply(kind, before, random.Random(seed))
        assert again.model_dump_json() == after.model_dump_json()
        for number in ground_text(f"{flag.detail} [{flag.id}].", facts_of(after)):
            assert number.verdict != "unsupported", (flag.detail, number.reason)


@pytest.mark.parametrize("kind", [one for one in faults.KINDS if one != "untested_loss"])
def test_every_wording_of_a_kind_is_grounded(kind):
    seen = set()
    for language in LANGUAGES:
        for seed in range(40):
            before = desk(language)
            after = faults.apply(kind, before, random.Random(seed))
            flag = new_flag(before, after)
            seen.add((language, flag.detail))
            assert "{" not in flag.detail
    assert len(seen) >= 10


@pytest.mark.parametrize("kind", ["missing_quote", "failed_pricing"])
def test_an_unpriced_position_doubts_the_greek_limits_it_fed(kind):
    # without the negative-price scenario, so that failed pricing is one of today
    rows = [row | ({"scenario": "Crash", "shocks": "SPX -20%"} if row["id"] == "STR-A2" else {}) for row in
            DESK["evidence"]]  # fmt: skip
    fed = {"POS-A2": {"LIM-A2", "LIM-B3", "LIM-F7"}, "POS-B3": {"LIM-C4", "LIM-B3"}, "POS-C4": {"LIM-D5", "LIM-F7"},
           "POS-D5": set()}  # fmt: skip
    seen = set()
    for seed in range(25):
        before = desk("en", evidence=rows)
        after = faults.apply(kind, before, random.Random(seed))
        flag = new_flag(before, after)
        (name,) = [one for one in flag.affects if one.startswith("POS-")]
        seen.add(name)
        position = next(one for one in after.of_kind(Position) if one.id == name)
        assert position.mtm is None and position.previous is not None and position.sensitivities == []
        assert set(flag.affects) - {name} == fed[name]
        statuses = {one.id: one.status for one in after.of_kind(Limit)}
        assert flag.material == (name != "POS-D5" and name != "POS-C4")
        if name == "POS-A2":
            assert statuses["LIM-A2"] == statuses["LIM-B3"] == "unconfirmed"
    assert seen == set(fed)


def test_a_negative_price_fails_in_the_scenario_not_today():
    before = desk("en")
    after = faults.apply("failed_pricing", before, random.Random(1))
    flag = new_flag(before, after)
    assert set(flag.affects) == {"STR-A2", "LIM-E6"} and flag.material
    assert "Negative oil type" in flag.detail and "WTI" in flag.detail
    assert {one.id: one.pnl for one in after.of_kind(Stress)} == {one.id: one.pnl for one in before.of_kind(Stress)}
    assert [one.mtm for one in after.of_kind(Position)] == [one.mtm for one in before.of_kind(Position)]


def test_short_history_cuts_the_windows_of_the_lines_it_affects():
    before = desk("zh")
    after = faults.apply("short_history", before, random.Random(3))
    flag = new_flag(before, after)
    lines = {one.id: one for one in after.of_kind(ValueAtRisk)}
    assert set(flag.affects) == {"VAR-A2", "VAR-B3"} and flag.material
    assert all(lines[name].windows < 500 for name in flag.affects)
    assert str(lines["VAR-A2"].windows) in flag.detail
    assert lines["VAR-A2"].tail_count <= 4 and lines["VAR-A2"].standard_error > 9e4
    assert lines["VAR-C4"].windows == 250


@pytest.mark.parametrize("seed", range(10))
def test_contradictory_totals_are_in_the_evidence(seed):
    before = desk("en")
    after = faults.apply("contradictory_totals", before, random.Random(seed))
    flag = new_flag(before, after)
    (name,) = flag.affects
    line = next(one for one in after.evidence if one.id == name)
    total = line.value if isinstance(line, ValueAtRisk) else -line.pnl
    parts = sum(
        one.contribution for one in after.evidence if getattr(one, "of", None) == name and one.kind != "change"
    )
    assert abs(parts - total) > 0.03 * total
    shown = [
        number.value
        for number in ground_text(f"{flag.detail} [{flag.id}]", facts_of(after))
        if number.unit != "percent"
    ]
    assert any(abs(abs(value) - abs(parts)) <= 0.01 * abs(parts) for value in shown)


def test_a_missing_rate_leaves_the_trade_unvalued_and_the_currency_without_a_rate():
    before = desk("en")
    after = faults.apply("missing_fx_rate", before, random.Random(0))
    position = next(one for one in after.of_kind(Position) if one.id == "POS-D5")
    assert (position.mtm, position.previous, position.currency) == (None, None, "EUR")
    assert "EUR" not in after.fx and "EUR" in before.fx
    assert policy.assess(after).assessment_status == "insufficient"


def test_static_data_goes_missing():
    before = desk("en")
    for seed in range(6):
        after = faults.apply("missing_counterparty", before, random.Random(seed))
        (name,) = new_flag(before, after).affects
        assert next(one for one in after.of_kind(Position) if one.id == name).counterparty is None
        after = faults.apply("missing_owner", before, random.Random(seed))
        flag = new_flag(before, after)
        assert next(one for one in after.of_kind(Limit) if one.id == flag.affects[0]).owner is None
        assert not flag.material
        after = faults.apply("unknown_bump", before, random.Random(seed))
        (name,) = [one for one in new_flag(before, after).affects if one.startswith("POS-")]
        position = next(one for one in after.of_kind(Position) if one.id == name)
        assert "unknown bump" in {one.bump for one in position.sensitivities}


def test_a_stale_quote_affects_its_underlying_only():
    before = desk("en")
    expected = {"SPX": {"POS-A2", "LIM-A2", "LIM-B3"}, "WTI": {"POS-B3", "LIM-C4", "LIM-B3"},
                "AAPL": {"POS-C4", "LIM-D5"}, "EURUSD": {"POS-D5"}}  # fmt: skip
    seen = set()
    for seed in range(30):
        flag = new_flag(before, faults.apply("stale_quote", before, random.Random(seed)))
        (name,) = [one for one in expected if one in flag.detail]
        seen.add(name)
        assert set(flag.affects) - {"LIM-F7"} == expected[name]
    assert seen == set(expected)


def test_faults_compose_on_generated_cases(generated):
    done = 0
    for number, before in enumerate(generated):
        rng, case = random.Random(number), before
        for _ in range(3):
            kind = rng.choice(faults.applicable(case))
            after = faults.apply(kind, case, rng)
            assert policy.assess(after) != policy.assess(case)
            render_case(after)
            case, done = after, done + 1
        assert len({one.id for one in case.evidence}) == len(case.evidence) == len(before.evidence) + 3
    assert done == 3 * len(generated) >= 36


def test_a_fault_the_case_cannot_have_is_refused():
    with pytest.raises(ValueError, match="untested_loss"):
        faults.apply("untested_loss", desk("en"), random.Random(0))
    with pytest.raises(ValueError, match="no_such"):
        faults.apply("no_such", desk("en"), random.Random(0))
