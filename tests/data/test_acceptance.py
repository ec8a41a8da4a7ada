"""The acceptance cases: what a person wrote by hand against what the code says."""

import ast
import operator
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from riskscribe import policy as rules
from riskscribe.case import (
    Backtest,
    Case,
    Change,
    Component,
    Counterparty,
    DataQuality,
    Limit,
    Note,
    PnL,
    Position,
    Stress,
    ValueAtRisk,
)
from riskscribe.data.notes import NoteTruth
from riskscribe.data.slices import SLICES, slices_of
from riskscribe.evaluate.grounding import cited_ids, ground_report
from riskscribe.evaluate.verify import verify
from riskscribe.files import read_yaml
from riskscribe.prompt import render_case, utilisation
from riskscribe.report import Report

FOLDER = Path(__file__).parents[2] / "datasets" / "risk_report" / "v1" / "acceptance"
FILES = sorted(FOLDER.glob("*.yaml"))
RAW = {path.stem: read_yaml(path) for path in FILES}
CASES = {name: Case.model_validate(one["case"]) for name, one in RAW.items()}
REPORTS = {name: Report.model_validate(one["report"]) for name, one in RAW.items()}
GREEKS = {"delta", "gamma", "vega", "pv01", "bucket_pv01", "cs01", "jump_to_default", "open_position"}

DIGITS = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?")

every = pytest.mark.parametrize("name", RAW)
_ARITHMETIC: dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}


