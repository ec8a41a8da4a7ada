"""A person's review of a report: what there is to decide, what the decisions make of the text, and the signature.

Nothing here reads a file or asks the gate; `reporting` does. What an approval needs is written in docs/review.md.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, StringConstraints, model_validator

from riskscribe.case import Case, Component, Limit, Strict, Text
from riskscribe.errors import InputError
from riskscribe.files import sha256_text, validate
from riskscribe.policy import Assessment, annotate
from riskscribe.prompt import amount, limit_name, line, percent, thresholds, utilisation
from riskscribe.report import Report

KEY = "RISKSCRIBE_SIGNING_KEY"
ALGORITHM = "HMAC-SHA256"
# what the policy computes and a model also states; a review takes the policy's value or keeps the model's
JUDGEMENTS = ("limit_breaches", "assessment_status", "level_basis", "risk_level", "escalate")
# lists of a report to which a review may add what the policy asks for and the model left out
ADDABLE = {"key_drivers": "driver_ids", "limitations": "limitation_ids", "recommended_actions": "actions"}
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]


class Decision(Strict):
    """What the reviewer decided on one sentence, or (`sentence` None) on one judgement of the model's.

    `before` is the text decided on, so that a review cannot be applied to another one. On a judgement, `accept` takes
    the policy's value and `reject` keeps the model's.
    """

    path: str
    sentence: Annotated[int, Field(ge=0)] | None = None
    decision: Literal["accept", "edit", "reject"]
    before: str = ""
    after: Text | None = None

    @model_validator(mode="after")
    def _edited_to_something(self):
        if (self.decision == "edit") != (self.after is not None):
            raise ValueError("an edit has the text `after`, and nothing else has one")
        if self.sentence is None and self.decision == "edit":
            raise ValueError("a judgement is accepted (the policy's value) or rejected (the model's stays)")
        return self


class Addition(Strict):
    """An entry that the policy asks for and the model left out, in the reviewer's words.

    `official` is its place in the policy's list: drivers, limitations or actions.
    """

    path: Literal["key_drivers", "limitations", "recommended_actions"]
    official: Annotated[int, Field(ge=0)]
    text: Text


class Review(Strict):
    """The file that the report page saves."""

    schema_version: Literal["1"]
    report_id: str
    answer_hash: str
    reviewer: Name
    status: Literal["reviewed", "approved", "rejected"]
    comment: Annotated[str, Field(max_length=4000)] = ""
    saved_at: Annotated[str, Field(max_length=40)] = ""
    decisions: list[Decision]
    additions: list[Addition] = Field(default_factory=list)

    @model_validator(mode="after")
    def _once_each(self):
        places = [(one.path, one.sentence) for one in self.decisions]
        twice = next((one for one in places if places.count(one) > 1), None)
        if twice:
            raise ValueError(f"{_place(*twice)} is decided twice")
        added = [(one.path, one.official) for one in self.additions]
        if len(set(added)) < len(added):
            raise ValueError("an entry of the policy is added twice")
        if self.status == "rejected" and not self.comment.strip():
            raise ValueError("a rejection says why: comment is empty")
        return self


class Edit(Strict):
    """A change that a review made, as the signed version records it."""

    path: str
    sentence: int | None = None
    change: Literal["edited", "rejected", "policy", "added"]
    before: Any = None
    after: Any = None


class Sentence(NamedTuple):
    """A sentence of a prose field: its number in the field and where it stands in the field's text."""

    number: int
    start: int
    end: int


_STOP = re.compile(r"[。！？!?]+[”’」』\"')）]*|\.(?=\s|$)|\n+")
_CITATION = re.compile(r"\s?\[[^\[\]\n]{1,400}\]")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|vs|approx|incl|excl|cf|resp|no|ca|St|Mr|Ms|Dr))$", re.IGNORECASE)


