"""Twenty years of daily market: real series from installed packages, joined by simulated ones on the same dates.

Real: S&P 500, NASDAQ, WTI and, since 2014, VIX from `arch` (closing values); 20 US stocks from `skfolio` (adjusted for
splits and dividends, so early levels are not the prices traded then). Dates are those of the S&P 500.
Simulated: a unit shock = loadings on the S&P's and WTI's real standardised returns and on earlier drivers, plus own
Student-t noise (6 degrees of freedom; ML gives 6.8 on the S&P, 7.1 on WTI). Variance = a share that follows the S&P's
own (EWMA 0.94, RiskMetrics 1996) + a GARCH(1,1) with alpha 0.05, beta 0.93 (ML: WTI 0.05/0.95, S&P 0.10/0.90).
The log level (rates: the shadow rate, Black 1995, smoothly above a floor) is a line through rounded typical levels
plus a mean-reverting deviation. Curves move by level, slope and curvature; spreads follow Moody's Baa - Aaa (`arch`).
Implied vol: reverts at 0.05 a day to premium * (0.63 EWMA 0.94 + 0.57 EWMA 0.995 realised) and falls with its price's
move. Fitted on VIX 2014-2018: without noise, from 1999, correlation 0.8 with log VIX there and 0.8 with its moves.
Every factor has its own seed, made from its name: adding one changes no other. Sizes are rounded practice, not quotes.
"""

import csv
import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib import metadata
from typing import Literal

import numpy as np

from riskscribe.case import Language
from riskscribe.errors import InputError

FIRST_DATE, LAST_DATE, VIX_FROM = date(1999, 1, 4), date(2018, 12, 31), date(2014, 1, 3)
MAX_CARRY = 3
MAX_SCORE = 6
STOCKS = (
    "AAPL", "AMD", "BAC", "BBY", "CVX", "GE", "HD", "JNJ", "JPM", "KO",
    "LLY", "MRK", "MSFT", "PEP", "PFE", "PG", "RRC", "UNH", "WMT", "XOM",
)  # fmt: skip
NODES = ("2Y", "5Y", "10Y", "30Y")
YEAR = 252

Desk = Literal["equity", "rates", "FX", "commodity", "credit"]


@dataclass(frozen=True)
class Factor:
    """A market factor. `price`, `vol` and `spread` move relatively (log), `rate` absolutely.

    `historical_from` is the first date with a real value; None means simulated throughout.
    """

    name: str
    kind: Literal["price", "vol", "rate", "spread"]
    desk: Desk
    source: str
    historical_from: date | None


@dataclass(frozen=True)
class History:
    """Joint daily levels: prices in their own currency, vols, rates and spreads as fractions (float64, one a date).

    `carried` counts, for each real series, the dates whose value is the last one before (no quote that day).
    """

    dates: tuple[date, ...]
    levels: dict[str, np.ndarray]
    carried: dict[str, int] = field(default_factory=dict)

    def moves(self, name: str, horizon: int = 1) -> np.ndarray:
        """Moves over `horizon` days up to each date: log for prices, vols and spreads, differences for rates.

        Returns:
            Array (days,); nan for the first `horizon` dates.

        Raises:
            ValueError: `horizon` is not between 1 and the number of dates - 1.
        """
        if not 1 <= horizon < len(self.dates):
            raise ValueError(f"horizon is {horizon} days; it must be from 1 to {len(self.dates) - 1}")
        level = self.levels[name] if FACTORS[name].kind == "rate" else np.log(self.levels[name])
        moved = np.full(len(level), np.nan)
        moved[horizon:] = level[horizon:] - level[:-horizon]
        return moved


@dataclass(frozen=True)
class _Driver:
    """A simulated shock. `vol`: a year's standard deviation, of the log level (rates: of the rate itself).

    `loads`: on the unit shocks of drivers above it in the table; `market`: the share of its variance that follows the
    S&P's; `reversion`: of the deviation, a day. A driver without a vol only carries loadings.
    """

    vol: float = 0.0
    loads: dict[str, float] = field(default_factory=dict)
    market: float = 0.3
    reversion: float = 0.006


