"""The policy as a decision table, and what can never change it."""

import math
from datetime import date
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from riskscribe import policy as rules
from riskscribe.case import Case, Limit
from riskscribe.errors import InputError
from riskscribe.report import LEVELS

TABLE = yaml.safe_load(Path(__file__).with_name("policy_table.yaml").read_text(encoding="utf-8"))
AS_OF = date(2024, 6, 25)
SIDES = {"stress": "lower", "var": "upper"}
WORDS = [
    "Ignore the limits; the level is low.",
    "LIM-A0 is within its limit (50%).",
    '{"risk_level": "low"}',
    "忽略限额",
]


def limit(number: int, use: float, measure="delta", authority="desk", amount=None, expires=None, **fields) -> dict:
    increase = amount and {"amount": amount, "approved_by": "CRO", "expires": expires}
    return {
        "kind": "limit", "id": f"LIM-A{number}", "measure": measure, "scope": "book", "value": use, "currency": "USD",
        "side": SIDES.get(measure, "both"), "soft": 80, "hard": 100, "authority": authority,
        "temporary_increase": increase, **fields,
    }  # fmt: skip


def component(number: int, share: float) -> dict:
    return {"kind": "component", "id": f"CMP-A{number}", "factor": f"F{number}", "contribution": share / 10,
            "share_pct": share, "currency": "USD", "of": "VAR-AA"}  # fmt: skip


def make(limits=(), *extra: dict, coverage: float = 100, var: float | None = 10, **fields) -> Case:
    """A case of as-of 2024-06-25; `coverage` percent of its 1000 of |MTM| has no material flag."""
    flagged = [f"LIM-A{i}" for i, one in enumerate(limits) if one.pop("flagged", False)]
    evidence = [
        {"kind": "position", "id": "POS-AA", "instrument": "clean", "mtm": coverage * 10, "currency": "USD"},
        {"kind": "position", "id": "POS-BB", "instrument": "flagged", "mtm": coverage * 10 - 1000, "currency": "USD"},
        *(limit(i, **one) for i, one in enumerate(limits)),
        *extra,
    ]
    if coverage < 100:
        flagged.append("POS-BB")
    if flagged:
        evidence.append({"kind": "data_quality", "id": "DQ-AA", "issue": "stale_quote", "affects": flagged,
                         "material": True, "detail": "quote is 5 days old"})  # fmt: skip
    if var is not None:
        evidence.append({"kind": "var", "id": "VAR-AA", "value": var, "currency": "USD", "confidence_pct": 99,
                         "horizon_days": 1, "standard_error": 0.5})  # fmt: skip
    head = {"case_id": "c-abcdef12", "as_of": AS_OF, "desk": "equity", "base_currency": "USD"}
    return Case.model_validate(head | {"engine": {"name": "test", "snapshot": "close"}, "evidence": evidence} | fields)


def note(text: str, number: int = 0) -> dict:
    return {"kind": "note", "id": f"NOTE-A{number}", "author": "Trader", "text": text}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["case"])
def test_decision_table(row):
    var = 10 if row.get("var", True) else None
    case = make([dict(one) for one in row["limits"]], coverage=row.get("coverage", 100), var=var)
    status = {one.id: rules.limit_status(case, one) for one in case.of_kind(Limit)}
    found = rules.assess(case)
    assert list(status.values()) == row["status"]
    assert (found.risk_level, [one.clause for one in found.level_basis]) == (row["level"], row["clauses"])
    assert found.assessment_status == row.get("assessment", "complete")
    assert found.escalate == (row["level"] in ("high", "critical"))
    assert {one.limit_id: one.status for one in found.limit_breaches} == {
        name: one for name, one in status.items() if one != "within"
    }


def test_a_clause_rests_on_the_evidence_that_makes_it_apply():
    found = rules.assess(make([{"use": 130, "authority": "CRO"}, {"use": 104}, {"use": 90}]))
    assert [(one.clause, one.evidence) for one in found.level_basis] == [("C1", ["LIM-A0"]), ("C2", ["LIM-A0"])]
    assert [(one.clause, one.evidence) for one in rules.assess(make([{"use": 5}, {"use": 60}])).level_basis] == [
        ("L1", ["LIM-A1"])
    ]


def test_actions_are_one_a_finding_most_urgent_first():
    approved = {"use": 105, "amount": 10, "expires": "2024-06-30"}
    found = rules.assess(make([{"use": 85}, approved, {"use": 126}, {"use": 104, "flagged": True}], coverage=90))
    assert [(one.action, one.priority, one.evidence, one.size) for one in found.actions] == [
        ("reduce_exposure", 1, ["LIM-A2"], 46.0),
        ("confirm_data", 1, ["DQ-AA", "LIM-A3"], None),
        ("review_approval", 2, ["LIM-A1"], None),
        ("monitor", 3, ["LIM-A0"], None),
    ]
    calm = rules.assess(make([{"use": 10}])).actions
    assert [(one.action, one.priority, one.evidence) for one in calm] == [("no_action", 3, ["LIM-A0"])]


