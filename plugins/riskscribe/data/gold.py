"""The gold report of a case: the policy's findings in one of many wordings, English or Chinese.

A *plan* is what a sentence says and in which order, a *skeleton* one wording of it with slots; both stand in
wording_<language>.yaml. A fifth of every plan's skeletons is reserved for test data.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from riskscribe import policy as rules
from riskscribe.case import (
    Backtest,
    Case,
    Change,
    Component,
    DataQuality,
    Evidence,
    Language,
    Limit,
    PnL,
    Position,
    Stress,
    ValueAtRisk,
)
from riskscribe.data.notes import NoteTruth
from riskscribe.files import read_yaml
from riskscribe.prompt import amount, limit_name, percent, utilisation
from riskscribe.report import Driver, RecommendedAction, Report

RESERVED_SHARE = 5  # one in so many, rounded up, of the skeletons of a plan
_LONGEST_DETAIL = 1500  # characters of a flag's own words that are repeated
_SECOND_STEP = 0.2  # a second step of a bridge is told from this share of the largest one on


@dataclass(frozen=True)
class Skeleton:
    """One wording of a plan. Its id, "<language>.<plan>.<hash of its text>", stays when the list around it changes."""

    id: str
    text: str
    reserved: bool


@dataclass(frozen=True)
class Wording:
    """The skeletons of a language by plan, and the words that fill slots."""

    plans: dict[str, tuple[Skeleton, ...]]
    words: dict[str, Any]


@cache
def wording(language: Language) -> Wording:
    """The wording of a language, as its YAML file has it.

    Of every plan with five skeletons or more the fifth with the smallest hashes is reserved for test, never the first:
    that is the fixed template.
    """
    found = read_yaml(Path(__file__).with_name(f"wording_{language}.yaml"))
    plans = {}
    for plan, texts in found["plans"].items():
        hashes = [hashlib.sha256(text.encode()).hexdigest()[:8] for text in texts]
        count = -(-len(texts) // RESERVED_SHARE) if len(texts) >= RESERVED_SHARE else 0
        reserved = set(sorted(hashes[1:])[:count])
        plans[plan] = tuple(
            Skeleton(f"{language}.{plan}.{code}", text, code in reserved)
            for code, text in zip(hashes, texts, strict=True)
        )
    return Wording(plans, found["words"])


class _Writer:
    """Fills skeletons for one case and keeps the ids of those it used.

    The choice is seeded by the case id and the plan, so that a change of one plan's list leaves the others alone; a
    plan's skeletons are all used before one comes twice.
    """

    def __init__(self, case: Case, found: rules.Assessment, policy: rules.Policy, varied: bool, held_out: bool):
        self.case, self.found, self.policy = case, found, policy
        self.language = case.language
        self.plans, self.words = wording(case.language).plans, wording(case.language).words
        self.varied, self.held_out = varied, held_out
        self.by_id: dict[str, Evidence] = {one.id: one for one in case.evidence}
        self.decks: dict[str, Iterator[Skeleton]] = {}
        self.used: list[str] = []

    def _deck(self, plan: str) -> Iterator[Skeleton]:
        allowed = [one for one in self.plans[plan] if self.held_out or not one.reserved]
        rng = random.Random(self.case.case_id + plan)
        while True:
            yield from rng.sample(allowed, len(allowed)) if self.varied else allowed[:1]

    def say(self, plan: str, **values: str) -> str:
        if plan not in self.decks:
            self.decks[plan] = self._deck(plan)
        skeleton = next(self.decks[plan])
        self.used.append(skeleton.id)
        text = skeleton.text.format(**values)
        return _capital(text) if self.language == "en" and text.endswith(".") else text

    def size(self, value: float, *boundaries: float, **options: Any) -> str:
        return amount(abs(value), self.language, *boundaries, **options)

    def bounded(self, value: float, line: ValueAtRisk | Stress) -> str:
        """A size of a VaR or stress line, not rounded across a threshold of the limit on that line's own value."""
        measure, own = ("stress", line.pnl) if isinstance(line, Stress) else ("var", line.value)
        limits = [one for one in self.case.of_kind(Limit) if one.measure == measure and one.currency == line.currency]
        bounds = [bound for one in limits if abs(abs(one.value) - abs(own)) < 0.01 for bound in (one.soft, one.hard)]
        return self.size(value, *bounds)

    def limit(self, one: Limit) -> dict[str, str]:
        use = utilisation(rules.utilisation_pct(one))
        return {"limit": limit_name(one, self.language), "use": use, "id": one.id}

    def named(self, ids: Sequence[str]) -> str:
        """Limits by name, each with its id."""
        names = [f"{limit_name(self.by_id[one], self.language)} [{one}]" for one in ids]
        comma = "、" if self.language == "zh" else ", "
        return self.words["and"].join([*([comma.join(names[:-1])] if names[1:] else []), names[-1]])

    def gain_or_loss(self, one: PnL) -> str:
        return self.words["pnl"]["loss" if one.value < 0 else "gain"].format(size=self.size(one.value))

    def days(self, count: int) -> str:
        return self.words["days"]["one" if count == 1 else "many"].format(n=count)

    # --- drivers, limitations, assumptions

    def driver(self, evidence_id: str) -> Driver:
        one: Component = self.by_id[evidence_id]
        direction = "increases" if one.contribution >= 0 else "offsets"
        plan = f"driver.stress_{direction}" if isinstance(self.by_id[one.of], Stress) else f"driver.{direction}"
        values = {"size": self.size(one.contribution), "share": percent(abs(one.share_pct)), "id": one.id}
        statement = self.say(plan, factor=one.factor, **values)
        return Driver(driver=one.factor, direction=direction, statement=statement, evidence=[one.id])

    def limitation(self, evidence_id: str) -> str:
        match self.by_id[evidence_id]:
            case DataQuality() as one:
                return self.say(f"limitation.{one.issue}", detail=_brief(one.detail), id=one.id)
            case PnL() as one:
                actual = [other for other in self.case.of_kind(PnL) if other.measure == "actual"][-1]
                values = {"left": self.gain_or_loss(one), "actual": self.gain_or_loss(actual)}
                return self.say("limitation.unexplained", id=one.id, actual_id=actual.id, **values)
            case Backtest() as one:
                values = {"exceptions": str(one.exceptions), "days": self.days(one.days), "id": one.id}
                return self.say("limitation.backtest_red", **values)
            case other:
                raise TypeError(f"{other.id}: a {other.kind} line is no limitation")

    def contradiction(self, note: NoteTruth) -> str:
        """A wrong note beside the evidence that it contradicts; no number is the note's."""
        match self.by_id[note.contradicts]:
            case Limit() as one:
                return self.say("limitation.note_limit", note=note.note_id, **self.limit(one))
            case ValueAtRisk() as one:
                values = {"measure": self.words["measures"][one.measure], "size": self.bounded(one.value, one)}
                return self.say("limitation.note_var", note=note.note_id, id=one.id, **values)
            case Stress() as one if one.pnl < 0:
                values = {"scenario": one.scenario, "size": self.bounded(one.pnl, one)}
                return self.say("limitation.note_stress", note=note.note_id, id=one.id, **values)
            case one:
                return self.say("limitation.note_other", note=note.note_id, id=one.id)

    def assumption(self, evidence_id: str) -> str:
        one: ValueAtRisk = self.by_id[evidence_id]
        measure = self.words["measures"][one.measure]
        return self.say(f"assumption.{one.horizon_method}", days=str(one.horizon_days), measure=measure, id=one.id)

    # --- actions

    def action(self, one: rules.PolicyAction) -> RecommendedAction:
        cited = self.by_id[one.evidence[0]] if one.evidence else None
        return RecommendedAction(
            action=one.action, priority=one.priority, statement=self.step(one, cited), evidence=one.evidence
        )

    def step(self, one: rules.PolicyAction, cited: Evidence | None) -> str:
        if cited is None:
            return self.say("action.none")
        if isinstance(cited, DataQuality):
            if one.evidence[1:]:
                return self.say("action.confirm_limit", id=cited.id, others=self.named(one.evidence[1:]))
            return self.say("action.confirm", id=cited.id)
        values = self.limit(cited)
        match one.action:
            case "reduce_exposure":
                values["size"] = self.size(one.size, unit=cited.unit)
                if one.pushes_over_soft:
                    text = self.say("action.reduce_pushes", others=self.named(one.pushes_over_soft), **values)
                else:
                    text = self.say("action.reduce", **values)
                return self.with_history(text, cited)
            case "review_approval":
                expires = cited.temporary_increase.expires.isoformat()
                return self.with_history(self.say("action.review", expires=expires, **values), cited)
            case "monitor":
                return self.say("action.monitor", **values)
            case _:
                return self.say("action.none_limit", **values)

    def with_history(self, text: str, limit: Limit) -> str:
        """A statement on a breach, with its cause and the days it is open where the case gives them."""
        given = [name for name, there in (("cause", limit.cause), ("days", limit.days_open)) if there]
        if not given:
            return text
        values = {"id": limit.id, "days": self.days(limit.days_open or 0)}
        if limit.cause:
            values["cause"] = self.words["causes"][limit.cause]
        return self.join(text, self.say("breach." + "_".join(given), **values))

    def join(self, *sentences: str) -> str:
        return ("" if self.language == "zh" else " ").join(sentences)

    # --- the summary

    def summary(self) -> str:
        plan, values = self.opening()
        level = self.words["levels"][self.found.risk_level]
        texts = {"opening": self.say(plan, level=level, **values), "numbers": self.numbers(plan)}
        if (scope := self.scope(plan)) is not None:
            texts["numbers"] = self.join(texts["numbers"], scope)
        if self.found.escalate_to is None:
            return self.say("summary.order", **texts)
        texts["escalate"] = self.say("summary.escalate", to=self.words["authorities"][self.found.escalate_to])
        return self.say("summary.order_escalate", **texts)

    def opening(self) -> tuple[str, dict[str, str]]:
        """The plan of the sentence that gives the level, by what it rests on, and the slots it fills."""
        basis = {one.clause: one.evidence for one in self.found.level_basis}
        cited = {name for names in basis.values() for name in names}
        limits = [one for one in rules.in_order(self.case) if one.id in cited]
        if limits:
            plans = {
                "breach": "breach",
                "breach_within_approved_excess": "approved",
                "warning": "warning",
                "unconfirmed": "unconfirmed",
                "within": "calm",
            }
            return f"summary.open_{plans[limits[0].status]}", self.limit(limits[0])
        if "H3" in basis and not self.var_lines():
            return "summary.open_no_var", {}
        if "M3" in basis:
            flag: DataQuality = self.by_id[basis["M3"][0]]
            return "summary.open_flag", {"issue": self.words["issues"][flag.issue], "id": flag.id}
        if basis.keys() & {"H3", "M4"}:
            return "summary.open_coverage", self.coverage()
        return "summary.open_no_limits", {}

    def coverage(self) -> dict[str, str]:
        """Coverage, and the line that tells why it is not complete."""
        positions = self.case.of_kind(Position)
        missing = rules.materially_flagged(self.case) | {one.id for one in positions if one.mtm is None}
        flags = [one for one in self.case.of_kind(DataQuality) if missing & set(one.affects)]
        shown = percent(self.found.coverage_pct, 80.0, 95.0, 100.0)
        return {"coverage": shown, "id": next(iter([*flags, *positions])).id}

    def scope(self, opening: str) -> str | None:
        """What coverage makes of the assessment, unless the opening says it."""
        coverage, policy = self.found.coverage_pct, self.policy
        if opening == "summary.open_coverage" or coverage >= policy.partial_coverage_pct:
            return None
        if coverage < policy.minimum_coverage_pct:
            return self.say("summary.scope_insufficient", **self.coverage())
        if self.found.assessment_status == "partial":
            return self.say("summary.scope_partial", **self.coverage())
        return None

    def var_lines(self) -> list[ValueAtRisk]:
        """VaR lines, the recent window and the shortest horizon first."""
        lines = [one for one in self.case.of_kind(ValueAtRisk) if one.measure == "VaR"]
        return sorted(lines, key=lambda one: (one.window != "recent", one.horizon_days))

    def numbers(self, opening: str) -> str:
        stress = self.stress()
        lines = self.var_lines()
        if not lines:
            if opening == "summary.open_no_var":
                return self.say("summary.numbers_stress", stress=stress, Stress=_capital(stress))
            var, steps = self.say("summary.no_var"), None
        else:
            var, steps = self.var(lines[0])
        both = {"var": var, "Var": _capital(var), "stress": stress, "Stress": _capital(stress)}
        if steps is None:
            return self.say("summary.numbers", **both)
        return self.say("summary.numbers_bridge", steps=steps, Steps=_capital(steps), **both)

    def var(self, line: ValueAtRisk) -> tuple[str, str | None]:
        """VaR with its trend where yesterday's is given, and the largest steps of its bridge."""
        values = {
            "size": self.bounded(line.value, line),
            "days": str(line.horizon_days),
            "confidence": f"{line.confidence_pct:g}%",
            "id": line.id,
        }
        if line.previous is None:
            return self.say("summary.var", **values), None
        values["previous"] = self.bounded(line.previous, line)
        if values["previous"] == values["size"]:
            return self.say("summary.var_same", **values), None
        trend = self.say("summary.var_up" if line.value > line.previous else "summary.var_down", **values)
        return trend, self.bridge(line)

    def bridge(self, line: ValueAtRisk) -> str | None:
        steps = [one for one in self.case.of_kind(Change) if one.of == line.id and abs(one.value) >= 0.005]
        steps.sort(key=lambda one: (-abs(one.value), one.id))
        told = [one for one in steps[:2] if abs(one.value) >= _SECOND_STEP * abs(steps[0].value)]
        texts = []
        for one in told:
            plan = "summary.step_adds" if one.value > 0 else "summary.step_cuts"
            texts.append(self.say(plan, step=self.words["steps"][one.step], size=self.size(one.value), id=one.id))
        return self.say("summary.steps", first=texts[0], second=texts[1]) if texts[1:] else next(iter(texts), None)

    def stress(self) -> str:
        worst = rules.worst_stress(self.case)
        if worst is None:
            return self.say("summary.no_stress")
        if worst.pnl >= 0:
            return self.say("summary.gain", id=worst.id)
        return self.say("summary.loss", scenario=worst.scenario, size=self.bounded(worst.pnl, worst), id=worst.id)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _brief(detail: str) -> str:
    """A flag's own words without their full stop; a cut never leaves part of a number."""
    if len(detail) > _LONGEST_DETAIL:
        detail = detail[:_LONGEST_DETAIL].rstrip("0123456789.,%") + "…"
    return detail.rstrip(".。 ")