def sentences(text: str) -> list[Sentence]:
    """Cut a prose field into sentences, in English or Chinese. What stands between two is white space.

    A citation behind a full stop belongs to the sentence before it where that has none ("VaR is 5m. [VAR-AA]"). The
    decimal point, an abbreviation and a full stop before a small letter end nothing.
    """
    found, start = [], 0

    def close(end: int) -> None:
        piece = text[start:end]
        left = start + len(piece) - len(piece.lstrip())
        right = left + len(piece.strip())
        if right > left:
            found.append(Sentence(len(found), left, right))

    for stop in _STOP.finditer(text):
        end = stop.end()
        if end <= start:
            continue
        if text[stop.start()] == "." and (
            _ABBREVIATION.search(text[start : stop.start()]) or text[end:].lstrip()[:1].islower()
        ):
            continue
        behind = _CITATION.match(text, end)
        if behind and "[" not in text[start:end] and not text[behind.end() :].lstrip(" ")[:1].islower():
            end = behind.end()
        close(end)
        start = end
    close(len(text))
    return found


def answer_hash(report: Report | None, raw: str) -> str:
    """What a review is bound to: SHA-256 of the report as one line of JSON, or of an answer that is no report."""
    return sha256_text(report.to_json() if report else raw)


def same_utilisation(stated: float, use: float) -> bool:
    """Equal to the decimals stated, one at least, and on the same side of every threshold: 100.0 is not 99.96."""
    decimals = max(1, len(repr(stated).partition(".")[2]))
    close = abs(stated - use) <= 0.5 * 10.0**-decimals * (1 + 1e-9)
    return close and all((stated > one) - (stated < one) == (use > one) - (use < one) for one in thresholds())


def judgements(report: Report, official: Assessment) -> dict[str, tuple[Any, Any]]:
    """The judgements in which a report differs from the policy: field -> the model's value, the policy's."""
    stated, due = report.limit_breaches, {one.limit_id: one for one in official.limit_breaches}
    same_breaches = len(stated) == len(due) and all(
        one.limit_id in due
        and one.status == due[one.limit_id].status
        and same_utilisation(one.utilisation_pct, due[one.limit_id].utilisation_pct)
        for one in stated
    )

    def basis(of: Report | Assessment) -> list[tuple[str, list[str]]]:
        return sorted((one.clause, sorted(one.evidence)) for one in of.level_basis)

    model, policy = report.model_dump(mode="json"), official.model_dump(mode="json")
    for one in policy["limit_breaches"]:  # as a report states them: rounded, never across a threshold
        one["utilisation_pct"] = float(utilisation(one["utilisation_pct"]).rstrip("%"))
    same = {"limit_breaches": same_breaches, "level_basis": basis(report) == basis(official)}
    return {
        field: (model[field], policy[field])
        for field in JUDGEMENTS
        if not same.get(field, model[field] == policy[field])
    }


def proposal(case: Case, official: Assessment, path: str, index: int) -> dict[str, Any] | str:
    """The report's entry for one of the policy's drivers, limitations or actions, in plain words that cite it.

    A string for a limitation; for the others an object whose `statement` a reviewer may reword.
    """
    case = annotate(case)
    by_id = {one.id: one for one in case.evidence}
    zh = case.language == "zh"
    colon, comma, stop = ("：", "，", "。") if zh else (": ", ", ", ".")
    entry = getattr(official, ADDABLE[path])[index]
    if path == "limitations":
        facts = line(by_id[entry], case).removeprefix(entry).strip().replace(" | ", comma)
        return f"{facts} [{entry}]{stop}"
    if path == "key_drivers":
        component: Component = by_id[entry]
        increases = component.contribution >= 0
        size, share = amount(abs(component.contribution), case.language), percent(abs(component.share_pct))
        verb = {True: ("increases", "增加"), False: ("offsets", "抵减")}[increases][zh]
        of = "VaR" if component.of.startswith("VAR") else component.of
        text = (
            f"{component.factor}{verb}{of} {size}，占{share} [{entry}]。"
            if zh
            else f"{component.factor} {verb} {of} by {size}, {share} of it [{entry}]."
        )
        direction = "increases" if increases else "offsets"
        return {"driver": component.factor, "direction": direction, "statement": text, "evidence": [entry]}
    about = [one for one in entry.evidence if one not in entry.pushes_over_soft]
    named = [limit_name(by_id[one], case.language) if isinstance(by_id[one], Limit) else "" for one in about]
    text = comma.join(f"{name} [{one}]".strip() for name, one in zip(named, about, strict=True))
    verb = _ACTION_WORDS[entry.action][zh]
    text = f"{verb}{colon}{text}" if text else verb
    if entry.size is not None:
        size = amount(entry.size, case.language, unit=by_id[about[0]].unit)
        text += f"{comma}指示性减量{size}以回到软限" if zh else f"{comma}indicative reduction {size} to return to soft"
    if entry.pushes_over_soft:
        pushed = " ".join(f"[{one}]" for one in entry.pushes_over_soft)
        text += f"；将推高至软限或以上{colon}{pushed}" if zh else f"; would push over soft: {pushed}"
    return {"action": entry.action, "priority": entry.priority, "statement": text + stop, "evidence": entry.evidence}