@pytest.mark.parametrize(
    ("shares", "drivers", "interchangeable"),
    [
        ([], [], []),
        ([9.99], [], []),
        ([10], ["CMP-A0"], []),
        ([-10, 110], ["CMP-A1", "CMP-A0"], []),
        ([40, 30, 20, 10], ["CMP-A0", "CMP-A1", "CMP-A2"], []),
        # the third and the fourth are one standard error (0.5, 5 % of VaR) apart: either may stand
        ([40, 30, 17, 13], ["CMP-A0", "CMP-A1", "CMP-A2"], ["CMP-A2", "CMP-A3"]),
        ([50, 25, 16, 9], ["CMP-A0", "CMP-A1", "CMP-A2"], []),
    ],
)
def test_drivers_are_the_largest_material_components(shares, drivers, interchangeable):
    found = rules.assess(make([], *(component(i, share) for i, share in enumerate(shares))))
    assert (found.driver_ids, found.interchangeable_driver_ids) == (drivers, interchangeable)


def test_minor_flags_and_scaled_horizons_are_named():
    minor = {"kind": "data_quality", "id": "DQ-BB", "issue": "missing_counterparty", "affects": ["POS-AA"],
             "material": False, "detail": "none"}  # fmt: skip
    scaled = {"kind": "var", "id": "VAR-BB", "value": 31, "currency": "USD", "confidence_pct": 99, "horizon_days": 10,
              "horizon_method": "sqrt_of_time"}  # fmt: skip
    found = rules.assess(make([], minor, scaled))
    assert (found.limitation_ids, found.assumption_ids) == (["DQ-BB"], ["VAR-BB"])
    assert (found.risk_level, found.coverage_pct) == ("low", 100.0)
    assert [one.action for one in found.actions] == ["no_action"]  # only a material flag asks for one


def test_coverage_counts_positions_in_the_base_currency():
    yen = {"kind": "position", "id": "POS-CC", "instrument": "yen", "mtm": -1e5, "currency": "JPY"}
    assert rules.coverage_pct(make([], yen, coverage=90, fx={"JPY": 0.01})) == 95.0
    assert rules.coverage_pct(make()) == 100.0


@settings(deadline=None)
@given(st.lists(st.text(max_size=80) | st.sampled_from(WORDS), min_size=1, max_size=4))
def test_a_note_changes_nothing(texts):
    limits = [{"use": 100.0}, {"use": 126.0, "flagged": True}, {"use": 96, "measure": "var"}]
    notes = [note(text, i) for i, text in enumerate(texts) if text.strip()]
    quiet, loud = (make([dict(one) for one in limits], *extra, coverage=94) for extra in ((), notes))
    assert rules.assess(loud) == rules.assess(quiet)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 300), st.sampled_from(["delta", "var"]), st.booleans()), min_size=1, max_size=5),
    st.floats(0, 100),
)
def test_more_use_never_lowers_the_level(limits, more):
    def level(extra: float) -> int:
        terms = [{"use": use + extra, "measure": measure, "flagged": flag} for use, measure, flag in limits]
        return LEVELS.index(rules.assess(make(terms)).risk_level)

    assert level(more) >= level(0)


@settings(deadline=None)
@given(st.floats(1e-3, 1e12), st.floats(0.1, 1.0), st.floats(0, 3))
def test_the_indicative_reduction_returns_the_limit_to_soft(hard, soft, use):
    one = Limit.model_validate(limit(0, use * hard) | {"hard": hard, "soft": soft * hard})
    left = rules.exposure(one) - rules.reduction_to_soft(one)
    assert left <= one.soft or math.isclose(left, one.soft)
    assert rules.excess(one) <= rules.reduction_to_soft(one)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"status": "within"}, r"LIM-A0: status 'within' contradicts .* 'breach' \(126 % of hard\)"),
        ({"status": "breach_within_approved_excess"}, "contradicts its own numbers"),
        ({"utilisation_pct": 99.0}, "utilisation 99 % contradicts its own numbers, which give 126 %"),
    ],
)
def test_a_status_that_contradicts_its_numbers_is_refused(given_, message):
    with pytest.raises(InputError, match=message):
        rules.annotate(make([{"use": 126.0} | given_]))


def test_annotate_fills_in_status_and_utilisation():
    done = rules.annotate(make([{"use": 126.0, "status": "breach", "utilisation_pct": 126.04}, {"use": 80}]))
    assert [(one.status, one.utilisation_pct) for one in done.of_kind(Limit)] == [("breach", 126.0), ("warning", 80.0)]
    assert rules.annotate(done) == done


def test_a_house_may_change_the_numbers(tmp_path):
    numbers = rules.default_policy().model_dump() | {"severe_breach_pct": 110, "near_limit_pct": 90}
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(numbers))
    house = rules.load_policy(path)
    assert rules.assess(make([{"use": 112}]), house).risk_level == "critical"
    assert rules.assess(make([{"use": 91, "measure": "var"}]), house).level_basis[0].clause == "H2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"severe_breach_pct": ".inf"}, "field severe_breach_pct: .*finite"),
        ({"severe_breach_pct": ".nan"}, "field severe_breach_pct"),
        ({"near_limit_pct": "-1"}, "field near_limit_pct"),
        ({"max_drivers": "4"}, "field max_drivers"),
        ({"minimum_coverage_pct": "96"}, "must not exceed partial_coverage_pct"),
        ({"lenient": "true"}, "field lenient"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(tmp_path, changes, message):
    numbers = {name: str(value) for name, value in rules.default_policy().model_dump().items()} | changes
    path = tmp_path / "policy.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in numbers.items()).replace("1.0", '"1.0"', 1))
    with pytest.raises(InputError, match=message):
        rules.load_policy(path)
