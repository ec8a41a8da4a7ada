"""The report page: the morning bridge, the policy's official values beside the model's, evidence, and the review.

What is written is one record (report.json) and two views of it; a reader is never shown an unverified page.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from riskscribe import policy as rules
from riskscribe.case import Case, Language
from riskscribe.files import write_json, write_text
from riskscribe.page.beside import Beside, Finding, Item, Mark, Said, names_of
from riskscribe.page.bridge import morning
from riskscribe.page.cite import citer
from riskscribe.page.messages import in_language, say
from riskscribe.page.render import Markdown, escape_markdown, html_page, markdown_page, visible
from riskscribe.page.words import MARK_SHAPES, STATUS_SHAPES, WARN
from riskscribe.policy import Policy
from riskscribe.prompt import exception_order
from riskscribe.report import Report
from riskscribe.review import answer_hash

# states in which a person may still decide
OPEN = ("draft", "reviewed")


@dataclass(frozen=True)
class Rendered:
    """A report in its three forms; `understated` names what the model makes look better than the policy does."""

    record: dict[str, Any]
    markdown: str
    html: str
    understated: list[str]

    def write(self, out: Path) -> list[Path]:
        """Write report.json, report.md and report.html into `out`, each in one step; returns their paths."""
        paths = [Path(out) / name for name in ("report.json", "report.md", "report.html")]
        write_json(paths[0], self.record)
        write_text(paths[1], self.markdown)
        write_text(paths[2], self.html)
        return paths


def render_report(
    case: Case,
    report: Report | None,
    raw_text: str,
    findings: Sequence[Finding],
    envelope: dict[str, Any],
    *,
    policy: Policy | None = None,
    yesterday: Case | None = None,
    sign: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> Rendered:
    """The record of a report and its pages.

    Args:
        case: The case; its limits need not be annotated.
        report: The model's report, or None when its answer could not be parsed.
        raw_text: The model's answer as it came; kept and shown only when `report` is None.
        findings: What verification found. Numbers are grounded here again, because a mark needs their place.
        envelope: JSON values added by code (report_id, case_hash, created, engine, ..., status).
        policy: The policy in force; the package's default where None.
        yesterday: Yesterday's case of the same book, whose level and limits stand beside today's.
        sign: Adds a signature to the record of a reviewed version; a draft has none.

    Raises:
        InputError: A limit of the case contradicts its own numbers.
    """
    # an answer may hold half a surrogate pair, which no UTF-8 file can
    raw_text = raw_text.encode("utf-8", "replace").decode("utf-8")
    policy = policy or rules.default_policy()
    case = rules.annotate(case)
    official = rules.assess(case, policy)
    view = Beside(case, report, official, in_language(findings, case.language), policy, yesterday)
    # the sections come first because they find the differences
    values = _sections(view) | {"morning": morning(case, official, yesterday, policy)}
    understated = view.differences.understated
    verified = report is not None and not findings and not understated
    record: dict[str, Any] = {
        "envelope": envelope | {"answer_hash": answer_hash(report, raw_text)},
        "case": case.model_dump(mode="json", exclude_none=True),
        "official": official.model_dump(mode="json"),
        "model": report.model_dump(mode="json") if report else None,
        "findings": [
            {
                "code": one.code,
                "path": one.path,
                "message": visible(one.message),
                "evidence": one.evidence,
                "fatal": getattr(one, "fatal", False),
            }
            for one in findings
        ],
        "verified": verified,
    }
    if yesterday is not None:
        record["yesterday"] = yesterday.model_dump(mode="json", exclude_none=True)
    if report is None:
        record["raw"] = raw_text
    record = sign(record) if sign else record
    values |= _head(view, record, raw_text, verified)
    html = html_page("report.html.j2", **values, cite=citer(case, html=True), **_script(view, record))
    cite = citer(case, html=False)
    mark_words = _mark_words(view.words)
    said_words = _said_words(cite, mark_words, view.words)
    markdown = markdown_page("report.md.j2", **values, cite=cite, said_words=said_words, mark_words=mark_words)
    return Rendered(record, markdown, html, understated)


def write_report(out: Path, *args: Any, **options: Any) -> list[Path]:
    """Write report.json, report.md and report.html into `out`, once all of it is rendered; see `render_report`."""
    return render_report(*args, **options).write(out)


def _sections(view: Beside) -> dict[str, Any]:
    return {
        "facts": view.facts(),
        "figures": view.figures(),
        "summary": view.said("", view.report.summary, "summary") if view.report else None,
        "limits": view.limits(),
        "limits_item": view.judgement("limit_breaches"),
        "stress": view.stress(),
        "basis": view.basis(),
        "basis_item": view.judgement("level_basis"),
        "drivers": view.drivers(),
        "actions": view.actions(),
        "limitations": view.cited_texts("limitations", view.official.limitation_ids),
        "assumptions": view.cited_texts("assumptions", view.official.assumption_ids),
    }


def _head(view: Beside, record: dict[str, Any], raw_text: str, verified: bool) -> dict[str, Any]:
    """What stands around the sections: title, state, findings, evidence, provenance."""
    words, case, envelope = view.words, view.case, record["envelope"]
    state = str(envelope.get("status", "draft"))
    codes = words["codes"]
    findings = [
        (codes.get(one.code, str(one.code).replace("_", " ")), one.code, view.place(one.path), one.message, one)
        for one in sorted(view.findings, key=lambda one: not getattr(one, "fatal", False))
    ]
    return {
        "w": words,
        "title": words["title"].format(desk=case.desk, date=case.as_of),
        "case": case,
        "state": words["states"].get(state, state),
        "open": state in OPEN,
        "parsed": view.report is not None,
        "reason": view.findings[0].message if view.findings else words["no_reason"],
        "findings": findings,
        "code_words": lambda one: codes.get(one.code, str(one.code).replace("_", " ")),
        "finding_ids": lambda one: ", ".join(names_of(one)),
        "differences": view.differences.count,
        "understated": view.differences.understated,
        "verified": verified,
        "evidence": [view.evidence_line(one) for one in exception_order(case)],
        "items": view.items,
        "edits": [_edit_words(view, one) for one in envelope.get("edits", ())],
        "envelope": _envelope(record, words),
        "raw": raw_text,
        "mark_shapes": MARK_SHAPES,
        "status_shapes": STATUS_SHAPES,
        "warn": WARN,
    }


def _edit_words(view: Beside, edit: dict[str, Any]) -> tuple[str, str, str, str]:
    """An edit of a reviewed version: where, what kind, before, after."""
    words = view.words
    head, *rest = str(edit.get("path", "")).split(".")
    place = words["places"].get(head, head) + (f" {int(rest[0]) + 1}" if rest and rest[0].isdecimal() else "")
    if edit.get("sentence") is not None:
        place = words["review"]["sentence"].format(place=place, n=edit["sentence"] + 1)
    change = words["review"]["changes"].get(edit.get("change"), str(edit.get("change")))
    return place, change, _plain(edit.get("before"), words), _plain(edit.get("after"), words)


@cache
def _code() -> str:
    return Path(__file__).with_name("templates").joinpath("report.js").read_text(encoding="utf-8")


def _script(view: Beside, record: dict[str, Any]) -> dict[str, Any]:
    """The page's script, its data, and a policy that lets the browser run that script and nothing else.

    Texts of models and people are JSON inside a script element: no character that could end it is left as it is.
    """
    code = _code()
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    envelope = record["envelope"]
    words = view.words["review"]
    data = {
        "report_id": str(envelope.get("report_id", "")),
        "answer_hash": envelope["answer_hash"],
        "open": str(envelope.get("status", "draft")) in OPEN,
        "readable": view.report is not None,
        "items": [_item(one, words, view.case.language) for one in view.items.values()],
        "lines": {one.id: view.facts_of(one) for one in view.case.evidence},
        "notes": [one.id for one in view.case.evidence if one.kind == "note"],
        "words": words,
        "warn": WARN,
    }
    text = json.dumps(data, ensure_ascii=True)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return {"script": Markup(code), "script_hash": digest, "data": Markup(text)}


def _item(item: Item, words: dict, language: Language) -> dict[str, Any]:
    numbers = [
        {
            "text": visible(one.text),
            "bad": one.verdict in ("unsupported", "contradicted"),
            "says": words["verdicts"][one.verdict].format(
                evidence=", ".join(one.evidence),
                operation=say(getattr(one, "operation", None) or "", language),
                reason=visible(say(one.reason or "", language)),
            ),
        }
        for one in item.told
    ]
    return {
        "id": item.id,
        "kind": item.kind,
        "path": item.path,
        "index": item.index,
        "place": item.place,
        "text": item.text,
        "evidence": item.evidence,
        "numbers": numbers,
    }


def _said_words(cite: Callable, mark_words: Callable, words: dict) -> Callable[[Said], Markdown]:
    """One thing the model wrote as a run of Markdown, its findings after it."""

    def told(one: Said) -> Markdown:
        label = f"{escape_markdown(one.label)}: " if one.label else ""
        sentences = [cite(part.text, part.spans) for part in one.parts]
        text = f"{WARN} " * bool(one.findings) + label + words["between"].join(sentences)
        text += f" {cite(one.more)}" if one.more else ""
        text += f" {mark_words([one.mark])}" if one.mark else ""
        told = [f"{words['codes'].get(each.code, each.code)}{words['colon']}{each.message}" for each in one.findings]
        found = "".join(f" **({WARN} {escape_markdown(each)})**" for each in told)
        return Markdown(text + found)

    return told


def _mark_words(words: dict) -> Callable[[list[Mark]], Markdown]:
    def shown(one: Mark) -> str:
        note = f" ({escape_markdown(one.note)})" if one.note else ""
        text = f"{MARK_SHAPES[one.kind]} {words['marks'][one.kind]}{note}"
        return text if one.agrees else f"**{text}**"

    return lambda marks: Markdown(", ".join(map(shown, marks)))


def _envelope(record: dict[str, Any], words: dict) -> list[tuple[str, str]]:
    """The envelope as (label, value), known fields in our order and words, then the rest as they come.

    Edits have a table of their own; the signature comes last.
    """
    fields, envelope = words["fields"], record["envelope"]
    shown = {key: one for key, one in envelope.items() if key != "edits"}
    if "signature" in record:
        shown["signature"] = record["signature"]
    if shown.get("status") in words["states"]:
        shown["status"] = words["states"][shown["status"]]
    keys = [*(one for one in fields if one in shown), *(one for one in shown if one not in fields)]
    return [(fields.get(one, one.replace("_", " ")), _plain(shown[one], words)) for one in keys]


def _plain(value: Any, words: dict) -> str:
    if isinstance(value, dict):
        parts = [f"{words['fields'].get(key, key)} {_plain(one, words)}" for key, one in value.items()]
        return words["comma"].join(parts)
    if isinstance(value, list | tuple):
        return words["comma"].join(_plain(one, words) for one in value)
    return "–" if value is None else str(value)
