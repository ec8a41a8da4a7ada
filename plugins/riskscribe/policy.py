"""The risk policy as code: level, breaches, drivers, actions and escalation from the numbers of a case.

The written policy with its clause ids is docs/risk_policy.md; thresholds come from a YAML (policy.yaml is the
default). Nothing here reads a desk note.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from riskscribe.case import (
    Authority,
    Backtest,
    Case,
    Component,
    DataQuality,
    Limit,
    PnL,
    Position,
    Status,
    Stress,
    Strict,
    ValueAtRisk,
)
from riskscribe.errors import InputError
from riskscribe.files import read_yaml, validate
from riskscribe.report import LEVELS, Action, AssessmentStatus, Basis, Level, LimitBreach

Percent = Annotated[FiniteFloat, Field(ge=0)]


class Policy(Strict):
    """Thresholds of the policy; percentages are of what the written policy's clause says.

    `unexplained_floor` is an amount in the case's base currency; `backtest_red` a number of exceptions.
    """

    version: str
    near_limit_pct: Percent
    severe_breach_pct: Percent
    many_breaches: Annotated[int, Field(ge=1)]
    partial_coverage_pct: Percent
    minimum_coverage_pct: Percent
    material_driver_pct: Percent
    material_stress_driver_pct: Percent
    unexplained_pct: Percent
    unexplained_floor: Percent
    backtest_amber: Annotated[int, Field(ge=1)]
    backtest_red: Annotated[int, Field(ge=1)]
    max_drivers: Annotated[int, Field(ge=1, le=3)]

    @model_validator(mode="after")
    def _ordered(self):
        if self.minimum_coverage_pct > self.partial_coverage_pct:
            raise ValueError("minimum_coverage_pct must not exceed partial_coverage_pct")
        if self.backtest_amber > self.backtest_red:
            raise ValueError("backtest_amber must not exceed backtest_red")
        return self


class PolicyAction(Strict):
    """An action the policy asks for; `size` is the indicative reduction in the unit of the limit it cites.

    `pushes_over_soft` names the other limits that the reduction would bring to their soft threshold or above.
    """

    action: Action
    priority: Literal[1, 2, 3]
    evidence: list[str]
    size: float | None = None
    pushes_over_soft: list[str] = Field(default_factory=list)


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
    escalate_to: Authority | None
    actions: list[PolicyAction]


@cache
def default_policy() -> Policy:
    """The policy that ships with the package."""
    return load_policy(Path(__file__).with_name("policy.yaml"))


def load_policy(path: Path) -> Policy:
    """Read a policy's thresholds. Raises InputError naming the field."""
    return validate(Policy, read_yaml(path), str(path))


def exposure(limit: Limit, value: float | None = None) -> float:
    """The part of a limit's value, or of another one, that uses it: >= 0, in its unit; a gain uses no stress limit."""
    value = limit.value if value is None else value
    if limit.side == "both":
        return abs(value)
    return max(0.0, value if limit.side == "upper" else -value)


def utilisation_pct(limit: Limit, value: float | None = None) -> float:
    """Use of the hard limit in percent, unrounded: by the limit's value, or by another one."""
    return 100.0 * exposure(limit, value) / limit.hard


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
    """Share of the book priced today without a material data-quality flag, in percent.

    The smaller of two shares: of gross |MTM| in the base currency (an unpriced position counts with its previous MTM)
    and, where every position states it, of standalone VaR. An unpriced position without a previous MTM leaves the
    share unknown: 0.
    """
    flagged = materially_flagged(case)
    positions = case.of_kind(Position)
    sizes, clean = [], [one.id not in flagged and one.mtm is not None for one in positions]
    for one in positions:
        worth = one.mtm if one.mtm is not None else one.previous
        if worth is None:
            return 0.0
        sizes.append(abs(case.in_base(worth, one.currency)))
    shares = [_share(sizes, clean, flagged)]
    if all(one.standalone_var is not None for one in positions):
        shares.append(_share([one.standalone_var for one in positions], clean, flagged))
    return min(shares)