def _curve(currency: str, bp: float, **level_loads: float) -> dict[str, _Driver]:
    """Three factors with the relative sizes that a principal-component analysis of a swap curve typically finds."""
    level = f"{currency}.level"
    return {
        level: _Driver(bp / 1e4, level_loads, 0.2, 0.008),
        f"{currency}.slope": _Driver(0.55 * bp / 1e4, {"SPX": -0.15}, 0.2, 0.006),
        f"{currency}.curvature": _Driver(0.30 * bp / 1e4, {}, 0.2, 0.01),
    }


_DRIVERS: dict[str, _Driver] = {
    **_curve("USD", 95, SPX=0.32, WTI=0.08),
    **{
        name: driver
        for currency, bp, usd in (("EUR", 72, 0.62), ("GBP", 80, 0.60), ("CNY", 45, 0.15))
        for name, driver in _curve(currency, bp, **{"SPX": 0.06, "USD.level": usd}).items()
    },
    "dollar": _Driver(loads={"SPX": -0.15, "WTI": -0.12, "USD.level": 0.12}),
    "EURUSD": _Driver(0.095, {"dollar": -0.85, "SPX": 0.05}),
    "GBPUSD": _Driver(0.090, {"dollar": -0.65, "SPX": 0.10}),
    "USDCHF": _Driver(0.100, {"dollar": 0.78, "SPX": 0.08}),
    "USDJPY": _Driver(0.100, {"dollar": 0.25, "SPX": 0.30, "USD.level": 0.30}),
    "USDCNH": _Driver(0.035, {"dollar": 0.35, "SPX": -0.12}, 0.2, 0.010),
    "GOLD": _Driver(0.170, {"dollar": -0.40, "USD.level": -0.20, "WTI": 0.10}, 0.2),
    "COPPER": _Driver(0.250, {"SPX": 0.22, "WTI": 0.22, "dollar": -0.25}, 0.4),
    "CSI300": _Driver(0.250, {"SPX": 0.18, "COPPER": 0.15, "CNY.level": 0.08}),
    "credit": _Driver(loads={"SPX": -0.60, "USD.level": -0.10}),
    "Harbor Air": _Driver(0.50, {"credit": 0.68, "WTI": 0.10}, 0.3, 0.025),
    "Northwind Steel": _Driver(0.50, {"credit": 0.68, "COPPER": -0.10}, 0.3, 0.025),
    "Kestrel Foods": _Driver(0.38, {"credit": 0.60}, 0.3, 0.025),
    "Pine Telecom": _Driver(0.42, {"credit": 0.70}, 0.3, 0.025),
    "Redwood Chemicals": _Driver(0.45, {"credit": 0.70, "WTI": -0.05}, 0.3, 0.025),
    "Delta Grid": _Driver(0.38, {"credit": 0.62}, 0.3, 0.025),
}
DEGREES, ALPHA, BETA, DECAY = 6, 0.05, 0.93, 0.94

