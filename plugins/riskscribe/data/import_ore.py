"""A case from the report CSVs of the Open Source Risk Engine (ORE): npv, sensitivity, stresstest, var, simm.

ORE's `Delta` is the P&L of the shift in its row, not a derivative; its quantiles are of signed P&L; no report says
which limits hold. What is doubtful becomes a data-quality line. docs/import.md says which file gives what; the limits
file is documented in datasets/ore_limits/example_77.yaml.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from riskscribe.case import Case, Cause, Component, Limit, Position, Source, Stress, ValueAtRisk
from riskscribe.data import intake
from riskscribe.data.ore import limits as ore_limits
from riskscribe.data.ore import reports as ore_reports
from riskscribe.data.ore import var as ore_var
from riskscribe.data.ore.limits import BASIS_POINT, GAUGES, Gauge, measure_limits
from riskscribe.data.ore.reports import (
    CENT,
    HISTORY,
    NPV,
    RELATIVE,
    SENSITIVITY,
    STRESS,
    VAR,
    Gap,
    LimitsFile,
    LimitTerms,
    Number,
    Positive,
    Reports,
    Shift,
    Trade,
    VarTerms,
    read_npv,
    read_sensitivity,
    read_stress,
)
from riskscribe.data.ore.var import read_var
from riskscribe.data.tables import NOT_AVAILABLE, Row, read_table
from riskscribe.errors import InputError
from riskscribe.files import read_text, read_yaml, sha256, validate

PAR, CONFIG, SIMM, CRIF = "parsensitivity.csv", "sensitivity_config.csv", "simm.csv", "simm_data.csv"
# a run may name its reports differently; the exact name goes first
NAMES = {
    NPV: r"npv[_-].+|.+[_-]npv",
    SENSITIVITY: r"sensitivity[_-](?!scenario|config).+|(?!par_|xva|cva).+[_-]sensitivity",
    PAR: r"par[_-]?sensitivity.*",
    CONFIG: r"sensitivity[_-]config.*",
    STRESS: r"stress[_-]?test(?!.*flows).*",
    VAR: r"var[_-].+|.+[_-]var",
    HISTORY: r"historical[_-]?pnl.*",
    SIMM: r"simm[_-](?!data).*",
    CRIF: r"simm[_-]data.*|crif",
}
FAILED = "Failed"  # ORE's type of a trade that it could not build; its NPV prints as 0
CURVES = ("DiscountCurve", "IndexCurve", "YieldCurve")
SPOTS = ("EquitySpot", "CommodityCurve", "FXSpot")
VOLATILITIES = ("FXVolatility", "EquityVolatility", "CommodityVolatility")
CREDIT = "SurvivalProbability"
READS = {
    "pv01": CURVES, "bucket_pv01": CURVES, "delta": SPOTS, "gamma": SPOTS, "open_position": ("FXSpot",),
    "vega": VOLATILITIES, "cs01": (CREDIT,),
}  # fmt: skip
ABSOLUTE = 1000.0  # base NPVs of two reports that differ by more than this or than RELATIVE are a finding


class OreLimit(LimitTerms):
    """A limit of the limits file, with what a person knows of its breach; `bump_pct` is in percent of the level."""

    bump_pct: Positive | None = None
    five_days_ago: Number | None = None
    days_open: Annotated[int, Field(ge=0)] | None = None
    cause: Cause | None = None
    effective_from: date | None = None
    effective_to: date | None = None

    @model_validator(mode="after")
    def _one_bump(self):
        if self.bump_pct is not None:
            if self.bump is not None:
                raise ValueError("bump and bump_pct both given; give one")
            self.bump = self.bump_pct
        return self


class OreVar(VarTerms):
    """What var.csv does not say, and which of its portfolios is the book (default: All, or the only one)."""

    portfolio: str | None = None
    five_days_ago: Annotated[Number, Field(ge=0)] | None = None


class Terms(LimitsFile):
    """The limits file."""

    var: OreVar = OreVar()
    limits: list[OreLimit]


@dataclass
class Output(Reports):
    """An output folder: which file is which report, its rows as the readers expect them, and what was odd in them."""

    paths: dict[str, Path] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    levels: dict[str, tuple[float, float]] = field(default_factory=dict)  # factor -> its level and its shift
    shifted: list[Row] = field(default_factory=list)  # rows of sensitivity.csv
    par: list[Row] = field(default_factory=list)

    def find(self, name: str) -> Path | None:
        """The file of a report: the exact name, or the only one that is named like it; InputError for several."""
        files = sorted(one for one in self.folder.iterdir() if one.suffix.lower() == ".csv")
        exact = [one for one in files if one.name.lower() == name.lower()]
        alike = exact or [one for one in files if re.fullmatch(NAMES[name], one.stem, re.IGNORECASE)]
        if len(alike) > 1:
            names = ", ".join(one.name for one in alike)
            raise InputError(f"{self.folder}: {names}: which is {name}? Give a folder with one run's reports")
        return alike[0] if alike else None

    def read(self, name: str, *needed: str) -> list[Row] | None:
        """The cleaned rows of a report, or None where the engine did not write it."""
        path = self.find(name)
        if path is None and name == SENSITIVITY:
            path = self.find(PAR)  # a run may write par sensitivities alone
        if path is None:
            return None
        self.used.setdefault(name, "")
        self.paths[name] = path
        rows = read_table(path, needed, None, separators=",;\t|")
        clean = {NPV: self._npv, SENSITIVITY: self._sensitivity, VAR: self._book, HISTORY: self._book}
        return clean[name](rows) if name in clean else rows

    def _npv(self, rows: list[Row]) -> list[Row]:
        found = []
        for row in rows:
            if row.cells["TradeType"] == FAILED:
                self.failed.add(row.cells["TradeId"])
                row = replace(row, cells=row.cells | {"NPV": NOT_AVAILABLE, "NPV(Base)": NOT_AVAILABLE})
            found.append(row)
        return found

    def _sensitivity(self, rows: list[Row]) -> list[Row]:
        """Rows of today's market, each once, with the shift of sensitivity_config.csv where the report prints none."""
        today = [row for row in rows if row.cells.get("Scenario", "").lower() in ("", "base")]
        if len(today) < len(rows):
            self.flags.add("partial_coverage", True, [], "stressed_rows", count=len(rows) - len(today))
        kept = self.once(today)
        self.par = [row for row in kept if row.cells.get("IsPar", "").lower() == "true"]
        zero = [row for row in kept if row.cells.get("IsPar", "").lower() != "true"]
        self.shifted = zero or self.par
        return kept

    def once(self, rows: list[Row]) -> list[Row]:
        """Each row once, its shift known as well as it can be. Raises InputError for a row with two results."""
        first: dict[tuple[str, ...], Row] = {}
        repeated: dict[str, int] = defaultdict(int)
        for row in rows:
            key = tuple(row.cells.get(one, "") for one in ("TradeId", "IsPar", "Factor_1", "Factor_2"))
            if key not in first:
                first[key] = self.shift(row)
            elif first[key].cells != self.shift(row).cells:
                raise InputError(
                    f"{row.where('Factor_1')}: {key[2][:40]!r} of {key[0][:40]!r} stands twice with other numbers; "
                    f"the first is on line {first[key].line}"
                )
            else:
                repeated[key[0]] += 1
        if repeated:
            # once or several times: the report does not say, so the trade's Greeks are in doubt
            self.flags.add("contradictory_totals", True, repeated, "repeated", count=sum(repeated.values()))
        return list(first.values())

    def shift(self, row: Row) -> Row:
        """The row with `#N/A` in empty results and the best known shift."""
        cells = {one: row.cells.get(one) or NOT_AVAILABLE for one in ("Delta", "Gamma", "Base NPV")}
        for number in ("1", "2"):
            size, column = row.cells.get(f"ShiftSize_{number}", ""), f"ShiftSize_{number}"
            printed = 0.0 if size in ("", NOT_AVAILABLE) else row.number(column)
            own = self.levels.get(row.cells.get(f"Factor_{number}", ""), (0.0, 0.0))[1]
            # the config has two decimals more, but a report's own shift is the one that made its delta
            cells[column] = f"{printed or own:.12f}"
        return replace(row, cells=row.cells | cells)

    def _book(self, rows: list[Row]) -> list[Row]:
        """The rows of the portfolio that is the book."""
        wanted, names = self.terms.var.portfolio, dict.fromkeys(row.cells["Portfolio"] for row in rows)
        if wanted and rows and wanted not in names:
            raise InputError(f"{rows[0].path}: no Portfolio {wanted!r}; var.portfolio is one of {', '.join(names)}")
        return [row for row in rows if wanted in (None, row.cells["Portfolio"])]

    @property
    def tenors(self) -> list[list[str]]:
        """The parts of the factor of each of `shifts`."""
        return [parts for parts, _ in self.first_order(self.shifted)]

    def first_order(self, rows: list[Row]) -> Iterator[tuple[list[str], Shift]]:
        """The parts of the factor and the shift in the base currency of every row but cross gammas."""
        for row in rows:
            parts = row.text("Factor_1").split("/")
            if not row.cells["Factor_2"] and len(parts) > 1:
                pnl, rate = row.number_or_none("Delta"), ore_reports._rate(self, row)
                pnl = None if pnl is None else pnl * rate
                yield parts, Shift(row.text("TradeId"), parts[0], parts[1], row.number("ShiftSize_1"), pnl)


