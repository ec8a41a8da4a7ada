"""The model's report beside the policy's: every entry paired with the official one, and every difference marked.

A reader must never meet a value of the model's that understates the policy's without a mark next to it, so the two
are compared here and not left to the findings that the page is given.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from markupsafe import Markup

from riskscribe import policy as rules
from riskscribe.case import Authority, Case, Component, DataQuality, Evidence, Limit, Stress, ValueAtRisk
from riskscribe.evaluate.grounding import Claim, Number, read_report
from riskscribe.evaluate.verify import levels_in_prose
from riskscribe.page import charts
from riskscribe.page.bridge import was
from riskscribe.page.cite import ID, Span, bracket
from riskscribe.page.words import STATUS_SHAPES, WORDS
from riskscribe.policy import Assessment, Policy, PolicyAction
from riskscribe.prompt import ISSUES, amount, limit_name, line, percent, trend, utilisation
from riskscribe.report import LEVELS, LimitBreach, RecommendedAction, Report
from riskscribe.review import ADDABLE, Sentence, judgements, proposal, same_utilisation, sentences
from riskscribe.yesterday import counterparts

# how serious a status is, to say whether another one understates it
_SEVERITY = ("within", "warning", "breach_within_approved_excess", "unconfirmed", "breach")
_URGENCY = ("no_action", "monitor", "confirm_data", "review_approval", "reduce_exposure")
_ASSESSMENTS = ("complete", "partial", "insufficient")


class Finding(Protocol):
    """What verification found: `path` is where in the report, `evidence` the ids or values it rests on."""

    code: str
    path: str
    message: str
    evidence: Any


@dataclass(frozen=True)
class Mark:
    """How the model's value stands to the policy's: a kind of `MARK_SHAPES`, and what it is about."""

    kind: str
    note: str = ""

    @property
    def agrees(self) -> bool:
        """Whether there is nothing to tell a reader."""
        return self.kind in ("same", "added")


@dataclass(frozen=True)
class Item:
    """Something a reviewer decides on: a sentence, a judgement ("policy": take the policy's), or an addition.

    `place` says what it is in words; `text` is the sentence or what would be added; `told` are the sentence's numbers
    and wrong comparisons.
    """

    id: str
    kind: str
    path: str
    index: int | None
    place: str
    text: str
    evidence: list[str] = field(default_factory=list)
    told: list[Number | Claim] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """A sentence as shown: its text with marked spans, and the id of the item to decide on ("" for none)."""

    text: str
    spans: list[Span] = field(default_factory=list)
    item: str = ""


@dataclass(frozen=True)
class Said:
    """One thing the model wrote: its sentences, ids it rests on without naming them, the findings on it, and a mark
    where it speaks of a lower level than the official one.
    """

    label: str
    parts: list[Part]
    more: str = ""
    findings: list[Finding] = field(default_factory=list)
    mark: Mark | None = None


@dataclass(frozen=True)
class Row:
    """An official entry ("" where the policy has none) beside what the model said about it.

    `add` is the item that would add it to the report where the model left it out.
    """

    official: str
    said: list[Said]
    marks: list[Mark]
    add: str = ""


@dataclass(frozen=True)
class Fact:
    """A headline value: the policy's, the model's, and how they compare (None without a readable answer)."""

    name: str
    official: str
    shape: str
    note: str = ""
    model: str = ""
    mark: Mark | None = None
    item: str = ""


@dataclass(frozen=True)
class LimitRow:
    """A limit with its official status and the model's entries for it; `bar` is None for an unknown limit."""

    id: str
    name: str
    status: str
    use: str
    bar: Markup | None
    was: str
    facts: list[str]
    model: list[str]
    marks: list[Mark]


@dataclass(frozen=True)
class StressRow:
    """A scenario: its shocks, P&L today and yesterday in words, and its bar."""

    id: str
    name: str
    shocks: str
    pnl: str
    was: str
    bar: Markup


@dataclass
class _Differences:
    """Gathers what differs, so that the head of the page can say it before the reader meets it."""

    count: int = 0
    understated: list[str] = field(default_factory=list)

    def note(self, name: str, marks: Iterable[Mark], *, serious: bool = True) -> None:
        for mark in marks:
            self.count += not mark.agrees and mark.kind != "found"
            if serious and mark.kind in ("understated", "missed") and name not in self.understated:
                self.understated.append(name)


class Beside:
    """The two reports of one case, section by section; `items` is what a reviewer decides on, in order of the page."""

    def __init__(
        self,
        case: Case,
        report: Report | None,
        official: Assessment,
        findings: Sequence[Finding],
        policy: Policy,
        yesterday: Case | None = None,
    ):
        self.case, self.report, self.official, self.findings = case, report, official, list(findings)
        self.policy = policy
        self.language = case.language
        self.words = WORDS[case.language]
        self.by_id: dict[str, Evidence] = {one.id: one for one in case.evidence}
        self.before = counterparts(case, yesterday) if yesterday else {}
        self.differences = _Differences()
        self.items: dict[str, Item] = {}
        # numbers, and the comparisons that the evidence contradicts
        self.told: dict[str, list[Number | Claim]] = {}
        if report:
            read = read_report(case, report)
            wrong = ((path, one) for path, one in read.claims if one.verdict == "contradicted")
            for path, one in [*read.numbers, *wrong]:
                self.told.setdefault(path, []).append(one)
        self.judgements = judgements(report, official) if report else {}

    def mark(self, kind: str, note: str = "") -> Mark:
        return Mark(kind, self.words["notes"].get(note, note))

    def money(self, value: float, currency: str, **options) -> str:
        return f"{amount(value, self.language, **options)} {currency}"

    def said(self, label: str, text: str, path: str, evidence: Sequence[str] = ()) -> Said:
        """A prose field, sentence by sentence, with the findings on it or on the object it stands in."""
        owner = path.rsplit(".", 1)[0] if path.endswith(".statement") else path
        here = [one for one in self.findings if _within(dotted(one.path), owner)]
        spans = [
            Span(*one.span, "wrong" if one.verdict in ("unsupported", "contradicted") else "supported")
            for one in self.told.get(path, ())
            if one.verdict != "ignored"
        ]
        # an id of a shape that no case has is found by verification only
        strange = {name for one in here if one.code == "unknown_evidence" for name in names_of(one) if name}
        spans += [Span(*found.span(), "unknown") for name in strange for found in re.finditer(re.escape(name), text)]
        parts = [self.part(text, path, one, spans, evidence) for one in sentences(text)]
        mark = self.mark("understated", self.words["level"]) if self.speaks_lower(text) else None
        if mark:
            self.differences.note(f"{self.words['level']} ({self.place(path)})", [mark])
        more = bracket(one for one in evidence if one not in ID.findall(text))
        return Said(label, parts, more, here, mark)

    def part(self, text: str, path: str, one: Sentence, spans: list[Span], evidence: Sequence[str]) -> Part:
        """One sentence of a prose field, noted as an item to decide on."""
        inside = [each for each in spans if one.start <= each.start and each.end <= one.end]
        told = [each for each in self.told.get(path, ()) if one.start <= each.span[0] < one.end]
        said = text[one.start : one.end]
        cited = [*ID.findall(said), *(name for each in told for name in each.evidence)]
        item = Item(
            id=f"{path}#{one.number}",
            kind="sentence",
            path=path,
            index=one.number,
            place=self.words["review"]["sentence"].format(place=self.place(path), n=one.number + 1),
            text=said,
            evidence=[name for name in dict.fromkeys(cited or evidence) if name in self.by_id],
            told=[each for each in told if each.verdict != "ignored"],
        )
        self.items[item.id] = item
        shifted = [each._replace(start=each.start - one.start, end=each.end - one.start) for each in inside]
        return Part(said, shifted, item.id)

    def place(self, path: str) -> str:
        """Where a path leads, in words: "Driver 2", "Summary"."""
        words, (head, *rest) = self.words["places"], dotted(path).split(".")
        if head == "limit_breaches" and rest and self.report and int(rest[0]) < len(self.report.limit_breaches):
            return f"{words[head]} {self.report.limit_breaches[int(rest[0])].limit_id}"
        number = f" {int(rest[0]) + 1}" if rest and rest[0].isdecimal() else ""
        return words.get(head, path) + number

    def judgement(self, field_name: str) -> str:
        """The item that decides whether a judgement is the policy's or the model's; "" where they agree."""
        if field_name not in self.judgements:
            return ""
        place = self.words["places"][field_name]
        self.items[field_name] = Item(field_name, "policy", field_name, None, place, "")
        return field_name

    def addition(self, section: str, index: int) -> str:
        """The item that would add the policy's entry to a section of the report."""
        if self.report is None:
            return ""
        entry = proposal(self.case, self.official, section, index)
        text = entry if isinstance(entry, str) else entry["statement"]
        place = self.words["review"]["added"].format(place=self.words["places"][section])
        cited = [name for name in dict.fromkeys(ID.findall(text)) if name in self.by_id]
        item = Item(f"{section}+{index}", "addition", section, index, place, text, cited)
        self.items[item.id] = item
        return item.id

    def speaks_lower(self, text: str) -> bool:
        """Whether a sentence calls the risk a lower level than the policy does, whatever the level field says."""
        stated = map(LEVELS.index, levels_in_prose(text, self.language))
        return any(one < LEVELS.index(self.official.risk_level) for one in stated)

    def facts(self) -> list[Fact]:
        words, official, report = self.words, self.official, self.report
        rank = LEVELS.index(official.risk_level) + 1
        level = Fact(words["level"], words["levels"][official.risk_level], "■" * rank + "□" * (4 - rank))
        escalate = Fact(
            words["escalate"],
            words["yes" if official.escalate else "no"],
            "◆" if official.escalate else "◇",
            words["escalate_to"].format(to=self.authority(official.escalate_to)) if official.escalate_to else "",
        )
        share = words["coverage"].format(share=percent(round(official.coverage_pct, 9), 80.0, 95.0, 100.0))
        known = _ASSESSMENTS.index(official.assessment_status)
        assessment = Fact(words["assessment"], words["assessments"][official.assessment_status], "●◐○"[known], share)
        if report is None:
            return [level, escalate, assessment]
        return [
            self.compared(
                level, "risk_level", words["levels"][report.risk_level], LEVELS.index(report.risk_level) + 1 - rank
            ),
            self.compared(
                escalate,
                "escalate",
                words["yes" if report.escalate else "no"],
                report.escalate - official.escalate,
            ),
            self.compared(
                assessment,
                "assessment_status",
                words["assessments"][report.assessment_status],
                _ASSESSMENTS.index(report.assessment_status) - known,
            ),
        ]

    def compared(self, fact: Fact, field_name: str, model: str, above: int) -> Fact:
        mark = self.mark(_direction(above))
        self.differences.note(fact.name, [mark])
        return replace(fact, model=model, mark=mark, item=self.judgement(field_name))

    def figures(self) -> list[tuple[str, str, str]]:
        """VaR and ES lines and the worst stress as (name, value, rest of the evidence line with its id)."""
        found = []
        for one in self.case.of_kind(ValueAtRisk):
            name, value, *rest = self.facts_of(one).split(" | ")
            found.append((name, f"{value} {one.currency}", f"{self.words['comma'].join(rest)} [{one.id}]"))
        if not any(one.measure == "VaR" for one in self.case.of_kind(ValueAtRisk)):
            found.append(("VaR", "–", self.words["no_var"]))
        scenarios = self.case.of_kind(Stress)
        if scenarios:
            worst = min(scenarios, key=lambda one: self.case.in_base(one.pnl, one.currency))
            value = self.money(worst.pnl, worst.currency)
            found.append((self.words["worst_stress"], value, f"{worst.scenario} ({worst.shocks}) [{worst.id}]"))
        else:
            found.append((self.words["worst_stress"], "–", self.words["no_stress"]))
        return found

    def stress(self) -> list[StressRow]:
        """The scenarios, worst first, on one scale in the base currency."""
        scenarios = sorted(
            self.case.of_kind(Stress), key=lambda one: (self.case.in_base(one.pnl, one.currency), one.id)
        )
        worth = [
            self.case.in_base(value, one.currency)
            for one in scenarios
            for value in (one.pnl, one.previous)
            if value is not None
        ]
        rows = []
        for one in scenarios:
            previous = None if one.previous is None else self.case.in_base(one.previous, one.currency)
            pnl, earlier = self.money(one.pnl, one.currency), ""
            if one.previous is not None:
                earlier = self.money(one.previous, one.currency)
            label = f"{one.scenario}{self.words['colon']}{pnl}"
            bar = charts.stress(self.case.in_base(one.pnl, one.currency), previous, min(worth), max(worth), label)
            rows.append(StressRow(one.id, one.scenario, one.shocks, pnl, earlier, bar))
        return rows

    def facts_of(self, item: Evidence) -> str:
        """The evidence line without its id."""
        return line(item, self.case).removeprefix(item.id).strip()

    def limits(self) -> list[LimitRow]:
        limits = rules.in_order(self.case)
        worst = max((rules.utilisation_pct(one) for one in limits), default=100.0)
        scale = min(max(125.0, worst), 200.0)
        official = {one.limit_id: one for one in self.official.limit_breaches}
        stated: dict[str, list[LimitBreach]] = {}
        for breach in self.report.limit_breaches if self.report else []:
            stated.setdefault(breach.limit_id, []).append(breach)
        rows = [self.limit_row(one, official.get(one.id), stated.pop(one.id, []), scale) for one in limits]
        for limit_id, breaches in stated.items():
            marks = [self.mark("invented", "unknown_id")]
            self.differences.note(limit_id, marks)
            model = [self.stated(one) for one in breaches]
            rows.append(LimitRow(limit_id, self.words["unknown_limit"], "", "", None, "", [], model, marks))
        return rows

    def stated(self, breach: LimitBreach) -> str:
        more = [one for one in breach.evidence if one != breach.limit_id]
        text = f"{STATUS_SHAPES[breach.status]} {self.words['statuses'][breach.status]} {breach.utilisation_pct:.10g}%"
        return text + (f" [{', '.join(more)}]" if more else "")

    def limit_row(
        self, limit: Limit, official: LimitBreach | None, stated: list[LimitBreach], scale: float
    ) -> LimitRow:
        use = rules.utilisation_pct(limit)
        status = official.status if official else "within"
        marks = self.limit_marks(status, use, stated) if self.report else []
        name = limit_name(limit, self.language)
        self.differences.note(f"{name} {limit.id}", marks)
        soft = 100.0 * limit.soft / limit.hard
        words = self.words
        label = words["bar_label"].format(use=utilisation(use), soft=percent(soft))
        then = self.before.get(limit.id)
        earlier = was(limit, then if isinstance(then, Limit) else None)
        told = f"{amount(earlier[0], self.language, unit=limit.unit)} ({utilisation(earlier[1])})" if earlier else ""
        return LimitRow(
            limit.id,
            name,
            status,
            utilisation(use),
            charts.utilisation(use, soft, scale, label),
            told,
            self.limit_facts(limit),
            [self.stated(one) for one in stated],
            marks,
        )

    def limit_facts(self, limit: Limit) -> list[str]:
        """Value of hard, what returns it to soft, any temporary increase, owner and authority, in words."""
        words, language = self.words, self.language
        bounds = [sign * bound for sign in (1, -1) for bound in (limit.soft, limit.hard)]
        value = amount(limit.value, language, *bounds, unit=limit.unit)
        currency = "" if limit.unit == "percent" else f" {limit.currency}"
        hard = amount(limit.hard, language, unit=limit.unit) + currency
        facts = [words["use"].format(value=value, hard=hard)]
        if limit.five_days_ago is not None:
            facts.append(trend(limit, language, unit=limit.unit))
        if rules.exposure(limit) > limit.hard:
            facts.append(
                words["to_soft"].format(size=amount(rules.reduction_to_soft(limit), language, unit=limit.unit))
            )
        if limit.temporary_increase:
            extra = limit.temporary_increase
            key = "increase" if extra.expires >= self.case.as_of else "increase_expired"
            size = amount(extra.amount, language, unit=limit.unit)
            facts.append(words[key].format(size=size, until=extra.expires, by=extra.approved_by))
        if limit.days_open:
            facts.append(words["days_open"].format(days=limit.days_open))
        facts.append(f"{limit.owner or words['no_owner']}{words['comma']}{self.authority(limit.authority)}")
        return facts

    def authority(self, one: Authority) -> str:
        return self.words["authorities"][one]

    def limit_marks(self, status: str, use: float, stated: list[LimitBreach]) -> list[Mark]:
        if not stated:
            return [self.mark("same")] if status == "within" else [self.mark("missed")]
        if status == "within":
            return [self.mark("invented")]
        marks = []
        for one in stated:
            above = _SEVERITY.index(one.status) - _SEVERITY.index(status)
            if above:
                marks.append(self.mark(_direction(above), "status"))
            if not same_utilisation(one.utilisation_pct, use):
                marks.append(self.mark(_direction(1 if one.utilisation_pct > use else -1), "utilisation"))
        if len(stated) > 1:
            marks.append(self.mark("differs", "twice"))
        return marks or [self.mark("same")]

    def basis(self) -> list[Row]:
        policy = self.policy
        numbers = {
            "severe": f"{policy.severe_breach_pct:g}%",
            "near": f"{policy.near_limit_pct:g}%",
            "minimum": f"{policy.minimum_coverage_pct:g}%",
            "partial": f"{policy.partial_coverage_pct:g}%",
            "many": policy.many_breaches,
        }

        def clause_words(clause: str) -> str:
            text = self.words["clauses"].get(clause, "")
            return clause + self.words["colon"] + text.format(**numbers)

        rows = []
        stated = list(self.report.level_basis) if self.report else []
        for one in self.official.level_basis:
            same = [other for other in stated if other.clause == one.clause]
            stated = [other for other in stated if other.clause != one.clause]
            said = [self.basis_said(other.clause, other.evidence) for other in same]
            marks = [] if same else [self.mark("missed")]
            if same and {each for other in same for each in other.evidence} != set(one.evidence):
                marks.append(self.mark("differs", "evidence"))
            rows.append(self.row("basis", f"{clause_words(one.clause)} {bracket(one.evidence)}".strip(), said, marks))
        for other in stated:
            said = [self.basis_said(clause_words(other.clause), other.evidence)]
            rows.append(self.row("basis", "", said, [self.mark("invented")]))
        return rows

    def basis_said(self, label: str, evidence: list[str]) -> Said:
        return Said("", [Part(f"{label} {bracket(evidence)}".strip())])

    def row(
        self, section: str, official: str, said: list[Said], marks: list[Mark], *, name: str = "", add: str = ""
    ) -> Row:
        """A row of a section; agreement where nothing else was marked, no mark at all without a readable report."""
        if self.report is None:
            return Row(official, [], [])
        marks = marks or [self.mark("found" if any(one.findings for one in said) else "same")]
        self.differences.note(name or self.words[section], marks, serious=bool(name))
        return Row(official, said, marks, add)

    def drivers(self) -> list[Row]:
        words, official = self.words, self.official
        near = set(official.interchangeable_driver_ids)
        left = list(enumerate(self.report.key_drivers)) if self.report else []

        def take(wanted: set[str]) -> list:
            found = [one for one in left if wanted & set(one[1].evidence)]
            left[:] = [one for one in left if one not in found]
            return found

        taken = {one: take({one}) for one in official.driver_ids}
        rows = []
        for i, component_id in enumerate(official.driver_ids):
            component: Component = self.by_id[component_id]
            direction = "increases" if component.contribution >= 0 else "offsets"
            share = self.share_of(component)
            size = self.money(component.contribution, component.currency)
            text = f"{component.factor} {words['directions'][direction]}{words['colon']}{size}{words['comma']}{share}"
            text += f" [{component_id}]"
            found, marks = taken[component_id], []
            if not found and component_id in near:
                found = next(([one] for one in left if near & set(one[1].evidence)), [])
                left = [one for one in left if one not in found]
                marks = [self.mark("same", "interchangeable")] if found else []
            if not found:
                marks = [self.mark("missed")]
            elif taken[component_id]:
                wrong = any(one.direction != direction for _, one in found)
                marks = [self.mark("differs", "direction")] if wrong else []
            add = "" if found else self.addition("key_drivers", i)
            rows.append(self.row("drivers", text, [self.driver_said(*one) for one in found], marks, add=add))
        rows += [self.row("drivers", "", [self.driver_said(*one)], [self.mark("invented")]) for one in left]
        return rows

    def share_of(self, component: Component) -> str:
        share, line = percent(abs(component.share_pct)), self.by_id[component.of]
        if isinstance(line, Stress):
            return self.words["share_of_stress"].format(share=share, scenario=line.scenario)
        return self.words["share_of_var"].format(share=share)

    def driver_said(self, index: int, driver: Any) -> Said:
        label = f"{driver.driver} {self.words['directions'][driver.direction]}"
        return self.said(label, driver.statement, f"key_drivers.{index}.statement", driver.evidence)

    def describe(self, evidence_id: str) -> str:
        item = self.by_id[evidence_id]
        if isinstance(item, Limit):
            return f"{limit_name(item, self.language)} [{item.id}]"
        if isinstance(item, DataQuality):
            issue = ISSUES[self.language].get(item.issue, item.issue.replace("_", " "))
            return f"{issue} [{item.id}]"
        return f"[{evidence_id}]"

    def action_text(self, one: PolicyAction) -> str:
        words = self.words
        text = self.action_label(one)
        if one.evidence:
            about = [each for each in one.evidence if each not in one.pushes_over_soft]
            text += words["colon"] + words["comma"].join(map(self.describe, about))
        limit = self.by_id.get(one.evidence[0]) if one.evidence else None
        if one.size and isinstance(limit, Limit):
            size = amount(one.size, self.language, unit=limit.unit)
            size += "" if limit.unit == "percent" else f" {limit.currency}"
            text += words["separator"] + words["indicative"].format(size=size)
        if one.pushes_over_soft:
            pushed = words["comma"].join(map(self.describe, one.pushes_over_soft))
            text += words["separator"] + words["pushes"].format(limits=pushed)
        return text

    def actions(self) -> list[Row]:
        """Each official action beside the model's on the same evidence, the same action first."""
        left = list(enumerate(self.report.recommended_actions)) if self.report else []
        taken: dict[int, list[tuple[int, RecommendedAction]]] = {i: [] for i in range(len(self.official.actions))}
        for same in (True, False):
            for i, wanted in enumerate(self.official.actions):
                found = [one for one in left if self.answers(one[1], wanted, same_action=same)]
                taken[i] += found
                left = [one for one in left if one not in found]
        words, rows = self.words, []
        for i, wanted in enumerate(self.official.actions):
            marks = [] if taken[i] else [self.mark("missed")]
            for _, one in taken[i]:
                if one.action != wanted.action:
                    above = _URGENCY.index(one.action) - _URGENCY.index(wanted.action)
                    marks.append(self.mark(_direction(above), "action"))
                elif one.priority != wanted.priority:
                    marks.append(self.mark(_direction(wanted.priority - one.priority), "priority"))
                if not set(wanted.pushes_over_soft) <= {*one.evidence, *ID.findall(one.statement)}:
                    marks.append(self.mark("differs", "side_effect"))
            said = [self.action_said(*one) for one in taken[i]]
            # to leave out a reduction, or to monitor instead, makes the book look better than it is
            left_out = wanted.action not in [one.action for _, one in taken[i]]
            dropped = left_out and wanted.action == "reduce_exposure"
            name = f"{words['action_words'][wanted.action]} {self.describe(wanted.evidence[0])}" if dropped else ""
            add = self.addition("recommended_actions", i) if left_out else ""
            rows.append(self.row("actions", self.action_text(wanted), said, marks, name=name, add=add))
        return rows + [self.row("actions", "", [self.action_said(*one)], [self.mark("invented")]) for one in left]

    @staticmethod
    def answers(one: RecommendedAction, wanted: PolicyAction, *, same_action: bool) -> bool:
        if one.action == wanted.action == "no_action":
            return True
        about = {*wanted.evidence} - {*wanted.pushes_over_soft}
        return (one.action == wanted.action or not same_action) and bool({*one.evidence} & about)

    def action_said(self, index: int, one: RecommendedAction) -> Said:
        path = f"recommended_actions.{index}.statement"
        return self.said(self.action_label(one), one.statement, path, one.evidence)

    def action_label(self, one: PolicyAction | RecommendedAction) -> str:
        words = self.words
        priority = words["priority"].format(n=one.priority)
        return words["action"].format(action=words["action_words"][one.action], priority=priority)

    def cited_texts(self, section: str, official_ids: list[str]) -> list[Row]:
        """Limitations or assumptions: the policy's by id, beside the model's sentences that cite them."""
        left = list(enumerate(getattr(self.report, section))) if self.report else []
        rows = []
        for number, one in enumerate(official_ids):
            found = [(i, text) for i, text in left if one in ID.findall(text)]
            said = [self.said("", text, f"{section}.{i}") for i, text in found]
            item = self.by_id[one]
            material = isinstance(item, DataQuality) and item.material
            marks = [] if found else [self.mark("missed", "material" if material else "")]
            official = f"{self.facts_of(item).replace(' | ', self.words['comma'])} [{one}]"
            add = self.addition(section, number) if not found and section in ADDABLE else ""
            name = self.describe(one) if material else ""
            rows.append(self.row(section, official, said, marks, name=name, add=add))
        known = set(official_ids)
        for i, text in left:
            if not known & set(ID.findall(text)):
                said = [self.said("", text, f"{section}.{i}")]
                rows.append(self.row(section, "", said, [self.mark("added")]))
        return rows

    def evidence_line(self, item: Evidence) -> tuple[str, str, str, str, bool]:
        """Id, line, owner, authority and whether it is a desk note."""
        owner = getattr(item, "owner", None) or getattr(item, "author", None) or ""
        if isinstance(item, Limit) and not item.owner:
            owner = self.words["no_owner"]
        authority = self.authority(item.authority) if isinstance(item, Limit) else ""
        return item.id, self.facts_of(item), owner, authority, item.kind == "note"


def _direction(above: int) -> str:
    return "same" if above == 0 else "overstated" if above > 0 else "understated"


def dotted(path: str) -> str:
    """A path in dots, whether it came as a.0.b, a[0].b, $.a[0].b or /a/0/b."""
    return re.sub(r"\[(\d+)\]", r".\1", path or "").replace("/", ".").lstrip("$.")


def _within(path: str, owner: str) -> bool:
    return path == owner or path.startswith(owner + ".")


def names_of(finding: Finding) -> list[str]:
    """The ids or values a finding rests on."""
    evidence = finding.evidence or []
    return [str(one) for one in evidence] if isinstance(evidence, list | tuple | set) else [str(evidence)]
