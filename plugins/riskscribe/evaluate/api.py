"""The evaluator from Python, on anybody's reports: what the commands score, compare, verify and ground do.

Stable: other people's code calls it. Every function raises riskscribe.errors.InputError for bad input, in one line
that says what was wrong, where, and what would be right. Nothing is loaded before a function needs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from riskscribe.case import Case
    from riskscribe.evaluate.grounding import Number
    from riskscribe.evaluate.verify import Finding
    from riskscribe.report import Report


def score(data: str | Path, predictions: str | Path, out: str | Path, **options: Any) -> dict[str, Any]:
    """Score the reports of a predictions file and write records.jsonl and metrics.json into the folder `out`.

    Args:
        data: Cases, a line each (`case.schema.json`; a line may also name its `book`), or a split file of ours.
        predictions: A line a case: `{"case_id", "predict"}`, or LLaMA-Factory's generated_predictions.jsonl.
        out: Folder of the scored run; its name is the run's name in a comparison.
        options: Passed on to riskscribe.evaluate.score.score_run: `text` for BLEU and ROUGE, `similarity`.

    Returns:
        What metrics.json holds: the rubric's version, hashes, and every metric by language, in percent with a 95 %
        interval. docs/rubric.md says what each means.
    """
    from riskscribe.evaluate.inputs import read_scored
    from riskscribe.evaluate.score import score_run
    from riskscribe.files import read_json

    score_run(read_scored(Path(data)), Path(data), Path(predictions), Path(out), **options)
    return read_json(Path(out) / "metrics.json")


def compare(*folders: str | Path, title: str = "Comparison", **options: Any) -> dict[str, Any]:
    """Compare scored runs on the same cases, the last against each other one: the figures, as data.

    Args:
        folders: Folders that `score` wrote, two or more.
        title: Of the page that `riskscribe compare` would make of it.
        options: Passed on to riskscribe.evaluate.compare.compare.

    Returns:
        JSON-ready; values and differences in percent and percentage points.
    """
    from riskscribe.evaluate.compare import compare as compared

    return compared([Path(one) for one in folders], title, **options)


def verify(case: Case | dict | Path, report: Report | dict | str | Path) -> list[Finding]:
    """Everything in a report that differs from the policy or that the case does not carry; empty when clean.

    Args:
        case: A case, its JSON values, or the Path of a file with it.
        report: A report, its JSON values, what a model wrote as a str, or the Path of a file with any of these (or
            with a report.json of `riskscribe report`). What is no report is one finding, `unparseable`.
    """
    from riskscribe.evaluate import verify as verification
    from riskscribe.files import read_text
    from riskscribe.report import Report

    case = _case(case)
    if isinstance(report, Report):
        return verification.verify(case, report)
    if isinstance(report, Path):
        report = verification.report_text(read_text(report))
    return verification.verify_text(case, report if isinstance(report, str) else json.dumps(report))


def ground(text: str, evidence: Case | Path | Iterable[dict[str, Any]], **options: Any) -> list[Number]:
    """Every number of a text, and which evidence supports it.

    Args:
        text: Prose in English or Chinese, citing ids in square brackets.
        evidence: `[{"id", "label", "value", "unit"?, "currency"?}]`, a file with such a list, or a case.
        options: Passed on to riskscribe.evaluate.grounding.ground_text.
    """
    from riskscribe.case import Case
    from riskscribe.evaluate.grounding import facts_of, ground_text, read_facts
    from riskscribe.files import read_json
    from riskscribe.policy import annotate

    if isinstance(evidence, Case):
        facts = facts_of(annotate(evidence))
    elif isinstance(evidence, Path):
        facts = read_facts(read_json(evidence), str(evidence))
    else:
        facts = read_facts(list(evidence), "evidence")
    return ground_text(text, facts, **options)


def _case(value: Case | dict | Path) -> Case:
    from riskscribe.case import Case
    from riskscribe.files import read_json, validate
    from riskscribe.policy import annotate

    if isinstance(value, Path):
        value = validate(Case, read_json(value), str(value))
    return annotate(value if isinstance(value, Case) else validate(Case, value, "case"))
