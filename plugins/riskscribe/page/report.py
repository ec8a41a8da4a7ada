"""The report page: the policy's official values, the model's beside them, and every difference marked.

A reader must never meet a value of the model's that understates the policy's without a mark next to it, so the page
compares the two itself and does not rely on the findings it is given.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from markupsafe import Markup, escape

from riskscribe import policy as rules
from riskscribe.case import (
    ID_PATTERN,
    Authority,
    Case,
    Component,
    DataQuality,
    Evidence,
    Language,
    Limit,
    Stress,
    ValueAtRisk,
)
from riskscribe.files import write_json, write_text
from riskscribe.page.render import Markdown, escape_markdown, html_page, markdown_page, visible
from riskscribe.page.words import MARK_SHAPES, STATUS_SHAPES, WARN, WORDS
from riskscribe.policy import Assessment, Policy, PolicyAction
from riskscribe.prompt import (
    ISSUES,
    amount,
    exception_order,
    limit_name,
    line,
    percent,
    thresholds,
    trend,
    utilisation,
)
from riskscribe.report import LEVELS, LimitBreach, RecommendedAction, Report

_ID = re.compile(rf"(?<![A-Za-z0-9-]){ID_PATTERN}(?![A-Za-z0-9-])")
_NUMBER = re.compile(r"[-+−]?[0-9０-９][0-9０-９,.，．]*(?:\s?(?:%|％|bn|mn|m|k|万亿|亿|万|bp)(?![A-Za-z]))?")
_QUOTED = re.compile(r"[`'\"“‘「]([^`'\"“”‘’「」]+)[`'\"”’」]")
_LEVEL_IN_PROSE: dict[Language, re.Pattern] = {
    "en": re.compile(
        r"\b(?:risk|level)(?: level)?(?: (?:is|stays|remains|at|of|as|only|overall|rated|assessed))*[ :]+"
        r"(low|moderate|high|critical)\b|\b(low|moderate|high|critical)[ -]risk\b",
        re.IGNORECASE,
    ),
    "zh": re.compile(r"(?:风险|等级)(?:等级|水平)?[为是属较：:]*(低|中等|高|严重)|(?<![降减最])(低|中等|高|严重)风险"),
}
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
        return self.kind in ("same", "added")


@dataclass(frozen=True)
class Said:
    """One thing the model wrote, the number texts in it that nothing supports, the findings on it, and a mark where
    it speaks of a lower level than the official one.
    """

    label: str
    text: str
    numbers: list[str]
    findings: list[Finding]
    mark: Mark | None = None


@dataclass(frozen=True)
class Row:
    """An official entry ("" where the policy has none) beside what the model said about it."""

    official: str
    said: list[Said]
    marks: list[Mark]


@dataclass(frozen=True)
class Fact:
    """A headline value: the policy's, the model's, and how they compare (None without a readable answer)."""

    name: str
    official: str
    shape: str
    note: str = ""
    model: str = ""
    mark: Mark | None = None


@dataclass(frozen=True)
class Bar:
    """Geometry of a utilisation bar on a width of 200."""

    use: float
    soft: float
    hard: float
    clipped: bool
    label: str


@dataclass(frozen=True)
class LimitRow:
    """A limit with its official status and the model's entries for it; `bar` is None for an unknown limit."""

    id: str
    name: str
    status: str
    use: str
    bar: Bar | None
    facts: list[str]
    model: list[str]
    marks: list[Mark]


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


