"""From a case to a verified report: ask a model, verify what it wrote, write the pages. No path goes unverified."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from riskscribe import prompt
from riskscribe.case import Case
from riskscribe.errors import InputError
from riskscribe.evaluate.parse import parse_report
from riskscribe.evaluate.score import RUBRIC
from riskscribe.evaluate.verify import Finding, verify_text
from riskscribe.files import read_json, sha256_text, validate
from riskscribe.page.report import write_report
from riskscribe.policy import annotate, assess, default_policy


def load_case(path: Path) -> Case:
    """Read and check a case: its fields, and its limits against their own numbers."""
    return annotate(validate(Case, read_json(path), str(path)))


def ask_api(case: Case, url: str, key: str, model: str = "riskscribe", timeout: float = 600) -> str:
    """Ask an OpenAI-compatible endpoint, with our own system message. Raises InputError when it does not answer."""
    import openai

    client = openai.OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=0)
    try:
        answer = client.chat.completions.create(model=model, messages=prompt.messages(case), temperature=0)
    except openai.AuthenticationError:
        raise InputError(f"{url}: the key was refused; RISKSCRIBE_API_KEY must be the server's") from None
    except openai.OpenAIError as error:
        raise InputError(f"{url}: no answer ({error}); start the server with `make serve`") from None
    return answer.choices[0].message.content or ""


def write_verified(out: Path, case: Case, answer: str, model: dict[str, Any]) -> list[Finding]:
    """Verify an answer and write report.json, report.md and report.html; returns the findings.

    The envelope (ids, hashes, times, releases, review status) is added here and never by the model.
    """
    case = annotate(case)
    findings = verify_text(case, answer)
    parsed = parse_report(answer)
    created = datetime.now(UTC).isoformat(timespec="seconds")
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
    }
    write_report(out, case, parsed.report, answer, findings, envelope)
    return findings


def tell(out: Path, case: Case, findings: list[Finding]) -> None:
    """Print the official level, the findings a line each, and where the pages are."""
    official = assess(case)
    click.echo(
        f"{case.case_id}: official level {official.risk_level}, "
        f"{'escalate' if official.escalate else 'no escalation'}, {len(findings)} finding(s)"
    )
    for one in findings:
        click.echo(f"  {one.code}: {one.path}: {one.message}" if one.path else f"  {one.code}: {one.message}")
    click.echo(f"  pages: {out}/report.html, report.md, report.json")
