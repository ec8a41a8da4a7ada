"""Versioned splits: built once, frozen by hash, checked for leakage.

What a row is stands in rows.py. The sealed test is compressed, and opening it is counted.
"""

import gzip
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import cache
from multiprocessing import parent_process
from pathlib import Path
from sys import intern
from threading import Thread
from typing import Annotated, Any, NamedTuple

from pydantic import Field, model_validator
from tqdm import tqdm

from riskscribe import manifest, prompt
from riskscribe.case import Case, Language, Strict
from riskscribe.data import books
from riskscribe.data.duplicates import between
from riskscribe.data.gold import gold_with_wording, wording
from riskscribe.data.history import history
from riskscribe.data.notes import NoteTruth
from riskscribe.data.risk import BACKTEST_DAYS, WINDOWS
from riskscribe.data.rows import Row, raw_records, read_records, read_rows, write_rows
from riskscribe.data.slices import SLICES, slices_of
from riskscribe.errors import InputError
from riskscribe.files import (
    read_lines,
    sha256,
    sha256_text,
    write_lines,
)
from riskscribe.policy import Assessment, assess
from riskscribe.report import LEVELS, Report

LANGUAGES: tuple[Language, ...] = ("en", "zh")
QUICK = {"train": 120, "test": 24}
# of the training split: English and Chinese rows a level of the subset that the full profile trains on
FULL = {"en": 64, "zh": 16}
CHUNK = 16
SIZES = (("compact", 0.5), ("usual", 0.35), ("long", 0.15))
# share of books that are made to show one of books.FEATURES
FEATURED = 0.5
NEAR = 0.9
OPENINGS = "openings.jsonl"
# cases written and checked by hand, frozen with the version
ACCEPTANCE = "acceptance"


class SplitPlan(Strict):
    """One split: rows by language, the dates its books are watched on, and how many rows a book may give.

    `held_out` opens the wordings, notes and combinations that other splits never see; `sealed` splits are stored
    compressed. `parquet` is for a split of any size: it is streamed in the order it is made, the others are sorted by
    language and length.
    """

    en: Annotated[int, Field(ge=0)]
    zh: Annotated[int, Field(ge=0)]
    first: date
    last: date
    per_book: Annotated[int, Field(ge=1)] = 6
    held_out: bool = False
    sealed: bool = False
    parquet: bool = False

    @model_validator(mode="after")
    def _dates_are_in_the_history(self):
        days = history().dates
        first, last = days[WINDOWS + BACKTEST_DAYS + 10], days[-130]
        if not (first <= self.first and self.last <= last and (self.last - self.first).days >= 30):
            raise ValueError(
                f"dates {self.first} to {self.last} do not fit: a range is 30 days or longer inside {first} to {last}"
            )
        return self

    @property
    def suffix(self) -> str:
        """How the split's file name ends."""
        return ".parquet" if self.parquet else ".jsonl.gz" if self.sealed else ".jsonl"


class Config(Strict):
    """What to generate. The default is version 1 of the dataset."""

    version: str = "v1"
    seed: int = 20261124
    splits: dict[str, SplitPlan] = Field(
        default={
            "train": SplitPlan(en=1600, zh=400, first=date(2009, 7, 1), last=date(2014, 12, 31), parquet=True),
            "val": SplitPlan(en=160, zh=40, first=date(2015, 2, 2), last=date(2015, 12, 31), per_book=3),
            "test": SplitPlan(
                en=192, zh=48, first=date(2016, 2, 1), last=date(2017, 4, 28), per_book=3, held_out=True
            ),
            "sealed": SplitPlan(
                en=192, zh=48, first=date(2017, 6, 1), last=date(2018, 6, 20), per_book=3, held_out=True, sealed=True
            ),
        }
    )


def make_row(case: Case, book: str, notes: Iterable[NoteTruth] = (), *, held_out: bool = False) -> Row:
    """A row for a case with the policy's gold report."""
    notes = list(notes)
    report, wording = gold_with_wording(case, notes=notes, held_out=held_out)
    return Row(
        book=book,
        level=report.risk_level,
        language=case.language,
        slices=slices_of(case, notes),
        wording=wording,
        notes=notes,
        case=case,
        report=report,
    )


def _book_rows(plan: books.Plan) -> list[dict[str, Any]]:
    rows = []
    for one in books.book_cases(plan):
        row = make_row(one.case, one.book, one.notes, held_out=plan.held_out)
        size = len(prompt.render_case(row.case)) + len(row.report.to_json())
        rows.append({**row.to_record(), "size": size})
    if not plan.feature:
        return rows
    # a book that was to show something shows it, and gives those cases first
    shows = [books.FEATURES[plan.feature] in row["slices"] for row in rows]
    return (
        [row for _, row in sorted(zip(shows, rows, strict=True), key=lambda pair: not pair[0])] if any(shows) else []
    )


