"""The cases a person scores against: a split file of ours, or cases of their own without gold, book or level."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from riskscribe.case import Case
from riskscribe.errors import InputError
from riskscribe.evaluate.score import Scored
from riskscribe.files import numbered_lines, parse_json, read_json, validate
from riskscribe.policy import annotate, assess


class _Group(BaseModel):
    """What a record is counted under, where its line says so."""

    model_config = ConfigDict(strict=True)

    book: str = ""
    slices: list[str] = []


def read_scored(path: Path) -> list[Scored]:
    """Read the cases of `path`: JSON Lines, Parquet, or a .json file of one case or a list of cases.

    A line is a case, which may also name its `book` and `slices`; or a row of a split, whose `case` is a case or its
    JSON text. Nothing else of a row is read: the policy, not a gold report, is what an answer is scored against.

    Raises InputError naming file and line for what is no case, for a case whose numbers contradict themselves, for a
    case id used twice and for a file without cases.
    """
    rows: list[Scored] = []
    lines: dict[str, int] = {}
    for number, record in _records(Path(path)):
        where = f"{path}: {'item' if Path(path).suffix == '.json' else 'line'} {number}"
        if not isinstance(record, dict):
            raise InputError(f"{where}: is a JSON {type(record).__name__}; a case or a row of a split is an object")
        group = validate(_Group, {key: record[key] for key in ("book", "slices") if key in record}, where)
        case = record.get("case", {key: value for key, value in record.items() if key not in ("book", "slices")})
        if isinstance(case, str):
            case = parse_json(case, f"{where}: case")
        case = validate(Case, case, where)
        if case.case_id in lines:
            raise InputError(f"{where}: case {case.case_id} was there before, as number {lines[case.case_id]}")
        lines[case.case_id] = number
        try:
            assess(annotate(case))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        except (ValidationError, OverflowError):
            raise InputError(f"{where}: case {case.case_id}: its numbers overflow; check values and rates") from None
        rows.append(Scored(case, group.book, group.slices))
    if not rows:
        raise InputError(f"{path}: holds no case; a case a line is needed")
    return rows


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """(line, row or item number, JSON value) of a file, blank lines passed over."""
    if path.suffix == ".gz":
        raise InputError(f"{path}: is sealed; open it once a release: riskscribe data open")
    if path.suffix == ".json":
        found = read_json(path)
        yield from enumerate(found if isinstance(found, list) else [found], start=1)
        return
    if path.suffix != ".parquet":
        yield from numbered_lines(path)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise InputError(f"{path}: no such file")
    try:
        yield from enumerate(pq.read_table(path).to_pylist(), start=1)
    except pa.ArrowException as error:
        raise InputError(f"{path}: not a Parquet file of rows ({error})") from None
