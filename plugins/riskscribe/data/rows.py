"""Rows of the dataset, read and written: what a split file holds, without what makes it.

A split file holds one row a line: book, level, language, slices, wording and the texts case, report and notes. These
three are JSON texts, because LLaMA-Factory reads files through Arrow, which would fill a list of unlike evidence
objects with nulls. A large split is a Parquet file of the same rows; the sealed test is compressed.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from riskscribe.case import Case, Language, Strict
from riskscribe.data.notes import NoteTruth
from riskscribe.errors import InputError
from riskscribe.files import parse_json, read_lines, replacing, validate, write_lines
from riskscribe.report import Report

_SCHEMA = pa.schema(
    [
        ("book", pa.string()),
        ("level", pa.string()),
        ("language", pa.string()),
        ("slices", pa.list_(pa.string())),
        ("wording", pa.list_(pa.string())),
        ("notes", pa.string()),
        ("case", pa.string()),
        ("report", pa.string()),
    ]
)


class Row(Strict):
    """One training or evaluation example: a case, its gold report, and what the row is counted under."""

    book: str
    level: str
    language: Language
    slices: list[str] = Field(default_factory=list)
    wording: list[str] = Field(default_factory=list)
    notes: list[NoteTruth] = Field(default_factory=list)
    case: Case
    report: Report

    def to_record(self) -> dict[str, Any]:
        """The row as it stands in a split file."""
        return {
            "book": self.book,
            "level": self.level,
            "language": self.language,
            "slices": self.slices,
            "wording": self.wording,
            "notes": json.dumps([asdict(one) for one in self.notes], ensure_ascii=False),
            "case": self.case.model_dump_json(exclude_none=True),
            "report": self.report.to_json(),
        }


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """Write records to a .jsonl, .jsonl.gz or .parquet file, by its name; never half-written, never all in memory."""
    path = Path(path)
    if path.suffix == ".jsonl":
        write_lines(path, rows)
        return
    with replacing(path) as temporary:
        if path.suffix == ".gz":
            # no time stamp and no name: the same rows are the same bytes
            with open(temporary, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
                for row in rows:
                    file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        else:
            with pq.ParquetWriter(temporary, _SCHEMA, compression="zstd", compression_level=15) as writer:
                batch: list[dict] = []
                for row in rows:
                    batch.append(row)
                    if len(batch) == 500:
                        writer.write_table(pa.Table.from_pylist(batch, _SCHEMA))
                        batch = []
                writer.write_table(pa.Table.from_pylist(batch, _SCHEMA))


def read_records(path: Path) -> Iterator[dict]:
    """The records of a split file, one after another. Raises InputError for one that cannot be read."""
    path = Path(path)
    if path.suffix == ".gz":
        raise InputError(f"{path}: is sealed; open it once a release: riskscribe data open")
    if path.suffix != ".parquet":
        yield from read_lines(path)
        return
    if not path.exists():
        raise InputError(f"{path}: no such file")
    try:
        for batch in pq.ParquetFile(path).iter_batches(500):
            yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise InputError(f"{path}: not a Parquet file of rows ({error})") from None


def raw_records(path: Path) -> Iterator[dict]:
    """The records of a split file, the sealed one's too: for counts and checks, never for training or scores."""
    if path.suffix != ".gz":
        return read_records(path)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return iter([json.loads(line) for line in file])


def read_rows(path: Path) -> list[Row]:
    """Read a split file. Raises InputError naming file, row and field."""
    return [read_row(record, f"{path}: row {number}") for number, record in enumerate(read_records(path), start=1)]


def read_row(record: Any, where: str) -> Row:
    """Validate one record of a split file."""
    if not isinstance(record, dict) or not {"case", "report"} <= record.keys():
        raise InputError(f"{where}: needs the fields case and report, both JSON texts")
    record = dict(record)
    for field in ("case", "report", "notes"):
        if isinstance(record.get(field), str):
            record[field] = parse_json(record[field], f"{where}: {field}")
    return validate(Row, record, where)