def _read_levels(reports: Output) -> None:
    """Level and shift of every factor, where the run wrote them; with them a volatility shift is known as absolute."""
    for row in reports.read(CONFIG, "Factor", "BaseValue", "ShiftSize") or []:
        level, size = row.number_or_none("BaseValue"), row.number_or_none("ShiftSize")
        reports.levels[row.text("Factor")] = (level or 0.0, abs(size or 0.0))


def _read_par(reports: Output) -> None:
    """Par sensitivities of a file of their own go before those of sensitivity.csv."""
    path = reports.find(PAR)
    if path and path != reports.paths.get(SENSITIVITY):
        rows = reports.read(PAR, "TradeId", "Factor_1", "ShiftSize_1", "Factor_2", "Currency", "Delta")
        reports.par = reports.once(rows)


def _know_volatility_shifts(reports: Output) -> None:
    """A volatility shift whose level the run wrote is a move of the volatility itself."""
    moved = ["/".join(parts) for parts, one in reports.first_order(reports.shifted)
             if parts[0] in VOLATILITIES and one.pnl]  # fmt: skip
    if moved and all(min(reports.levels.get(one, (0.0, 0.0))) > 0 for one in moved):
        reports.terms = reports.terms.model_copy(update={"volatility_shift": "absolute"})


