"""Whether a report may stand: its judgements against the policy, its citations and numbers against the case.

Nothing here reads a desk note: the policy does not, and no number rests on one.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ValidationError

from riskscribe import policy as rules
from riskscribe.case import PREFIX, Backtest, Case, Component, DataQuality, Limit
from riskscribe.errors import InputError
from riskscribe.evaluate.grounding import cited_ids, facts_of, ground_report, ground_text
from riskscribe.evaluate.parse import parse_report
from riskscribe.prompt import amount, utilisation
from riskscribe.report import LEVELS, RecommendedAction, Report

Code = Literal[
    "unparseable",
    "understated",
    "overstated",
    "missed_breach",
    "invented_breach",
    "wrong_status",
    "wrong_utilisation",
    "escalation",
    "assessment_status",
    "unknown_evidence",
    "wrong_driver",
    "missed_data_quality",
    "missed_limitation",
    "wrong_action",
    "omitted_side_effect",
    "unsupported_number",
]


class Finding(BaseModel):
    """One thing wrong with a report; `message` says in one line what, where, and what would be right."""

    code: Code
    path: str
    message: str
    evidence: list[str] = []


def verify_text(case: Case, text: str, policy: rules.Policy | None = None) -> list[Finding]:
    """The findings on what a model wrote; a single `unparseable` where it is no report."""
    parsed = parse_report(text)
    if parsed.report is None:
        return [Finding(code="unparseable", path="", message=parsed.error or "no report")]
    return verify(case, parsed.report, policy)


def verify(case: Case, report: Report, policy: rules.Policy | None = None) -> list[Finding]:
    """Everything in a report that differs from the policy or that the evidence does not carry; empty when clean.

    Raises InputError when the case's own numbers are too large to compute with.
    """
    policy = policy or rules.default_policy()
    try:
        official = rules.assess(case, policy)
    except (ValidationError, OverflowError):
        raise InputError(f"case {case.case_id}: its numbers overflow; check values, limits and rates") from None
    return [
        *_level(report, official),
        *_breaches(case, report, official),
        *_drivers(case, report, official, policy),
        *_limitations(case, report, official),
        *_actions(case, report, official),
        *_unknown(case, report),
        *_numbers(case, report),
    ]


def _level(report: Report, official: rules.Assessment) -> Iterator[Finding]:
    if report.risk_level != official.risk_level:
        below = LEVELS.index(report.risk_level) < LEVELS.index(official.risk_level)
        clauses = ", ".join(one.clause for one in official.level_basis)
        yield Finding(
            code="understated" if below else "overstated",
            path="risk_level",
            message=f"level is {report.risk_level}; the policy gives {official.risk_level} ({clauses})",
            evidence=list(dict.fromkeys(name for one in official.level_basis for name in one.evidence)),
        )
    if report.escalate != official.escalate:
        what = "missed: the policy escalates" if official.escalate else "false: the policy does not escalate"
        yield Finding(code="escalation", path="escalate", message=f"{what} at {official.risk_level}")
    if report.assessment_status != official.assessment_status:
        message = (
            f"assessment is {report.assessment_status}; "
            f"the policy gives {official.assessment_status} at {official.coverage_pct:.1f} % coverage"
        )
        yield Finding(code="assessment_status", path="assessment_status", message=message)


def _breaches(case: Case, report: Report, official: rules.Assessment) -> Iterator[Finding]:
    limits = {one.id: one for one in case.of_kind(Limit)}
    due = {one.limit_id: one for one in official.limit_breaches}
    seen: set[str] = set()
    for i, one in enumerate(report.limit_breaches):
        path, name = f"limit_breaches.{i}", one.limit_id
        if name in seen or name not in due:
            if name in seen:
                why = "is listed twice"
            elif name in limits:
                why = f"is within its limit at {utilisation(rules.utilisation_pct(limits[name]))} of hard"
            else:
                why = "is no limit of this case"
            yield Finding(code="invented_breach", path=path, message=f"{name} {why}", evidence=[name])
        elif one.status != due[name].status:
            message = f"{name} is {one.status}; the policy gives {due[name].status}"
            yield Finding(code="wrong_status", path=f"{path}.status", message=message, evidence=[name])
        seen.add(name)
    for name, one in due.items():
        if name not in seen:
            message = f"{name} is missing: {one.status} at {utilisation(one.utilisation_pct)} of hard"
            yield Finding(code="missed_breach", path="limit_breaches", message=message, evidence=[name])


def _drivers(case: Case, report: Report, official: rules.Assessment, policy: rules.Policy) -> Iterator[Finding]:
    components = {one.id: one for one in case.of_kind(Component)}
    chosen = list(dict.fromkeys([*official.driver_ids, *official.interchangeable_driver_ids]))
    for i, driver in enumerate(report.key_drivers):
        cited = [components[name] for name in driver.evidence if name in components]
        if not cited:
            why = f"{driver.driver} cites no component of VaR or of a stress loss"
        elif minor := [one for one in cited if abs(one.share_pct) < _material(one, policy)]:
            share = f"{minor[0].share_pct:.1f} % of {minor[0].of}"
            why = f"{minor[0].id} is {share}; {_material(minor[0], policy):g} % is material"
        elif outranked := [one for one in cited if one.id not in chosen]:
            why = f"{outranked[0].id} is not among the {policy.max_drivers} largest; those are {', '.join(chosen)}"
        elif turned := [one for one in cited if (one.contribution >= 0) != (driver.direction == "increases")]:
            right = "increases" if turned[0].contribution >= 0 else "offsets"
            why = f"{turned[0].id} {right} {turned[0].of}, the report says {driver.direction}"
        elif driver.driver in {one.factor for one in components.values()} - {one.factor for one in cited}:
            why = f"{cited[0].id} is {cited[0].factor}, not {driver.driver}"
        else:
            continue
        ids = [one.id for one in cited]
        yield Finding(code="wrong_driver", path=f"key_drivers.{i}", message=why, evidence=ids)


def _material(one: Component, policy: rules.Policy) -> float:
    of_stress = one.of.startswith(PREFIX["stress"])
    return policy.material_stress_driver_pct if of_stress else policy.material_driver_pct


def _limitations(case: Case, report: Report, official: rules.Assessment) -> Iterator[Finding]:
    """Material flags, unexplained P&L and back-tests in the red zone that no limitation cites."""
    named = {name for text in report.limitations for name in cited_ids(text)}
    due = {one.id: one for one in case.evidence if one.id in official.limitation_ids and one.id not in named}
    for name, one in due.items():
        if isinstance(one, DataQuality):
            if not one.material:
                continue
            code, what = "missed_data_quality", f"a material flag ({one.issue.replace('_', ' ')})"
        else:
            red = f"a back-test in the red zone ({one.exceptions} exceptions)" if isinstance(one, Backtest) else ""
            code, what = "missed_limitation", red or "an unexplained P&L that is too large"
        message = f"no limitation cites {name}, {what}"
        yield Finding(code=code, path="limitations", message=message, evidence=[name])


def _actions(case: Case, report: Report, official: rules.Assessment) -> Iterator[Finding]:
    for i, one in enumerate(report.recommended_actions):
        path = f"recommended_actions.{i}"
        # with no limits there is nothing to cite, and `no_action` stands alone
        due = [act for act in official.actions if _about(act) & set(one.evidence) or act.action == "no_action"]
        match = next((act for act in due if act.action == one.action), None)
        if match is None:
            wants = ", ".join(dict.fromkeys(f"{act.action} on {act.evidence[0]}" for act in due if act.evidence))
            why = f"the policy asks {wants}" if wants else "its evidence is no finding"
            message = f"{one.action} on {', '.join(one.evidence) or 'no evidence'}: {why}"
            yield Finding(code="wrong_action", path=path, message=message, evidence=one.evidence)
            continue
        named = {*one.evidence, *cited_ids(one.statement)}
        if unnamed := [name for name in match.pushes_over_soft if name not in named]:
            message = f"{match.evidence[0]}: the reduction pushes {', '.join(unnamed)} over soft, and that is not said"
            yield Finding(code="omitted_side_effect", path=path, message=message, evidence=unnamed)
        if match.size is not None and not _states_size(case, one, match):
            limit = next(limit for limit in case.of_kind(Limit) if limit.id == match.evidence[0])
            right = amount(match.size, case.language, unit=limit.unit)
            message = f"{limit.id}: the indicative reduction is {right}, the statement has another"
            yield Finding(code="wrong_action", path=f"{path}.statement", message=message, evidence=[limit.id])
    for act in official.actions:
        if act.action == "reduce_exposure" and not any(
            one.action == act.action and act.evidence[0] in one.evidence for one in report.recommended_actions
        ):
            message = f"reduce_exposure on {act.evidence[0]} is missing: an unapproved breach"
            yield Finding(code="wrong_action", path="recommended_actions", message=message, evidence=act.evidence)


def _about(action: rules.PolicyAction) -> set[str]:
    """The evidence an official action is about, without the limits it would push over soft."""
    return set(action.evidence) - set(action.pushes_over_soft)


def _states_size(case: Case, action: RecommendedAction, official: rules.PolicyAction) -> bool:
    """Whether the amounts of a statement, if it has any, include the policy's size."""
    sizes = [one for one in facts_of(case) if one.id in official.evidence and one.role == "reduction"]
    numbers = [one for one in ground_text(action.statement, sizes, official.evidence) if one.unit != "percent"]
    amounts = [one for one in numbers if one.verdict == "quoted" or (one.unit or "").startswith("money")]
    return not amounts or any(one.verdict == "quoted" for one in amounts)