def write_report(
    out: Path,
    case: Case,
    report: Report | None,
    raw_text: str,
    findings: Sequence[Finding],
    envelope: dict[str, Any],
    policy: Policy | None = None,
) -> list[Path]:
    """Write report.json, report.md and report.html into `out` and return their paths.

    Everything is rendered before the first file is written, and each file replaces its former self in one step.

    Args:
        out: Folder; made if absent.
        case: The case; its limits need not be annotated.
        report: The model's report, or None when its answer could not be parsed.
        raw_text: The model's answer as it came; kept and shown only when `report` is None.
        findings: What verification found; a finding "unsupported_number" marks its number in the prose at its path.
        envelope: JSON values added by code (report_id, case_hash, created, engine, ..., status).
        policy: The policy in force; the package's default where None.

    Raises:
        InputError: A limit of the case contradicts its own numbers.
    """
    # an answer may hold half a surrogate pair, which no UTF-8 file can
    raw_text = raw_text.encode("utf-8", "replace").decode("utf-8")
    policy = policy or rules.default_policy()
    case = rules.annotate(case)
    official = rules.assess(case, policy)
    page = _Page(case, report, official, findings, policy)
    values = page.values() | {
        "envelope": _envelope(envelope, page.words),
        "raw": raw_text,
        "state": page.state(envelope),
    }
    record: dict[str, Any] = {
        "envelope": envelope,
        "official": official.model_dump(mode="json"),
        "model": report.model_dump(mode="json") if report else None,
    }
    if report is None:
        record["raw"] = raw_text
    record["findings"] = [
        {"code": one.code, "path": one.path, "message": visible(one.message), "evidence": one.evidence}
        for one in findings
    ]
    record["verified"] = values["verified"]
    html = html_page("report.html.j2", **values, cite=_citer(case, _html_piece, Markup("")))
    cite = _citer(case, _markdown_piece, Markdown(""))
    mark_words = _mark_words(page.words)
    said_words = _said_words(cite, mark_words)
    markdown = markdown_page("report.md.j2", **values, cite=cite, said_words=said_words, mark_words=mark_words)
    out = Path(out)
    paths = [out / "report.json", out / "report.md", out / "report.html"]
    write_json(paths[0], record)
    write_text(paths[1], markdown)
    write_text(paths[2], html)
    return paths


