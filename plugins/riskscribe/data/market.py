"""A small simulated market and QuantLib revaluation of positions in it.

Joint daily moves come from a seeded Student-t (5 degrees of freedom) with a one-factor correlation inside a desk;
implied volatility falls when its underlying rises. History is simulated, and every case's engine line says so.
"""

from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Literal

import numpy as np
import QuantLib as ql

HISTORY_SEED = 20210601
FIRST_DAY = date(2021, 6, 1)
DAYS = 1180
WINDOWS = 500
DEGREES = 5


@dataclass(frozen=True)
class Underlying:
    """A market factor. `level` is a price (or a rate as a fraction), `vol` its yearly volatility (rates: in bp)."""

    name: str
    desk: str
    kind: Literal["price", "rate"]
    level: float
    vol: float
    carry: float = 0.0


UNDERLYINGS = {
    one.name: one
    for one in (
        Underlying("SPX", "equity", "price", 4200.0, 0.17),
        Underlying("NDX", "equity", "price", 13600.0, 0.22),
        Underlying("SX5E", "equity", "price", 4050.0, 0.18),
        Underlying("HSI", "equity", "price", 20500.0, 0.24),
        Underlying("EURUSD", "FX", "price", 1.12, 0.08, carry=0.015),
        Underlying("USDJPY", "FX", "price", 118.0, 0.10, carry=0.03),
        Underlying("USDCNH", "FX", "price", 6.60, 0.05, carry=0.01),
        Underlying("GBPUSD", "FX", "price", 1.28, 0.09, carry=0.002),
        Underlying("WTI", "commodity", "price", 75.0, 0.36),
        Underlying("Gold", "commodity", "price", 1850.0, 0.15),
        Underlying("Brent", "commodity", "price", 79.0, 0.34),
        Underlying("Copper", "commodity", "price", 9000.0, 0.24),
        Underlying("USD SOFR", "rates", "rate", 0.040, 95.0),
        Underlying("EUR ESTR", "rates", "rate", 0.028, 80.0),
        Underlying("CNY FR007", "rates", "rate", 0.021, 45.0),
    )
}
DISCOUNT_RATE = 0.035


@dataclass(frozen=True)
class Trade:
    """A position: option (strike, call or put), forward (strike) or swap (fixed rate), signed by `quantity`.

    `quantity` is units of the underlying for prices and notional for swaps (positive pays fixed).
    """

    underlying: str
    kind: Literal["call", "put", "forward", "swap"]
    quantity: float
    strike: float
    years: float


@cache
def history() -> dict[str, np.ndarray]:
    """Per underlying an array (DAYS, 3): level, daily move (log-return, or bp), volatility (fraction; rates 0)."""
    rng = np.random.default_rng(HISTORY_SEED)
    desks = sorted({one.desk for one in UNDERLYINGS.values()})
    scale = np.sqrt((DEGREES - 2) / DEGREES)
    world = rng.standard_t(DEGREES, DAYS) * scale
    common = {desk: 0.4 * world + np.sqrt(1 - 0.16) * rng.standard_t(DEGREES, DAYS) * scale for desk in desks}
    paths = {}
    for one in UNDERLYINGS.values():
        own = rng.standard_t(DEGREES, DAYS) * scale
        shock = np.sqrt(0.5) * common[one.desk] + np.sqrt(0.5) * own
        noise = rng.standard_normal(DAYS)
        daily = one.vol / np.sqrt(252)
        # a weak pull to the start keeps levels plausible over the years
        log_level = np.zeros(DAYS)
        vol = np.full(DAYS, 0.0 if one.kind == "rate" else one.vol)
        moves = shock * daily
        for day in range(1, DAYS):
            log_level[day] = 0.997 * log_level[day - 1] + moves[day]
            if one.kind == "price":
                pulled = vol[day - 1] + 0.03 * (one.vol - vol[day - 1])
                vol[day] = max(0.3 * one.vol, pulled - 0.6 * moves[day] + 0.02 * one.vol * noise[day])
        level = one.level * np.exp(log_level) if one.kind == "price" else one.level + log_level / 1e4
        paths[one.name] = np.stack([level, moves, vol], axis=1)
    return paths


@cache
def calendar() -> list[date]:
    """The business days of the simulated history."""
    weekends = ql.WeekendsOnly()
    day = ql.Date(FIRST_DAY.day, FIRST_DAY.month, FIRST_DAY.year)
    days = []
    for _ in range(DAYS):
        days.append(date(day.year(), day.month(), day.dayOfMonth()))
        day = weekends.advance(day, 1, ql.Days)
    return days


def _option_values(trade: Trade, spots: np.ndarray, vols: np.ndarray) -> np.ndarray:
    carry = UNDERLYINGS[trade.underlying].carry
    growth, discount = np.exp(carry * trade.years), np.exp(-DISCOUNT_RATE * trade.years)
    if trade.kind == "forward":
        return trade.quantity * discount * (spots * growth - trade.strike)
    kind = ql.Option.Call if trade.kind == "call" else ql.Option.Put
    root = np.sqrt(trade.years)
    return trade.quantity * np.array(
        [
            ql.blackFormula(kind, trade.strike, float(spot * growth), float(vol * root), float(discount))
            for spot, vol in zip(spots, vols, strict=True)
        ]
    )


