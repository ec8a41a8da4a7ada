"""Versioned splits: built once, frozen by hash, checked for leakage.

A split file holds one row a line: {"book", "level", "language", "case", "report"}; case and report are JSON texts,
because LLaMA-Factory reads files through Arrow, which would fill a list of unlike evidence objects with nulls.
"""

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator
from tqdm import tqdm

from riskscribe import manifest, prompt
from riskscribe.case import Case, Language, Strict
from riskscribe.data import books, market
from riskscribe.data.gold import gold_report
from riskscribe.errors import InputError
from riskscribe.files import parse_json, read_lines, sha256, sha256_text, validate, write_lines
from riskscribe.policy import assess
from riskscribe.report import LEVELS, Report

QUICK = {"train": 120, "test": 24}


class SplitPlan(Strict):
    """One split: rows by language and the range of history days its books may begin on."""

    en: Annotated[int, Field(ge=0)]
    zh: Annotated[int, Field(ge=0)]
    days: tuple[int, int]

    @model_validator(mode="after")
    def _days_are_in_the_history(self):
        first, last = self.days
        if not (first > market.WINDOWS and first + books.RUN < last <= market.DAYS):
            raise ValueError(
                f"days {first}-{last} do not fit: books begin from day {market.WINDOWS + 1} on, a range is longer "
                f"than {books.RUN} days and ends by {market.DAYS}"
            )
        return self


class Config(Strict):
    """What to generate. The default is version 0 of the dataset."""

    version: str = "v0"
    seed: int = 20261122
    splits: dict[str, SplitPlan] = Field(
        default={
            "train": SplitPlan(en=520, zh=80, days=(520, 900)),
            "val": SplitPlan(en=48, zh=12, days=(910, 990)),
            "test": SplitPlan(en=48, zh=12, days=(1000, 1170)),
        }
    )


class Row(Strict):
    """One training or evaluation example with its case and gold report."""

    book: str
    level: str
    language: Language
    case: Case
    report: Report

    def to_record(self) -> dict[str, str]:
        """The row as it stands in a split file."""
        return {
            "book": self.book,
            "level": self.level,
            "language": self.language,
            "case": self.case.model_dump_json(exclude_none=True),
            "report": self.report.to_json(),
        }


def make_row(case: Case, book: str, report: Report | None = None) -> Row:
    """A row for a case; its report is the policy's gold unless an approved one is given."""
    report = report or gold_report(case)
    return Row(book=book, level=assess(case).risk_level, language=case.language, case=case, report=report)


def _book_rows(plan: books.Plan) -> list[dict[str, str]]:
    return [make_row(one.case, one.book).to_record() for one in books.book_cases(plan)]


