"""A case from a house's own CSV files; their columns, units and signs: docs/import.md."""

import re
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from riskscribe.case import (
    ID_PATTERN,
    PREFIX,
    Authority,
    Backtest,
    Case,
    Cause,
    Change,
    Component,
    Counterparty,
    DataQuality,
    Issue,
    Language,
    Limit,
    Measure,
    Note,
    PnL,
    Position,
    Sensitivity,
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
        ("notional", "counterparty", "netting_set", "previous", "standalone_var"),
    ),
    "limits.csv": (
        "limit",
        ("id", "measure", "scope", "value", "unit", "currency", "side", "soft", "hard", "authority"),
        (
            "owner", "previous", "five_days_ago", "value_currency", "days_open", "cause", "effective_from",
            "effective_to", "increase_amount", "increase_approved_by", "increase_expires",
        ),
    ),
    "var.csv": (
        "var",
        ("id", "measure", "value", "currency", "confidence_pct", "horizon_days"),
        (
            "horizon_method", "method", "window", "windows", "tail_count", "standard_error", "undiversified",
            "previous", "five_days_ago",
        ),
    ),
    "components.csv": (
        "component", ("id", "of", "factor", "contribution", "currency"), ("standalone", "previous"),
    ),
    "stress.csv": ("stress", ("id", "scenario", "shocks", "pnl", "currency"), ("previous",)),
}  # fmt: skip
# optional file -> columns that must be there, columns that may
EXTRAS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "case.csv": (("key", "value"), ()),
    "fx.csv": (("currency", "rate"), ()),
    "sensitivities.csv": (("position", "measure", "value", "bump", "currency"), ("factor",)),
    "changes.csv": (("of", "step", "value", "currency"), ()),
    "pnl.csv": (("measure", "value", "currency"), ("previous",)),
    "backtests.csv": (("exceptions", "days", "confidence_pct"), ()),
    "counterparties.csv": (
        ("name", "netting_set", "enforceable", "exposure", "currency"),
        ("collateral", "threshold"),
    ),
    "data_quality.csv": (("issue", "material", "affects", "detail"), ()),
    "notes.csv": (("author", "text"), ()),
}
_KEYS, _MORE_KEYS = ("as_of", "desk", "base_currency", "engine", "snapshot"), ("language", "layout", "case_id")
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
        return read_table(path, *EXTRAS[name]) if path.exists() else []

    def _head(self) -> dict[str, Any]:
        rows: dict[str, Row] = {}
        for row in read_table(self.folder / "case.csv", *EXTRAS["case.csv"]):
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
        if "layout" in rows:
            rows["layout"].one_of("value", ("exception", "raw"))
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

    def money(self, row: Row, column: str = "currency") -> str:
        """The row's currency, which must be the base currency or have a rate."""
        currency = _currency(row, column)
        if currency not in self.rates:
            raise InputError(
                f"{row.where(column)}: {currency} has no rate; add it to {self.folder / 'fx.csv'} "
                f"(price of 1 {currency} in {self.head['base_currency']})"
            )
        return currency

    def convert(self, amount: float, held: str, wanted: str) -> float:
        """`amount` of `held` in `wanted`, at the rates of fx.csv."""
        return amount if held == wanted else round(amount * self.rates[held] / self.rates[wanted], 6)

    def greeks(self) -> dict[str, list[Sensitivity]]:
        """Sensitivities by the evidence id of their position."""
        found: dict[str, list[Sensitivity]] = defaultdict(list)
        for row in self.extra("sensitivities.csv"):
            position = self.refer(row, "position", row.text("position"), ("position",))
            measure, value = row.one_of("measure", get_args(Measure)), row.number("value")
            fields = {"bump": row.text("bump"), "currency": self.money(row), **row.given("factor")}
            found[position].append(_make(Sensitivity, row, measure=measure, value=value, **fields))
        return found