def _bucket_pv01(reports: Output, limit: OreLimit) -> float | Gap:
    """P&L of +1 bp on one tenor of the curves: `factor` EUR/10Y, or EUR for the tenor where it is largest."""
    name, _, tenor = (limit.factor or "").partition("/")
    names = {name} if name else None
    found = ore_limits._relevant(reports, limit, CURVES, names)
    if isinstance(found, Gap):
        return found
    chosen = set(map(id, found))
    sums: dict[str, float] = defaultdict(float)
    for (*_, own), one in zip(reports.tenors, reports.shifts, strict=True):
        if id(one) in chosen:
            sums[own] += one.pnl * BASIS_POINT / one.size
    if not sums or (tenor and tenor not in sums):
        return reports.gap("partial_coverage", "no_factor", factor=limit.factor or "/".join(CURVES))
    return sums[tenor] if tenor else max(sums.values(), key=abs)


def _cs01(reports: Output, limit: OreLimit) -> float | Gap:
    """P&L of +1 bp on the credit spreads of the name `factor`; a zero row moves the hazard rate instead."""
    par = [one for _, one in reports.first_order(reports.par)]
    names = {limit.factor} if limit.factor else None
    hazard = any(one.factor_class == CREDIT for one in reports.shifts or [])
    if hazard and not any(one.factor_class == CREDIT for one in par):
        return reports.gap("unknown_bump", "hazard_shift")
    shifts = par if par or reports.shifts is not None else None
    found = ore_limits._relevant(replace(reports, shifts=shifts), limit, (CREDIT,), names)
    return found if isinstance(found, Gap) else ore_limits._scaled(found, BASIS_POINT)


