"""The reports of a run (npv, sensitivity, stresstest) and the limits file, read into the base currency."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, PositiveFloat

from riskscribe.case import (
    Authority,
    Currency,
    Issue,
    Language,
    Measure,
    Strict,
    TemporaryIncrease,
    Text,
    Unit,
    ValueAtRisk,
)
from riskscribe.data import intake
from riskscribe.data.tables import NOT_AVAILABLE, Row, read_table
from riskscribe.errors import InputError
from riskscribe.files import read_yaml, validate

NPV, SENSITIVITY, STRESS, VAR, HISTORY = (
    "npv.csv", "sensitivity.csv", "stresstest.csv", "var.csv", "historical_PnL.csv",
)  # fmt: skip
RELATIVE = 0.01  # rates and figures of two reports that differ by more contradict each other
CENT = 0.015  # two figures that ORE rounds to cents

Number = Annotated[FiniteFloat, Field(strict=True)]
Positive = Annotated[PositiveFloat, Field(strict=True)]


class LimitTerms(Strict):
    """One limit of the limits file; `hard`, `soft` and `previous` in the unit of the measure and in `currency`."""

    scope: Text
    measure: Measure
    hard: Positive
    authority: Authority
    soft: Positive | None = None
    side: Literal["both", "upper", "lower"] | None = None
    unit: Unit | None = None
    currency: Currency | None = None
    owner: Text | None = None
    temporary_increase: TemporaryIncrease | None = None
    previous: Number | None = None
    factor: Text | None = None
    bump: Positive | None = None
    by: Literal["trade", "counterparty"] = "trade"
    counterparty: Text | None = None
    confidence_pct: Annotated[float, Field(gt=50, lt=100)] = 99
    horizon_days: Annotated[int, Field(ge=1, le=250)] = 1


class VarTerms(Strict):
    """What var.csv does not say. The horizon is needed only where no historical_PnL.csv shows it."""

    confidence_pct: Annotated[float, Field(gt=50, lt=100)] = 99
    horizon_days: Annotated[int, Field(ge=1, le=250)] | None = None
    horizon_method: Literal["direct", "overlapping", "sqrt_of_time"] = "direct"
    previous: Annotated[FiniteFloat, Field(ge=0, strict=True)] | None = None


class LimitsFile(Strict):
    """The limits file: what ORE reports do not hold. `fx` is the price of one unit in the base currency."""

    desk: Text
    base_currency: Currency
    as_of: date | None = None
    language: Language = "en"
    engine: Text = "Open Source Risk Engine"
    fx: dict[Currency, Positive] = Field(default_factory=dict)
    var: VarTerms = VarTerms()
    volatility_shift: Literal["unknown", "absolute"] = "unknown"
    scenarios: dict[str, Text] = Field(default_factory=dict)
    enforceable_netting: list[str] = Field(default_factory=list)
    limits: list[LimitTerms]


@dataclass(frozen=True)
class Trade:
    """A line of npv.csv."""

    name: str
    kind: str
    npv: float | None  # base currency; None where ORE wrote #N/A
    counterparty: str
    netting_set: str
    row: Row


@dataclass(frozen=True)
class Shift:
    """A sensitivity row: the P&L in the base currency of moving one factor by `size`."""

    trade: str
    factor_class: str
    factor: str
    size: float
    pnl: float | None


@dataclass(frozen=True)
class Gap:
    """Why a limit cannot be compared."""

    issue: Issue
    why: str


@dataclass
class Reports:
    """What the folder's files say, in the base currency."""

    folder: Path
    terms: LimitsFile
    flags: intake.Flags
    as_of: date
    trades: dict[str, Trade] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    shifts: list[Shift] | None = None
    scenarios: dict[str, dict[str, float]] | None = None
    var: ValueAtRisk | None = None
    used: dict[str, str] = field(default_factory=dict)  # file -> what was left out of it
    base_npvs: dict[str, dict[str, float]] = field(default_factory=dict)

    def read(self, name: str, *needed: str) -> list[Row] | None:
        """The rows of a report, or None where the engine did not write it."""
        path = self.folder / name
        if not path.exists():
            return None
        self.used[name] = ""
        return read_table(path, needed, None)

    def gap(self, issue: Issue, wording: str, **values: Any) -> Gap:
        """A gap in the case's language."""
        return Gap(issue, intake.say(self.terms.language, wording, **values))

    def absent(self, file: str) -> Gap:
        """The gap of a report that the engine did not write, or wrote without what is needed."""
        return self.gap("partial_coverage", "empty_file" if file in self.used else "no_file", file=file)

    def sums(self) -> dict[str, float]:
        """P&L of the book by scenario."""
        return {label: sum(rows.values()) for label, rows in self.scenarios.items()}


def read_limits(path: Path) -> LimitsFile:
    """Read a limits file. Raises InputError naming the field."""
    return validate(LimitsFile, read_yaml(path), str(path))