def _currency(row: Row, column: str) -> str:
    text = row.text(column)
    if not re.fullmatch("[A-Z]{3}", text):
        raise InputError(f"{row.where(column)}: {text[:40]!r} is not a currency; write three capitals such as USD")
    return text


def _make(model: type[BaseModel], row: Row, **fields: Any) -> Any:
    return validate(model, fields, row.where())


def _position(book: _Book, row: Row, made: str, greeks: dict[str, list[Sensitivity]]) -> Position:
    return _make(
        Position, row, id=made, instrument=row.text("instrument"),
        mtm=row.number("mtm") if row.given("mtm") else None, currency=book.money(row),
        sensitivities=greeks.get(made, []), **row.numbers("notional", "previous", "standalone_var"),
        **row.given("counterparty", "netting_set"),
    )  # fmt: skip


def _limit(book: _Book, row: Row, made: str) -> Limit:
    measure, side = row.one_of("measure", get_args(Measure)), row.one_of("side", ("both", "upper", "lower"))
    unit, currency = row.one_of("unit", get_args(Unit)), book.money(row)
    values = {"value": row.number("value")} | row.numbers("previous", "five_days_ago")
    if row.given("value_currency"):
        if unit == "percent":
            raise InputError(f"{row.where('value_currency')}: a limit in percent has no currency to convert from")
        held = book.money(row, "value_currency")
        values = {name: book.convert(value, held, currency) for name, value in values.items()}
    intake.check_limit(measure, side, values["value"], row.where("side" if measure == "stress" else "value"))
    increase = None
    if row.given(*_INCREASE):
        increase = _make(
            TemporaryIncrease, row, amount=row.number("increase_amount"),
            approved_by=row.text("increase_approved_by"), expires=row.day("increase_expires"),
        )  # fmt: skip
    dates = {name: row.day(name) for name in row.given("effective_from", "effective_to")}
    if not dates.get("effective_from", date.min) <= book.head["as_of"] <= dates.get("effective_to", date.max):
        wrong = "effective_to" if dates.get("effective_to", date.max) < book.head["as_of"] else "effective_from"
        raise InputError(
            f"{row.where(wrong)}: {dates[wrong]}, so the limit is not in force on {book.head['as_of']}; give the one "
            "that is"
        )
    return _make(
        Limit, row, id=made, measure=measure, side=side, scope=row.text("scope"), unit=unit, currency=currency,
        soft=row.number("soft"), hard=row.number("hard"), authority=row.one_of("authority", get_args(Authority)),
        temporary_increase=increase, days_open=row.whole("days_open") if row.given("days_open") else None,
        cause=row.one_of("cause", get_args(Cause)) if row.given("cause") else None, **values, **dates,
        **row.given("owner"),
    )  # fmt: skip


def _var(book: _Book, row: Row, made: str) -> ValueAtRisk:
    return _make(
        ValueAtRisk, row, id=made, measure=row.one_of("measure", ("VaR", "ES")), value=row.number("value"),
        currency=book.money(row), confidence_pct=row.number("confidence_pct"), horizon_days=row.whole("horizon_days"),
        **{one: row.whole(one) for one in row.given("windows", "tail_count")},
        **row.numbers("standard_error", "undiversified", "previous", "five_days_ago"),
        **row.given("horizon_method", "method", "window"),
    )  # fmt: skip


def _loss(total: ValueAtRisk | Stress) -> float:
    return -total.pnl if isinstance(total, Stress) else total.value