def _plans(config: Config, name: str, number: int, open_quotas: list[tuple[Language, str]]) -> list[books.Plan]:
    """The next books of a split: level and language go round what is still wanted."""
    split = config.splits[name]
    days = history().dates
    first = next(i for i, day in enumerate(days) if day >= split.first)
    last = next((i for i, day in enumerate(days) if day > split.last), len(days)) - 1
    plans = []
    for i in range(number, number + CHUNK):
        rng = random.Random(f"{config.seed}/{name}/{i}")
        language, level = open_quotas[i % len(open_quotas)]
        length = rng.randint(5, 10)
        plans.append(
            books.Plan(
                seed=(config.seed, sorted(config.splits).index(name), i),
                level=level,
                language=language,
                desk=rng.choice(books.DESKS),
                size=rng.choices([one for one, _ in SIZES], [weight for _, weight in SIZES])[0],
                first_day=rng.randrange(first, last - length + 1),
                days=length,
                feature=rng.choice(books.features(level)) if rng.random() < FEATURED else "",
                held_out=split.held_out,
            )
        )
    return plans


def _end_with_parent() -> None:
    """In a worker: end when the build is killed, rather than wait for work for ever."""

    def wait() -> None:
        parent_process().join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


@cache
def _code() -> str:
    """SHA-256 of the package's own files: a chunk that other code made is not gone on from."""
    package = Path(__file__).parents[1]
    files = sorted(path for path in package.rglob("*") if path.suffix in (".py", ".yaml"))
    return sha256_text("".join(sha256(path) for path in files))


