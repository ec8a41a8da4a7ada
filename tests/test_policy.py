"""The policy as a decision table, and what can never change it."""

import math
from datetime import date
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from riskscribe import policy as rules
from riskscribe.case import Backtest, Case, Limit
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


def component(number: int, share: float, of="VAR-AA", factor=None) -> dict:
    letter = "A" if of == "VAR-AA" else "B"
    return {"kind": "component", "id": f"CMP-{letter}{number}", "factor": factor or f"F{number}",
            "contribution": share / 10, "share_pct": share, "currency": "USD", "of": of}  # fmt: skip


def make(limits=(), *extra: dict, coverage: float = 100, positions=None, var: float | None = 10, **fields) -> Case:
    """A case of as-of 2024-06-25; `coverage` percent of its 1000 of |MTM| has no material flag."""
    if positions is None:
        positions = [{"mtm": coverage * 10}, {"mtm": coverage * 10 - 1000, "flagged": coverage < 100}]
    flags: dict[bool, list[str]] = {True: [], False: []}
    evidence = []
    for i, one in enumerate(positions):
        name, one = f"POS-A{i}", dict(one)
        for key, material in (("flagged", True), ("minor", False)):
            flags[material] += [name] * one.pop(key, False)
        base = {"kind": "position", "id": name, "instrument": "option", "currency": "USD", "mtm": None}
        evidence.append(base | one)
    flags[True] += [f"LIM-A{i}" for i, one in enumerate(limits) if one.pop("flagged", False)]
    evidence += [*(limit(i, **one) for i, one in enumerate(limits)), *extra]
    for material, affects in flags.items():
        if affects:
            evidence.append({"kind": "data_quality", "id": "DQ-AA" if material else "DQ-MM", "issue": "stale_quote",
                             "affects": affects, "material": material, "detail": "quote is 5 days old"})  # fmt: skip
    if var is not None:
        evidence.append({"kind": "var", "id": "VAR-AA", "value": var, "currency": "USD", "confidence_pct": 99,
                         "horizon_days": 1, "standard_error": 0.5})  # fmt: skip
    head = {"case_id": "c-abcdef12", "as_of": AS_OF, "desk": "equity", "base_currency": "USD", "fx": {"JPY": 0.01}}
    return Case.model_validate(head | {"engine": {"name": "test", "snapshot": "close"}, "evidence": evidence} | fields)


def note(text: str, number: int = 0) -> dict:
    return {"kind": "note", "id": f"NOTE-A{number}", "author": "Trader", "text": text}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["case"])
def test_decision_table(row):
    var = 10 if row.get("var", True) else None
    coverage = row.get("coverage", 100)
    case = make([dict(one) for one in row["limits"]], coverage=coverage, positions=row.get("positions"), var=var)
    status = {one.id: rules.limit_status(case, one) for one in case.of_kind(Limit)}
    found = rules.assess(case)
    assert list(status.values()) == row["status"]
    assert (found.risk_level, [one.clause for one in found.level_basis]) == (row["level"], row["clauses"])
    assert found.assessment_status == row.get("assessment", "complete")
    assert found.coverage_pct == pytest.approx(row.get("covered", coverage))
    assert (found.escalate, found.escalate_to) == (row["level"] in ("high", "critical"), row.get("to"))
    assert {one.limit_id: one.status for one in found.limit_breaches} == {
        name: one for name, one in status.items() if one != "within"
    }