def number(text: str) -> float:
    """The value of an expression of numbers, + - * / **, brackets and abs()."""

    def value(node: ast.AST) -> float:
        match node:
            case ast.Constant(value=int() | float() as found):
                return found
            case ast.BinOp(left=left, op=op, right=right):
                return _ARITHMETIC[type(op)](value(left), value(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.Call(func=ast.Name(id="abs"), args=[inner]):
                return abs(value(inner))
        raise ValueError(f"{text}: {ast.unparse(node)} is not arithmetic")

    return value(ast.parse(text.strip(), mode="eval").body)


def holds(check: str) -> bool:
    """Whether `left = right` holds within half a unit of the last digit of `right`, or an inequality as it stands."""
    for sign, compare in ((">=", operator.ge), ("<=", operator.le), (">", operator.gt), ("<", operator.lt)):
        if f" {sign} " in check:
            left, right = check.split(f" {sign} ")
            return compare(number(left), number(right))
    left, right = check.split(" = ")
    digits = right.removesuffix(" %")
    half = 0.5 * 10.0 ** -len(digits.partition(".")[2])
    return abs(number(left) * (100 if digits != right else 1) - number(digits)) <= half + 1e-6


def left_sides(name: str) -> list[float]:
    """What the equalities of the reasoning work out."""
    checks = [one for step in RAW[name]["reasoning"] for one in step.get("checks", [])]
    return [number(one.split(" = ")[0]) for one in checks if " = " in one]


def near(value: float, others: list[float]) -> bool:
    return any(abs(value - one) <= 1e-6 * max(1.0, abs(value)) for one in others)


@pytest.mark.parametrize(
    ("check", "right"),
    [
        ("16.5 / 15.0 = 110.0 %", True),
        ("16.5 / 15.0 = 110.1 %", False),
        ("599760 / 600000 = 99.96 %", True),
        ("599760 / 600000 = 100 %", True),
        ("1 - 3 = -2", True),
        ("1 - 3 = 2", False),
        ("abs(-3) * 2 ** 2 = 12", True),
        ("3 >= 3", True),
        ("3 > 3", False),
        ("3 < 3", False),
        ("2 <= 3", True),
    ],
)
def test_arithmetic_is_checked(check: str, right: bool) -> None:
    assert holds(check) is right


def test_arithmetic_runs_no_code() -> None:
    with pytest.raises(ValueError, match="not arithmetic"):
        number("__import__('os').getpid()")


@every
def test_policy_gives_the_written_report(name: str) -> None:
    case, report = CASES[name], REPORTS[name]
    found = rules.assess(case)
    assert report.risk_level == found.risk_level
    assert report.level_basis == found.level_basis
    assert report.escalate == found.escalate
    assert report.assessment_status == found.assessment_status
    breaches = [(one.limit_id, one.status, one.evidence) for one in found.limit_breaches]
    assert [(one.limit_id, one.status, one.evidence) for one in report.limit_breaches] == breaches
    shown = [float(utilisation(one.utilisation_pct).rstrip("%")) for one in found.limit_breaches]
    assert [one.utilisation_pct for one in report.limit_breaches] == shown
    assert [one.evidence for one in report.key_drivers] == [[one] for one in found.driver_ids]
    actions = [(one.action, one.priority, one.evidence) for one in found.actions]
    assert [(one.action, one.priority, one.evidence) for one in report.recommended_actions] == actions
    told = {one for text in report.limitations for one in cited_ids(text)}
    assert set(found.limitation_ids) <= told
    assumed = {one for text in report.assumptions for one in cited_ids(text)}
    assert set(found.assumption_ids) <= assumed


@every
def test_verify_has_no_finding(name: str) -> None:
    assert [(one.path, one.message) for one in verify(CASES[name], REPORTS[name])] == []


@every
def test_sizes_stand_in_the_reasoning_and_the_report(name: str) -> None:
    worked = left_sides(name)
    for one in rules.assess(CASES[name]).actions:
        if one.size is not None:
            assert near(one.size, worked), f"the reduction {one.size:g} of {one.evidence[0]} is not worked out"


@every
def test_utilisation_and_coverage_are_worked_out(name: str) -> None:
    case, worked = CASES[name], left_sides(name)
    for one in case.of_kind(Limit):
        assert near(rules.utilisation_pct(one) / 100, worked), f"the utilisation of {one.id} is not worked out"
    assert near(rules.coverage_pct(case) / 100, worked), "coverage is not worked out"


@every
def test_reasoning_holds(name: str) -> None:
    steps = RAW[name]["reasoning"]
    checks = [one for step in steps for one in step.get("checks", [])]
    assert [one for one in checks if not holds(one)] == []
    text = " ".join(step["step"] for step in steps)
    told = set(cited_ids(text))
    assert told <= {one.id for one in CASES[name].evidence}
    # every limit and every note is reasoned about by its id, every clause of the basis by its name
    assert {one.id for one in CASES[name].evidence if isinstance(one, Limit | Note | DataQuality)} <= told
    assert all(one.clause in text for one in REPORTS[name].level_basis)


@every
def test_book_is_consistent(name: str) -> None:
    case = CASES[name]
    by_id = {one.id: one for one in case.evidence}
    parts: dict[str, list[Component]] = defaultdict(list)
    for one in case.of_kind(Component):
        parts[one.of].append(one)
    for line, components in parts.items():
        whole = -by_id[line].pnl if isinstance(by_id[line], Stress) else by_id[line].value
        assert sum(one.contribution for one in components) == pytest.approx(whole, abs=0.01)
        for one in components:
            assert one.share_pct == pytest.approx(100 * one.contribution / whole, abs=6e-5), one.id
    for line in case.of_kind(ValueAtRisk):
        if line.undiversified is not None and parts[line.id]:
            assert sum(one.standalone for one in parts[line.id]) == pytest.approx(line.undiversified)
            assert line.value <= line.undiversified
        if line.windows and line.measure == "VaR":
            assert line.tail_count == round(line.windows * (1 - line.confidence_pct / 100))
    for limit in case.of_kind(Limit):
        elsewhere = limit.scope == "交易台" and limit.measure in {
            one.measure for one in case.of_kind(Limit) if one.scope == "账簿"
        }
        if limit.measure in GREEKS and not elsewhere:  # a desk also holds the positions of its other books
            found = [
                (greek.factor, case.in_base(greek.value, greek.currency) / case.in_base(1.0, limit.currency))
                for position in case.of_kind(Position)
                for greek in position.sensitivities
                if greek.measure == limit.measure
            ]
            whole_book = limit.scope in ("book", "账簿")
            parts_of = [value for factor, value in found if whole_book or factor == limit.scope]
            assert parts_of, f"no position has {limit.measure} of {limit.scope}"
            assert sum(parts_of) == pytest.approx(limit.value, rel=1e-9), limit.id
        if limit.measure == "var":
            assert limit.value in [one.value for one in case.of_kind(ValueAtRisk)]
        if limit.measure == "stress":
            assert limit.value == rules.worst_stress(case).pnl
        if limit.measure == "exposure":
            owed = {one.name: one.exposure - one.collateral for one in case.of_kind(Counterparty)}
            assert limit.value == owed[limit.scope]
    explain = {one.measure: one.value for one in case.of_kind(PnL)}
    if explain:
        assert explain["explained"] + explain["unexplained"] == pytest.approx(explain["actual"], abs=0.01)


@every
def test_report_needs_only_the_prompt(name: str) -> None:
    case, report = CASES[name], REPORTS[name]
    seen = {float(one.replace(",", "")) for one in DIGITS.findall(render_case(case))}
    if case.layout == "raw":  # a raw prompt leaves the indicative reduction to the reader
        seen |= {one.size / 1000 for one in rules.assess(case).actions if one.size}
    numbers = [one.text for _, one in ground_report(case, report) if one.verdict != "ignored"]
    told = {float(digits.replace(",", "")) for text in numbers for digits in DIGITS.findall(text)}
    assert told - seen == set()


@every
def test_renders_in_the_order_it_is_written(name: str) -> None:
    case = CASES[name]
    lines = render_case(case).splitlines()[1:]
    if case.layout == "exception":
        limits = [one.split()[0] for one in lines if one.startswith("LIM-")]
        assert limits == [one.id for one in case.of_kind(Limit)]
    assert len(lines) == len(case.evidence)


@every
def test_notes_are_classified(name: str) -> None:
    case, report, notes = CASES[name], REPORTS[name], RAW[name]["notes"]
    assert [one["id"] for one in notes] == [one.id for one in case.of_kind(Note)]
    prose = " ".join(text for _, text, _ in report.prose())
    for one in notes:
        assert (one["id"] in prose) == (one["kind"] in ("helpful", "wrong"))
        if one["kind"] == "wrong":
            both = [text for text in report.limitations if one["id"] in text and one["contradicts"] in text]
            assert both, "a wrong note stands beside what it contradicts"


def test_ids_are_codes_not_numbers() -> None:
    ids = [one.id.split("-")[1] for case in CASES.values() for one in case.evidence]
    assert all(len(one) == 2 and one[0].isalpha() for one in ids)
    assert len({case.case_id for case in CASES.values()}) == len(CASES)


def test_cover_what_an_acceptance_needs() -> None:
    assert len(RAW) == 10
    assert Counter(case.language for case in CASES.values()) == {"en": 6, "zh": 4}
    assert {report.risk_level for report in REPORTS.values()} == {"low", "moderate", "high", "critical"}
    assert {report.assessment_status for report in REPORTS.values()} == {"complete", "partial", "insufficient"}
    statuses = {one.status for report in REPORTS.values() for one in report.limit_breaches}
    assert statuses == {"warning", "breach", "breach_within_approved_excess", "unconfirmed"}
    actions = {one.action for report in REPORTS.values() for one in report.recommended_actions}
    assert actions == {"reduce_exposure", "review_approval", "confirm_data", "monitor", "no_action"}
    clauses = {one.clause for report in REPORTS.values() for one in report.level_basis}
    assert clauses >= {"C1", "C4", "H1", "H2", "H3", "M1", "M2", "L1"}
    kinds = {one["kind"] for raw in RAW.values() for one in raw["notes"]}
    assert kinds == {"helpful", "irrelevant", "wrong", "hostile"}
    assert {case.desk for case in CASES.values()} >= {"外汇", "equity", "commodity", "credit", "mixed", "权益", "利率"}


def some(holds: Callable[[Case, rules.Assessment], Any]) -> list[str]:
    return [name[:2] for name, case in CASES.items() if holds(case, rules.assess(case))]


def test_cover_every_slice_but_long() -> None:
    found = {
        one
        for name, case in CASES.items()
        for one in slices_of(
            case, [NoteTruth(one["id"], one["kind"], one["contradicts"]) for one in RAW[name]["notes"]]
        )
    }
    assert set(SLICES) - found == {"long"}


def test_cover_the_hard_places() -> None:
    limits = {name[:2]: case.of_kind(Limit) for name, case in CASES.items()}
    assert some(lambda case, found: found.actions[0].action == "no_action") == ["01"]
    exact = [name for name, ones in limits.items() if any(rules.exposure(one) == one.hard for one in ones)]
    assert exact == ["02"]
    assert some(lambda case, found: any(99.95 <= one.utilisation_pct < 100 for one in found.limit_breaches)) == ["03"]
    assert some(lambda case, found: any(one.pushes_over_soft for one in found.actions)) == ["04"]
    assert "05" in some(lambda case, found: "雪球" in str(case.of_kind(Position)) and found.risk_level == "critical")
    passive = some(
        lambda case, found: any(
            one.cause == "passive" and rules.limit_status(case, one) == "breach_within_approved_excess"
            for one in case.of_kind(Limit)
        )
    )
    assert passive == ["06"]
    assert some(lambda case, found: found.coverage_pct < 80 and "failed_pricing" in str(case.evidence)) == ["07"]
    assert some(lambda case, found: all(one.pnl > 0 for one in case.of_kind(Stress))) == ["08"]
    expired = [
        name
        for name, ones in limits.items()
        for one in ones
        if one.temporary_increase
        and one.temporary_increase.expires < CASES[next(k for k in RAW if k[:2] == name)].as_of
    ]
    assert expired == ["08"]
    assert some(lambda case, found: case.layout == "raw") == ["08"]
    assert some(lambda case, found: case.fx) == ["09"]
    policy = rules.default_policy()
    assert some(lambda case, found: rules.unexplained(case, policy)) == ["10"]
    red = some(lambda case, found: any(rules.backtest_zone(one, policy) == "red" for one in case.of_kind(Backtest)))
    assert red == ["10"]
    assert some(lambda case, found: found.interchangeable_driver_ids) == ["10"]
    assert {"03", "06", "10"} <= set(some(lambda case, found: case.of_kind(Change)))


@pytest.mark.parametrize("wrong", ["100.0%", "100%", "99.9%"])
def test_prose_never_rounds_across_the_limit(wrong: str) -> None:
    name = next(one for one in RAW if one.startswith("03"))
    report = REPORTS[name]
    spoiled = report.model_copy(update={"summary": report.summary.replace("99.96%", wrong)})
    assert spoiled != report
    assert "unsupported_number" in {one.code for one in verify(CASES[name], spoiled)}


def test_near_ties_are_interchangeable() -> None:
    name = next(one for one in RAW if one.startswith("10"))
    case, report = CASES[name], REPORTS[name]
    found = rules.assess(case)
    other = next(one for one in found.interchangeable_driver_ids if one not in found.driver_ids)
    component = next(one for one in case.of_kind(Component) if one.id == other)
    swapped = report.key_drivers[-1].model_copy(
        update={"driver": component.factor, "statement": f"{component.factor} adds risk.", "evidence": [other]}
    )
    drivers = [*report.key_drivers[:-1], swapped]
    assert verify(case, report.model_copy(update={"key_drivers": drivers})) == []
