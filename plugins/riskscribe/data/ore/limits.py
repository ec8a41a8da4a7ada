"""What each limit measures in ORE's reports, brought to the limit's own bump, horizon and currency.

What cannot be brought there is compared with no limit and becomes a data-quality line.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riskscribe.case import Limit, Unit
from riskscribe.data import intake
from riskscribe.data.ore.reports import NPV, SENSITIVITY, STRESS, VAR, Gap, LimitTerms, Reports, Shift
from riskscribe.data.tables import NOT_AVAILABLE
from riskscribe.errors import InputError
from riskscribe.files import validate
from riskscribe.prompt import MEASURES

BASIS_POINT, VOL_POINT = 0.0001, 0.01


def _relevant(reports: Reports, limit: LimitTerms, classes: Iterable[str], names: set[str] | None) -> Any:
    """The shifts that a limit measures, or the gap that keeps it from being compared."""
    if reports.shifts is None:
        return reports.absent(SENSITIVITY)
    found = [
        one
        for one in reports.shifts
        if one.factor_class in classes and (names is None or {one.factor, one.factor.split("-")[0]} & names)
    ]
    # ORE drops what is zero, but a mistyped factor looks the same: no row is never a use of zero
    if not found:
        return reports.gap("partial_coverage", "no_factor", factor=limit.factor or "/".join(classes))
    if any(one.pnl is None for one in found):
        return reports.gap("failed_pricing", "not_available", what="delta", na=NOT_AVAILABLE)
    blind = sum(one.size == 0 and one.pnl != 0 for one in found)
    if blind:
        return reports.gap("unknown_bump", "zero_shifts", count=blind)
    return [one for one in found if one.size != 0]


def _scaled(shifts: list[Shift], bump: float) -> float:
    """P&L of a parallel move of every factor by `bump`, first order."""
    return sum(one.pnl * bump / one.size for one in shifts)


def _pv01(reports: Reports, limit: LimitTerms) -> float | Gap:
    """P&L of +1 bp on the discount, index and yield curves (of the currency or index `factor`)."""
    names = {limit.factor} if limit.factor else None
    found = _relevant(reports, limit, ("DiscountCurve", "IndexCurve", "YieldCurve"), names)
    return found if isinstance(found, Gap) else _scaled(found, BASIS_POINT)


def _delta(reports: Reports, limit: LimitTerms) -> float | Gap:
    """P&L of the limit's own `bump`, in price units of the equity or commodity `factor`."""
    found = _relevant(reports, limit, ("EquitySpot", "CommodityCurve"), {limit.factor})
    return found if isinstance(found, Gap) else _scaled(found, limit.bump)


def _open_position(reports: Reports, limit: LimitTerms) -> float | Gap:
    """Cash delta of a currency pair: P&L over the relative shift of spot; + is long the first currency.

    ORE may hold the inverse pair; its sign is turned (first order).
    """
    first, second = limit.factor[:3], limit.factor[3:]
    found = _relevant(reports, limit, ("FXSpot",), {first + second, second + first})
    if isinstance(found, Gap):
        return found
    if not {first, second} <= reports.rates.keys():
        return reports.gap("missing_fx_rate", "no_rate", first=first, second=second)
    spot = reports.rates[first] / reports.rates[second]
    straight = [one for one in found if one.factor == limit.factor]
    inverse = [one for one in found if one.factor != limit.factor]
    return _scaled(straight, spot) - _scaled(inverse, 1 / spot)


def _vega(reports: Reports, limit: LimitTerms) -> float | Gap:
    """P&L of one vol point. A shift that is not 0.01 may be a share of the volatility: unknown unless declared."""
    names = {limit.factor} if limit.factor else None
    found = _relevant(reports, limit, ("FXVolatility", "EquityVolatility", "CommodityVolatility"), names)
    if isinstance(found, Gap):
        return found
    sizes = sorted({one.size for one in found})
    if sizes and reports.terms.volatility_shift == "unknown" and sizes != [VOL_POINT]:
        return reports.gap("unknown_bump", "odd_shifts", a=sizes[0], b=sizes[-1])
    return _scaled(found, VOL_POINT)


def _value_at_risk(reports: Reports, limit: LimitTerms) -> float | Gap:
    """The VaR line, when its confidence and horizon are the limit's: nothing is scaled by the root of time."""
    line = reports.var
    if line is None:
        return reports.absent(VAR)
    if (line.confidence_pct, line.horizon_days) != (limit.confidence_pct, limit.horizon_days):
        held, asked = (f"{one.confidence_pct:g}% {one.horizon_days}d" for one in (line, limit))
        return reports.gap("unknown_bump", "other_horizon", held=held, asked=asked)
    return line.value


def _stress_loss(reports: Reports, limit: LimitTerms) -> float | Gap:
    """Signed P&L of the worst scenario."""
    return min(reports.sums().values()) if reports.scenarios else reports.absent(STRESS)


