"""The risk policy as code: level, breaches, drivers, actions and escalation from the numbers of a case.

The written policy with its clause ids is docs/risk_policy.md; thresholds come from a YAML (policy.yaml is the
default). Nothing here reads a desk note.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from riskscribe.case import Case, Component, DataQuality, Limit, Position, Status, Strict, ValueAtRisk
from riskscribe.errors import InputError
from riskscribe.files import read_yaml, validate
from riskscribe.report import LEVELS, Action, AssessmentStatus, Basis, Level, LimitBreach

Percent = Annotated[FiniteFloat, Field(ge=0)]


class Policy(Strict):
    """Thresholds of the policy; percentages are of the hard limit, of VaR or of gross |MTM| as the clause says."""

    version: str
    near_limit_pct: Percent
    severe_breach_pct: Percent
    many_breaches: Annotated[int, Field(ge=1)]
    partial_coverage_pct: Percent
    minimum_coverage_pct: Percent
    material_driver_pct: Percent
    max_drivers: Annotated[int, Field(ge=1, le=3)]

    @model_validator(mode="after")
    def _ordered(self):
        if self.minimum_coverage_pct > self.partial_coverage_pct:
            raise ValueError("minimum_coverage_pct must not exceed partial_coverage_pct")
        return self


class PolicyAction(Strict):
    """An action the policy asks for; `size` is the indicative reduction in the unit of the limit it cites."""

    action: Action
    priority: Literal[1, 2, 3]
    evidence: list[str]
    size: float | None = None


class Assessment(Strict):
    """What the policy says about a case: the official values beside a model's report."""

    limit_breaches: list[LimitBreach]
    driver_ids: list[str]
    interchangeable_driver_ids: list[str]
    limitation_ids: list[str]
    assumption_ids: list[str]
    coverage_pct: float
    assessment_status: AssessmentStatus
    level_basis: list[Basis]
    risk_level: Level
    escalate: bool
    actions: list[PolicyAction]


@cache
def default_policy() -> Policy:
    """The policy that ships with the package."""
    return load_policy(Path(__file__).with_name("policy.yaml"))


def load_policy(path: Path) -> Policy:
    """Read a policy's thresholds. Raises InputError naming the field."""
    return validate(Policy, read_yaml(path), str(path))


def exposure(limit: Limit) -> float:
    """The part of a limit's value that uses it, >= 0, in the limit's unit; a gain uses no stress limit."""
    return {"both": abs(limit.value), "upper": max(0.0, limit.value), "lower": max(0.0, -limit.value)}[limit.side]


def utilisation_pct(limit: Limit) -> float:
    """Use of the hard limit in percent, unrounded."""
    return 100.0 * exposure(limit) / limit.hard


def limit_status(case: Case, limit: Limit) -> Status:
    """Status on unrounded values: warning from soft on, breach above hard (exactly 100 % is a warning).

    An increase covers a breach up to hard + amount until it expires. At or above soft, a material data-quality flag
    on the limit makes the status unconfirmed.
    """
    used = exposure(limit)
    if used < limit.soft:
        return "within"
    if limit.id in materially_flagged(case):
        return "unconfirmed"
    if used <= limit.hard:
        return "warning"
    return "breach_within_approved_excess" if _approved(case, limit) else "breach"


def _approved(case: Case, limit: Limit) -> bool:
    increase = limit.temporary_increase
    return increase is not None and increase.expires >= case.as_of and exposure(limit) <= limit.hard + increase.amount


def materially_flagged(case: Case) -> set[str]:
    """Ids of the evidence that a material data-quality flag names."""
    return {one for flag in case.of_kind(DataQuality) if flag.material for one in flag.affects}


def coverage_pct(case: Case) -> float:
    """Share of gross |MTM| (base currency) without a material data-quality flag, in percent."""
    flagged = materially_flagged(case)
    gross = clean = 0.0
    for position in case.of_kind(Position):
        size = abs(case.in_base(position.mtm, position.currency))
        gross += size
        clean += size * (position.id not in flagged)
    if gross == 0:
        return 100.0 if not flagged else 0.0
    return 100.0 * clean / gross


def excess(limit: Limit) -> float:
    """Use above the hard limit, >= 0, in the limit's unit."""
    return max(0.0, exposure(limit) - limit.hard)


def reduction_to_soft(limit: Limit) -> float:
    """Indicative reduction that returns the limit to its soft threshold, >= 0, in the limit's unit."""
    return max(0.0, exposure(limit) - limit.soft)


def annotate(case: Case) -> Case:
    """The case with every limit's utilisation and status filled in.

    Raises InputError where the case states another status or utilisation than its own numbers give.
    """
    evidence = []
    for item in case.evidence:
        if isinstance(item, Limit):
            status, utilisation = limit_status(case, item), utilisation_pct(item)
            if item.status not in (None, status):
                raise InputError(
                    f"case {case.case_id}: {item.id}: status {item.status!r} contradicts its own numbers, which give "
                    f"{status!r} ({utilisation:g} % of hard)"
                )
            if item.utilisation_pct is not None and abs(item.utilisation_pct - utilisation) > 0.05:
                raise InputError(
                    f"case {case.case_id}: {item.id}: utilisation {item.utilisation_pct:g} % contradicts its own "
                    f"numbers, which give {utilisation:g} %"
                )
            item = item.model_copy(update={"status": status, "utilisation_pct": utilisation})
        evidence.append(item)
    return case.model_copy(update={"evidence": evidence})


