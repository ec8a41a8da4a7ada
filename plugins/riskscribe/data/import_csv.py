"""A case from a house's own CSV files; their columns, units and signs: datasets/example_book/README.md."""

import re
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from riskscribe.case import (
    ID_PATTERN,
    PREFIX,
    Authority,
    Case,
    Component,
    DataQuality,
    Issue,
    Language,
    Limit,
    Measure,
    Note,
    Position,
    Source,
    Stress,
    TemporaryIncrease,
    Unit,
    ValueAtRisk,
)
from riskscribe.data import intake
from riskscribe.data.tables import Row, read_table
from riskscribe.errors import InputError
from riskscribe.files import read_text, validate

# file -> kind, columns that must be there, columns that may
TABLES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "positions.csv": (
        "position",
        ("id", "instrument", "mtm", "currency"),
        ("notional", "counterparty", "netting_set"),
    ),
    "limits.csv": (
        "limit",
        ("id", "measure", "scope", "value", "unit", "currency", "side", "soft", "hard", "authority"),
        ("owner", "previous", "days_open", "increase_amount", "increase_approved_by", "increase_expires"),
    ),
    "var.csv": (
        "var",
        ("id", "measure", "value", "currency", "confidence_pct", "horizon_days"),
        ("horizon_method", "method", "windows", "standard_error", "previous"),
    ),
    "components.csv": ("component", ("id", "of", "factor", "contribution", "currency"), ("previous",)),
    "stress.csv": ("stress", ("id", "scenario", "shocks", "pnl", "currency"), ("previous",)),
}
EXTRAS = {
    "case.csv": ("key", "value"),
    "fx.csv": ("currency", "rate"),
    "data_quality.csv": ("issue", "material", "affects", "detail"),
    "notes.csv": ("author", "text"),
}
_KEYS, _MORE_KEYS = ("as_of", "desk", "base_currency", "engine", "snapshot"), ("language", "case_id")
_INCREASE = ("increase_amount", "increase_approved_by", "increase_expires")


class _Book:
    """The folder's rows and the evidence id of every row's own id."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.head = self._head()
        self.rates = self._rates()
        self.rows = {kind: read_table(folder / name, needed, more) for name, (kind, needed, more) in TABLES.items()}
        self.ids = intake.Ids(self.head["desk"])
        self.known = self._known()

    def extra(self, name: str) -> list[Row]:
        """The rows of an optional file."""
        path = self.folder / name
        return read_table(path, EXTRAS[name]) if path.exists() else []

    def _head(self) -> dict[str, Any]:
        rows: dict[str, Row] = {}
        for row in read_table(self.folder / "case.csv", EXTRAS["case.csv"]):
            key = row.one_of("key", _KEYS + _MORE_KEYS)
            if key in rows:
                raise InputError(f"{row.where('key')}: {key} stands twice; the first is on line {rows[key].line}")
            row.text("value")
            rows[key] = row
        for key in _KEYS:
            if key not in rows:
                raise InputError(f"{self.folder / 'case.csv'}: key {key} is missing; needed are {', '.join(_KEYS)}")
        head = {key: row.text("value") for key, row in rows.items()}
        head["as_of"] = rows["as_of"].day("value")
        if "language" in rows:
            rows["language"].one_of("value", get_args(Language))
        head["base_currency"] = _currency(rows["base_currency"], "value")
        return head

    def _rates(self) -> dict[str, float]:
        """Price of one unit of each currency in the base currency."""
        base = self.head["base_currency"]
        rates = {base: 1.0}
        for row in self.extra("fx.csv"):
            currency, rate = _currency(row, "currency"), row.number("rate")
            if currency in rates:
                why = "is the base currency" if currency == base else "stands twice"
                raise InputError(f"{row.where('currency')}: {currency} {why}; give one rate for every other currency")
            if rate <= 0:
                raise InputError(
                    f"{row.where('rate')}: {rate:g} must be positive: the price of 1 {currency} in {base}"
                )
            rates[currency] = rate
        return rates

    def _known(self) -> dict[str, tuple[str, Row]]:
        """House id -> evidence id and row. A house id that already is an evidence id of its kind is kept."""
        first: dict[str, Row] = {}
        kept = {}
        for kind, rows in self.rows.items():
            for row in rows:
                name = row.text("id")
                if name in first:
                    raise InputError(f"{row.where('id')}: {name!r} stands twice; first in {first[name].where()}")
                first[name] = row
                if re.fullmatch(ID_PATTERN, name):
                    if not name.startswith(PREFIX[kind] + "-"):
                        raise InputError(f"{row.where('id')}: {name!r} of a {kind} must begin with {PREFIX[kind]}-")
                    kept[name] = self.ids.keep(name)
        return {
            row.text("id"): (kept.get(row.text("id")) or self.ids(kind, row.text("id")), row)
            for kind, rows in self.rows.items()
            for row in rows
        }

    def refer(self, row: Row, column: str, name: str, kinds: tuple[str, ...] = tuple(PREFIX)) -> str:
        """The evidence id of another row's id."""
        found = self.known.get(name)
        if not found or not found[0].startswith(tuple(PREFIX[kind] + "-" for kind in kinds)):
            files = [file for file, (kind, *_) in TABLES.items() if kind in kinds]
            raise InputError(f"{row.where(column)}: {name!r} is not an id of {', '.join(files)}")
        return found[0]

    def money(self, row: Row) -> str:
        """The row's currency, which must be the base currency or have a rate."""
        currency = _currency(row, "currency")
        if currency not in self.rates:
            raise InputError(
                f"{row.where('currency')}: {currency} has no rate; add it to {self.folder / 'fx.csv'} "
                f"(price of 1 {currency} in {self.head['base_currency']})"
            )
        return currency


