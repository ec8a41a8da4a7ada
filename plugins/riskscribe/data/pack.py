"""A user's own cases and approved reports as a checked split; what is missing is told, nothing is made up.

The level of a row is the one its approved report states: the house's policy decides here, not the package's.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from riskscribe import manifest
from riskscribe.case import ID_PATTERN, Case
from riskscribe.data.duplicates import between
from riskscribe.data.rows import Row
from riskscribe.errors import InputError
from riskscribe.files import read_lines, sha256, sha256_text, validate, write_json, write_lines
from riskscribe.report import Report

NAME = "packed.json"
EXAMPLES = 3
# a report may lack these; an empty list claims nothing, where an empty list of breaches would
OPTIONAL: dict[str, Any] = {
    "schema_version": "1",
    "key_drivers": [],
    "limitations": [],
    "assumptions": [],
    "level_basis": [],
    "recommended_actions": [],
}
_ID = re.compile(rf"(?<![A-Za-z0-9-]){ID_PATTERN}(?![A-Za-z0-9-])")

Ground = Callable[[Case, Report], Iterable[str]]


class Count(BaseModel):
    """How often something was met, and the first few places."""

    count: int = 0
    examples: list[str] = []

    def add(self, example: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


class Packed(BaseModel):
    """What became of the files: rows by split, what is missing, and what was left out and why."""

    cases: int
    reports: int
    joined_by: Literal["case_id", "order"]
    split_by: Literal["book", "date", "book or date"] = "date"
    rows: dict[str, int] = {}
    missing: Annotated[dict[str, Count], Field(description="told; the row is used")] = {}
    left_out: Annotated[dict[str, Count], Field(description="reason -> rows not used")] = {}

    def miss(self, kind: str, example: str) -> None:
        """Note something missing in a row that is used."""
        self.missing.setdefault(kind, Count()).add(example)

    def leave_out(self, kind: str, example: str) -> None:
        """Note a case or report that is not used."""
        self.left_out.setdefault(kind, Count()).add(example)

    def summary(self) -> list[str]:
        """What a person reads, a line a thing."""
        total = sum(self.rows.values())
        lines = [f"{total} rows of {self.cases} cases and {self.reports} reports, joined by {self.joined_by}"]
        if len(self.rows) > 1:
            lines.append(f"split by {self.split_by}: " + ", ".join(f"{n} {name}" for name, n in self.rows.items()))
        for what, counts in (("left out", self.left_out), ("missing", self.missing)):
            for kind, one in counts.items():
                lines.append(f"{what}: {kind}: {one.count}, for example {one.examples[0]}")
        return lines


def pack(
    cases: Path, reports: Path, out: Path, *, val: float = 0.0, test: float = 0.0, ground: Ground | None = None
) -> Packed:
    """Join cases and approved reports (JSON Lines) into split files in `out`, with `packed.json` and a manifest.

    A line of `cases` is a case, and may name its `book`; a line of `reports` is a report, or `{"case_id", "report"}`.
    Without `val` and `test` everything goes to `own.jsonl`; else to train, val and test by a hash of the book (of the
    date, where a case names no book), so that no book is in two splits and a row stays where it is as the data grow.

    Args:
        val: share of books or dates for validation.
        test: share of books or dates for the test split.
        ground: the numbers of a report that its case does not support, a line each; None leaves them unchecked.

    Raises InputError when a file cannot be read, when reports without `case_id` are not as many as the cases, when
    nothing can be used, or when `out` holds another dataset.
    """
    out = Path(out)
    if val < 0 or test < 0 or val + test >= 1:
        raise InputError(f"--val {val:g} and --test {test:g}: shares of 0 or more that leave something for training")
    held = manifest.load(out)
    if held is not None and not (held.settings.get("own") or set(held.outputs) <= {"own.jsonl"}):
        raise InputError(f"{out}: holds another dataset, whose manifest this would replace; pack to another folder")
    found_cases, found_reports = read_lines(cases), read_lines(reports)
    by_id = any(isinstance(one, dict) and "case_id" in one for one in found_reports)
    told = Packed(cases=len(found_cases), reports=len(found_reports), joined_by="case_id" if by_id else "order")
    good = _cases(cases, found_cases, told)
    if by_id:
        pairs = _by_id(reports, found_reports, good, told)
    else:
        if len(found_cases) != len(found_reports):
            raise InputError(
                f"{cases} has {len(found_cases)} cases, {reports} has {len(found_reports)} reports without case_id: "
                f'which is missing cannot be told; write a report as {{"case_id": ..., "report": {{...}}}}'
            )
        pairs = [(number, *good[number], report) for number, report in enumerate(found_reports, 1) if number in good]
    rows = [row for pair in pairs if (row := _row(reports, *pair, told, ground)) is not None]
    if not rows:
        first = next((f"{kind}: {one.examples[0]}" for kind, one in told.left_out.items()), "the files are empty")
        raise InputError(f"{cases}, {reports}: no row can be used; {first}")
    books = [case_book is not None for _, _, case_book, _ in pairs]
    told.split_by = "book" if all(books) else "book or date" if any(books) else "date"
    splits = _split(rows, val, test, told)
    told.rows = {name: len(found) for name, found in splits.items()}
    _write(out, splits, told, held, {str(path): sha256(path) for path in (cases, reports)}, val, test)
    return told


def _cases(path: Path, found: list[Any], told: Packed) -> dict[int, tuple[Case, str | None]]:
    """Row number -> case and book, of the cases that can be used."""
    good, seen = {}, set()
    for number, value in enumerate(found, start=1):
        where, book = f"{path}: row {number}", None
        if isinstance(value, dict) and "book" in value:
            book = value["book"]
            value = {key: one for key, one in value.items() if key != "book"}
        try:
            if book is not None and not (isinstance(book, str) and book.strip()):
                raise InputError(f"{where}: field book: is {book!r}; a name, or leave it out")
            case = validate(Case, value, where)
        except InputError as error:
            told.leave_out("invalid case", str(error))
            continue
        if case.case_id in seen:
            told.leave_out("case id used twice", f"{where}: {case.case_id}; ids are unique")
            continue
        seen.add(case.case_id)
        good[number] = (case, book)
    return good


def _by_id(path: Path, found: list[Any], good: dict[int, tuple[Case, str | None]], told: Packed) -> list[tuple]:
    """(row number of the report, case, book, report), in the order of the cases."""
    reports: dict[str, tuple[int, Any]] = {}
    known = {case.case_id for case, _ in good.values()}
    for number, value in enumerate(found, start=1):
        where = f"{path}: row {number}"
        if not (isinstance(value, dict) and isinstance(value.get("case_id"), str) and "report" in value):
            told.leave_out("report without case_id", f'{where}: others carry one; write {{"case_id", "report"}}')
        elif value["case_id"] in reports:
            told.leave_out("second report of a case", f"{where}: {value['case_id']}; a case has one approved report")
        elif value["case_id"] not in known:
            told.leave_out("report without case", f"{where}: {value['case_id']} is no usable case")
        else:
            reports[value["case_id"]] = (number, value["report"])
    pairs = []
    for case, book in good.values():
        if case.case_id in reports:
            number, report = reports[case.case_id]
            pairs.append((number, case, book, report))
        else:
            told.leave_out("case without report", case.case_id)
    return pairs


def _row(
    path: Path, number: int, case: Case, book: str | None, report: Any, told: Packed, ground: Ground | None
) -> Row | None:
    """The row of a case and what stands for its report; None when it is left out."""
    where = f"{path}: row {number} ({case.case_id})"
    absent = [name for name in OPTIONAL if isinstance(report, dict) and name not in report]
    if absent:
        report = report | {name: OPTIONAL[name] for name in absent}
    try:
        report = validate(Report, report, where)
    except InputError as error:
        told.leave_out("invalid report", str(error))
        return None
    cited = {*report.cited(), *(name for _, text, _ in report.prose() for name in _ID.findall(text))}
    unknown = sorted(cited - {one.id for one in case.evidence})
    if unknown:
        told.leave_out("evidence that does not exist", f"{where}: cites {unknown[0]}")
        return None
    for name in absent:
        told.miss(f"report field {name}", where)
    for line in ground(case, report) if ground else ():
        told.miss("number not in the evidence", f"{where}: {line}")
    group = book or f"own-{case.as_of}"
    return Row(book=group, level=report.risk_level, language=case.language, case=case, report=report)


def _split(rows: list[Row], val: float, test: float, told: Packed) -> dict[str, list[Row]]:
    """Rows by split; every split that was asked for gets at least one book where there are enough."""
    if not (val or test):
        return {"own": rows}
    share = {book: int(sha256_text(f"split|{book}")[:12], 16) / 16**12 for book in {row.book for row in rows}}
    of = {book: "test" if at < test else "val" if at < test + val else "train" for book, at in share.items()}
    wanted = [name for name, part in (("train", 1), ("val", val), ("test", test)) if part]
    for name in wanted:
        if name in of.values():
            continue
        spare = [book for book in share if list(of.values()).count(of[book]) > 1]
        if spare:
            of[min(spare, key=share.get)] = name
        else:
            told.miss("split", f"{name} is empty: {len(share)} books or dates are too few")
    splits = {name: [row for row in rows if of[row.book] == name] for name in wanted}
    _leaks(splits, told)
    return {name: found for name, found in splits.items() if found}


def _leaks(splits: dict[str, list[Row]], told: Packed) -> None:
    """Note dates and nearly equal cases that stand in two splits although their books do not."""
    names = list(splits)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            left, right = splits[one], splits[other]
            for day in sorted({row.case.as_of for row in left} & {row.case.as_of for row in right}):
                told.miss("date of its own", f"{day} is in {one} and {other}, in different books")
            texts = [[row.case.model_dump_json(exclude_none=True) for row in found] for found in (left, right)]
            for a, b, similarity in between(*texts):
                ids = f"{left[a].case.case_id} ({one}) and {right[b].case.case_id} ({other})"
                told.miss("difference between splits", f"{ids} are {similarity:.0%} alike")


def _write(
    out: Path,
    splits: dict[str, list[Row]],
    told: Packed,
    held: manifest.Manifest | None,
    inputs: dict[str, str],
    val: float,
    test: float,
) -> None:
    settings = {"own": True, "split_by": told.split_by, "val": val, "test": test}
    record = manifest.start(out, "data", inputs=inputs, settings=settings)
    names = [*(f"{name}.jsonl" for name in splits), NAME]
    for name in held.outputs if held else ():
        if name not in names:
            (out / name).unlink(missing_ok=True)
    for name, rows in splits.items():
        write_lines(out / f"{name}.jsonl", [row.to_record() for row in rows])
    write_json(out / NAME, told)
    manifest.finish(out, record, names)