def _level(reports: Output, factor: str) -> float:
    """The level of a factor, from sensitivity_config.csv, or of a currency pair from the rates; 0 where unknown."""
    level = reports.levels.get(factor, (0.0, 0.0))[0]
    kind, name = factor.split("/")[:2]
    if level == 0 and kind == "FXSpot" and {name[:3], name[3:]} <= reports.rates.keys():
        level = reports.rates[name[:3]] / reports.rates[name[3:]]
    return level


def _bump(reports: Output, limit: OreLimit, factor: str) -> float:
    """The limit's bump as a move of `factor` itself; 0 where its level is unknown."""
    return limit.bump if limit.bump_pct is None else limit.bump_pct / 100 * _level(reports, factor)


def _delta(reports: Output, limit: OreLimit) -> float | Gap:
    """P&L of the limit's own bump of the equity, commodity or pair `factor`: in price units, or in percent."""
    found = ore_limits._relevant(reports, limit, SPOTS, {limit.factor})
    if isinstance(found, Gap):
        return found
    chosen, total = set(map(id, found)), 0.0
    for parts, one in zip(reports.tenors, reports.shifts, strict=True):
        if id(one) in chosen:
            bump = _bump(reports, limit, "/".join(parts))
            if bump == 0:
                return reports.gap("unknown_bump", "no_level", factor=limit.factor)
            total += one.pnl * bump / one.size
    return total


def _gamma(reports: Output, limit: OreLimit) -> float | Gap:
    """Second-order P&L of the limit's bump: NPV up + NPV down - 2 NPV, with the cross terms between tenors."""
    found = ore_limits._relevant(reports, limit, SPOTS, {limit.factor})
    if isinstance(found, Gap):
        return found
    total = 0.0
    for row in reports.shifted:
        factors = [one for one in (row.text("Factor_1"), row.cells["Factor_2"]) if one]
        if any(one.split("/")[0] not in SPOTS or one.split("/")[1:2] != [limit.factor] for one in factors):
            continue
        gamma, sizes = row.number_or_none("Gamma"), [row.number(f"ShiftSize_{n + 1}") for n in range(len(factors))]
        bumps = [_bump(reports, limit, one) for one in factors]
        if gamma is None:
            return reports.gap("failed_pricing", "not_available", what="gamma", na=NOT_AVAILABLE)
        if 0 in bumps:
            return reports.gap("unknown_bump", "no_level", factor=limit.factor)
        if 0 in sizes:
            return reports.gap("unknown_bump", "zero_shifts", count=1)
        scale = (bumps[0] / sizes[0]) * (bumps[-1] / sizes[-1]) * len(factors)
        if row.text("Currency") not in reports.rates:
            return reports.gap("missing_fx_rate", "no_currency", currency=row.text("Currency"))
        total += gamma * scale * reports.rates[row.text("Currency")]
    return total


GAUGES |= {
    "bucket_pv01": Gauge(_bucket_pv01, "money_per_bp", source=SENSITIVITY),
    "cs01": Gauge(_cs01, "money_per_bp", source=SENSITIVITY),
    "delta": Gauge(_delta, needs=("factor", "bump"), source=SENSITIVITY),
    "gamma": Gauge(_gamma, needs=("factor", "bump"), source=SENSITIVITY),
}


def _complete(reports: Output, measured: dict[str, list[Limit]]) -> None:
    """What measure_limits does not know: a bump in percent, and what a person wrote about the limit."""
    extra = ("five_days_ago", "days_open", "cause", "effective_from", "effective_to")
    terms = {}
    for one in reports.terms.limits:
        terms[one.measure, f"{one.scope} per {one.bump:g}" if one.measure == "delta" else one.scope] = one
    for group in measured.values():
        for number, one in enumerate(group):
            own = terms[one.measure, one.scope]
            update = own.model_dump(include=set(extra), exclude_none=True)
            if own.measure in ("delta", "gamma"):
                update["scope"] = f"{own.scope} per {own.bump:g}" + ("%" if own.bump_pct is not None else "")
            group[number] = one.model_copy(update=update)