_ACTION_WORDS = {
    "reduce_exposure": ("Reduce exposure", "降低敞口"),
    "review_approval": ("Review the approval", "复核批准"),
    "confirm_data": ("Confirm the data", "确认数据"),
    "monitor": ("Monitor", "监控"),
    "no_action": ("No action is needed", "无需采取措施"),
}


def undecided(report: Report, official: Assessment, review: Review) -> list[str]:
    """What the review leaves open: sentences, and judgements that differ from the policy's."""
    done = {(one.path, one.sentence) for one in review.decisions}
    due = [(path, one.number) for path, text, _ in report.prose() for one in sentences(text)]
    return [
        _place(*one) for one in [*due, *((field, None) for field in judgements(report, official))] if one not in done
    ]


def apply(case: Case, report: Report, official: Assessment, review: Review) -> tuple[Report, list[Edit]]:
    """The report as the review leaves it, and what changed, in the report's order.

    A rejected sentence goes; a driver, action or limitation whose sentences all went goes with them.

    Raises InputError where the review decides on something that the report does not say, or leaves no valid report.
    """
    prose = {path: text for path, text, _ in report.prose()}
    chosen = {(one.path, one.sentence): one for one in review.decisions}
    different = judgements(report, official)
    made, edits = report.model_dump(mode="json"), []
    texts = {path: _decided(path, text, chosen, edits) for path, text in prose.items()}
    known = {(path, one.number) for path, text in prose.items() for one in sentences(text)}
    known |= {(field, None) for field in JUDGEMENTS}
    for place in chosen:
        if place not in known:
            raise InputError(f"review: {_place(*place)} is not in this report; review the page of this version")
    if not texts["summary"]:
        raise InputError("review: every sentence of the summary is rejected; a report needs one: edit it instead")
    made["summary"] = texts["summary"]
    for section in ("limitations", "assumptions"):
        kept = [texts[f"{section}.{i}"] for i in range(len(made[section]))]
        made[section] = [one for one in kept if one]
    for section in ("key_drivers", "recommended_actions"):
        for i, one in enumerate(made[section]):
            one["statement"] = texts[f"{section}.{i}.statement"]
        made[section] = [one for one in made[section] if one["statement"]]
    for field, (model, policy) in different.items():
        decision = chosen.get((field, None))
        if decision and decision.decision == "accept":
            made[field] = policy
            edits.append(Edit(path=field, change="policy", before=model, after=policy))
    for one in review.additions:
        if one.official >= len(getattr(official, ADDABLE[one.path])):
            raise InputError(f"review: the policy has no entry {one.official} for {one.path}")
        entry = proposal(case, official, one.path, one.official)
        entry = one.text if isinstance(entry, str) else entry | {"statement": one.text}
        made[one.path].append(entry)
        edits.append(Edit(path=one.path, change="added", after=entry))
    return validate(Report, made, "review: the report that it leaves"), edits


