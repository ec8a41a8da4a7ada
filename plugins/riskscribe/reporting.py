"""From a case to a verified report and its signed versions: ask a model, verify, let a person decide, verify again.

No path goes unverified, and nothing a person approves keeps an open finding.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from riskscribe import prompt, review
from riskscribe.case import Case
from riskscribe.errors import InputError
from riskscribe.evaluate.parse import parse_report
from riskscribe.evaluate.score import RUBRIC
from riskscribe.evaluate.verify import Finding, verify, verify_text
from riskscribe.files import read_json, sha256_text, validate, write_lines
from riskscribe.page.report import OPEN, render_report, write_report
from riskscribe.policy import annotate, assess, default_policy
from riskscribe.report import Report
from riskscribe.yesterday import with_previous


def load_case(path: Path) -> Case:
    """Read and check a case: its fields, and its limits against their own numbers."""
    return annotate(validate(Case, read_json(path), str(path)))


def load_cases(path: Path, previous: Path | None) -> tuple[Case, Case | None]:
    """Today's case, with what yesterday's gives it, and yesterday's. Raises InputError where they are not one book."""
    case = load_case(path)
    if previous is None:
        return case, None
    yesterday = load_case(previous)
    return annotate(with_previous(case, yesterday)), yesterday


def ask_api(
    case: Case,
    url: str,
    key: str,
    model: str = "riskscribe",
    timeout: float = 600,
    *,
    constrained: bool = True,
    with_case: bool = False,
) -> str:
    """Ask an OpenAI-compatible endpoint, with our own system message and the report's schema as response_format.

    `with_case` sends the case beside its prompt, for the verdicts in our own server's metrics; other endpoints may
    refuse the field. Raises InputError when it does not answer.
    """
    import openai

    client = openai.OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=0)
    asked: dict[str, Any] = {"model": model, "messages": prompt.messages(case), "temperature": 0}
    if constrained:
        schema = {"name": "report", "schema": Report.model_json_schema()}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    if with_case:
        asked["extra_body"] = {"case": case.model_dump(mode="json")}
    try:
        answer = client.chat.completions.create(**asked)
    except openai.AuthenticationError:
        raise InputError(f"{url}: the key was refused; RISKSCRIBE_API_KEY must be the server's") from None
    except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
        advice = "; an endpoint that does not know response_format needs --free" if constrained else ""
        raise InputError(f"{url}: the request was refused ({error}){advice}") from None
    except openai.OpenAIError as error:
        raise InputError(f"{url}: no answer ({error}); start the server with `make serve`") from None
    return answer.choices[0].message.content or ""


def write_verified(
    out: Path, case: Case, answer: str, model: dict[str, Any], yesterday: Case | None = None
) -> list[Finding]:
    """Verify an answer and write report.json, report.md and report.html; returns the findings.

    The envelope (ids, hashes, times, releases, review status) is added here and never by the model.
    """
    case = annotate(case)
    findings = verify_text(case, answer)
    parsed = parse_report(answer)
    created = _now()
    case_hash = sha256_text(case.model_dump_json())
    envelope = {
        "report_id": sha256_text(f"{case_hash}{created}{answer}")[:16],
        "case_id": case.case_id,
        "case_hash": case_hash,
        "created": created,
        "engine": case.engine.model_dump(),
        "policy_version": default_policy().version,
        "rubric": RUBRIC,
        "prompt": prompt.SALT,
        "model": model,
        "status": "draft",
        "version": 0,
    }
    write_report(out, case, parsed.report, answer, findings, envelope, yesterday=yesterday)
    return findings


def outcome(out: Path, case: Case, findings: list[Finding]) -> tuple[dict[str, Any], list[str]]:
    """What came of a report, as JSON values and as lines: official level, findings, where the pages are."""
    official = assess(case)
    level, escalate = official.risk_level, official.escalate
    document = {
        "case_id": case.case_id,
        "out": str(out),
        "risk_level": level,
        "escalate": escalate,
        "findings": [one.model_dump(mode="json") for one in findings],
    }
    needs = "escalate" if escalate else "no escalation"
    return document, [
        f"{case.case_id}: official level {level}, {needs}, {len(findings)} finding(s)",
        *(f"  {one}" for one in findings),
        f"  pages: {out}/report.html, report.md, report.json",
    ]


class Refused(InputError):
    """An approval that may not be given; `findings` say what is left."""

    def __init__(self, message: str, findings: list[Finding]):
        super().__init__(message)
        self.findings = findings