def _positions(reports: Output, ids: intake.Ids) -> dict[str, Position]:
    """Trades at their NPV in the base currency; one without an NPV stands as not priced, and flagged."""
    found = {}
    for one in reports.trades.values():
        # ORE writes 0 or #N/A where a trade has no notional
        notional = one.row.number_or_none("Notional(Base)") if one.row.given("Notional(Base)") else None
        fields = {
            "id": ids("position", one.name), "instrument": one.name, "mtm": one.npv,
            "currency": reports.terms.base_currency, "notional": None if one.name in reports.failed else notional,
            "counterparty": one.counterparty or None, "netting_set": one.netting_set or None,
        }  # fmt: skip
        found[one.name] = validate(Position, fields, one.row.where())
    # a trade that npv.csv could not price is in no VaR of the same run
    doubted = [reports.var.id] if reports.var else []
    unpriced = [one.name for one in reports.trades.values() if one.npv is None]
    for wording, names in (
        ("failed_trades", [one for one in unpriced if one in reports.failed]),
        ("unpriced", [one for one in unpriced if one not in reports.failed]),
    ):
        if names:
            shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            reports.flags.add(
                "failed_pricing", True, [*names, *doubted], wording, count=len(names), na=NOT_AVAILABLE, names=shown
            )  # fmt: skip
    zeros = [one.name for one in reports.trades.values() if one.npv == 0]
    if zeros:
        reports.flags.add("failed_pricing", False, zeros, "zero_npv", count=len(zeros))
    return found


def _check_npvs(reports: Reports) -> None:
    """Base NPVs that disagree between reports: material above both 1 % and 1,000 base units, minor above either."""
    for file, npvs in reports.base_npvs.items():
        both = {name: (one.npv, npvs[name]) for name, one in reports.trades.items()
                if name in npvs and one.npv is not None}  # fmt: skip
        weights: dict[bool, list[str]] = defaultdict(list)
        for name, (a, b) in both.items():
            gap = abs(a - b)
            relative, absolute = gap > RELATIVE * max(abs(a), abs(b)) and gap > CENT, gap > ABSOLUTE
            if relative or absolute:
                weights[relative and absolute].append(name)
        book = [sum(one) for one in zip(*both.values(), strict=True)]
        for material, names in weights.items():
            # the book's total says most, unless the differences cancel
            largest = max((both[name] for name in names), key=lambda one: abs(one[0] - one[1]))
            whole = material and abs(book[0] - book[1]) > CENT
            a, b = book if whole else largest
            wording = "book_npv" if whole else "trade_npv"
            reports.flags.add(
                "contradictory_totals", material, names, wording, count=len(names), of=len(both), a=a, b=b, file=file
            )


def _check_coverage(reports: Reports, limits: dict[str, list[Limit]], shown: dict[str, Stress]) -> None:
    """Trades without a row are unaffected or not priced, and ORE does not say which."""
    count = len(reports.trades)
    files = {SENSITIVITY: {one.trade for one in reports.shifts or []}} if reports.shifts is not None else {}
    for label, rows in (reports.scenarios or {}).items():
        files.setdefault(STRESS, set()).update(rows)
        held = len(rows.keys() & reports.trades.keys())
        if held < count:
            affects = [shown[label].id] if label in shown else []
            affects += [one.id for one in limits[STRESS]]
            reports.flags.add("partial_coverage", True, affects, "stress_rows", scenario=label, count=held, of=count)
    for file, names in files.items():
        affects = [one.id for one in limits[file]]
        strangers = names - reports.trades.keys()
        if strangers:
            reports.flags.add("partial_coverage", True, affects, "strangers", count=len(strangers), file=file)
        held = len(names & reports.trades.keys())
        if file == SENSITIVITY and held < count:
            reports.flags.add("partial_coverage", bool(affects), affects, "delta_rows", count=held, of=count)


def _stresses(reports: Reports, limits: list[Limit], ids: intake.Ids) -> dict[str, Stress]:
    """The worst and the best scenario: what an exception report shows."""
    if not reports.scenarios:
        return {}
    sums = reports.sums()
    unstated = "未说明" if reports.terms.language == "zh" else "shocks not stated"
    shown = {
        label: Stress(
            id=ids("stress", label), scenario=label, shocks=reports.terms.scenarios.get(label, unstated),
            pnl=round(sums[label], 2), currency=reports.terms.base_currency,
        )
        for label in dict.fromkeys((min(sums, key=sums.get), max(sums, key=sums.get)))
    }  # fmt: skip
    if len(sums) > len(shown):
        reports.used[STRESS] = f"worst and best of {len(sums)}"
    if min(sums.values()) >= 0:
        affects = [next(iter(shown.values())).id, *(one.id for one in limits)]
        reports.flags.add("untested_loss", bool(limits), affects, "gains", count=len(sums))
    return shown