def _currency(row: Row, column: str) -> str:
    text = row.text(column)
    if not re.fullmatch("[A-Z]{3}", text):
        raise InputError(f"{row.where(column)}: {text[:40]!r} is not a currency; write three capitals such as USD")
    return text


def _make(model: type[BaseModel], row: Row, **fields: Any) -> Any:
    return validate(model, fields, row.where())


def _position(book: _Book, row: Row, made: str) -> Position:
    return _make(
        Position, row, id=made, instrument=row.text("instrument"), mtm=row.number("mtm"), currency=book.money(row),
        **row.numbers("notional"), **row.given("counterparty", "netting_set"),
    )  # fmt: skip


def _limit(book: _Book, row: Row, made: str) -> Limit:
    measure, side = row.one_of("measure", get_args(Measure)), row.one_of("side", ("both", "upper", "lower"))
    value = row.number("value")
    intake.check_limit(measure, side, value, row.where("side" if measure == "stress" else "value"))
    increase = None
    if row.given(*_INCREASE):
        increase = _make(
            TemporaryIncrease, row, amount=row.number("increase_amount"),
            approved_by=row.text("increase_approved_by"), expires=row.day("increase_expires"),
        )  # fmt: skip
    return _make(
        Limit, row, id=made, measure=measure, side=side, value=value, scope=row.text("scope"),
        unit=row.one_of("unit", get_args(Unit)), currency=book.money(row), soft=row.number("soft"),
        hard=row.number("hard"), authority=row.one_of("authority", get_args(Authority)), temporary_increase=increase,
        days_open=row.whole("days_open") if row.given("days_open") else None,
        **row.numbers("previous"), **row.given("owner"),
    )  # fmt: skip


def _var(book: _Book, row: Row, made: str) -> ValueAtRisk:
    return _make(
        ValueAtRisk, row, id=made, measure=row.one_of("measure", ("VaR", "ES")), value=row.number("value"),
        currency=book.money(row), confidence_pct=row.number("confidence_pct"), horizon_days=row.whole("horizon_days"),
        windows=row.whole("windows") if row.given("windows") else None,
        **row.numbers("standard_error", "previous"), **row.given("horizon_method", "method"),
    )  # fmt: skip


def _component(book: _Book, row: Row, made: str, totals: dict[str, ValueAtRisk]) -> Component:
    total = totals[book.refer(row, "of", row.text("of"), ("var",))]
    if total.value == 0:
        raise InputError(f"{row.where('of')}: {row.text('of')!r} is zero, so nothing can be a share of it")
    currency, contribution = book.money(row), row.number("contribution")
    if currency != total.currency:
        raise InputError(f"{row.where('currency')}: {currency}, but {row.text('of')!r} is in {total.currency}")
    return _make(
        Component, row, id=made, factor=row.text("factor"), contribution=contribution, currency=currency, of=total.id,
        share_pct=round(100 * contribution / total.value, 4), **row.numbers("previous"),
    )  # fmt: skip