# year: level. Rounded typical levels of the time, so that a strike or a notional of that year looks right.
_ANCHORS: dict[str, dict[float, float]] = {
    "EURUSD": {1999: 1.15, 2002: 0.92, 2008: 1.42, 2011: 1.38, 2015: 1.12, 2019: 1.15},
    "GBPUSD": {1999: 1.62, 2002: 1.48, 2007.5: 1.95, 2009.5: 1.55, 2014: 1.60, 2017: 1.28, 2019: 1.30},
    "USDCHF": {1999: 1.45, 2001: 1.65, 2005: 1.22, 2008: 1.10, 2011.5: 0.90, 2019: 0.98},
    "USDJPY": {1999: 115, 2002: 125, 2005: 108, 2007.5: 118, 2012: 82, 2015.5: 118, 2019: 110},
    "USDCNH": {1999: 8.15, 2005.5: 8.05, 2008.5: 6.95, 2013.5: 6.35, 2017: 6.80, 2019: 6.80},
    "GOLD": {1999: 290, 2002: 300, 2008: 850, 2011.5: 1550, 2014: 1280, 2019: 1280},
    "COPPER": {1999: 1500, 2003: 1800, 2006.5: 6500, 2009: 4500, 2011: 8500, 2016: 5000, 2019: 6200},
    "CSI300": {1999: 1200, 2005: 1050, 2007.8: 4500, 2009: 2400, 2014: 2400, 2015.5: 4200, 2019: 3300},
}
# currency: floor of the shadow rate, then year: rates in % at 2Y 5Y 10Y 30Y
_CURVES: dict[str, tuple[float, dict[float, tuple[float, float, float, float]]]] = {
    "USD": (
        0.0,
        {
            1999: (4.9, 5.0, 5.1, 5.4), 2000.5: (6.6, 6.5, 6.4, 6.3), 2003.5: (1.5, 2.7, 3.8, 4.8),
            2006.5: (5.1, 5.1, 5.2, 5.3), 2009: (1.2, 2.0, 2.8, 3.4), 2012.5: (0.5, 0.9, 1.8, 2.7),
            2016: (0.9, 1.4, 2.0, 2.6), 2019: (2.7, 2.7, 2.8, 3.0),
        },
    ),
    "EUR": (
        -0.009,
        {
            1999: (3.2, 3.7, 4.2, 5.0), 2000.7: (5.2, 5.4, 5.6, 5.8), 2004: (2.5, 3.2, 4.1, 4.9),
            2007.5: (4.5, 4.5, 4.6, 4.8), 2009.5: (1.8, 2.7, 3.5, 4.0), 2012.5: (0.8, 1.2, 1.9, 2.3),
            2016: (-0.1, 0.1, 0.8, 1.4), 2019: (-0.1, 0.2, 0.8, 1.4),
        },
    ),
    "GBP": (
        0.0,
        {
            1999: (5.4, 5.3, 5.1, 4.8), 2000.5: (6.5, 6.4, 6.1, 5.2), 2003.5: (3.8, 4.2, 4.5, 4.7),
            2007.5: (6.0, 5.8, 5.5, 4.8), 2009.5: (2.0, 3.0, 3.7, 4.1), 2012.5: (1.0, 1.3, 2.1, 3.0),
            2016: (0.8, 1.1, 1.5, 1.9), 2019: (1.2, 1.3, 1.5, 1.6),
        },
    ),
    "CNY": (
        0.005,
        {
            1999: (3.2, 3.5, 3.9, 4.3), 2004.5: (3.2, 3.8, 4.4, 4.9), 2006.5: (2.4, 2.9, 3.4, 3.9),
            2009: (2.2, 2.7, 3.3, 3.9), 2013.5: (3.9, 4.0, 4.2, 4.6), 2016.5: (2.6, 2.8, 3.0, 3.5),
            2019: (2.9, 3.1, 3.4, 3.9),
        },
    ),
}  # fmt: skip
_NODE_LOADS = {
    "2Y": (0.92, -0.50, -0.15),
    "5Y": (1.00, -0.15, 0.30),
    "10Y": (1.00, 0.25, 0.05),
    "30Y": (0.90, 0.50, -0.30),
}
_RATE_FLOOR_WIDTH = 0.003
# spread as a fraction when Moody's Baa - Aaa is at its average
_SPREADS = {
    "Harbor Air": 0.0320,
    "Northwind Steel": 0.0260,
    "Kestrel Foods": 0.0075,
    "Pine Telecom": 0.0130,
    "Redwood Chemicals": 0.0150,
    "Delta Grid": 0.0090,
}


@dataclass(frozen=True)
class _Vol:
    """How an implied vol moves in a day, in log: `own` and `market` times the standardised return of its own price and
    of the S&P, and `noise`, whose correlation with the noise of SPX.vol is `shared`. `floor` is a fraction."""

    premium: float
    own: float
    market: float
    noise: float
    shared: float
    floor: float