def _valued_on(trade: Trade) -> date | None:
    """The valuation date that a trade's maturity implies, good to a day or two for maturities below two years."""
    given = trade.row.given("Maturity", "MaturityTime")
    if len(given) < 2 or NOT_AVAILABLE in given.values():
        return None
    years = trade.row.number("MaturityTime")
    return trade.row.day("Maturity") - timedelta(days=round(365.25 * years)) if 0 < years < 2 else None


def _check_factors(reports: Output) -> None:
    """Sensitivities that no limit of the file asks for: risk that the report does not compare."""
    asked = {kind for one in reports.terms.limits for kind in READS.get(one.measure, ())}
    unasked: dict[str, int] = defaultdict(int)
    for one in reports.shifts or []:
        if one.factor_class not in asked and one.pnl != 0 and one.factor_class != "Theta":
            unasked[one.factor_class] += 1
    if unasked:
        reports.flags.add(
            "partial_coverage", False, [], "no_limit", classes=", ".join(sorted(unasked)), count=sum(unasked.values())
        )


def _check_scenarios(reports: Output) -> None:
    """A scenario in which no trade was priced has no P&L; it must not stand as 0."""
    if reports.scenarios is None:
        return
    empty = [label for label, rows in reports.scenarios.items() if not rows]
    reports.scenarios = {label: rows for label, rows in reports.scenarios.items() if rows}
    if empty:
        reports.flags.add(
            "failed_pricing", True, [], "unpriced_scenarios", count=len(empty), names=", ".join(empty[:3])
        )


def _margin(reports: Output, ids: intake.Ids) -> list[Source]:
    """Initial margin by SIMM, by side: lineage, because no limit and no policy clause reads it."""
    rows = (
        reports.read(SIMM, "Portfolio", "ProductClass", "RiskClass", "MarginType", "InitialMargin", "Currency") or []
    )
    totals = [
        row for row in rows if all(row.cells[one] == "All" for one in ("ProductClass", "RiskClass", "MarginType"))
    ]
    parts = [
        f"{row.cells['Portfolio']} {row.cells.get('SimmSide', '')} {row.cells.get('Regulation', '')} "
        f"{row.number('InitialMargin'):.2f} {row.text('Currency')}"
        for row in totals
    ]
    crif = reports.read(CRIF, "RiskType", "Amount")
    if crif:
        reports.flags.add("partial_coverage", False, [], "crif", count=len(crif), file=reports.paths[CRIF].name)
    if rows and not totals:
        reports.flags.add("partial_coverage", False, [], "no_margin_total", file=reports.paths[SIMM].name)
    if not parts:
        return []
    shown = "; ".join(" ".join(one.split()) for one in parts[:4]) + ("; …" if len(parts) > 4 else "")
    return [Source(id=ids("source", "simm"), system="ORE SIMM", detail=f"initial margin {shown}")]


def _check_rest(reports: Reports, limits: dict[str, list[Limit]]) -> None:
    base, flags = reports.terms.base_currency, reports.flags
    currencies = sorted({one.row.text("NpvCurrency") for one in reports.trades.values()} - {base})
    if currencies:
        flags.add("mixed_currencies", False, [], "converted", currencies=", ".join(currencies), base=base)
    blind = [one for one in reports.shifts or [] if one.size == 0 and one.pnl]
    if blind and not any(issue == "unknown_bump" for issue, _ in flags.found):
        flags.add("unknown_bump", False, [], "unused_shifts", count=len(blind))
    alone = [one.name for one in reports.trades.values() if not one.counterparty]
    if alone:
        flags.add("missing_counterparty", False, alone, "counterparty", count=len(alone))
    implied = [one for one in map(_valued_on, reports.trades.values()) if one]
    if implied and min(abs((one - reports.as_of).days) for one in implied) > 7:
        flags.add("stale_quote", True, [], "as_of", implied=implied[0], as_of=reports.as_of)
    intake.flag_owners([one for group in limits.values() for one in group], flags)