def _decided(path: str, text: str, chosen: dict[tuple[str, int | None], Decision], edits: list[Edit]) -> str:
    """A prose field after the decisions on its sentences; "" when all are rejected."""
    parts = sentences(text)
    kept, changed = "", False
    for one, then in zip(parts, [*parts[1:], None], strict=True):
        before = after = text[one.start : one.end]
        decision = chosen.get((path, one.number))
        if decision:
            if decision.before != before:
                raise InputError(
                    f"review: {_place(path, one.number)} is {before[:60]!r}, the review decides on "
                    f"{decision.before[:60]!r}; review the page of this version"
                )
            after = {"accept": before, "edit": decision.after, "reject": ""}[decision.decision]
        if after != before:
            changed = True
            change = "edited" if after else "rejected"
            edits.append(Edit(path=path, sentence=one.number, change=change, before=before, after=after or None))
        if after:
            kept += after + (text[one.end : then.start] if then else "")
    return kept.strip() if changed else text


def _place(path: str, sentence: int | None) -> str:
    return path if sentence is None else f"{path} sentence {sentence + 1}"


def canonical(record: dict[str, Any]) -> bytes:
    """A record as the bytes that are hashed and signed: JSON with sorted keys and no blanks, without its signature."""
    body = {key: value for key, value in record.items() if key != "signature"}
    return json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def record_hash(record: dict[str, Any]) -> str:
    """SHA-256 of a whole record, signature included: the link from a version to the one before."""
    return hashlib.sha256(canonical({"record": record})).hexdigest()


def signing_key(environment: dict[str, str]) -> bytes:
    """The key from the environment. Raises InputError saying how to make one; the key itself is never shown."""
    key = environment.get(KEY, "")
    if len(key) < 32:
        raise InputError(
            f"{KEY} is {'too short (32 characters or more)' if key else 'not set'}: versions are signed and checked "
            f"with it. Make one and keep it where approvals are kept: "
            f"export {KEY}=\"$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')\""
        )
    return key.encode()


def _mac(key: bytes, body: bytes) -> str:
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def _key_id(key: bytes) -> str:
    """Tells keys apart without telling anything of the key."""
    return _mac(key, b"riskscribe key id")[:12]


def sign(record: dict[str, Any], key: bytes) -> dict[str, Any]:
    """The record with its signature, an HMAC-SHA256 of everything else in it."""
    signature = {"algorithm": ALGORITHM, "key_id": _key_id(key), "value": _mac(key, canonical(record))}
    return {**record, "signature": signature}


def check_signature(record: dict[str, Any], key: bytes, where: str) -> None:
    """Raises InputError unless the record was signed with this key and is unaltered since."""
    signature = record.get("signature")
    if not isinstance(signature, dict) or not all(isinstance(signature.get(one), str) for one in ("key_id", "value")):
        raise InputError(f"{where}: is not signed; a version that `riskscribe review` wrote is")
    if signature.get("algorithm") != ALGORITHM:
        raise InputError(f"{where}: signed with {signature.get('algorithm')!r}; {ALGORITHM} is the one in use")
    if not hmac.compare_digest(signature["value"].encode(), _mac(key, canonical(record)).encode()):
        mine = _key_id(key)
        why = (
            "its content was altered after it was signed"
            if signature["key_id"] == mine
            else f"it was signed with another key ({signature['key_id'][:12]!r}, {KEY} is {mine!r})"
        )
        raise InputError(f"{where}: the signature does not fit: {why}")


def approved_rows(records: Iterable[tuple[str, dict[str, Any]]]) -> tuple[list[Any], list[dict[str, Any]]]:
    """Cases and reports of approved versions as `riskscribe data pack` reads them: {case_id, report}.

    Args:
        records: (where, record) with a signature that was checked.

    Raises InputError where a version is not approved or a case is approved twice.
    """
    cases, reports, seen = [], [], {}
    for where, record in records:
        state = record["envelope"].get("status")
        if state != "approved":
            raise InputError(f"{where}: is {state}; only approved versions become training data")
        case_id = record["case"]["case_id"]
        if case_id in seen:
            raise InputError(f"{where}: {case_id} is approved in {seen[case_id]} too; give the version that counts")
        seen[case_id] = where
        cases.append(record["case"])
        reports.append({"case_id": case_id, "report": record["model"]})
    return cases, reports