def test_a_clause_rests_on_the_evidence_that_makes_it_apply():
    found = rules.assess(make([{"use": 130, "authority": "CRO"}, {"use": 104}, {"use": 90}]))
    assert [(one.clause, one.evidence) for one in found.level_basis] == [("C1", ["LIM-A0"]), ("C2", ["LIM-A0"])]
    assert [(one.clause, one.evidence) for one in rules.assess(make([{"use": 5}, {"use": 60}])).level_basis] == [
        ("L1", ["LIM-A1"])
    ]
    unpriced = rules.assess(make(positions=[{"mtm": 9}, {"previous": 1, "minor": True}, {"mtm": 0, "flagged": True}]))
    assert [(one.clause, one.evidence) for one in unpriced.level_basis] == [
        ("M3", ["DQ-AA"]),
        ("M4", ["DQ-AA", "DQ-MM"]),
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


STRESS = [
    {"kind": "stress", "id": "STR-AA", "scenario": "Crash", "shocks": "-20%", "pnl": -10, "currency": "USD"},
    {"kind": "stress", "id": "STR-BB", "scenario": "Bond rout", "shocks": "+200bp", "pnl": -900, "currency": "JPY"},
]


@pytest.mark.parametrize(
    ("var", "stress", "drivers"),
    [
        ({}, {"F0": 20}, ["CMP-B0"]),
        ({}, {"F0": 19.99}, []),
        ({}, {"F0": 60, "F1": -25, "F2": 65}, ["CMP-B2", "CMP-B0", "CMP-B1"]),
        # a factor is named once, and by its VaR
        ({"F0": 12}, {"F0": 90, "F1": 30}, ["CMP-A0", "CMP-B1"]),
        # VaR first, and three in all
        ({"F0": 12, "F1": 11}, {"F2": 50, "F3": 40}, ["CMP-A0", "CMP-A1", "CMP-B0"]),
        ({"F0": 40, "F1": 30, "F2": 20}, {"F3": 90}, ["CMP-A0", "CMP-A1", "CMP-A2"]),
        ({"F0": 9}, {"F0": 90}, ["CMP-B0"]),
    ],
)
def test_what_drives_the_worst_stress_loss_alone_is_a_driver_too(var, stress, drivers):
    parts = [component(i, share, factor=name) for i, (name, share) in enumerate(var.items())]
    worst = [component(i, share, "STR-AA", name) for i, (name, share) in enumerate(stress.items())]
    found = rules.assess(make([], *parts, *worst, *STRESS))
    assert (found.driver_ids, found.interchangeable_driver_ids) == (drivers, [])
    assert rules.worst_stress(make([], *STRESS)).id == "STR-AA"  # -10 USD; -900 JPY is -9 USD
    other = rules.assess(make([], *parts, *worst, STRESS[0] | {"pnl": -8}, STRESS[1]))
    gain = rules.assess(make([], *parts, *worst, STRESS[0] | {"pnl": 0}))
    for calm in (other, gain):
        assert calm.driver_ids == [one for one in drivers if one.startswith("CMP-A")]


@pytest.mark.parametrize(
    ("actual", "unexplained", "limitation"),
    [
        (1e6, 1e5, False),
        (1e6, 100_000.01, True),
        (-1e6, -100_000.01, True),
        (1e5, 5e4, False),
        (1e5, 50_000.01, True),
        (0, 50_000.01, True),
        (0, 0, False),
    ],
)
def test_unexplained_pnl_is_a_limitation_above_a_share_and_a_floor(actual, unexplained, limitation):
    lines = [
        {"kind": "pnl", "id": f"PNL-A{i}", "measure": measure, "value": value, "currency": "USD"}
        for i, (measure, value) in enumerate({"actual": actual, "unexplained": unexplained}.items())
    ]
    due = ["PNL-A1"] if limitation else []
    found = rules.assess(make([], *lines))
    assert (found.limitation_ids, found.risk_level) == (due, "low")
    yen = [lines[0], lines[1] | {"currency": "JPY", "value": 100 * unexplained}]
    assert rules.assess(make([], *yen)).limitation_ids == due
    assert rules.assess(make([], lines[1])).limitation_ids == []


@pytest.mark.parametrize(
    ("exceptions", "zone"), [(0, "green"), (4, "green"), (5, "amber"), (9, "amber"), (10, "red"), (250, "red")]
)
def test_a_red_back_test_is_a_limitation(exceptions, zone):
    line = {"kind": "backtest", "id": "BT-AA", "exceptions": exceptions, "days": 250, "confidence_pct": 99}
    case = make([], line)
    found = rules.assess(case)
    assert rules.backtest_zone(case.of_kind(Backtest)[0], rules.default_policy()) == zone
    assert (found.limitation_ids, found.risk_level) == (["BT-AA"] if zone == "red" else [], "low")


def greeks(**values: float) -> dict:
    """A position of 500 whose Greeks are `measure_factor=value`."""
    parts = [(name.partition("_"), value) for name, value in values.items()]
    return {"mtm": 500, "sensitivities": [
        {"measure": measure, "factor": factor or None, "value": value, "bump": "1", "currency": "USD"}
        for (measure, _, factor), value in parts
    ]}  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "positions", "size", "pushed"),
    [
        # the long SPX delta hides a short NDX one: with less of it the book reaches its own soft threshold
        (
            [{"use": 120, "scope": "SPX"}, {"use": -40}],
            [greeks(delta_SPX=120), greeks(delta_NDX=-160)], 40, ["LIM-A1"],
        ),
        ([{"use": 120, "scope": "SPX"}, {"use": -39}], [greeks(delta_SPX=120), greeks(delta_NDX=-159)], 40, []),
        # the vega that goes with the delta held the vega of others down
        (
            [{"use": 160}, {"use": 30, "measure": "vega"}],
            [greeks(delta=160, vega=-100), greeks(vega=130)], 80, ["LIM-A1"],
        ),
        # a short delta; the larger position is reduced first, and it carries no vega
        (
            [{"use": -160}, {"use": 30, "measure": "vega"}],
            [greeks(delta=-70, vega=-100), greeks(delta=-90), greeks(vega=130)], 80, [],
        ),
        (
            [{"use": -160}, {"use": 30, "measure": "vega"}],
            [greeks(delta=-90, vega=-100), greeks(delta=-70), greeks(vega=130)], 80, ["LIM-A1"],
        ),
        # what is at its soft threshold already is not pushed there
        ([{"use": 120, "scope": "SPX"}, {"use": -80}], [greeks(delta_SPX=120), greeks(delta_NDX=-200)], 40, []),
        # a reduction is no hedge of a VaR limit, and what does not add up is not tested
        ([{"use": 120, "measure": "var"}, {"use": -40}], [greeks(delta_SPX=120), greeks(delta_NDX=-160)], 40, []),
        ([{"use": 120, "scope": "SPX"}, {"use": -60}], [greeks(delta_SPX=120), greeks(delta_NDX=-160)], 40, []),
        ([{"use": 120, "scope": "SPX"}, {"use": -40}], [greeks()], 40, []),
    ],
)  # fmt: skip
def test_a_reduction_names_the_limits_it_would_push_over_soft(limits, positions, size, pushed):
    found = rules.assess(make([dict(one) for one in limits], positions=positions))
    (reduce,) = [one for one in found.actions if one.action == "reduce_exposure"]
    assert (reduce.evidence, reduce.size, reduce.pushes_over_soft) == (["LIM-A0", *pushed], size, pushed)