def _component(book: _Book, row: Row, made: str, totals: dict[str, ValueAtRisk | Stress]) -> Component:
    total = totals[book.refer(row, "of", row.text("of"), ("var", "stress"))]
    if _loss(total) <= 0:
        raise InputError(f"{row.where('of')}: {row.text('of')!r} is no loss, so nothing can be a share of it")
    held = book.money(row)
    values = {"contribution": row.number("contribution")} | row.numbers("standalone", "previous")
    values = {name: book.convert(value, held, total.currency) for name, value in values.items()}
    return _make(
        Component, row, id=made, factor=row.text("factor"), currency=total.currency, of=total.id,
        share_pct=round(100 * values["contribution"] / _loss(total), 4), **values,
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


def _lines(book: _Book) -> list[Change | PnL | Backtest | Counterparty]:
    """The evidence of the optional files."""
    found: list[Change | PnL | Backtest | Counterparty] = []
    for row in book.extra("changes.csv"):
        of = book.refer(row, "of", row.text("of"), ("var", "stress", "limit"))
        step = row.text("step")
        found.append(
            _make(Change, row, id=book.ids("change", of, step), of=of, step=step, value=row.number("value"),
                  currency=book.money(row))
        )  # fmt: skip
    for row in book.extra("pnl.csv"):
        found.append(
            _make(PnL, row, id=book.ids("pnl", row.text("measure")), measure=row.text("measure"),
                  value=row.number("value"), currency=book.money(row), **row.numbers("previous"))
        )  # fmt: skip
    for row in book.extra("backtests.csv"):
        confidence = row.number("confidence_pct")
        found.append(
            _make(Backtest, row, id=book.ids("backtest", f"{confidence:g}"), exceptions=row.whole("exceptions"),
                  days=row.whole("days"), confidence_pct=confidence)
        )  # fmt: skip
    for row in book.extra("counterparties.csv"):
        name, netting = row.text("name"), row.text("netting_set")
        found.append(
            _make(Counterparty, row, id=book.ids("counterparty", name, netting), name=name, netting_set=netting,
                  enforceable=row.one_of("enforceable", ("true", "false")) == "true", exposure=row.number("exposure"),
                  currency=book.money(row), **row.numbers("collateral", "threshold"))
        )  # fmt: skip
    return found


def _check_components(
    components: list[Component], totals: dict[str, ValueAtRisk | Stress], flags: intake.Flags
) -> None:
    """Components that do not add up to their loss within 1 % make the drivers doubtful."""
    for total in totals.values():
        parts, loss = [one.contribution for one in components if one.of == total.id], _loss(total)
        if parts and abs(sum(parts) - loss) > 0.01 * loss:
            affects = [total.id, *(one.id for one in components if one.of == total.id)]
            wording = "components" if isinstance(total, ValueAtRisk) else "stress_components"
            flags.add("contradictory_totals", True, affects, wording, a=sum(parts), b=loss)


def _check_priced(positions: list[Position], given: list[DataQuality], flags: intake.Flags) -> None:
    """A position without an MTM that no line of data_quality.csv explains is a failed pricing."""
    explained = {one for flag in given if flag.material for one in flag.affects}
    silent = [one.id for one in positions if one.mtm is None and one.id not in explained]
    if silent:
        flags.add("failed_pricing", True, silent, "no_mtm", count=len(silent))


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
    """The case in a folder of CSV files (datasets/templates/csv is a start; docs/import.md documents every column).

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

    positions, limits = made("position", _position, book.greeks()), made("limit", _limit)
    lines, stresses = made("var", _var), made("stress", _stress)
    totals = {one.id: one for one in [*lines, *stresses]}
    components = made("component", _component, totals)
    flags = intake.Flags(language)
    given = [_data_quality(book, row) for row in book.extra("data_quality.csv")]
    _check_components(components, totals, flags)
    _check_priced(positions, given, flags)
    intake.flag_owners(limits, flags)
    more = _lines(book)
    positions, quality = intake.condense(positions, given + flags.lines(book.ids), book.rates, book.ids, language)
    notes = [
        _make(Note, row, id=book.ids("note", row.text("author"), row.text("text")), **row.cells)
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
        "layout": head.get("layout", "exception"),
        "engine": {"name": head["engine"], "snapshot": head["snapshot"]},
        "fx": {currency: rate for currency, rate in book.rates.items() if currency != head["base_currency"]},
    }
    evidence = [*limits, *quality, *lines, *components, *stresses, *more, *positions, *notes, source]
    return intake.finish(fields, evidence, folder)