_VOL_REVERSION, _VOL_FAST, _VOL_SLOW = 0.05, 0.63, 0.57
_VOL_NOISE_DEGREES = 5
_STOCK = _Vol(0.95, -0.015, -0.020, 0.025, 0.5, 0.10)
_FX = _Vol(0.90, 0.0, -0.012, 0.020, 0.3, 0.035)
_VOLS: dict[str, _Vol] = {
    "SPX": _Vol(1.0, -0.062, 0.0, 0.045, 1.0, 0.08),
    "COMP": _Vol(0.97, -0.025, -0.030, 0.038, 0.8, 0.09),
    **dict.fromkeys(STOCKS, _STOCK),
    "CSI300": _Vol(0.95, -0.015, -0.010, 0.030, 0.3, 0.09),
    "WTI": _Vol(0.93, -0.022, -0.008, 0.025, 0.3, 0.12),
    "GOLD": _Vol(0.90, 0.004, -0.012, 0.025, 0.3, 0.07),
    "COPPER": _Vol(0.90, -0.015, -0.010, 0.022, 0.3, 0.10),
    "EURUSD": _Vol(0.90, -0.006, -0.012, 0.020, 0.3, 0.035),
    "USDJPY": _Vol(0.90, -0.020, -0.008, 0.024, 0.3, 0.035),
    "USDCNH": _Vol(0.95, 0.022, -0.008, 0.026, 0.2, 0.012),
    "GBPUSD": _Vol(0.90, -0.012, -0.010, 0.022, 0.3, 0.035),
    "USDCHF": _FX,
    "USD": _Vol(0.90, 0.0, -0.010, 0.018, 0.3, 0.0025),
    "EUR": _Vol(0.90, 0.0, -0.008, 0.018, 0.3, 0.0020),
    "GBP": _Vol(0.90, 0.0, -0.008, 0.018, 0.3, 0.0020),
    "CNY": _Vol(0.90, 0.0, -0.003, 0.020, 0.1, 0.0015),
}
_JOIN_DAYS = 60

_PRICE_DESKS: dict[str, Desk] = {
    "SPX": "equity",
    "COMP": "equity",
    **dict.fromkeys(STOCKS, "equity"),
    "CSI300": "equity",
    "WTI": "commodity",
    "GOLD": "commodity",
    "COPPER": "commodity",
    **dict.fromkeys(("EURUSD", "USDJPY", "USDCNH", "GBPUSD", "USDCHF"), "FX"),
}
_REAL = {"SPX": "arch sp500", "COMP": "arch nasdaq", "WTI": "arch wti", **dict.fromkeys(STOCKS, "skfolio sp500")}
_DECIMALS = {"GOLD": 1, "COPPER": 1, "CSI300": 2, "USDJPY": 2}


def _factors() -> dict[str, Factor]:
    made = []
    for name, desk in _PRICE_DESKS.items():
        real = name in _REAL
        made.append(Factor(name, "price", desk, _REAL.get(name, "simulated"), FIRST_DATE if real else None))
        is_vix = name == "SPX"
        made.append(
            Factor(f"{name}.vol", "vol", desk, "arch vix" if is_vix else "simulated", VIX_FROM if is_vix else None)
        )
    for currency in _CURVES:
        made += [Factor(f"{currency}.{node}", "rate", "rates", "simulated", None) for node in NODES]
        made.append(Factor(f"{currency}.vol", "vol", "rates", "simulated", None))
    made += [Factor(f"{name}.spread", "spread", "credit", "simulated", None) for name in _SPREADS]
    return {one.name: one for one in made}


FACTORS: dict[str, Factor] = _factors()


def _day(text: str) -> date:
    if "/" in text:
        month, day, year = text.split("/")
        return date(int(year), int(month), int(day))
    return date.fromisoformat(text)


def _read(package: str, path: str, columns: Iterable[str]) -> dict[str, dict[date, float]]:
    """Columns of a package's gzipped CSV as date -> value; cells without a number are left out."""
    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise InputError(
            f"market history needs the package {package}, which is not installed; run `make setup`"
        ) from None
    file = found.locate_file(f"{package}/{path}")
    try:
        with gzip.open(file, "rt", encoding="utf-8-sig", newline="") as text:
            header, *rows = csv.reader(text)
        dates = [_day(row[0]) for row in rows]
        series = {}
        for column in columns:
            at = header.index(column)
            series[column] = {
                day: float(row[at]) for day, row in zip(dates, rows, strict=True) if row[at] not in ("", ".")
            }
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise InputError(
            f"{package} {found.version} has no readable {path} ({error}); "
            "run `make setup`, which installs the version that has it"
        ) from None
    return series