def _share(sizes: list[float], clean: list[bool], flagged: set[str]) -> float:
    total = sum(sizes)
    if total == 0:
        return 0.0 if flagged or not all(clean) else 100.0
    return 100.0 * sum(size for size, good in zip(sizes, clean, strict=True) if good) / total


def excess(limit: Limit) -> float:
    """Use above the hard limit, >= 0, in the limit's unit."""
    return max(0.0, exposure(limit) - limit.hard)


def reduction_to_soft(limit: Limit) -> float:
    """Indicative reduction that returns the limit to its soft threshold, >= 0, in the limit's unit."""
    return max(0.0, exposure(limit) - limit.soft)


def pushed_over_soft(case: Case, limit: Limit) -> list[str]:
    """Ids of the other limits that the indicative reduction of `limit` would bring to soft or above.

    The reduction scales down the positions that use the limit most, largest first; every Greek limit moves with them.
    Only limits whose value is the sum of the positions' sensitivities can be tested: VaR and stress limits are not.
    """
    used = _contributions(case, limit)
    if used is None:
        return []
    sign = 1.0 if limit.value >= 0 else -1.0
    left, scale = reduction_to_soft(limit), {}
    for position, part in sorted(used.items(), key=lambda pair: (-sign * pair[1], pair[0])):
        if left <= 0 or sign * part <= 0:
            break
        scale[position] = min(1.0, left / (sign * part))
        left -= scale[position] * sign * part
    pushed = []
    for other in in_order(case):
        parts = _contributions(case, other) if other.id != limit.id else None
        if parts is None or exposure(other) >= other.soft:
            continue
        after = other.value - sum(scale.get(position, 0.0) * part for position, part in parts.items())
        if exposure(other.model_copy(update={"value": after})) >= other.soft:
            pushed.append(other.id)
    return pushed


def _contributions(case: Case, limit: Limit) -> dict[str, float] | None:
    """What each position contributes to a Greek limit, in the limit's currency; None where they do not add up."""
    matching = [
        (position.id, sensitivity)
        for position in case.of_kind(Position)
        for sensitivity in position.sensitivities
        if sensitivity.measure == limit.measure
    ]
    own = [pair for pair in matching if pair[1].factor == limit.scope]
    parts: dict[str, float] = {}
    for position, sensitivity in own or matching:
        value = case.in_base(sensitivity.value, sensitivity.currency) / case.in_base(1.0, limit.currency)
        parts[position] = parts.get(position, 0.0) + value
    gap = abs(sum(parts.values()) - limit.value)
    return parts if parts and gap <= 0.01 * sum(map(abs, parts.values())) else None


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


def rank_components(case: Case, of: str | None = None) -> list[Component]:
    """Components of one line (default: of every VaR line), largest absolute share first."""
    lines = [of] if of else [one.id for one in case.of_kind(ValueAtRisk)]
    chosen = [one for one in case.of_kind(Component) if one.of in lines]
    return sorted(chosen, key=lambda one: (-abs(one.share_pct), one.id))


def worst_stress(case: Case) -> Stress | None:
    """The scenario with the lowest P&L in the base currency."""
    return min(case.of_kind(Stress), key=lambda one: (case.in_base(one.pnl, one.currency), one.id), default=None)