def read_npv(reports: Reports) -> None:
    """The trades at their NPV in the base currency, and the FX rates that the file implies. Refuses an empty book."""
    rows = reports.read(NPV, "TradeId", "TradeType", "NPV", "NpvCurrency", "NPV(Base)", "BaseCurrency")
    if rows is None:
        raise InputError(f"{reports.folder / NPV}: no such file; an ORE case needs at least npv.csv")
    base = reports.terms.base_currency
    samples: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        name = row.text("TradeId")
        if name in reports.trades:
            raise InputError(f"{row.where('TradeId')}: {name!r} stands twice; trades are unique in npv.csv")
        if row.text("BaseCurrency") != base:
            raise InputError(
                f"{row.where('BaseCurrency')}: {row.text('BaseCurrency')}, but base_currency of the limits file is "
                f"{base}; set it to ORE's base currency"
            )
        npv = row.number_or_none("NPV(Base)")
        for own, currency, converted in (
            ("NPV", "NpvCurrency", "NPV(Base)"),
            ("Notional", "NotionalCurrency", "Notional(Base)"),
        ):
            if len(row.given(own, currency, converted)) == 3:
                local, in_base = row.number_or_none(own), row.number_or_none(converted)
                # a tiny amount says nothing about the rate: it is rounded
                if local and in_base and abs(local) >= 100 and in_base / local > 0:
                    samples[row.text(currency)].append(in_base / local)
        reports.trades[name] = Trade(
            name, row.text("TradeType"), npv, row.cells.get("CounterParty", ""), row.cells.get("NettingSet", ""), row
        )
    if not reports.trades:
        raise InputError(f"{reports.folder / NPV}: the book is empty; a case needs at least one trade")
    _rates(reports, samples)


def _rates(reports: Reports, samples: dict[str, list[float]]) -> None:
    """Rates of the limits file first, then those that npv.csv implies; they must agree within 1 %."""
    base = reports.terms.base_currency
    own = {currency: median(found) for currency, found in samples.items() if currency != base}
    reports.rates = {**own, **reports.terms.fx, base: 1.0}
    for currency, found in samples.items():
        stated = 1.0 if currency == base else reports.terms.fx.get(currency)
        furthest = max(found, key=lambda one: abs(one / reports.rates[currency] - 1))
        if abs(furthest / reports.rates[currency] - 1) > RELATIVE:
            reports.flags.add(
                "contradictory_totals", True, [], "rates", currency=currency, a=furthest, b=reports.rates[currency],
                other=NPV if stated is None else "fx",
            )  # fmt: skip


def read_sensitivity(reports: Reports) -> None:
    """The first-order shifts: P&L of each shift in the base currency. Cross-gamma rows, and par rows beside zero rows,
    are left out.
    """
    rows = reports.read(
        SENSITIVITY, "TradeId", "Factor_1", "ShiftSize_1", "Factor_2", "Currency", "Base NPV", "Delta", "Gamma"
    )
    if rows is None:
        return
    # par and zero rates describe the same risk twice
    mixed = len({row.cells.get("IsPar", "") for row in rows}) > 1
    crosses = no_gamma = 0
    reports.shifts, npvs = [], {}
    for row in rows:
        no_gamma += row.number_or_none("Gamma") is None
        if row.cells["Factor_2"]:  # a cross-gamma row: its Delta is no first-order sensitivity
            crosses += 1
            continue
        if mixed and row.cells["IsPar"].lower() == "true":
            continue
        rate = _rate(reports, row)
        factor = row.text("Factor_1").split("/")
        if len(factor) < 2:
            raise InputError(f"{row.where('Factor_1')}: {row.text('Factor_1')[:40]!r} is not Class/Name/index/tenor")
        pnl, npv = row.number_or_none("Delta"), row.number_or_none("Base NPV")
        if npv is not None:
            npvs[row.text("TradeId")] = npv * rate
        reports.shifts.append(
            Shift(row.text("TradeId"), factor[0], factor[1], row.number("ShiftSize_1"),
                   None if pnl is None else pnl * rate)
        )  # fmt: skip
    left = [f"{crosses} cross-gamma rows left out"] * bool(crosses) + ["par rows left out"] * mixed
    reports.used[SENSITIVITY] = ", ".join(left)
    reports.base_npvs[SENSITIVITY] = npvs
    if no_gamma:
        reports.flags.add("partial_coverage", False, [], "no_gamma", count=no_gamma, na=NOT_AVAILABLE)


def _rate(reports: Reports, row: Row) -> float:
    currency = row.text("Currency")
    if currency not in reports.rates:
        raise InputError(
            f"{row.where('Currency')}: {currency} has no rate; add fx.{currency} (price of 1 {currency} in "
            f"{reports.terms.base_currency}) to the limits file"
        )
    return reports.rates[currency]


def read_stress(reports: Reports) -> None:
    """P&L by scenario and trade; a `#N/A` change counts as not priced."""
    rows = reports.read(STRESS, "TradeId", "ScenarioLabel", "Base NPV", "Scenario NPV", "Sensitivity")
    if not rows:
        return
    reports.scenarios, npvs, odd = defaultdict(dict), {}, 0
    for row in rows:
        name, label = row.text("TradeId"), row.text("ScenarioLabel")
        if name in reports.scenarios[label]:
            raise InputError(f"{row.where('TradeId')}: {name!r} stands twice in scenario {label!r}")
        base, after, change = (row.number_or_none(one) for one in ("Base NPV", "Scenario NPV", "Sensitivity"))
        if base is not None:
            npvs[name] = base
        if change is not None:  # without it the trade counts as not priced
            reports.scenarios[label][name] = change
            odd += base is None or after is None or abs(after - base - change) > CENT
    reports.base_npvs[STRESS] = npvs
    if odd:
        reports.flags.add("contradictory_totals", True, [], "stress_sums", count=odd)