def _stress(book: _Book, row: Row, made: str) -> Stress:
    return _make(
        Stress, row, id=made, scenario=row.text("scenario"), shocks=row.text("shocks"), pnl=row.number("pnl"),
        currency=book.money(row), **row.numbers("previous"),
    )  # fmt: skip


def _data_quality(book: _Book, row: Row) -> DataQuality:
    return _make(
        DataQuality, row, id=book.ids("data_quality", row.text("issue"), row.text("detail")),
        issue=row.one_of("issue", get_args(Issue)), material=row.one_of("material", ("true", "false")) == "true",
        affects=list(dict.fromkeys(book.refer(row, "affects", one.strip()) for one in row.cells["affects"].split(";")))
        if row.given("affects")
        else [],
        detail=row.text("detail"),
    )  # fmt: skip


def _check_components(components: list[Component], totals: dict[str, ValueAtRisk], flags: intake.Flags) -> None:
    """Components that do not add up to their VaR within 1 % make the drivers doubtful."""
    for total in totals.values():
        parts = [one.contribution for one in components if one.of == total.id]
        if parts and abs(sum(parts) - total.value) > 0.01 * total.value:
            affects = [total.id, *(one.id for one in components if one.of == total.id)]
            flags.add("contradictory_totals", True, affects, "components", a=sum(parts), b=total.value)


def _check_folder(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: is not a folder; give the folder that holds case.csv, positions.csv, limits.csv, …"
        )
    found = sorted(one for one in folder.iterdir() if one.suffix.lower() == ".csv")
    for one in found:
        if one.name not in TABLES.keys() | EXTRAS.keys():
            raise InputError(f"{one}: unknown file; known are {', '.join(sorted(TABLES.keys() | EXTRAS.keys()))}")
    return found


def import_csv(folder: Path) -> Case:
    """The case in a folder of CSV files (datasets/example_book is one; its README documents every column).

    Amounts are plain decimals in the currency of their row: MTM, P&L and Greeks signed (negative is a loss), VaR and
    limits positive. Ids in the files are the house's own; evidence ids are made from them, the same every time.

    Raises InputError naming file, line, column and what would be right.
    """
    folder = Path(folder)
    files = _check_folder(folder)
    book = _Book(folder)
    head, language = book.head, book.head.get("language", "en")
    if not book.rows["position"]:
        raise InputError(f"{folder / 'positions.csv'}: the book is empty; a case needs at least one position")

    def made(kind: str, make: Any, *more: Any) -> list:
        return [make(book, row, book.known[row.text("id")][0], *more) for row in book.rows[kind]]

    positions, limits, lines, stresses = (
        made("position", _position), made("limit", _limit), made("var", _var), made("stress", _stress)
    )  # fmt: skip
    totals = {one.id: one for one in lines}
    components = made("component", _component, totals)
    flags = intake.Flags(language)
    _check_components(components, totals, flags)
    intake.flag_owners(limits, flags)
    given = [_data_quality(book, row) for row in book.extra("data_quality.csv")]
    positions, quality = intake.condense(positions, given + flags.lines(book.ids), book.rates, book.ids, language)
    notes = [
        Note(
            id=book.ids("note", row.text("author"), row.text("text")), author=row.text("author"), text=row.text("text")
        )
        for row in book.extra("notes.csv")
    ]
    source = Source(id=book.ids("source", "csv"), system="CSV files", detail=", ".join(one.stem for one in files))
    fields = {
        "case_id": head.get("case_id")
        or intake.case_id(*(part for one in files for part in (one.name, read_text(one)))),
        "as_of": head["as_of"],
        "desk": head["desk"],
        "base_currency": head["base_currency"],
        "language": language,
        "engine": {"name": head["engine"], "snapshot": head["snapshot"]},
        "fx": {currency: rate for currency, rate in book.rates.items() if currency != head["base_currency"]},
    }
    evidence = [*limits, *quality, *lines, *components, *stresses, *positions, *notes, source]
    return intake.finish(fields, evidence, folder)
