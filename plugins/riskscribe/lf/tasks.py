"""The seam to LLaMA-Factory: a task renders a row to chat messages and scores an answer. risk_report is the first."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from riskscribe import prompt
from riskscribe.case import Case
from riskscribe.data.rows import read_records, read_row, read_rows
from riskscribe.files import sha256
from riskscribe.policy import default_policy
from riskscribe.schema import report_outline


@dataclass(frozen=True)
class Task:
    """What LLaMA-Factory needs to know of a kind of dataset.

    `messages(row, file)` gives the chat messages ending with the user's; `answer(row)` the text to learn.
    `salt(file)` changes whenever either would: the datasets cache is keyed by it.
    """

    name: str
    salt: Callable[[Path], str]
    messages: Callable[[dict[str, Any], Path], list[dict[str, str]]]
    answer: Callable[[dict[str, Any]], str]


def _report_messages(row: dict[str, Any], file: Path) -> list[dict[str, str]]:
    return prompt.messages(read_row(row, str(file)).case)


def _report_answer(row: dict[str, Any]) -> str:
    return read_row(row, "row").report.to_json()


def _report_salt(file: Path) -> str:
    # the policy's thresholds decide to how many decimals a utilisation is shown
    return f"{prompt.SALT}, {default_policy()!r}"


def _examples(file: Path) -> Path:
    return file.parent / "examples.jsonl"


@cache
def worked_examples(file: Path, language: str) -> tuple:
    """The (case, report) pairs of `language` in examples.jsonl beside a split file."""
    rows = read_rows(_examples(file))
    return tuple((row.case, row.report) for row in rows if row.language == language)


def _few_shot_messages(row: dict[str, Any], file: Path) -> list[dict[str, str]]:
    case = read_row(row, str(file)).case
    return prompt.messages(case, list(worked_examples(file, case.language)), report_outline())


def _few_shot_salt(file: Path) -> str:
    # without examples the rendering says so
    examples = sha256(_examples(file)) if _examples(file).exists() else ""
    return f"{_report_salt(file)}, {report_outline()}, {examples}"


TASKS = {
    task.name: task
    for task in (
        Task("risk_report", _report_salt, _report_messages, _report_answer),
        # the same rows as a base model deserves them: with the schema and two worked examples
        Task("risk_report_few_shot", _few_shot_salt, _few_shot_messages, _report_answer),
    )
}


class CaseIndex:
    """Finds a case by the opaque id in its prompt, in the files LLaMA-Factory was told to read."""

    def __init__(self):
        self.files: dict[Path, None] = {}
        self.cases: dict[str, str] = {}

    def add(self, file: Path) -> None:
        """Note a split file; it is read when the first case is asked for."""
        self.files.setdefault(Path(file))

    @property
    def known(self) -> bool:
        """Whether this process has met a dataset of ours."""
        return bool(self.files or self.cases)

    def find(self, text: str) -> Case | None:
        """The case whose head line stands last in a prompt, or None."""
        for file in list(self.files):
            for record in read_records(file):
                self.cases[json.loads(record["case"])["case_id"]] = record["case"]
            del self.files[file]
        found = self.cases.get(prompt.case_id_in(text) or "")
        return Case.model_validate_json(found) if found else None


CASES = CaseIndex()