def gold_with_wording(
    case: Case,
    policy: rules.Policy | None = None,
    *,
    varied: bool = True,
    notes: Sequence[NoteTruth] = (),
    held_out: bool = False,
) -> tuple[Report, list[str]]:
    """The gold report of a case, and the ids of the skeletons it is written in, in order.

    Args:
        case: a case of either layout.
        policy: thresholds; the default policy if None.
        varied: False always takes a plan's first skeleton: the template of a comparison's ceiling column.
        notes: what the desk notes of the case are. A wrong one becomes a limitation that cites it beside the evidence
            it contradicts, a helpful one an unverified assumption; irrelevant and hostile ones leave no trace.
        held_out: also draw the skeletons reserved for test.

    Raises:
        InputError: the case states a status or utilisation that its numbers contradict.
    """
    case = rules.annotate(case)
    policy = policy or rules.default_policy()
    found = rules.assess(case, policy)
    writer = _Writer(case, found, policy, varied, held_out)
    breaches = [
        one.model_copy(update={"utilisation_pct": float(utilisation(one.utilisation_pct).rstrip("%"))})
        for one in found.limit_breaches
    ]
    wrong = [one for one in notes if one.kind == "wrong" and one.contradicts is not None]
    helpful = [one for one in notes if one.kind == "helpful"]
    report = Report(
        schema_version="1",
        limit_breaches=breaches,
        key_drivers=[writer.driver(one) for one in found.driver_ids],
        limitations=[
            *(writer.limitation(one) for one in found.limitation_ids),
            *(writer.contradiction(one) for one in wrong),
        ],
        assumptions=[
            *(writer.assumption(one) for one in found.assumption_ids),
            *(writer.say("assumption.note", note=one.note_id) for one in helpful),
        ],
        assessment_status=found.assessment_status,
        level_basis=found.level_basis,
        risk_level=found.risk_level,
        escalate=found.escalate,
        recommended_actions=[writer.action(one) for one in found.actions],
        summary=writer.summary(),
    )
    return report, writer.used


def gold_report(
    case: Case,
    policy: rules.Policy | None = None,
    *,
    varied: bool = True,
    notes: Sequence[NoteTruth] = (),
    held_out: bool = False,
) -> Report:
    """The report the policy gives for a case; see `gold_with_wording`."""
    return gold_with_wording(case, policy, varied=varied, notes=notes, held_out=held_out)[0]