def _align(name: str, series: dict[date, float], dates: tuple[date, ...]) -> tuple[np.ndarray, int]:
    """Values at `dates`, the last one carried forward at most MAX_CARRY dates, and how many were carried."""
    values, carried, run = np.empty(len(dates)), 0, 0
    last = None
    for i, day in enumerate(dates):
        found = series.get(day)
        run = 0 if found is not None else run + 1
        last = last if found is None else found
        if last is None or run > MAX_CARRY:
            raise InputError(
                f"{name} has no value on {day} nor on the {MAX_CARRY} trading days before; "
                "run `make setup`, which installs the packages with the whole series"
            )
        values[i], carried = last, carried + (found is None)
    return values, carried


def _noise(name: str, days: int, degrees: int) -> np.ndarray:
    """Student-t of unit variance from the factor's own seed, at most 6 either way."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    draws = np.random.default_rng(seed).standard_t(degrees, days) * np.sqrt((degrees - 2) / degrees)
    return np.clip(draws, -MAX_SCORE, MAX_SCORE)


def _above(shadow: np.ndarray, floor: float, width: float) -> np.ndarray:
    """Smoothly above `floor`: floor + width * log(1 + exp((shadow - floor) / width))."""
    return floor + width * np.logaddexp(0.0, (shadow - floor) / width)


def _shadow(level: np.ndarray, floor: float, width: float) -> np.ndarray:
    """The inverse of `_above`."""
    ratio = (level - floor) / width
    return level + width * np.log(-np.expm1(-ratio))


def _ewma(squares: np.ndarray, decay: float) -> np.ndarray:
    """Exponentially weighted mean along the days (first axis), started at the mean of the first 60."""
    smooth = np.empty_like(squares)
    smooth[0] = squares[1:61].mean(axis=0)
    for t in range(1, len(squares)):
        smooth[t] = decay * smooth[t - 1] + (1 - decay) * squares[t]
    return smooth


def _returns(levels: np.ndarray) -> np.ndarray:
    return np.diff(np.log(levels), prepend=np.log(levels[:1]), axis=0)


def _standardised(returns: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Returns over the volatility known the day before, at most 6 either way."""
    score = np.zeros_like(returns)
    score[1:] = np.clip(returns[1:] / np.sqrt(variance[:-1]), -MAX_SCORE, MAX_SCORE)
    return score


