"""Values and Greeks of trades in many market states at once.

What prices what:

- option: Black-Scholes-Merton, Garman-Kohlhagen (FX) or Black-76 (commodities) by QuantLib's `blackFormula`, state by
  state; a test holds it equal to `AnalyticEuropeanEngine`.
- barrier (continuously watched down-and-in put): QuantLib's `AnalyticBarrierEngine`, quotes driven state by state. A
  state at or below the barrier has knocked in and is worth the vanilla put. Touches before `as_of` are not known here:
  whoever keeps the book turns a knocked-in trade into a put.
- swap, and the annuity and forwards under swaptions, caps and CDS: schedule, day counts and year fractions made by
  QuantLib, discounting by numpy over all states; swaption and caplet values by QuantLib's `bachelierBlackFormula`.
  Tests hold them equal to `DiscountingSwapEngine`, `BachelierSwaptionEngine`,
  `BachelierCapFloorEngine` and `MidPointCdsEngine`.
- forward and future: cost of carry; a future is quantity x (price - entry price), margined daily.

Simplifications, all of them deliberate. One curve a currency discounts and projects: zero rates at 2Y, 5Y, 10Y and
30Y, continuously compounded, Actual/365 (Fixed), linear between the nodes and flat outside. Equity, commodity and FX
trades use the 2Y node. One volatility a price: no smile, no term structure. Swaps, caps and CDS are *clean*: their
schedule runs back from `expiry` to `as_of` with a short first period, so accrued interest counts as settled and no
past fixing is needed. Days are unadjusted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import repeat
from math import isfinite
from typing import Literal

import numpy as np
import QuantLib as ql

Kind = Literal["forward", "future", "option", "barrier", "swap", "swaption", "cap", "cds"]
Greek = tuple[str, str, float, str]

CURVES = ("USD", "EUR", "GBP", "CNY")
NODES = (2, 5, 10, 30)
PAIRS = ("EURUSD", "GBPUSD", "USDJPY", "USDCNH", "USDCHF")
COMMODITIES = ("WTI", "GOLD", "COPPER")
DIVIDENDS = {"SPX": 0.018, "COMP": 0.018, "CSI300": 0.02}
STOCK_DIVIDEND = 0.015
# currencies without a curve; their short rates stood near zero throughout the history
FIXED_RATES = {"JPY": 0.001, "CHF": 0.001}
RECOVERY = 0.4

_RATES = ("swap", "swaption", "cap")
_YEARS = ql.Actual365Fixed()
_CDS_DAYS = ql.Actual360()
_THIRTY = ql.Thirty360(ql.Thirty360.BondBasis)
_FIXED_DAYS = {"USD": _THIRTY, "EUR": _THIRTY, "GBP": _YEARS, "CNY": _YEARS}
_FLOATING_DAYS = {"USD": ql.Actual360(), "EUR": ql.Actual360(), "GBP": _YEARS, "CNY": _YEARS}
_SIDE = {"call": ql.Option.Call, "put": ql.Option.Put}


class PricingError(ValueError):
    """A trade that cannot be priced. `trade` is its name, `reason` says why in a sentence without a full stop."""

    def __init__(self, trade: str, reason: str):
        super().__init__(trade, reason)
        self.trade, self.reason = trade, reason

    def __str__(self) -> str:
        return f"{self.trade}: {self.reason}"


@dataclass(frozen=True)
class Trade:
    """A position in one instrument.

    `quantity` is signed: units of the underlying (USDXXX pairs: USD) or, for rates and credit, notional, where
    positive pays fixed, owns the option or buys protection. `strike` is a price (a future's entry price), a fixed rate
    or a running CDS spread, in fractions. `option` of a swaption: call is a payer; of a cap: put makes it a floor.

    Raises:
        PricingError: terms that no state of the market could price.
    """

    name: str
    kind: Kind
    underlying: str
    quantity: float
    strike: float
    expiry: date
    start: date
    option: Literal["call", "put"] | None = None
    barrier: float | None = None
    tenor_years: int | None = None
    counterparty: str | None = None
    netting_set: str | None = None

    def __post_init__(self):
        if self.kind not in _ROUTES:
            raise PricingError(self.name, f"unknown kind {self.kind!r}; known are {', '.join(_ROUTES)}")
        if not (isfinite(self.quantity) and isfinite(self.strike)):
            raise PricingError(self.name, f"quantity {self.quantity} and strike {self.strike} must be finite")
        if self.expiry < self.start:
            raise PricingError(self.name, f"expires {self.expiry}, before it starts on {self.start}")
        if self.kind in _RATES and self.underlying not in CURVES:
            raise PricingError(self.name, f"no curve for {self.underlying!r}; there is {', '.join(CURVES)}")
        if self.kind in ("option", "barrier", "swaption") and self.option not in _SIDE:
            raise PricingError(self.name, f"option must be call or put, not {self.option!r}")
        if self.kind in ("option", "barrier") and self.strike <= 0:
            raise PricingError(self.name, f"a lognormal model needs a strike above 0, not {self.strike:g}")
        if self.kind == "barrier" and self.option != "put":
            raise PricingError(self.name, "the only barrier option here is the down-and-in put")
        if self.kind == "barrier" and not (self.barrier is not None and isfinite(self.barrier) and self.barrier > 0):
            raise PricingError(self.name, f"a down-and-in put needs a barrier above 0, not {self.barrier}")
        if self.kind == "swaption" and not (self.tenor_years and self.tenor_years > 0):
            raise PricingError(self.name, f"a swaption needs tenor_years above 0, not {self.tenor_years}")

    @property
    def currency(self) -> str:
        """The currency of its value: the curve's for rates, the quote currency of an FX pair, USD for the rest."""
        if self.kind in _RATES:
            return self.underlying
        return self.underlying[3:] if self.underlying in PAIRS else "USD"


def _short_rate(currency: str) -> str:
    """The factor that is the rate of a currency for FX and equity; "" where the rate is fixed."""
    return "" if currency in FIXED_RATES else f"{'CNY' if currency == 'CNH' else currency}.2Y"


def _curve(trade: Trade) -> tuple[str, ...]:
    currency = "USD" if trade.kind == "cds" else trade.underlying
    return tuple(f"{currency}.{years}Y" for years in NODES)


def depends_on(trade: Trade) -> tuple[str, ...]:
    """The factors a trade is priced from, in a fixed order: price or spread, volatility, rates."""
    name = trade.underlying
    if trade.kind == "cds":
        return (f"{name}.spread", *_curve(trade))
    if trade.kind in _RATES:
        return (*((f"{name}.vol",) if trade.kind != "swap" else ()), *_curve(trade))
    if trade.kind == "future":
        return (name,)
    rates = (_short_rate(name[3:]), _short_rate(name[:3])) if name in PAIRS else ("USD.2Y",)
    vol = (f"{name}.vol",) if trade.kind in ("option", "barrier") else ()
    return (name, *vol, *(one for one in rates if one))


def _date(day: date) -> ql.Date:
    return ql.Date(day.day, day.month, day.year)


def _years(first: date, last: date) -> float:
    return _YEARS.yearFraction(_date(first), _date(last))


@dataclass(frozen=True)
class _Legs:
    """A schedule seen from `as_of`: its days, and their times in years (m + 1,)."""

    days: tuple[ql.Date, ...]
    times: np.ndarray

    def fractions(self, counter: ql.DayCounter) -> np.ndarray:
        """Year fractions of the m periods."""
        pairs = zip(self.days, self.days[1:], strict=False)
        return np.array([counter.yearFraction(first, last) for first, last in pairs])


@lru_cache(maxsize=4096)
def _legs(as_of: date, first: date, last: date, months: int) -> _Legs:
    schedule = ql.Schedule(
        _date(first), _date(last), ql.Period(months, ql.Months), ql.NullCalendar(), ql.Unadjusted, ql.Unadjusted,
        ql.DateGeneration.Backward, False,
    )  # fmt: skip
    days, today = tuple(schedule), _date(as_of)
    return _Legs(days, np.array([_YEARS.yearFraction(today, day) for day in days]))


def _discounts(curve: list[np.ndarray], as_of: date, times: np.ndarray) -> np.ndarray:
    """Discount factors (n, m) at `times` (m,) from zero rates at the nodes, four arrays (n,)."""
    today = _date(as_of)
    nodes = [_YEARS.yearFraction(today, today + ql.Period(years, ql.Years)) for years in NODES]
    zeros = np.zeros((len(curve[0]), len(times)))
    for levels, unit in zip(curve, np.eye(len(NODES)), strict=True):
        weights = np.interp(times, nodes, unit)
        # not a matrix product: BLAS rounds the same state differently in different rows
        if weights.any():
            zeros += levels[:, None] * weights
    return np.exp(-zeros * times)


def _black(side: int, strike: float, forwards: np.ndarray, deviations: np.ndarray, discounts: np.ndarray):
    values = map(
        ql.blackFormula, repeat(side), repeat(strike), forwards.tolist(), deviations.tolist(), discounts.tolist()
    )
    return np.fromiter(values, float, len(forwards))


def _bachelier(side: int, strike: float, forwards: np.ndarray, deviations: np.ndarray, discounts: np.ndarray):
    values = map(
        ql.bachelierBlackFormula,
        repeat(side), repeat(strike), forwards.tolist(), deviations.tolist(), discounts.tolist(),
    )  # fmt: skip
    return np.fromiter(values, float, len(forwards))


def _rate_and_yield(trade: Trade, market: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What cash earns, and what the underlying pays its holder (dividend, foreign rate); arrays (n,)."""
    name, like = trade.underlying, market[trade.underlying]

    def rate(currency: str) -> np.ndarray:
        factor = _short_rate(currency)
        return market[factor] if factor else np.full_like(like, FIXED_RATES[currency])

    if name in PAIRS:
        return rate(name[3:]), rate(name[:3])
    cash = rate("USD")
    return cash, cash if name in COMMODITIES else np.full_like(like, DIVIDENDS.get(name, STOCK_DIVIDEND))


def _forward(trade: Trade, as_of: date, market: Mapping[str, np.ndarray]) -> np.ndarray:
    cash, carry = _rate_and_yield(trade, market)
    years = _years(as_of, trade.expiry)
    return market[trade.underlying] * np.exp(-carry * years) - trade.strike * np.exp(-cash * years)


def _future(trade: Trade, as_of: date, market: Mapping[str, np.ndarray]) -> np.ndarray:
    return market[trade.underlying] - trade.strike


def _payoff(trade: Trade, spots: np.ndarray) -> np.ndarray:
    sign = 1.0 if trade.option == "call" else -1.0
    paid = np.maximum(sign * (spots - trade.strike), 0.0)
    return paid if trade.barrier is None or trade.kind == "option" else np.where(spots <= trade.barrier, paid, 0.0)


def _option(trade: Trade, as_of: date, market: Mapping[str, np.ndarray]) -> np.ndarray:
    spots = market[trade.underlying]
    if as_of == trade.expiry:
        return _payoff(trade, spots)
    cash, carry = _rate_and_yield(trade, market)
    years = _years(as_of, trade.expiry)
    deviations = market[f"{trade.underlying}.vol"] * np.sqrt(years)
    forwards = spots * np.exp((cash - carry) * years)
    return _black(_SIDE[trade.option], trade.strike, forwards, deviations, np.exp(-cash * years))


def _barrier(trade: Trade, as_of: date, market: Mapping[str, np.ndarray]) -> np.ndarray:
    spots = market[trade.underlying]
    if as_of == trade.expiry:
        return _payoff(trade, spots)
    values = np.empty_like(spots)
    inside = spots <= trade.barrier
    if inside.any():
        values[inside] = _option(trade, as_of, {name: levels[inside] for name, levels in market.items()})
    if inside.all():
        return values
    cash, carry = _rate_and_yield(trade, market)
    states = np.stack([spots, market[f"{trade.underlying}.vol"], cash, carry], axis=1)[~inside].tolist()
    today = _date(as_of)
    with ql.SavedSettings():
        ql.Settings.instance().evaluationDate = today
        quotes = [ql.SimpleQuote(level) for level in states[0]]
        spot, vol, rate, dividend = (ql.QuoteHandle(quote) for quote in quotes)
        process = ql.BlackScholesMertonProcess(
            spot,
            ql.YieldTermStructureHandle(ql.FlatForward(today, dividend, _YEARS)),
            ql.YieldTermStructureHandle(ql.FlatForward(today, rate, _YEARS)),
            ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), vol, _YEARS)),
        )
        put = ql.BarrierOption(
            ql.Barrier.DownIn, trade.barrier, 0.0, ql.PlainVanillaPayoff(ql.Option.Put, trade.strike),
            ql.EuropeanExercise(_date(trade.expiry)),
        )  # fmt: skip
        put.setPricingEngine(ql.AnalyticBarrierEngine(process))
        set_spot, set_vol, set_rate, set_dividend = (quote.setValue for quote in quotes)
        priced = []
        for spot_level, vol_level, rate_level, dividend_level in states:
            set_spot(spot_level)
            set_vol(vol_level)
            set_rate(rate_level)
            set_dividend(dividend_level)
            priced.append(put.NPV())
    values[~inside] = priced
    return values


def _swap(trade: Trade, as_of: date, market: Mapping[str, np.ndarray]) -> np.ndarray:
    """Semi-annual fixed against six-month floating; the floating leg is what its discount factors telescope to."""
    legs = _legs(as_of, as_of, trade.expiry, 6)
    discounts = _discounts([market[one] for one in _curve(trade)], as_of, legs.times)
    annuity = (discounts[:, 1:] * legs.fractions(_FIXED_DAYS[trade.underlying])).sum(axis=1)
    return discounts[:, 0] - discounts[:, -1] - trade.strike * annuity


def _swaption(trade: Trade, as_of: date, market: Mapping[str, np.ndarray]) -> np.ndarray:
    """European, physically settled, into the swap of `tenor_years` from `expiry`."""
    expiry = _date(trade.expiry)
    end = (expiry + ql.Period(trade.tenor_years, ql.Years)).to_date()
    legs = _legs(as_of, trade.expiry, end, 6)
    discounts = _discounts([market[one] for one in _curve(trade)], as_of, legs.times)
    annuity = (discounts[:, 1:] * legs.fractions(_FIXED_DAYS[trade.underlying])).sum(axis=1)
    forwards = (discounts[:, 0] - discounts[:, -1]) / annuity
    deviations = market[f"{trade.underlying}.vol"] * np.sqrt(legs.times[0])
    return _bachelier(_SIDE[trade.option], trade.strike, forwards, deviations, annuity)


def _cap(trade: Trade, as_of: date, market: Mapping[str, np.ndarray]) -> np.ndarray:
    """Caplets (floorlets) on six-month floating, each fixed at the start of its period."""
    legs = _legs(as_of, as_of, trade.expiry, 6)
    discounts = _discounts([market[one] for one in _curve(trade)], as_of, legs.times)
    fractions = legs.fractions(_FLOATING_DAYS[trade.underlying])
    forwards = (discounts[:, :-1] / discounts[:, 1:] - 1.0) / fractions
    deviations = market[f"{trade.underlying}.vol"][:, None] * np.sqrt(legs.times[:-1])
    caplets = _bachelier(
        _SIDE[trade.option or "call"],
        trade.strike,
        forwards.ravel(),
        deviations.ravel(),
        (discounts[:, 1:] * fractions).ravel(),
    )
    return caplets.reshape(forwards.shape).sum(axis=1)


def _cds(trade: Trade, as_of: date, market: Mapping[str, np.ndarray]) -> np.ndarray:
    """Quarterly, Actual/360, recovery 40 %; flat hazard rate spread / (1 - recovery); defaults fall mid-period."""
    legs = _legs(as_of, as_of, trade.expiry, 3)
    middles = [first + (last - first) // 2 for first, last in zip(legs.days, legs.days[1:], strict=False)]
    today = legs.days[0]
    times = np.array([_YEARS.yearFraction(today, day) for day in middles])
    discounts = _discounts([market[one] for one in _curve(trade)], as_of, np.concatenate([legs.times[1:], times]))
    paid, defaulted = discounts[:, : len(middles)], discounts[:, len(middles) :]
    hazards = market[f"{trade.underlying}.spread"][:, None] / (1 - RECOVERY)
    survival = np.exp(-hazards * legs.times)
    default = (survival[:, :-1] - survival[:, 1:]) * defaulted
    accrued = np.array([_CDS_DAYS.yearFraction(*days) for days in zip(legs.days, middles, strict=False)])
    coupons = (survival[:, 1:] * paid * legs.fractions(_CDS_DAYS) + default * accrued).sum(axis=1)
    return (1 - RECOVERY) * default.sum(axis=1) - trade.strike * coupons


_ROUTES = {
    "forward": _forward,
    "future": _future,
    "option": _option,
    "barrier": _barrier,
    "swap": _swap,
    "swaption": _swaption,
    "cap": _cap,
    "cds": _cds,
}


def _market(trade: Trade, as_of: date, states: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The states of a trade's factors, checked."""
    market: dict[str, np.ndarray] = {}
    needed = depends_on(trade)
    for name in needed:
        if name not in states:
            raise PricingError(trade.name, f"the market has no {name}")
        market[name] = levels = np.asarray(states[name], dtype=float)
        first = market[needed[0]]
        if levels.ndim != 1 or levels.shape != first.shape:
            raise PricingError(trade.name, f"{name} has shape {levels.shape}, {needed[0]} has {first.shape}")
        wrong, why = ~np.isfinite(levels), "is not a number"
        if not wrong.any():
            if name.endswith((".vol", ".spread")):
                wrong, why = levels <= 0, "must be above 0"
            elif name == trade.underlying and trade.kind in ("option", "barrier") and as_of < trade.expiry:
                wrong, why = levels <= 0, "has no lognormal model"
        if wrong.any():
            at = int(np.argmax(wrong))
            raise PricingError(trade.name, f"{name} of {levels[at]:g} {why} (state {at + 1} of {len(levels)})")
    return market


def price(trade: Trade, as_of: date, states: Mapping[str, np.ndarray]) -> np.ndarray:
    """Values of a trade on `as_of` in n states of the market.

    On `expiry` the value is what the trade pays that day; swaps, caps and CDS have nothing left to pay.

    Args:
        trade: the trade.
        as_of: the valuation date, not after the expiry.
        states: for every name of `depends_on(trade)` its levels (n,): prices in their own currency, volatilities
            (normal ones for rates), rates and spreads as fractions.

    Returns:
        (n,) values in `trade.currency`, signed.

    Raises:
        PricingError: an expired trade, a missing factor, a level that is not finite, a volatility or spread that is
            not positive, a price at or below zero under a lognormal model, or a value that QuantLib refuses.
    """
    if as_of > trade.expiry:
        raise PricingError(trade.name, f"expired on {trade.expiry}, cannot be priced on {as_of}")
    market = _market(trade, as_of, states)
    if as_of == trade.expiry and trade.kind in ("swap", "cap", "cds"):
        return np.zeros(len(next(iter(market.values()))))
    try:
        values = trade.quantity * _ROUTES[trade.kind](trade, as_of, market)
    except RuntimeError as error:
        raise PricingError(trade.name, f"QuantLib: {error}") from error
    if not np.isfinite(values).all():
        raise PricingError(trade.name, f"no finite value in {np.count_nonzero(~np.isfinite(values))} states")
    return values


def greeks(trade: Trade, as_of: date, state: Mapping[str, float]) -> list[Greek]:
    """The Greeks of a trade that are not zero, by central differences of `price`.

    - delta: P&L per 100 % move of the price, from moves of +/-1 %; gamma: what +1 % of the price adds to delta (second
      derivative x price^2 x 1 %, nothing for linear trades): P&L of a move r is about delta r + gamma r^2 / 0.02.
    - vega: P&L per vol point, from +/- half a point; for rates per 1bp of normal volatility.
    - pv01: P&L of +1bp on every node of a curve, from +/-1bp; bucket_pv01 the same node by node (rates trades).
    - cs01: P&L of +1bp of the spread; jump_to_default: P&L of a default of the name today with 40 % recovery.

    Args:
        trade: the trade.
        as_of: the valuation date.
        state: level of every factor of `depends_on(trade)`.

    Returns:
        Tuples (measure, factor, value in `trade.currency`, bump). The factor is the underlying or the name, for pv01
        the curve's currency, for buckets currency and node ("USD 10Y").

    Raises:
        PricingError: as `price`.
    """
    names = depends_on(trade)
    missing = [name for name in names if name not in state]
    if missing:
        raise PricingError(trade.name, f"the market has no {missing[0]}")
    base = np.array([state[name] for name in names], dtype=float)
    # each Greek is value (up - down) x scale, from the states that its two shifts give
    wanted: list[tuple[str, str, np.ndarray, float, str]] = []

    def shift(steps: Mapping[str, float]) -> np.ndarray:
        return np.array([steps.get(name, 0.0) for name in names])

    nodes: dict[str, list[str]] = {}
    for name in names:
        level = float(state[name])
        if name == trade.underlying:
            wanted.append(("delta", name, shift({name: 0.01 * level}), 1 / 0.02, "100%"))
        elif name.endswith(".spread"):
            step = min(1e-4, level / 2)
            wanted.append(("cs01", trade.underlying, shift({name: step}), 1e-4 / (2 * step), "1bp"))
        elif name.endswith(".vol"):
            bump, text = (1e-4, "1bp normal vol") if trade.kind in _RATES else (0.01, "1 vol point")
            step = min(bump / 2, level / 2)
            wanted.append(("vega", trade.underlying, shift({name: step}), bump / (2 * step), text))
        else:
            nodes.setdefault(name[:3], []).append(name)
    for currency, curve in nodes.items():
        wanted.append(("pv01", currency, shift(dict.fromkeys(curve, 1e-4)), 0.5, "1bp"))
        if trade.kind in _RATES:
            wanted += [("bucket_pv01", one.replace(".", " "), shift({one: 1e-4}), 0.5, "1bp") for one in curve]
    levels = np.array([base, *(row for one in wanted for row in (base + one[2], base - one[2]))])
    values = price(trade, as_of, dict(zip(names, levels.T, strict=True)))
    found: list[Greek] = []
    for (measure, factor, _, scale, bump), up, down in zip(wanted, values[1::2], values[2::2], strict=True):
        found.append((measure, factor, float((up - down) * scale), bump))
        if measure == "delta" and trade.kind in ("option", "barrier"):
            found.append(("gamma", factor, float((up - 2 * values[0] + down) / 0.01), "1%"))
    if trade.kind == "cds" and as_of < trade.expiry:
        lost = trade.quantity * (1 - RECOVERY) - float(values[0])
        found.append(("jump_to_default", trade.underlying, lost, "default"))
    return [one for one in found if one[2] != 0]