def _exposure(reports: Reports, limit: LimitTerms) -> float | Gap:
    """Positive MTM against `counterparty`; trades net only inside a netting set that is declared enforceable."""
    own = [one for one in reports.trades.values() if one.counterparty == limit.counterparty]
    if not own:
        return reports.gap("missing_counterparty", "no_trade", counterparty=limit.counterparty)
    if any(one.npv is None for one in own):
        return reports.gap("failed_pricing", "not_available", what="NPV", na=NOT_AVAILABLE)
    enforceable = set(reports.terms.enforceable_netting)
    netted: dict[str, float] = defaultdict(float)
    gross = 0.0
    for one in own:
        if one.netting_set in enforceable:
            netted[one.netting_set] += one.npv
        else:
            gross += max(0.0, one.npv)
    return gross + sum(max(0.0, one) for one in netted.values())


def _concentration(reports: Reports, limit: LimitTerms) -> float | Gap:
    """Share of the largest trade or counterparty in gross |NPV|, in percent."""
    if any(one.npv is None for one in reports.trades.values()):
        return reports.gap("failed_pricing", "not_available", what="NPV", na=NOT_AVAILABLE)
    sizes: dict[str, float] = defaultdict(float)
    for one in reports.trades.values():
        sizes[one.counterparty if limit.by == "counterparty" else one.name] += abs(one.npv)
    gross = sum(sizes.values())
    return 100 * max(sizes.values()) / gross if gross else 0.0


@dataclass(frozen=True)
class Gauge:
    """How a measure is computed, in which unit, and which field of the limit it cannot do without."""

    value: Callable[[Reports, LimitTerms], float | Gap]
    unit: Unit = "money"
    side: str = "both"
    needs: tuple[str, ...] = ()
    source: str = NPV


GAUGES: dict[str, Gauge] = {
    "pv01": Gauge(_pv01, "money_per_bp", source=SENSITIVITY),
    "delta": Gauge(_delta, needs=("factor", "bump"), source=SENSITIVITY),
    "open_position": Gauge(_open_position, needs=("factor",), source=SENSITIVITY),
    "vega": Gauge(_vega, "money_per_vol_point", source=SENSITIVITY),
    "var": Gauge(_value_at_risk, side="upper", source=VAR),
    "stress": Gauge(_stress_loss, side="lower", source=STRESS),
    "exposure": Gauge(_exposure, side="upper", needs=("counterparty",)),
    "concentration": Gauge(_concentration, "percent", side="upper"),
}


def measure_limits(reports: Reports, where: Path, ids: intake.Ids) -> dict[str, list[Limit]]:
    """The limits that could be measured, by the file they come from; the others become data-quality lines."""
    made: dict[str, list[Limit]] = defaultdict(list)
    gaps: dict[Gap, list[str]] = defaultdict(list)
    seen = set()
    for number, one in enumerate(reports.terms.limits):
        place = f"{where}: limits.{number}"
        gauge = _gauge(one, place)
        if (one.scope, one.measure) in seen:
            raise InputError(f"{place}: scope: a {one.measure} limit on {one.scope!r} stands twice")
        seen.add((one.scope, one.measure))
        currency = one.currency or reports.terms.base_currency
        if currency not in reports.rates:
            raise InputError(f"{place}: currency: {currency} has no rate; add fx.{currency} to the file")
        value = gauge.value(reports, one)
        if isinstance(value, Gap):
            gaps[value].append(f"{one.scope} {MEASURES[reports.terms.language][one.measure]}")
            continue
        side = one.side or gauge.side
        intake.check_limit(one.measure, side, value, place)
        if gauge.unit != "percent":
            value /= reports.rates[currency]
        fields = one.model_dump(include={"hard", "authority", "owner", "temporary_increase", "previous", "measure"})
        fields |= {
            "id": ids("limit", one.measure, one.scope),
            # the number means nothing without its bump
            "scope": f"{one.scope} per {one.bump:g}" if one.measure == "delta" else one.scope,
            "value": round(value, 6),  # sums of cents: 200000.00000000003 is no breach of 200000
            "unit": gauge.unit,
            "side": side,
            "soft": one.soft or round(0.8 * one.hard, 6),
            "currency": currency,
        }
        made[gauge.source].append(validate(Limit, fields, place))
    for gap, names in gaps.items():
        reports.flags.add(gap.issue, True, [], "not_compared", limits=", ".join(names), why=gap.why)
    return made


def _gauge(limit: LimitTerms, place: str) -> Gauge:
    gauge = GAUGES.get(limit.measure)
    if gauge is None:
        raise InputError(
            f"{place}: measure: {limit.measure} cannot be computed from ORE reports; use one of {', '.join(GAUGES)}"
        )
    for need in gauge.needs:
        if getattr(limit, need) is None:
            raise InputError(f"{place}: {need}: is missing; a limit on {limit.measure} needs it")
    if limit.measure == "open_position" and not (
        len(limit.factor) == 6 and limit.factor.isascii() and limit.factor.isupper()
    ):
        raise InputError(f"{place}: factor: {limit.factor!r} is not a currency pair; write one such as EURUSD")
    if limit.unit not in (None, gauge.unit):
        raise InputError(f"{place}: unit: {limit.unit}, but {limit.measure} is in {gauge.unit}")
    return gauge