class _Page:
    """The view of one report: what the templates of both formats show."""

    def __init__(
        self, case: Case, report: Report | None, official: Assessment, findings: Sequence[Finding], policy: Policy
    ):
        self.case, self.report, self.official, self.findings = case, report, official, list(findings)
        self.policy = policy
        self.language = case.language
        self.words = WORDS[case.language]
        self.by_id: dict[str, Evidence] = {one.id: one for one in case.evidence}
        self.differences = _Differences()

    def values(self) -> dict[str, Any]:
        """Everything but the envelope; the sections come first because they find the differences."""
        sections = {
            "facts": self.facts(),
            "limits": self.limits(),
            "basis": self.basis(),
            "drivers": self.drivers(),
            "actions": self.actions(),
            "limitations": self.cited_texts("limitations", self.official.limitation_ids),
            "assumptions": self.cited_texts("assumptions", self.official.assumption_ids),
            "summary": self.said("", self.report.summary, "summary") if self.report else None,
        }
        title = self.words["title"].format(desk=self.case.desk, date=self.case.as_of)
        return sections | {
            "w": self.words,
            "title": title,
            "case": self.case,
            "parsed": self.report is not None,
            "reason": self.findings[0].message if self.findings else self.words["no_reason"],
            "figures": self.figures(),
            "findings": self.findings,
            "finding_ids": _finding_ids,
            "differences": self.differences.count,
            "understated": self.differences.understated,
            "verified": self.report is not None and not self.findings and not self.differences.understated,
            "evidence": [self.evidence_line(one) for one in exception_order(self.case)],
            "mark_shapes": MARK_SHAPES,
            "status_shapes": STATUS_SHAPES,
            "warn": WARN,
        }

    def state(self, envelope: dict[str, Any]) -> str:
        state = str(envelope.get("status", "draft"))
        return self.words["states"].get(state, state)

    def mark(self, kind: str, note: str = "") -> Mark:
        return Mark(kind, self.words["notes"].get(note, note))

    def money(self, value: float, currency: str, **options) -> str:
        return f"{amount(value, self.language, **options)} {currency}"

    def said(self, label: str, text: str, path: str) -> Said:
        """A prose field with the findings on it, or on the object it stands in, and its unsupported numbers."""
        owner = path.rsplit(".", 1)[0] if path.endswith(".statement") else path
        here = [one for one in self.findings if _within(_dotted(one.path), owner)]
        # a number whose finding names no prose field is marked wherever it stands
        stray = [one for one in self.findings if one.code == "unsupported_number" and not _is_prose(one.path)]
        numbers = [_number_text(one, text) for one in [*here, *stray] if one.code == "unsupported_number"]
        # an id of a shape that no case has is found by verification only
        numbers += [name for one in here if one.code == "unknown_evidence" for name in _names(one) if name in text]
        on_text = here + [one for one in stray if one not in here and _number_text(one, text)]
        mark = self.mark("understated", self.words["level"]) if self.speaks_lower(text) else None
        if mark:
            self.differences.note(f"{self.words['level']} ({path})", [mark])
        return Said(label, text, [one for one in numbers if one], on_text, mark)

    def speaks_lower(self, text: str) -> bool:
        """Whether a sentence calls the risk a lower level than the policy does, whatever the level field says."""
        names = {self.words["levels"][one].lower(): LEVELS.index(one) for one in LEVELS}
        stated = [one for found in _LEVEL_IN_PROSE[self.language].findall(text) for one in found if one]
        return any(names[one.lower()] < LEVELS.index(self.official.risk_level) for one in stated)

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
        share = words["coverage"].format(share=percent(official.coverage_pct, 80.0, 95.0, 100.0))
        known = _ASSESSMENTS.index(official.assessment_status)
        assessment = Fact(words["assessment"], words["assessments"][official.assessment_status], "●◐○"[known], share)
        if report is None:
            return [level, escalate, assessment]
        return [
            self.compared(level, words["levels"][report.risk_level], LEVELS.index(report.risk_level) + 1 - rank),
            self.compared(escalate, words["yes" if report.escalate else "no"], report.escalate - official.escalate),
            self.compared(
                assessment,
                words["assessments"][report.assessment_status],
                _ASSESSMENTS.index(report.assessment_status) - known,
            ),
        ]

    def compared(self, fact: Fact, model: str, above: int) -> Fact:
        mark = self.mark(_direction(above))
        self.differences.note(fact.name, [mark])
        return Fact(fact.name, fact.official, fact.shape, fact.note, model, mark)

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
            rows.append(LimitRow(limit_id, self.words["unknown_limit"], "", "", None, [], model, marks))
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
        bar = Bar(
            use=200.0 * min(use, scale) / scale,
            soft=200.0 * soft / scale,
            hard=200.0 * 100.0 / scale,
            clipped=use > scale,
            label=words["bar_label"].format(use=utilisation(use), soft=percent(soft)),
        )
        return LimitRow(
            limit.id,
            name,
            status,
            utilisation(use),
            bar,
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
        facts = [words["use"].format(value=value, hard=hard), trend(limit, language, unit=limit.unit)]
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
            if not _same_use(one.utilisation_pct, use):
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
            rows.append(self.row("basis", f"{clause_words(one.clause)} {_bracket(one.evidence)}".strip(), said, marks))
        for other in stated:
            said = [self.basis_said(clause_words(other.clause), other.evidence)]
            rows.append(self.row("basis", "", said, [self.mark("invented")]))
        return rows

    def basis_said(self, label: str, evidence: list[str]) -> Said:
        return Said("", f"{label} {_bracket(evidence)}".strip(), [], [])

    def row(self, section: str, official: str, said: list[Said], marks: list[Mark], *, name: str = "") -> Row:
        """A row of a section; agreement where nothing else was marked, no mark at all without a readable report."""
        if self.report is None:
            return Row(official, [], [])
        marks = marks or [self.mark("found" if any(one.findings for one in said) else "same")]
        self.differences.note(name or self.words[section], marks, serious=bool(name))
        return Row(official, said, marks)

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
        for component_id in official.driver_ids:
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
            rows.append(self.row("drivers", text, [self.driver_said(*one) for one in found], marks))
        rows += [self.row("drivers", "", [self.driver_said(*one)], [self.mark("invented")]) for one in left]
        return rows

    def share_of(self, component: Component) -> str:
        share, line = percent(abs(component.share_pct)), self.by_id[component.of]
        if isinstance(line, Stress):
            return self.words["share_of_stress"].format(share=share, scenario=line.scenario)
        return self.words["share_of_var"].format(share=share)

    def driver_said(self, index: int, driver: Any) -> Said:
        label = f"{driver.driver} {self.words['directions'][driver.direction]}"
        text = _with_ids(driver.statement, driver.evidence)
        return self.said(label, text, f"key_drivers.{index}.statement")

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
                if not set(wanted.pushes_over_soft) <= {*one.evidence, *_ID.findall(one.statement)}:
                    marks.append(self.mark("differs", "side_effect"))
            said = [self.action_said(*one) for one in taken[i]]
            # to leave out a reduction, or to monitor instead, makes the book look better than it is
            dropped = wanted.action == "reduce_exposure" and wanted.action not in [one.action for _, one in taken[i]]
            name = f"{words['action_words'][wanted.action]} {self.describe(wanted.evidence[0])}" if dropped else ""
            rows.append(self.row("actions", self.action_text(wanted), said, marks, name=name))
        return rows + [self.row("actions", "", [self.action_said(*one)], [self.mark("invented")]) for one in left]

    @staticmethod
    def answers(one: RecommendedAction, wanted: PolicyAction, *, same_action: bool) -> bool:
        if one.action == wanted.action == "no_action":
            return True
        about = {*wanted.evidence} - {*wanted.pushes_over_soft}
        return (one.action == wanted.action or not same_action) and bool({*one.evidence} & about)

    def action_said(self, index: int, one: RecommendedAction) -> Said:
        text = _with_ids(one.statement, one.evidence)
        return self.said(self.action_label(one), text, f"recommended_actions.{index}.statement")

    def action_label(self, one: PolicyAction | RecommendedAction) -> str:
        words = self.words
        priority = words["priority"].format(n=one.priority)
        return words["action"].format(action=words["action_words"][one.action], priority=priority)

    def cited_texts(self, section: str, official_ids: list[str]) -> list[Row]:
        """Limitations or assumptions: the policy's by id, beside the model's sentences that cite them."""
        left = list(enumerate(getattr(self.report, section))) if self.report else []
        rows = []
        for one in official_ids:
            found = [(i, text) for i, text in left if one in _ID.findall(text)]
            said = [self.said("", text, f"{section}.{i}") for i, text in found]
            item = self.by_id[one]
            material = isinstance(item, DataQuality) and item.material
            marks = [] if found else [self.mark("missed", "material" if material else "")]
            official = f"{self.facts_of(item).replace(' | ', self.words['comma'])} [{one}]"
            rows.append(self.row(section, official, said, marks, name=self.describe(one) if material else ""))
        known = set(official_ids)
        for i, text in left:
            if not known & set(_ID.findall(text)):
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


def _same_use(stated: float, use: float) -> bool:
    """Equal to the decimals stated, one at least, and on the same side of every threshold: 100.0 is not 99.96."""
    decimals = max(1, len(repr(stated).partition(".")[2]))
    close = abs(stated - use) <= 0.5 * 10.0**-decimals * (1 + 1e-9)
    return close and all((stated > one) - (stated < one) == (use > one) - (use < one) for one in thresholds())


def _bracket(ids: Iterable[str]) -> str:
    return " ".join(f"[{one}]" for one in ids)


def _with_ids(text: str, evidence: list[str]) -> str:
    """The statement, followed by ids of its evidence list that it does not cite itself."""
    missing = [one for one in evidence if one not in _ID.findall(text)]
    return f"{text} {_bracket(missing)}".strip() if missing else text


def _dotted(path: str) -> str:
    """A path in dots, whether it came as a.0.b, a[0].b, $.a[0].b or /a/0/b."""
    return re.sub(r"\[(\d+)\]", r".\1", path or "").replace("/", ".").lstrip("$.")


def _within(path: str, owner: str) -> bool:
    return path == owner or path.startswith(owner + ".")


def _is_prose(path: str) -> bool:
    """Whether a path leads to one prose field or to the object around it."""
    return bool(re.match(r"(summary$|(key_drivers|limitations|assumptions|recommended_actions)\.\d)", _dotted(path)))


def _names(finding: Finding) -> list[str]:
    evidence = finding.evidence or []
    return [str(one) for one in evidence] if isinstance(evidence, list | tuple | set) else [str(evidence)]


def _finding_ids(finding: Finding) -> str:
    return ", ".join(_names(finding))


def _number_text(finding: Finding, text: str) -> str | None:
    """The text of the number a finding is about, as it stands in `text`.

    Taken from the finding's own `text` if it has one, else from what its message quotes, else from the first number
    of the message that the text holds.
    """
    message = _ID.sub(" ", finding.message)
    candidates = [getattr(finding, "text", None), *_QUOTED.findall(message), *_NUMBER.findall(message)]
    return next((one for one in candidates if one and _places(one, text)), None)


def _places(number: str, text: str) -> list[tuple[int, int]]:
    """Where `number` stands in `text` by itself, not as a part of a longer number or an id."""
    number = number.strip().rstrip(",.，．")
    if not number:
        return []
    inside = [one.span() for one in _ID.finditer(text)]
    # by itself if it stands so anywhere, else next to letters (USD5m), never inside a longer number
    for before, after in (("0-9A-Za-z.,", "0-9A-Za-z"), ("0-9.,", "0-9")):
        pattern = rf"(?<![{before}]){re.escape(number)}(?![{after}]|[.,][0-9])"
        found = [one.span() for one in re.finditer(pattern, text)]
        found = [(a, b) for a, b in found if not any(start < b and a < end for start, end in inside)]
        if found:
            return found
    return []


def _pieces(text: str, known: set[str], numbers: Iterable[str]) -> list[tuple[str, str]]:
    """`text` cut into (kind, part): "text", "id" of the case, "unknown" id, unsupported "number"."""
    spans = [(*one.span(), "id" if one.group() in known else "unknown") for one in _ID.finditer(text)]
    spans += [(*place, "number") for number in numbers for place in _places(number, text)]
    pieces, done = [], 0
    for start, end, kind in sorted(spans):
        if start < done:
            continue
        pieces += [("text", text[done:start]), (kind, text[start:end])]
        done = end
    return [*pieces, ("text", text[done:])]


def _html_piece(kind: str, part: str, unknown: str) -> Markup:
    if kind == "id":
        return Markup('<a class="id" href="#{0}">{0}</a>').format(part)
    if kind == "unknown":
        return Markup("<mark>{0} {1} ({2})</mark>").format(WARN, part, unknown)
    if kind == "number":
        return Markup("<mark>{0} {1}</mark>").format(WARN, visible(part))
    return escape(visible(part))


def _markdown_piece(kind: str, part: str, unknown: str) -> Markdown:
    # escaping closes runs of blanks; the blank at either end of a part belongs to the sentence
    blank = (" " if part[:1].isspace() else "", " " if part[-1:].isspace() and part.strip() else "")
    text = escape_markdown(part).join(blank)
    if kind == "unknown":
        return Markdown(f"**{WARN} {text} ({escape_markdown(unknown)})**")
    return Markdown(f"**{WARN} {text}**" if kind == "number" else text)


def _citer(case: Case, piece: Callable, empty: Markup | Markdown) -> Callable:
    """The templates' `cite(text, numbers)`: ids become links, unsupported numbers and unknown ids are marked."""
    known = {one.id for one in case.evidence}
    unknown = WORDS[case.language]["notes"]["unknown_id"]

    def cite(text: str, numbers: Iterable[str] = ()) -> Markup | Markdown:
        parts = [piece(kind, part, unknown) for kind, part in _pieces(text, known, numbers) if part]
        return type(empty)("".join(parts))

    return cite


def _said_words(cite: Callable, mark_words: Callable) -> Callable[[Said], Markdown]:
    """One thing the model wrote as a run of Markdown, its findings after it."""

    def words(one: Said) -> Markdown:
        label = f"{escape_markdown(one.label)}: " if one.label else ""
        text = f"{WARN} " * bool(one.findings) + label + cite(one.text, one.numbers)
        text += f" {mark_words([one.mark])}" if one.mark else ""
        found = "".join(f" **({WARN} {escape_markdown(f'{each.code}: {each.message}')})**" for each in one.findings)
        return Markdown(text + found)

    return words


def _mark_words(words: dict) -> Callable[[list[Mark]], Markdown]:
    def shown(one: Mark) -> str:
        note = f" ({escape_markdown(one.note)})" if one.note else ""
        text = f"{MARK_SHAPES[one.kind]} {words['marks'][one.kind]}{note}"
        return text if one.agrees else f"**{text}**"

    return lambda marks: Markdown(", ".join(map(shown, marks)))


def _envelope(envelope: dict[str, Any], words: dict) -> list[tuple[str, str]]:
    """The envelope as (label, value), known fields in our order and words, then the rest as they come."""
    fields = words["fields"]
    keys = [*(one for one in fields if one in envelope), *(one for one in envelope if one not in fields)]
    return [(fields.get(one, one.replace("_", " ")), _plain(envelope[one])) for one in keys]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(one) for one in value)
    return "–" if value is None else str(value)