def _standalone(reports: Output, lines: list[ValueAtRisk | Component]) -> list[ValueAtRisk | Component]:
    """The lines with each class's VaR alone, their sum, and the number of windows in the loss tail."""
    if not lines:
        return lines
    line = lines[0]
    rows = ore_var._select(reports.read(VAR, "Portfolio", "RiskClass", "RiskType"))
    losses = {name: ore_var._loss_tail(row, "Quantile", line.confidence_pct) for name, row in rows.items()}
    alone = {name: max(0.0, loss) for name, loss in losses.items() if loss is not None and name != "All"}
    tail = sum(one <= -line.value + CENT for one in ore_var._read_history(reports).get("All", {}).values())
    update = {"undiversified": round(sum(alone.values()), 6) if alone and len(alone) == len(rows) - 1 else None,
              "tail_count": tail or None, "five_days_ago": reports.terms.var.five_days_ago}  # fmt: skip
    reports.var = line.model_copy(update=update)
    return [
        reports.var,
        *(
            one.model_copy(update={"standalone": round(alone[one.factor], 6)})
            if isinstance(one, Component) and one.factor in alone
            else one
            for one in lines[1:]
        ),
    ]


def import_ore(folder: Path, limits: Path, as_of: date | None = None) -> Case:
    """The case of a folder of ORE reports (npv.csv; sensitivity, stresstest, var, historical_PnL where present).

    Args:
        folder: ORE's output folder.
        limits: the limits file (YAML), which also says what ORE's reports do not: desk, base currency, language.
        as_of: valuation date; ORE's reports do not hold it. Default: `as_of` of the limits file.

    Returns:
        A case in ORE's base currency: MTM and P&L signed, VaR and ES positive losses, limits annotated.

    Raises:
        InputError: naming file, line and column (or field), and what would be right.
    """
    folder, limits = Path(folder), Path(limits)
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; give ORE's output folder, which holds npv.csv")
    terms = validate(Terms, read_yaml(limits), str(limits))
    as_of = as_of or terms.as_of
    if as_of is None:
        raise InputError(f"{limits}: as_of: is missing; ORE reports do not hold it, give --as-of or as_of")
    ids = intake.Ids(terms.desk)
    reports = Output(folder, terms, intake.Flags(terms.language), as_of)
    read_npv(reports)
    _read_levels(reports)
    read_sensitivity(reports)
    _read_par(reports)
    _know_volatility_shifts(reports)
    read_stress(reports)
    _check_scenarios(reports)
    lines = _standalone(reports, read_var(reports, ids))
    margin = _margin(reports, ids)
    positions = _positions(reports, ids)
    measured = measure_limits(reports, limits, ids)
    _complete(reports, measured)
    if reports.var:
        reports.flags.spread(reports.var.id, [one.id for one in measured[VAR]])
    stresses = _stresses(reports, measured[STRESS], ids)
    _check_npvs(reports)
    _check_coverage(reports, measured, stresses)
    _check_factors(reports)
    _check_rest(reports, measured)
    quality = reports.flags.lines(ids, {name: one.id for name, one in positions.items()})
    shown, quality = intake.condense(list(positions.values()), quality, {}, ids, terms.language)
    source = Source(
        id=ids("source", *reports.used), system="ORE",
        detail=", ".join(
            f"{reports.paths[file].name} ({note})" if note else reports.paths[file].name
            for file, note in reports.used.items()
        ),
    )  # fmt: skip
    all_limits = [one for group in measured.values() for one in group]
    hashes = {path.name: sha256(path)[:12] for path in reports.paths.values()}
    base = terms.base_currency
    used = {getattr(one, "currency", base) for one in all_limits} - {base}
    fields = {
        "case_id": intake.case_id(str(as_of), read_text(limits), *(f"{k} {v}" for k, v in hashes.items())),
        "as_of": as_of,
        "desk": terms.desk,
        "base_currency": base,
        "language": terms.language,
        "engine": {
            "name": terms.engine,
            "snapshot": "; ".join([folder.resolve().name, *(f"{file} sha256 {one}" for file, one in hashes.items())]),
        },
        "fx": {currency: reports.rates[currency] for currency in sorted(used)},
    }
    return intake.finish(fields, [*all_limits, *quality, *lines, *stresses.values(), *shown, *margin, source], folder)
