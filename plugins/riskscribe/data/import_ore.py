"""A case from the report CSVs of the Open Source Risk Engine (ORE): npv, sensitivity, stresstest, var.

ORE's `Delta` is the P&L of the shift in its row, not a derivative; its quantiles are of signed P&L; no report says
which limits hold. What is doubtful becomes a data-quality line. The limits file is documented in
datasets/ore_limits/example_77.yaml.
"""

from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

from riskscribe.case import Case, Limit, Position, Source, Stress
from riskscribe.data import intake
from riskscribe.data.ore.limits import measure_limits
from riskscribe.data.ore.reports import (
    CENT,
    RELATIVE,
    SENSITIVITY,
    STRESS,
    VAR,
    Reports,
    Trade,
    read_limits,
    read_npv,
    read_sensitivity,
    read_stress,
)
from riskscribe.data.ore.var import read_var
from riskscribe.data.tables import NOT_AVAILABLE
from riskscribe.errors import InputError
from riskscribe.files import read_text, sha256

ABSOLUTE = 1000.0  # base NPVs of two reports that differ by more than this or than RELATIVE are a finding


def _positions(reports: Reports, ids: intake.Ids) -> dict[str, Position]:
    """Trades at their NPV in the base currency; an unpriced one at another report's NPV, or 0, and flagged."""
    found, unpriced = {}, []
    for one in reports.trades.values():
        npv = one.npv
        if npv is None:
            unpriced.append(one.name)
            npv = next((npvs[one.name] for npvs in reports.base_npvs.values() if one.name in npvs), 0.0)
        notional = one.row.number_or_none("Notional(Base)") if one.row.given("Notional(Base)") else None
        found[one.name] = Position(
            id=ids("position", one.name), instrument=one.name, mtm=npv, currency=reports.terms.base_currency,
            notional=notional, counterparty=one.counterparty or None, netting_set=one.netting_set or None,
        )  # fmt: skip
    if unpriced:
        reports.flags.add("failed_pricing", True, unpriced, "unpriced", count=len(unpriced), na=NOT_AVAILABLE)
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
    terms = read_limits(limits)
    as_of = as_of or terms.as_of
    if as_of is None:
        raise InputError(f"{limits}: as_of: is missing; ORE reports do not hold it, give --as-of or as_of")
    ids = intake.Ids(terms.desk)
    reports = Reports(folder, terms, intake.Flags(terms.language), as_of)
    read_npv(reports)
    read_sensitivity(reports)
    read_stress(reports)
    lines = read_var(reports, ids)
    positions = _positions(reports, ids)
    measured = measure_limits(reports, limits, ids)
    if reports.var:
        reports.flags.spread(reports.var.id, [one.id for one in measured[VAR]])
    stresses = _stresses(reports, measured[STRESS], ids)
    _check_npvs(reports)
    _check_coverage(reports, measured, stresses)
    _check_rest(reports, measured)
    quality = reports.flags.lines(ids, {name: one.id for name, one in positions.items()})
    shown, quality = intake.condense(list(positions.values()), quality, {}, ids, terms.language)
    source = Source(
        id=ids("source", *reports.used), system="ORE",
        detail=", ".join(f"{file} ({note})" if note else file for file, note in reports.used.items()),
    )  # fmt: skip
    all_limits = [one for group in measured.values() for one in group]
    hashes = {file: sha256(folder / file)[:12] for file in reports.used}
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
    return intake.finish(fields, [*all_limits, *quality, *lines, *stresses.values(), *shown, source], folder)