def _generate(config: Config, name: str, pool: ProcessPoolExecutor, work: Path, bar: tqdm) -> Iterator[dict]:
    """Rows of a split until every language and level has its share; finished chunks are kept in `work`."""
    split = config.splits[name]
    quota = {
        (language, level): wanted // len(LEVELS) + (i < wanted % len(LEVELS))
        for language, wanted in (("en", split.en), ("zh", split.zh))
        for i, level in enumerate(LEVELS)
    }
    have: Counter = Counter()
    number = 0
    while any(have[key] < wanted for key, wanted in quota.items()):
        # English four times as often where both are wanted: in proportion to what is missing
        missing = {key: wanted - have[key] for key, wanted in quota.items() if have[key] < wanted}
        rounds = [key for key, count in missing.items() for _ in range(max(1, 20 * count // max(missing.values())))]
        random.Random(f"{config.seed}/{name}/{number}/order").shuffle(rounds)
        plans = _plans(config, name, number, rounds)
        number += len(plans)
        kept = work / f"{sha256_text(_code() + repr(plans))}.jsonl"
        if not kept.exists():
            write_lines(kept, list(pool.map(_book_rows, plans)))
        for made in read_lines(kept):
            taken = 0
            for row in made:
                key = (row["language"], row["level"])
                if have[key] < quota.get(key, 0) and taken < split.per_book:
                    have[key] += 1
                    taken += 1
                    bar.update()
                    yield row


class _Noted(NamedTuple):
    """What choosing a subset needs of a row: characters of prompt and report, and where it belongs."""

    size: int
    language: str
    level: str
    book: str
    finding: bool


def _noted(rows: Iterable[dict], notes: list[_Noted]) -> Iterator[dict]:
    """The rows without their sizes, which are noted down."""
    for row in rows:
        size, finding = row.pop("size"), '"limit_breaches":[]' not in row["report"]
        language, level, book = (intern(row[name]) for name in ("language", "level", "book"))
        notes.append(_Noted(size, language, level, book, finding))
        yield row


def _spread(notes: list[_Noted], language: str, level: str, share: tuple[float, float], count: int) -> list[int]:
    """Row numbers of a language and level, between two shares of its sizes, from as many books as there are."""
    fits = [i for i, one in enumerate(notes) if (one.language, one.level) == (language, level)]
    ranked = sorted(fits, key=lambda i: (notes[i].size, i))
    fits = sorted(ranked[int(share[0] * len(ranked)) : int(share[1] * len(ranked))])
    turn: Counter = Counter()
    order = []
    for i in fits:
        turn[notes[i].book] += 1
        order.append((turn[notes[i].book], i))
    return [i for _, i in sorted(order)[:count]]


def _quick(notes: list[_Noted], count: int) -> list[int]:
    """English rows for a run of minutes: as many of every level, from its shortest sixth."""
    return sorted(i for level in LEVELS for i in _spread(notes, "en", level, (0.0, 0.17), count // len(LEVELS)))


def _full(notes: list[_Noted]) -> list[int]:
    """Rows for a run of an hour: of every language and level three from the shorter half for one from the longer.

    The longest tenth is left out: its memory and time are another machine's.
    """
    chosen: list[int] = []
    for language, count in FULL.items():
        for level in LEVELS:
            chosen += _spread(notes, language, level, (0.0, 0.5), count - count // 4)
            chosen += _spread(notes, language, level, (0.5, 0.9), count // 4)
    return sorted(chosen)


def _examples(notes: list[_Noted]) -> list[int]:
    """Two worked examples a language for the few-shot prompt: the shortest moderate and critical with a finding."""
    chosen = []
    for language in LANGUAGES:
        for level in ("moderate", "critical"):
            fits = [
                (one.size, i)
                for i, one in enumerate(notes)
                if (one.language, one.level, one.finding) == (language, level, True)
            ]
            chosen += [i for _, i in sorted(fits)[:1]]
    return chosen


def _chosen(path: Path, numbers: Iterable[int]) -> Iterator[dict]:
    wanted = set(numbers)
    return (row for i, row in enumerate(read_records(path)) if i in wanted)


def build(out: Path, config: Config | None = None, workers: int = 2) -> bool:
    """Write the splits of a dataset version to `out`. Returns False when it is already there, complete and unaltered.

    Deterministic for a config, whatever the number of workers; a build that was stopped goes on from its last chunk.
    Raises InputError when files of a complete version were altered.
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
    work = out / ".work"
    for left in [*out.glob(".*.????????"), *work.glob(".*.????????")]:
        left.unlink()  # what a killed build was writing
    total = sum(split.en + split.zh for split in config.splits.values())
    names: list[str] = []
    with (
        ProcessPoolExecutor(workers, initializer=_end_with_parent) as pool,
        tqdm(total=total, desc="cases", unit="case") as bar,
    ):
        for name, split in config.splits.items():
            path = out / f"{name}{split.suffix}"
            notes: list[_Noted] = []
            rows = _generate(config, name, pool, work, bar)
            if not split.parquet:
                # a batch of prompts of one language and length pads little and waits for no straggler
                rows = iter(sorted(rows, key=lambda row: (row["language"], row["size"], row["case"])))
            write_rows(path, _noted(rows, notes))
            names.append(path.name)
            subsets = {f"{name}_quick.jsonl": _quick(notes, QUICK[name])} if name in QUICK else {}
            if name == "train":
                subsets |= {"train_full.parquet": _full(notes), "examples.jsonl": _examples(notes)}
            for subset, numbers in subsets.items():
                write_rows(out / subset, _chosen(path, numbers))
                names.append(subset)
    by_hand = sorted(f"{ACCEPTANCE}/{path.name}" for path in (out / ACCEPTANCE).glob("*.yaml"))
    record.summary = {name: _counts(raw_records(out / name)) for name in names}
    manifest.finish(out, record, [*names, *by_hand])
    shutil.rmtree(work, ignore_errors=True)
    return True


def _counts(rows: Iterable[dict]) -> dict[str, Any]:
    """Rows, books, levels by language and slices of a split."""
    levels: Counter = Counter()
    slices: Counter = Counter()
    found_books: set[str] = set()
    for row in rows:
        levels[row["language"], row["level"]] += 1
        slices.update(row.get("slices") or ())
        found_books.add(row["book"])
    return {
        "rows": sum(levels.values()),
        "books": len(found_books),
        "levels": {language: {level: levels[language, level] for level in LEVELS} for language in LANGUAGES},
        "slices": {name: slices[name] for name in SLICES if slices[name]},
    }


def verify_hashes(folder: Path) -> manifest.Manifest:
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
    return record


def check(folder: Path) -> dict[str, Any]:
    """Check hashes, schema, gold against the policy, slices and leakage between splits; returns counts by split.

    The sealed test is checked by its hash alone; how often it was opened is counted. Raises InputError at the first
    fault.
    """
    folder = Path(folder)
    record = verify_hashes(folder)
    own = bool(record.settings.get("own"))
    rows = {
        name.split(".")[0]: read_rows(folder / name)
        for name in record.outputs
        if name.endswith((".jsonl", ".parquet")) and not name.startswith("packed")
    }
    for name, found in rows.items():
        for number, row in enumerate(found, start=1):
            where = f"{folder}/{name}: row {number}"
            official = None if own else assess(row.case)
            level = official.risk_level if official else row.level
            if not row.level == row.report.risk_level == level:
                raise InputError(f"{where}: level {row.level}, report {row.report.risk_level}, policy {level}")
            if official:
                _follows(row.report, official, where)
            if not own and row.slices != slices_of(row.case, row.notes):
                raise InputError(f"{where}: slices {row.slices}, the case gives {slices_of(row.case, row.notes)}")
    full = [name for name in ("train", "val", "test") if name in rows]
    for i, one in enumerate(full):
        for other in full[i + 1 :]:
            _disjoint(folder, one, rows[one], other, rows[other], own)
    if not own:
        _held_out(folder, rows)
    balance = {name: _counts(row.to_record() for row in found) for name, found in rows.items()}
    if (folder / OPENINGS).exists() or any(name.endswith(".gz") for name in record.outputs):
        balance["sealed"] = {"openings": len(openings(folder))}
    return balance


def _follows(report: Report, official: Assessment, where: str) -> None:
    """Raise InputError where a gold report decides anything else than the policy."""

    def decided(one: Report | Assessment) -> dict[str, Any]:
        return {
            "limit_breaches": sorted((breach.limit_id, breach.status) for breach in one.limit_breaches),
            "level_basis": sorted(basis.clause for basis in one.level_basis),
            "assessment_status": one.assessment_status,
            "escalate": one.escalate,
        }

    stated, policy = decided(report), decided(official)
    for field, value in stated.items():
        if value != policy[field]:
            raise InputError(f"{where}: report: {field} {value}, policy {policy[field]}")


def _disjoint(folder: Path, one: str, left: list[Row], other: str, right: list[Row], own: bool) -> None:
    # a user's own split by book may share dates; packing tells so
    dates = [] if own else [("date", lambda row: row.case.as_of)]
    for what, of in (("book", lambda row: row.book), ("case id", lambda row: row.case.case_id), *dates):
        shared = {of(row) for row in left} & {of(row) for row in right}
        if shared:
            raise InputError(f"{folder}: {one} and {other} share {len(shared)} {what}s, for example {min(shared)}")
    if own:
        return
    if max(row.case.as_of for row in left) >= min(row.case.as_of for row in right):
        raise InputError(f"{folder}: dates of {other} do not all lie after those of {one}")
    near = between(
        [prompt.render_case(row.case) for row in left], [prompt.render_case(row.case) for row in right], NEAR
    )
    if near:
        i, j, alike = near[0]
        ids = f"{left[i].case.case_id} and {right[j].case.case_id}"
        raise InputError(f"{folder}: {one} and {other} hold near-duplicates: {ids} are {alike:.0%} alike")


def _held_out(folder: Path, rows: dict[str, list[Row]]) -> None:
    """What only the test may hold: wordings, and instrument and limit combinations."""
    plans = [plan for language in LANGUAGES for plan in wording(language).plans.values()]
    reserved = {one.id for plan in plans for one in plan if one.reserved}
    for name in ("train", "val"):
        for row in rows.get(name, ()):
            seen = [one for one in row.wording if one in reserved]
            combination = books.held_out_combination(row.case)
            if seen or combination:
                what = f"wording {seen[0]}" if seen else f"combination {' and '.join(combination)}"
                raise InputError(f"{folder}: {name} holds {row.case.case_id} with the {what}, kept for the test")


def openings(folder: Path) -> list[dict[str, str]]:
    """Every time the sealed test of a dataset version was opened: date, release, sha256."""
    path = Path(folder) / OPENINGS
    return list(read_lines(path)) if path.exists() else []


def open_sealed(folder: Path, release: str, out: Path) -> int:
    """Write the sealed test to `out` for one release, and log the opening. Returns how often it has been opened.

    Raises InputError when this release has opened it before.
    """
    record = verify_hashes(folder)
    name = next((one for one in record.outputs if one.endswith(".gz")), None)
    if name is None:
        raise InputError(f"{folder}: has no sealed test")
    before = openings(folder)
    if any(one["release"] == release for one in before):
        raise InputError(f"{folder}: release {release} has opened the sealed test before; it is opened once a release")
    opened = {"date": date.today().isoformat(), "release": release, "sha256": record.outputs[name]}
    write_lines(Path(folder) / OPENINGS, [*before, opened])
    with gzip.open(Path(folder) / name, "rt", encoding="utf-8") as file:
        write_lines(out, (json.loads(line) for line in file))
    return len(before) + 1