def _swap_values(trade: Trade, rates: np.ndarray) -> np.ndarray:
    today = ql.Date(15, 1, 2024)
    ql.Settings.instance().evaluationDate = today
    quote = ql.SimpleQuote(float(rates[0]))
    curve = ql.YieldTermStructureHandle(ql.FlatForward(today, ql.QuoteHandle(quote), ql.Actual365Fixed()))
    index = ql.IborIndex(
        "OIS", ql.Period(6, ql.Months), 0, ql.USDCurrency(), ql.NullCalendar(), ql.Unadjusted, False,
        ql.Actual365Fixed(), curve,
    )  # fmt: skip
    half_year = ql.Period(6, ql.Months)
    schedule = ql.Schedule(
        today, today + ql.Period(max(6, round(trade.years * 12)), ql.Months), half_year, ql.NullCalendar(),
        ql.Unadjusted, ql.Unadjusted, ql.DateGeneration.Forward, False,
    )  # fmt: skip
    swap = ql.VanillaSwap(
        ql.Swap.Payer, 1.0, schedule, trade.strike, ql.Actual365Fixed(), schedule, index, 0.0, ql.Actual365Fixed()
    )
    swap.setPricingEngine(ql.DiscountingSwapEngine(curve))
    values = np.empty(len(rates))
    for i, rate in enumerate(rates):
        quote.setValue(float(rate))
        values[i] = swap.NPV()
    return trade.quantity * values


def value(trade: Trade, levels: np.ndarray, vols: np.ndarray) -> np.ndarray:
    """QuantLib values of a trade in USD at each (level, vol) pair; arrays of one length n give n values.

    FX quoted as USDXXX settles in XXX and is converted at the scenario's own spot.
    """
    if trade.kind == "swap":
        return _swap_values(trade, levels)
    values = _option_values(trade, levels, vols)
    return values / levels if trade.underlying.startswith("USD") else values


@dataclass(frozen=True)
class Risk:
    """What a day's revaluation gives, in USD: arrays over trades; scenario P&L is (trades, WINDOWS)."""

    values: np.ndarray
    deltas: np.ndarray
    vegas: np.ndarray
    windows: np.ndarray


def revalue(trades: list[Trade], day: int) -> Risk:
    """Full revaluation of a book on `day` and under each of the last WINDOWS one-day moves.

    `deltas`: USD per 100 % move of a price (central difference of 1 %), or per 1 bp of a rate. `vegas`: USD per vol
    point.
    """
    values, deltas, vegas, windows = [], [], [], []
    for trade in trades:
        path = history()[trade.underlying]
        level, _, vol = path[day]
        moves = path[day - WINDOWS + 1 : day + 1, 1]
        vol_moves = np.diff(path[day - WINDOWS : day + 1, 2])
        if UNDERLYINGS[trade.underlying].kind == "rate":
            levels = level + moves / 1e4
            bumps = np.array([level, level + 5e-5, level - 5e-5])
            step = 1.0
        else:
            levels = level * np.exp(moves)
            bumps = level * np.array([1.0, 1.01, 0.99])
            step = 0.02
        vols = np.maximum(vol + vol_moves, 0.01)
        grid = np.concatenate([bumps, [level, level], levels])
        grid_vols = np.concatenate([[vol, vol, vol, vol + 0.005, vol - 0.005], vols])
        priced = value(trade, grid, grid_vols)
        values.append(priced[0])
        deltas.append((priced[1] - priced[2]) / step)
        vegas.append(0.0 if trade.kind in ("swap", "forward") else priced[3] - priced[4])
        windows.append(priced[5:] - priced[0])
    return Risk(np.array(values), np.array(deltas), np.array(vegas), np.array(windows))


@dataclass(frozen=True)
class Scenario:
    """A named stress: relative price move, absolute vol move (points), rate move (bp)."""

    name: str
    text: str
    price: float = 0.0
    vol: float = 0.0
    rate: float = 0.0


SCENARIOS = {
    "equity": [
        Scenario("Crash", "spot -20%, vol +15", price=-0.20, vol=15),
        Scenario("Rally", "spot +10%, vol -5", price=0.10, vol=-5),
        Scenario("Vol shock", "vol +10", vol=10),
    ],
    "FX": [
        Scenario("Dollar rally", "USD +8%, vol +4", price=0.08, vol=4),
        Scenario("Dollar slump", "USD -8%, vol +4", price=-0.08, vol=4),
        Scenario("FX vol up", "vol +5", vol=5),
    ],
    "commodity": [
        Scenario("Slump", "price -30%, vol +15", price=-0.30, vol=15),
        Scenario("Spike", "price +25%, vol +10", price=0.25, vol=10),
        Scenario("Vol shock", "vol +10", vol=10),
    ],
    "rates": [
        Scenario("Rates up", "+100bp", rate=100),
        Scenario("Rates down", "-100bp", rate=-100),
        Scenario("Rates up 200", "+200bp", rate=200),
    ],
}


def stress(trades: list[Trade], day: int, scenario: Scenario) -> float:
    """Full-revaluation P&L in USD of a book under a scenario. A dollar move lowers XXXUSD and raises USDXXX."""
    total = 0.0
    for trade in trades:
        level, _, vol = history()[trade.underlying][day]
        if UNDERLYINGS[trade.underlying].kind == "rate":
            moved = level + scenario.rate / 1e4
        else:
            flip = -1.0 if UNDERLYINGS[trade.underlying].desk == "FX" and trade.underlying.endswith("USD") else 1.0
            moved = level * (1 + flip * scenario.price)
        moved_vol = max(vol + scenario.vol / 100, 0.02)
        before, after = value(trade, np.array([level, moved]), np.array([vol, moved_vol]))
        total += after - before
    return total