def test_only_a_reduction_pushes_anything():
    limits = [{"use": 120, "scope": "SPX", "amount": 30, "expires": "2024-06-30"}, {"use": -40}]
    (review,) = rules.assess(make(limits, positions=[greeks(delta_SPX=120), greeks(delta_NDX=-160)])).actions
    assert (review.action, review.evidence, review.pushes_over_soft) == ("review_approval", ["LIM-A0"], [])


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-300, 300), st.floats(-300, 300)), min_size=1, max_size=5))
def test_what_is_pushed_was_below_soft_and_is_never_the_limit_itself(positions):
    made = [greeks(delta=delta, vega=vega) for delta, vega in positions]
    delta, vega = (sum(column) for column in zip(*positions, strict=True))
    case = make([{"use": delta}, {"use": vega, "measure": "vega"}], positions=made)
    for one in case.of_kind(Limit):
        pushed = rules.pushed_over_soft(case, one)
        assert set(pushed) <= {other.id for other in case.of_kind(Limit) if rules.exposure(other) < other.soft}
        assert one.id not in pushed
        assert not (pushed and rules.exposure(one) < one.soft)


def test_minor_flags_and_scaled_horizons_are_named():
    minor = {"kind": "data_quality", "id": "DQ-BB", "issue": "missing_counterparty", "affects": ["POS-A0"],
             "material": False, "detail": "none"}  # fmt: skip
    scaled = {"kind": "var", "id": "VAR-BB", "value": 31, "currency": "USD", "confidence_pct": 99, "horizon_days": 10,
              "horizon_method": "sqrt_of_time"}  # fmt: skip
    found = rules.assess(make([], minor, scaled))
    assert (found.limitation_ids, found.assumption_ids) == (["DQ-BB"], ["VAR-BB"])
    assert (found.risk_level, found.coverage_pct) == ("low", 100.0)
    assert [one.action for one in found.actions] == ["no_action"]  # only a material flag asks for one


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
    assert house.version == rules.default_policy().version
    assert rules.assess(make([{"use": 112}]), house).risk_level == "critical"
    assert rules.assess(make([{"use": 91, "measure": "var"}]), house).level_basis[0].clause == "H2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"severe_breach_pct": math.inf}, "field severe_breach_pct: .*finite"),
        ({"severe_breach_pct": math.nan}, "field severe_breach_pct"),
        ({"near_limit_pct": -1}, "field near_limit_pct"),
        ({"unexplained_floor": -1}, "field unexplained_floor"),
        ({"backtest_red": 0}, "field backtest_red"),
        ({"max_drivers": 4}, "field max_drivers"),
        ({"minimum_coverage_pct": 96}, "must not exceed partial_coverage_pct"),
        ({"backtest_amber": 11}, "backtest_amber must not exceed backtest_red"),
        ({"lenient": True}, "field lenient"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(tmp_path, changes, message):
    numbers = rules.default_policy().model_dump() | changes
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(numbers))
    with pytest.raises(InputError, match=message):
        rules.load_policy(path)