def in_order(case: Case) -> list[Limit]:
    """Limits as an exception report lists them: worst utilisation first."""
    return sorted(case.of_kind(Limit), key=lambda one: (-utilisation_pct(one), one.id))


def rank_components(case: Case) -> list[Component]:
    """VaR components, largest absolute share first."""
    return sorted(case.of_kind(Component), key=lambda one: (-abs(one.share_pct), one.id))


def _drivers(case: Case, policy: Policy) -> tuple[list[str], list[str]]:
    """Ids of the material components, and of those within one standard error of the last one that made the list."""
    material = [one for one in rank_components(case) if abs(one.share_pct) >= policy.material_driver_pct]
    chosen = material[: policy.max_drivers]
    if len(material) <= policy.max_drivers:
        return [one.id for one in chosen], []
    line = next((one for one in case.of_kind(ValueAtRisk) if one.id == chosen[-1].of), None)
    tolerance = (line.standard_error or 0.0) if line else 0.0
    cut = abs(chosen[-1].contribution)
    near = [one.id for one in material if abs(abs(one.contribution) - cut) <= tolerance]
    return [one.id for one in chosen], near if len(near) > 1 else []


def assess(case: Case, policy: Policy | None = None) -> Assessment:
    """Apply the policy to a case. Pure: numbers in, official values out; notes are never read."""
    policy = policy or default_policy()
    limits = in_order(case)
    status = {one.id: limit_status(case, one) for one in limits}
    breaches = [
        LimitBreach(limit_id=one.id, status=status[one.id], utilisation_pct=utilisation_pct(one), evidence=[one.id])
        for one in limits
        if status[one.id] != "within"
    ]
    # an unconfirmed limit counts at what its numbers say: a doubt never lowers the level
    hard = [one for one in limits if exposure(one) > one.hard and not _approved(case, one)]
    approved = [one for one in limits if exposure(one) > one.hard and _approved(case, one)]
    warnings = [one for one in limits if one.soft <= exposure(one) <= one.hard]
    flags = [one for one in case.of_kind(DataQuality) if one.material]
    coverage = coverage_pct(case)
    var_lines = [one for one in case.of_kind(ValueAtRisk) if one.measure == "VaR"]
    insufficient = coverage < policy.minimum_coverage_pct or not var_lines

    def severe(limit: Limit) -> bool:
        return exposure(limit) * 100 >= limit.hard * policy.severe_breach_pct

    near = [
        one
        for one in warnings
        if one.measure in ("var", "stress") and exposure(one) * 100 >= one.hard * policy.near_limit_pct
    ]
    # clause -> the evidence it rests on; None where it does not apply
    clauses: dict[str, list | None] = {
        "C1": [one for one in hard if one.authority in ("CRO", "board")] or None,
        "C2": [one for one in hard if severe(one)] or None,
        "C3": hard if len(hard) >= policy.many_breaches else None,
        "C4": [one for one in hard if one.measure == "stress"] or None,
        "H1": hard or None,
        "H2": near or None,
        "H3": flags if insufficient else None,
        "M1": warnings or None,
        "M2": approved or None,
        "M3": flags or None,
        "M4": flags if coverage < policy.partial_coverage_pct else None,
        "L1": limits[:1],
    }
    applying = {clause: found for clause, found in clauses.items() if found is not None}
    grade = next(iter(applying))[0]
    level: Level = LEVELS["LMHC".index(grade)]
    basis = [
        Basis(clause=clause, evidence=[one.id for one in found])
        for clause, found in applying.items()
        if clause[0] == grade
    ]
    drivers, interchangeable = _drivers(case, policy)
    return Assessment(
        limit_breaches=breaches,
        driver_ids=drivers,
        interchangeable_driver_ids=interchangeable,
        limitation_ids=[one.id for one in case.of_kind(DataQuality)],
        assumption_ids=[one.id for one in case.of_kind(ValueAtRisk) if one.horizon_method != "direct"],
        coverage_pct=coverage,
        assessment_status="insufficient"
        if insufficient
        else "partial"
        if coverage < policy.partial_coverage_pct
        else "complete",
        level_basis=basis,
        risk_level=level,
        escalate=level in ("high", "critical"),
        actions=_actions(limits, status, flags),
    )


def _actions(limits: list[Limit], status: dict[str, Status], flags: list[DataQuality]) -> list[PolicyAction]:
    """One action a finding, most urgent first; `no_action` when nothing was found."""
    kinds: dict[str, tuple[Action, Literal[1, 2, 3]]] = {
        "breach": ("reduce_exposure", 1),
        "breach_within_approved_excess": ("review_approval", 2),
        "warning": ("monitor", 3),
    }
    actions = []
    for limit in limits:
        if status[limit.id] in kinds:
            action, priority = kinds[status[limit.id]]
            size = reduction_to_soft(limit) if action == "reduce_exposure" else None
            actions.append(PolicyAction(action=action, priority=priority, evidence=[limit.id], size=size))
    for flag in flags:
        doubted = [one for one in flag.affects if status.get(one) == "unconfirmed"]
        actions.append(PolicyAction(action="confirm_data", priority=1 if doubted else 2, evidence=[flag.id, *doubted]))
    actions.sort(key=lambda one: one.priority)
    return actions or [PolicyAction(action="no_action", priority=3, evidence=[one.id for one in limits[:1]])]