def _drivers(case: Case, policy: Policy) -> tuple[list[str], list[str]]:
    """Ids of the material components, and of those within one standard error of the last one that made the list.

    VaR components first; a factor material only in the worst stress loss comes after them.
    """
    material = [one for one in rank_components(case) if abs(one.share_pct) >= policy.material_driver_pct]
    chosen = material[: policy.max_drivers]
    worst = worst_stress(case)
    if worst is not None and worst.pnl < 0 and len(chosen) < policy.max_drivers:
        named = {one.factor for one in chosen}
        stressed = [
            one
            for one in rank_components(case, worst.id)
            if abs(one.share_pct) >= policy.material_stress_driver_pct and one.factor not in named
        ]
        chosen += stressed[: policy.max_drivers - len(chosen)]
    if len(material) <= policy.max_drivers:
        return [one.id for one in chosen], []
    line = next((one for one in case.of_kind(ValueAtRisk) if one.id == chosen[-1].of), None)
    tolerance = (line.standard_error or 0.0) if line else 0.0
    cut = abs(chosen[-1].contribution)
    near = [one.id for one in material if abs(abs(one.contribution) - cut) <= tolerance]
    return [one.id for one in chosen], near if len(near) > 1 else []


def backtest_zone(line: Backtest, policy: Policy) -> Literal["green", "amber", "red"]:
    """Zone of a back-test by its number of exceptions."""
    if line.exceptions >= policy.backtest_red:
        return "red"
    return "amber" if line.exceptions >= policy.backtest_amber else "green"


def unexplained(case: Case, policy: Policy) -> PnL | None:
    """The unexplained P&L line when it is large against actual P&L and above the floor, else None."""
    lines = {one.measure: one for one in case.of_kind(PnL)}
    if not {"actual", "unexplained"} <= lines.keys():
        return None
    actual, left = (abs(case.in_base(lines[key].value, lines[key].currency)) for key in ("actual", "unexplained"))
    over = left > policy.unexplained_floor and left * 100 > actual * policy.unexplained_pct
    return lines["unexplained"] if over else None


def _limitations(case: Case, policy: Policy) -> list[str]:
    """Ids of every data-quality flag, of an unexplained P&L that is too large, of back-tests in the red zone."""
    left = unexplained(case, policy)
    red = [one for one in case.of_kind(Backtest) if backtest_zone(one, policy) == "red"]
    return [one.id for one in [*case.of_kind(DataQuality), *([left] if left else []), *red]]


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
    unpriced = {one.id for one in case.of_kind(Position) if one.mtm is None}
    missing = [one for one in case.of_kind(DataQuality) if one.material or unpriced & set(one.affects)]
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
        "H3": missing if insufficient else None,
        "M1": warnings or None,
        "M2": approved or None,
        "M3": flags or None,
        "M4": missing if coverage < policy.partial_coverage_pct else None,
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
        limitation_ids=_limitations(case, policy),
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
        escalate_to=_escalate_to(level, hard),
        actions=_actions(case, limits, status, flags),
    )


def _escalate_to(level: Level, breached: list[Limit]) -> Authority | None:
    """The highest authority among the breached limits, but never below the business (high) or the CRO (critical).

    None below high. A desk does not judge its own breach.
    """
    order: tuple[Authority, ...] = ("desk", "business", "CRO", "board")
    least: dict[Level, Authority] = {"high": "business", "critical": "CRO"}
    if level not in least:
        return None
    return max((least[level], *(one.authority for one in breached)), key=order.index)


def _actions(
    case: Case, limits: list[Limit], status: dict[str, Status], flags: list[DataQuality]
) -> list[PolicyAction]:
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
            reduce = action == "reduce_exposure"
            pushed = pushed_over_soft(case, limit) if reduce else []
            actions.append(
                PolicyAction(
                    action=action,
                    priority=priority,
                    evidence=[limit.id, *pushed],
                    size=reduction_to_soft(limit) if reduce else None,
                    pushes_over_soft=pushed,
                )
            )
    for flag in flags:
        doubted = [one for one in flag.affects if status.get(one) == "unconfirmed"]
        actions.append(PolicyAction(action="confirm_data", priority=1 if doubted else 2, evidence=[flag.id, *doubted]))
    actions.sort(key=lambda one: one.priority)
    return actions or [PolicyAction(action="no_action", priority=3, evidence=[one.id for one in limits[:1]])]
