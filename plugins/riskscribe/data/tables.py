"""CSV tables read strictly: every refusal names the file, the line, the column and what would be right."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from riskscribe.errors import InputError
from riskscribe.files import read_text

_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
NOT_AVAILABLE = "#N/A"
LARGEST = 1e18


def decimal(text: str, where: str) -> float:
    """A plain decimal such as -1234.56; thousands separators, exponents, NaN and infinity are refused.

    So is a size above 1e18: no amount is, and sums and ratios of larger ones overflow.
    """
    value = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if abs(value) <= LARGEST:
        return value
    if not math.isnan(value):
        raise InputError(f"{where}: {text[:40]!r} is above 1e18 in size; write an amount in units of its currency")
    got = f"{text[:40]!r} is not a plain decimal" if text else "is empty"
    raise InputError(f"{where}: {got}; write a number like -1234.56 (no thousands separator, exponent, NaN or inf)")


def day(text: str, where: str) -> date:
    """A date written YYYY-MM-DD."""
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise InputError(f"{where}: {text[:40]!r} is not a date; write YYYY-MM-DD")


@dataclass(frozen=True)
class Row:
    """One line of a table: its cells by column, stripped; an absent optional column reads as empty."""

    path: Path
    line: int
    cells: dict[str, str]

    def where(self, column: str | None = None) -> str:
        """File and line, and the column where one is meant."""
        return f"{self.path}: line {self.line}" + (f": column {column}" if column else "")

    def text(self, column: str) -> str:
        """The cell's text; an empty cell is refused."""
        if not self.cells.get(column):
            raise InputError(f"{self.where(column)}: is empty; a value is needed")
        return self.cells[column]

    def given(self, *columns: str) -> dict[str, str]:
        """The cells of `columns` that are not empty."""
        return {one: self.cells[one] for one in columns if self.cells.get(one)}

    def number(self, column: str) -> float:
        """The cell as a plain decimal; an empty cell is refused."""
        return decimal(self.cells.get(column, ""), self.where(column))

    def numbers(self, *columns: str) -> dict[str, float]:
        """The cells of optional numeric `columns` that are not empty."""
        return {one: self.number(one) for one in self.given(*columns)}

    def number_or_none(self, column: str) -> float | None:
        """The cell as a plain decimal, or None where the engine wrote `#N/A`."""
        return None if self.cells.get(column) == NOT_AVAILABLE else self.number(column)

    def whole(self, column: str) -> int:
        """The cell as a whole number."""
        value = self.number(column)
        if not value.is_integer():
            raise InputError(f"{self.where(column)}: {self.cells[column]} is not a whole number")
        return int(value)

    def day(self, column: str) -> date:
        """The cell as a date."""
        return day(self.text(column), self.where(column))

    def one_of(self, column: str, allowed: Sequence[str]) -> str:
        """The cell, which must be one of `allowed`."""
        text = self.text(column)
        if text not in allowed:
            raise InputError(f"{self.where(column)}: {text[:40]!r} is unknown; use one of {', '.join(allowed)}")
        return text


def read_table(
    path: Path, needed: Sequence[str], optional: Sequence[str] | None = (), separators: str = ","
) -> list[Row]:
    """Read a CSV file with one header line (a leading `#` is taken off); blank lines are passed over.

    `optional=None` accepts any further column (an engine adds them from version to version). The first of `separators`
    that the header line holds parts the cells. Raises InputError for
    an absent or empty file, a byte that is not UTF-8, an unknown, missing or repeated column, a line of the wrong
    width.
    """
    try:
        # only line ends split records: str.splitlines would also cut at form feeds and the like
        text = read_text(path)
        head = next((one for one in text.splitlines() if one.strip()), "")
        separator = next((one for one in separators if one in head), separators[0])
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: not CSV ({error})") from None
    if not lines:
        raise InputError(f"{path}: is empty; the first line must name the columns {', '.join(needed)}")
    first, header = lines[0]
    header[0] = header[0].removeprefix("#").strip()
    if len(header) == 1 and len(needed) > 1 and any(one in header[0] for one in ";\t|"):
        raise InputError(f"{path}: line {first}: the cells are parted by another sign than a comma; save as plain CSV")
    _check_header(f"{path}: line {first}", header, needed, optional)
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise InputError(
                f"{path}: line {number}: {len(cells)} fields, the header has {len(header)}; "
                "quote a text that holds a comma, write numbers without thousands separators"
            )
        rows.append(Row(path, number, dict(zip(header, cells, strict=True))))
    return rows


def _check_header(where: str, header: list[str], needed: Sequence[str], optional: Sequence[str] | None) -> None:
    for column in needed:
        if column not in header:
            raise InputError(f"{where}: column {column!r} is missing; needed are {', '.join(needed)}")
    for column in header:
        if header.count(column) > 1:
            raise InputError(f"{where}: column {column!r} stands twice; name every column once")
        if optional is not None and column not in (*needed, *optional):
            raise InputError(f"{where}: column {column!r} is unknown; use {', '.join((*needed, *optional))}")