def load_record(path: Path) -> dict[str, Any]:
    """Read a report.json. Raises InputError where it is none."""
    record = read_json(path)
    fields = {"envelope": dict, "case": dict, "official": dict, "findings": list}
    for name, kind in fields.items():
        if not isinstance(record, dict) or not isinstance(record.get(name), kind):
            raise InputError(f"{path}: field {name}: missing; give a report.json that `riskscribe report` wrote")
    return record


def review_report(report_file: Path, review_file: Path, out: Path) -> tuple[Case, list[Finding]]:
    """Apply a review to a report, verify the result and write it to `out` as a signed version; returns what is left.

    Raises:
        Refused: The review approves a report in which something is undecided or a finding is left.
        InputError: The key is missing, the files do not belong together, or a file was altered.
    """
    key = review.signing_key(os.environ)
    record = load_record(report_file)
    decided = validate(review.Review, read_json(review_file), str(review_file))
    case, report, raw = _checked(record, report_file, key)
    envelope = record["envelope"]
    for name in ("report_id", "answer_hash"):
        if getattr(decided, name) != envelope.get(name):
            raise InputError(
                f"{review_file}: {name} is {getattr(decided, name)[:16]!r}, that of {report_file} is "
                f"{str(envelope.get(name))[:16]!r}; the review is of another report or version"
            )
    target = Path(out) / "report.json"
    if target.exists():
        raise InputError(f"{target}: is there already; a version never replaces another: give a new folder")
    official, edits, open_items = assess(case), [], []
    if decided.status == "rejected":
        findings = verify(case, report) if report else [Finding.model_validate(one) for one in record["findings"]]
    elif report is None:
        raise InputError(f"{report_file}: the answer is no report; it can only be rejected")
    else:
        open_items = review.undecided(report, official, decided)
        report, edits = review.apply(case, report, official, decided)
        findings = verify(case, report)
    yesterday = record.get("yesterday")
    rendered = render_report(
        case,
        report,
        raw,
        findings,
        envelope
        | {
            "status": decided.status,
            "version": int(envelope.get("version", 0)) + 1,
            "by": decided.reviewer,
            "reviewed_at": _now(),
            "comment": decided.comment,
            "edits": [*envelope.get("edits", []), *(one.model_dump(mode="json") for one in edits)],
            "undecided": open_items,
            "previous_hash": review.record_hash(record),
        },
        yesterday=validate(Case, yesterday, f"{report_file}: yesterday") if yesterday else None,
        sign=lambda one: review.sign(one, key),
    )
    if decided.status == "approved":
        if open_items:
            raise Refused(f"not approved: {len(open_items)} undecided, the first is {open_items[0]}", [])
        if findings:
            raise Refused(f"not approved: {len(findings)} finding(s) left", findings)
        if rendered.understated:
            raise Refused(f"not approved: understated: {'; '.join(rendered.understated)}", [])
    rendered.write(out)
    return case, findings


def _checked(record: dict[str, Any], path: Path, key: bytes) -> tuple[Case, Report | None, str]:
    """Case, report and raw answer of a record that a person may decide on, unaltered as far as it can be told."""
    envelope = record["envelope"]
    state = envelope.get("status")
    if state not in OPEN:
        raise InputError(f"{path}: is {state}, which is final; write a new report of the case")
    if state != "draft" or "signature" in record:
        review.check_signature(record, key, str(path))
    case = annotate(validate(Case, record["case"], f"{path}: case"))
    model = record.get("model")
    report = validate(Report, model, f"{path}: model") if model is not None else None
    raw = str(record.get("raw", ""))
    for name, right in (
        ("case_hash", sha256_text(case.model_dump_json())),
        ("answer_hash", review.answer_hash(report, raw)),
    ):
        if envelope.get(name) != right:
            raise InputError(f"{path}: {name} does not fit its content; the file was altered after it was written")
    return case, report, raw


def check_version(path: Path) -> dict[str, Any]:
    """A signed version whose signature holds. Raises InputError where it does not."""
    record = load_record(path)
    review.check_signature(record, review.signing_key(os.environ), str(path))
    return record


def export_approved(paths: list[Path], out: Path) -> int:
    """Write cases.jsonl and reports.jsonl of approved versions for `riskscribe data pack`; returns how many."""
    cases, reports = review.approved_rows([(str(path), check_version(path)) for path in paths])
    write_lines(Path(out) / "cases.jsonl", cases)
    write_lines(Path(out) / "reports.jsonl", reports)
    return len(cases)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