def citations(case: Case, report: Report) -> Iterator[tuple[str, str]]:
    """Every id a report cites, with the path of the field."""
    for i, breach in enumerate(report.limit_breaches):
        yield f"limit_breaches.{i}.limit_id", breach.limit_id
    for field in ("limit_breaches", "key_drivers", "level_basis", "recommended_actions"):
        for i, one in enumerate(getattr(report, field)):
            for name in one.evidence:
                yield f"{field}.{i}.evidence", name
    known = {one.id for one in case.evidence}
    for path, text, _ in report.prose():
        for name in cited_ids(text, known):
            yield path, name


def _unknown(case: Case, report: Report) -> Iterator[Finding]:
    known = {one.id for one in case.evidence}
    for path, name in dict.fromkeys(citations(case, report)):
        if name not in known:
            message = f"{name} is not evidence of case {case.case_id}"
            yield Finding(code="unknown_evidence", path=path, message=message, evidence=[name])


def _numbers(case: Case, report: Report) -> Iterator[Finding]:
    limits = {one.id: one for one in case.of_kind(Limit)}
    for path, number in ground_report(case, report):
        if number.verdict != "unsupported":
            continue
        if not path.endswith("utilisation_pct"):
            message = f"{number.text!r}: {number.reason}"
            yield Finding(code="unsupported_number", path=path, message=message)
            continue
        name = report.limit_breaches[int(path.split(".")[1])].limit_id
        if name in limits:  # else it is an invented breach
            right = utilisation(rules.utilisation_pct(limits[name]))
            message = f"{name} is stated at {number.text}; it uses {right} of hard"
            yield Finding(code="wrong_utilisation", path=path, message=message, evidence=[name])