def _generate(config: Config, name: str, language: Language, pool: ProcessPoolExecutor, bar: tqdm) -> list[dict]:
    """Books until every level has its share: a book is taken while the level of its last day still has room."""
    split = config.splits[name]
    wanted = getattr(split, language)
    quota = {level: wanted // len(LEVELS) + (i < wanted % len(LEVELS)) for i, level in enumerate(LEVELS)}
    rows: list[dict] = []
    have: Counter = Counter()
    first, last = split.days
    number = 0
    while len(rows) < wanted:
        plans = []
        for i in range(number, number + 32):
            seed = (config.seed, sorted(config.splits).index(name), int(language == "zh"), i)
            day = first + (i * 7919) % (last - first - books.RUN)
            plans.append(books.Plan(LEVELS[i % len(LEVELS)], language, day, seed))
        number += len(plans)
        for made in pool.map(_book_rows, plans):
            for row in made:
                if have[row["level"]] < quota[row["level"]]:
                    have[row["level"]] += 1
                    rows.append(row)
                    bar.update()
    return rows


def _interleave(rows: list[dict]) -> list[dict]:
    """A fixed pseudo-random order, so that a prefix of a split is a fair sample."""
    return sorted(rows, key=lambda row: sha256_text(row["case"]))


def _quick(rows: list[dict], count: int) -> list[dict]:
    """English rows for a run of minutes: the same number of every level, from the shorter half of each."""
    chosen: list[dict] = []
    for level in LEVELS:
        fits = [row for row in rows if (row["language"], row["level"]) == ("en", level)]
        sizes = sorted(len(row["case"]) + len(row["report"]) for row in fits)
        half = sizes[(len(sizes) - 1) // 2] if sizes else 0
        short = [row for row in fits if len(row["case"]) + len(row["report"]) <= half]
        chosen += short[: count // len(LEVELS)]
    return _interleave(chosen)


def _examples(rows: list[dict]) -> list[dict]:
    """Two worked examples a language for the few-shot prompt, from training: one moderate, one critical, short."""
    chosen = []
    for language in ("en", "zh"):
        for level in ("moderate", "critical"):
            fits = [row for row in rows if (row["language"], row["level"]) == (language, level)]
            with_breach = [row for row in fits if json.loads(row["report"])["limit_breaches"]]
            chosen += sorted(with_breach, key=lambda row: len(row["case"]) + len(row["report"]))[:1]
    return chosen


def build(out: Path, config: Config | None = None, workers: int = 2) -> bool:
    """Write the splits of a dataset version to `out`. Returns False when it is already there, complete and unaltered.

    Deterministic for a config. Raises InputError when files of a complete version were altered.
    """
    config, out = config or Config(), Path(out)
    settings = {**json.loads(config.model_dump_json()), "prompt": prompt.SALT}
    held = manifest.load(out)
    if held is not None and held.status == "complete":
        if (held.stage, held.settings) != ("data", settings):
            raise InputError(
                f"{out}: holds version {held.settings.get('version')} built with other settings; "
                f"a version never changes: build to another folder with --out"
            )
        verify_hashes(out)
        return False
    record = manifest.start(out, "data", settings=settings)
    total = sum(split.en + split.zh for split in config.splits.values())
    written: dict[str, list[dict]] = {}
    with ProcessPoolExecutor(workers) as pool, tqdm(total=total, desc="cases", unit="case") as bar:
        for name in config.splits:
            rows = [row for language in ("en", "zh") for row in _generate(config, name, language, pool, bar)]
            written[name] = _interleave(rows)
    written |= {f"{name}_quick": _quick(written[name], count) for name, count in QUICK.items() if name in written}
    if "train" in written:
        written["examples"] = _examples(written["train"])
        shown = {row["case"] for row in written["examples"]}
        assert not shown & {row["case"] for name in ("val", "test") for row in written.get(name, [])}
    for name, rows in written.items():
        write_lines(out / f"{name}.jsonl", rows)
    manifest.finish(out, record, [f"{name}.jsonl" for name in written])
    return True


def verify_hashes(folder: Path) -> None:
    """Raise InputError when a file of a dataset version differs from the hash frozen in its manifest."""
    record = manifest.load(folder)
    if record is None or record.status != "complete":
        raise InputError(f"{folder}: no complete {manifest.NAME}; build the data first: riskscribe data build")
    for name, frozen in record.outputs.items():
        path = Path(folder) / name
        if not path.exists():
            raise InputError(f"{path}: missing; its frozen sha256 is {frozen}")
        if sha256(path) != frozen:
            raise InputError(f"{path}: altered: sha256 is {sha256(path)}, frozen is {frozen}; restore the file")


def read_rows(path: Path) -> list[Row]:
    """Read a split file. Raises InputError naming file, line and field."""
    rows = []
    for number, record in enumerate(read_lines(path), start=1):
        rows.append(read_row(record, f"{path}: row {number}"))
    return rows


def read_row(record: Any, where: str) -> Row:
    """Validate one record of a split file."""
    if not isinstance(record, dict) or not {"case", "report"} <= record.keys():
        raise InputError(f"{where}: needs the fields case and report, both JSON texts")
    record = dict(record)
    for field in ("case", "report"):
        if isinstance(record[field], str):
            record[field] = parse_json(record[field], f"{where}: {field}")
    return validate(Row, record, where)


def check(folder: Path) -> dict[str, Any]:
    """Check hashes, schema, gold against the policy, and leakage between splits; returns the balance.

    Raises InputError at the first fault.
    """
    verify_hashes(folder)
    rows = {path.stem: read_rows(path) for path in sorted(Path(folder).glob("*.jsonl"))}
    balance: dict[str, Any] = {}
    for name, found in rows.items():
        for number, row in enumerate(found, start=1):
            where = f"{folder}/{name}.jsonl: row {number}"
            official = assess(row.case).risk_level
            if not row.level == row.report.risk_level == official:
                raise InputError(f"{where}: level {row.level}, report {row.report.risk_level}, policy {official}")
        counts = Counter((row.language, row.level) for row in found)
        balance[name] = {
            "rows": len(found),
            "books": len({row.book for row in found}),
            "levels": {lang: {level: counts[lang, level] for level in LEVELS} for lang in ("en", "zh")},
        }
    full = [name for name in ("train", "val", "test") if name in rows]
    for i, one in enumerate(full):
        for other in full[i + 1 :]:
            _disjoint(folder, one, rows[one], other, rows[other])
    return balance


def _disjoint(folder: Path, one: str, left: Iterable[Row], other: str, right: Iterable[Row]) -> None:
    for what, of in (
        ("book", lambda row: row.book),
        ("date", lambda row: row.case.as_of),
        ("case id", lambda row: row.case.case_id),
    ):
        shared = {of(row) for row in left} & {of(row) for row in right}
        if shared:
            raise InputError(f"{folder}: {one} and {other} share {len(shared)} {what}s, for example {min(shared)}")


def pack(cases: Path, reports: Path, out: Path) -> int:
    """A user's own cases and approved reports (JSON Lines, same order) as a checked split `own.jsonl` in `out`."""
    held = manifest.load(out)
    if held is not None and set(held.outputs) - {"own.jsonl"}:
        raise InputError(f"{out}: holds another dataset, whose manifest this would replace; pack to another folder")
    found_cases, found_reports = read_lines(cases), read_lines(reports)
    if len(found_cases) != len(found_reports):
        raise InputError(f"{cases} has {len(found_cases)} cases, {reports} has {len(found_reports)} reports")
    rows, seen = [], set()
    for number, (case, report) in enumerate(zip(found_cases, found_reports, strict=True), start=1):
        case = validate(Case, case, f"{cases}: row {number}")
        report = validate(Report, report, f"{reports}: row {number}")
        unknown = sorted(set(report.cited()) - {one.id for one in case.evidence})
        if unknown:
            raise InputError(f"{reports}: row {number}: cites {unknown[0]}, which is not evidence of {case.case_id}")
        if case.case_id in seen:
            raise InputError(f"{cases}: row {number}: case id {case.case_id} is used twice; ids are unique")
        seen.add(case.case_id)
        rows.append(make_row(case, f"own-{number}", report).to_record())
    record = manifest.start(out, "data", inputs={str(cases): sha256(cases), str(reports): sha256(reports)})
    write_lines(Path(out) / "own.jsonl", rows)
    manifest.finish(out, record, ["own.jsonl"])
    return len(rows)