def _shocks(real: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Unit shocks of every driver: loadings on those before, and own noise for the rest of the variance."""
    names, rows = list(real), [one / one.std() for one in real.values()]
    correlation = np.corrcoef(rows)
    for name, driver in _DRIVERS.items():
        loads = np.array([driver.loads.get(other, 0.0) for other in names])
        with_others = correlation @ loads
        rest = 1 - loads @ with_others
        rows.append(loads @ np.array(rows) + np.sqrt(rest) * _noise(name, len(rows[0]), DEGREES))
        correlation = np.block([[correlation, with_others[:, None]], [with_others[None, :], np.ones((1, 1))]])
        names.append(name)
    return dict(zip(names, rows, strict=True))


def _deviations(shocks: dict[str, np.ndarray], market: np.ndarray) -> dict[str, np.ndarray]:
    """Mean-reverting deviations of the drivers that have a vol. `market`: the S&P's variance, 1 on average (days,)."""
    moving = {name: driver for name, driver in _DRIVERS.items() if driver.vol}
    unit = np.array([shocks[name] for name in moving]).T
    size, share, reversion = (
        np.array([getattr(driver, what) for driver in moving.values()]) for what in ("vol", "market", "reversion")
    )
    size = size / np.sqrt(YEAR)
    own, path = np.ones(len(moving)), np.zeros_like(unit)
    for t in range(1, len(unit)):
        moved = size * np.sqrt(share * market[t - 1] + (1 - share) * own) * unit[t]
        path[t] = (1 - reversion) * path[t - 1] + moved
        own = (1 - ALPHA - BETA) + (ALPHA * unit[t] ** 2 + BETA) * own
    return dict(zip(moving, path.T, strict=True))


def _simulated(years: np.ndarray, deviations: dict[str, np.ndarray], cycle: np.ndarray) -> dict[str, np.ndarray]:
    """Prices, rates and spreads at quotation precision: the anchor line plus the deviation."""
    levels = {}
    for name, points in _ANCHORS.items():
        line = np.interp(years, list(points), np.log(list(points.values())))
        levels[name] = np.round(np.exp(line + deviations[name]), _DECIMALS.get(name, 4))
    for currency, (floor, points) in _CURVES.items():
        moved = np.array([deviations[f"{currency}.{part}"] for part in ("level", "slope", "curvature")])
        for node, percents in zip(NODES, zip(*points.values(), strict=True), strict=True):
            line = np.interp(years, list(points), _shadow(np.array(percents) / 100, floor, _RATE_FLOOR_WIDTH))
            shadow = line + np.array(_NODE_LOADS[node]) @ moved
            levels[f"{currency}.{node}"] = np.round(_above(shadow, floor, _RATE_FLOOR_WIDTH), 6)
    for name, spread in _SPREADS.items():
        levels[f"{name}.spread"] = np.round(spread * cycle * np.exp(deviations[name]), 6)
    return levels


def _vols(levels: dict[str, np.ndarray], vix: np.ndarray) -> dict[str, np.ndarray]:
    """Implied vols of every price and currency; `vix` (days,) is nan before its first date."""
    moves = np.array(
        [np.diff(levels[f"{one}.10Y"], prepend=levels[f"{one}.10Y"][:1]) for one in _CURVES]
        + [_returns(levels[name]) for name in _PRICE_DESKS]
    ).T
    names = [*_CURVES, *_PRICE_DESKS]
    table = {
        what: np.array([getattr(_VOLS[name], what) for name in names])
        for what in ("premium", "own", "market", "noise", "shared", "floor")
    }
    spx, days = names.index("SPX"), len(moves)
    variance = _ewma(moves**2, DECAY)
    own = _standardised(moves, variance)
    # one print is no new regime: a move counts up to MAX_SCORE times the volatility of the day before
    counted = own[1:] * np.sqrt(variance[:-1])
    counted = np.concatenate([moves[:1], counted])
    fast, slow = (np.sqrt(YEAR * _ewma(counted**2, decay)) for decay in (DECAY, 0.995))
    target = np.log(table["premium"] * (_VOL_FAST * fast + _VOL_SLOW * slow))
    pushed = table["own"] * own + table["market"] * own[:, [spx]]

    noise = np.array([_noise(f"{name}.vol", days, _VOL_NOISE_DEGREES) for name in names]).T
    width = table["floor"] / 4
    first = int(np.flatnonzero(~np.isnan(vix))[0])
    true = np.log(_shadow(vix[first:], table["floor"][spx], width[spx]))
    surprise = np.diff(true) - _VOL_REVERSION * (target[first:-1, spx] - true[:-1]) - pushed[first + 1 :, spx]
    # since VIX is known its surprises are the real ones, and the vols that share them move with it
    noise[first + 1 :, spx] = surprise / surprise.std()
    shared = table["shared"]
    mixed = shared * noise[:, [spx]] + np.sqrt(1 - shared**2) * noise
    mixed[:, spx] = noise[:, spx]

    path = np.empty_like(target)
    path[0] = target[0]
    for t in range(1, days):
        path[t] = path[t - 1] + _VOL_REVERSION * (target[t - 1] - path[t - 1]) + pushed[t] + table["noise"] * mixed[t]
    # the modelled SPX.vol closes its gap to the first VIX over the days before it
    ramp = np.clip((np.arange(first) - first + _JOIN_DAYS) / _JOIN_DAYS, 0, 1)
    path[:first, spx] += ramp * (true[0] - path[first, spx])
    shown = _above(np.exp(path), table["floor"], width)
    made = {
        f"{name}.vol": np.round(column, 6 if name in _CURVES else 5)
        for name, column in zip(names, shown.T, strict=True)
    }
    made["SPX.vol"][first:] = vix[first:]
    return made


@cache
def history() -> History:
    """The joint market history, read and simulated once a process.

    Raises:
        InputError: a package that ships a series is missing, or does not hold it.
    """
    spx = _read("arch", "data/sp500/sp500.csv.gz", ["Close"])["Close"]
    series = {
        "SPX": spx,
        "COMP": _read("arch", "data/nasdaq/nasdaq.csv.gz", ["Close"])["Close"],
        "WTI": _read("arch", "data/wti/wti.csv.gz", ["DCOILWTICO"])["DCOILWTICO"],
        **_read("skfolio", "datasets/data/sp500_dataset.csv.gz", STOCKS),
    }
    vix_by_date = _read("arch", "data/vix/vix.csv.gz", ["vix"])["vix"]
    moodys = _read("arch", "data/default/default.csv.gz", ["AAA", "BAA"])

    dates = tuple(sorted(day for day in spx if FIRST_DATE <= day <= LAST_DATE))
    if (dates[:1], dates[-1:]) != ((FIRST_DATE,), (LAST_DATE,)):
        raise InputError(
            f"the S&P 500 of arch runs from {min(spx, default=None)} to {max(spx, default=None)}; it must hold "
            f"{FIRST_DATE} to {LAST_DATE}: run `make setup`, which installs the version that does"
        )
    levels, carried = {}, {}
    for name, one in series.items():
        levels[name], carried[name] = _align(name, one, dates)
    since = sum(day < VIX_FROM for day in dates)
    vix = np.full(len(dates), np.nan)
    vix[since:], carried["SPX.vol"] = _align("VIX", vix_by_date, dates[since:])
    vix = vix / 100

    variance = {name: _ewma(_returns(levels[name]) ** 2, DECAY) for name in ("SPX", "WTI")}
    real = {name: _standardised(_returns(levels[name]), variance[name]) for name in variance}
    deviations = _deviations(_shocks(real), variance["SPX"] / variance["SPX"].mean())

    ordinals = np.array([day.toordinal() for day in dates])
    years = 1999 + (ordinals - date(1999, 1, 1).toordinal()) / 365.25
    months = [day for day in moodys["AAA"] if day.year >= FIRST_DATE.year and day in moodys["BAA"]]
    gap = np.log([moodys["BAA"][day] - moodys["AAA"][day] for day in months])
    # a monthly average is dated the 1st and belongs to the middle of its month
    cycle = np.exp(np.interp(ordinals, [day.toordinal() + 14 for day in months], gap - gap.mean()))

    levels |= _simulated(years, deviations, cycle)
    levels |= _vols(levels, vix)
    for one in levels.values():
        one.setflags(write=False)
    return History(dates, {name: levels[name] for name in FACTORS}, carried)


_WORDS = {
    "en": {
        "real": "historical: ",
        "from": " (from {})",
        "comma": ", ",
        "rest": "; others simulated",
        "none": "simulated",
    },
    "zh": {"real": "历史数据：", "from": "（自{}起）", "comma": "、", "rest": "；其余为模拟", "none": "均为模拟数据"},
}


def describe(names: Iterable[str], as_of: date = LAST_DATE, language: Language = "en") -> str:
    """One short line that says which factors are historical, for a case's SRC- line; the others are simulated.

    Factors come in the order of FACTORS. A series that becomes real only after `as_of` is simulated.

    Raises:
        KeyError: a name is not in FACTORS.
    """
    wanted = {FACTORS[name].name for name in names}
    words, real = _WORDS[language], []
    for factor in FACTORS.values():
        since = factor.historical_from
        if factor.name in wanted and since is not None and since <= as_of:
            real.append(factor.name + (words["from"].format(since) if since > FIRST_DATE else ""))
    if not real:
        return words["none"]
    return words["real"] + words["comma"].join(real) + (words["rest"] if len(real) < len(wanted) else "")
