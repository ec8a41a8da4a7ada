"""Values and Greeks against published figures, QuantLib's engines, parities and Monte Carlo."""

import pickle
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import QuantLib as ql
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from riskscribe.data import pricing
from riskscribe.data.pricing import CURVES, NODES, PricingError, Trade, depends_on, greeks, price

TRUTH = yaml.safe_load((Path(__file__).parent / "pricing_truth.yaml").read_text(encoding="utf-8"))
TODAY = date(2016, 3, 1)
DAY_COUNT = ql.Actual365Fixed()
LEVELS = {
    "SPX": 2000.0, "CSI300": 3000.0, "AAPL": 100.0, "WTI": 34.0, "GOLD": 1230.0, "EURUSD": 1.09, "GBPUSD": 1.4,
    "USDJPY": 114.0, "USDCNH": 6.55, "USDCHF": 0.99, "Harbor Air.spread": 0.018,
    **{f"{name}.vol": vol for name, vol in {"SPX": 0.2, "CSI300": 0.3, "AAPL": 0.28, "WTI": 0.5, "GOLD": 0.17,
       "EURUSD": 0.1, "GBPUSD": 0.11, "USDJPY": 0.12, "USDCNH": 0.06, "USDCHF": 0.1}.items()},
    **{f"{currency}.vol": 0.008 for currency in CURVES},
    **{f"{currency}.{node}Y": 0.01 * (1 + i) - 0.002 * j
       for i, currency in enumerate(CURVES) for j, node in enumerate(NODES)},
}  # fmt: skip


def trade(kind, underlying, strike=None, expiry=date(2017, 9, 20), **terms) -> Trade:
    strike = LEVELS.get(underlying, 0.012) if strike is None else strike
    return Trade(**{"name": "T1", "quantity": 1.0, "start": date(2016, 1, 4), **terms},
                 kind=kind, underlying=underlying, strike=strike, expiry=expiry)  # fmt: skip


def put(barrier, **terms) -> Trade:
    return trade("barrier", option="put", barrier=barrier, **{"underlying": "CSI300", **terms})


def random_states(one: Trade, n=40, seed=1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: LEVELS[name] + 0.01 * rng.standard_normal(n)
        if name.endswith("Y") and name[:3] in CURVES
        else LEVELS[name] * np.exp(0.2 * rng.standard_normal(n))
        for name in depends_on(one)
    }


def state(one: Trade, **levels) -> dict[str, float]:
    return {name: LEVELS[name] for name in depends_on(one)} | levels


def value(one: Trade, as_of=TODAY, **levels) -> float:
    return float(price(one, as_of, {name: np.array([level]) for name, level in state(one, **levels).items()})[0])


def listed(one: Trade, as_of=TODAY, **levels) -> dict[tuple[str, str], float]:
    return {(measure, factor): found for measure, factor, found, _ in greeks(one, as_of, state(one, **levels))}


OPTION_NAMES = st.sampled_from(["SPX", "AAPL", "CSI300", "WTI", "EURUSD", "USDJPY", "USDCNH", "USDCHF"])

ONE_OF_EACH = {
    "equity option": trade("option", "SPX", 2100, option="call"),
    "FX option": trade("option", "USDCNH", 6.8, option="put"),
    "commodity option": trade("option", "WTI", 40, option="call"),
    "barrier": put(2500),
    "equity forward": trade("forward", "AAPL", 95),
    "FX forward": trade("forward", "EURUSD", 1.1),
    "JPY forward": trade("forward", "USDJPY", 110),
    "future": trade("future", "WTI", 31),
    "swap": trade("swap", "USD", 0.02, date(2026, 3, 20)),
    "swaption": trade("swaption", "EUR", 0.02, option="call", tenor_years=5),
    "cap": trade("cap", "GBP", 0.02, date(2021, 3, 20)),
    "CDS": trade("cds", "Harbor Air", 0.01, date(2021, 6, 20)),
}
each_kind = pytest.mark.parametrize("one", ONE_OF_EACH.values(), ids=ONE_OF_EACH)


# --- published values: a year with rates x years and vol x sqrt(years) is the source's option without day counts


def one_year(row: dict, **terms) -> tuple[Trade, dict[str, float]]:
    name, rate = row["underlying"], row["rate"] * row["years"]
    one = trade("option", name, row["strike"], TODAY + timedelta(days=365), option=row["option"], **terms)
    levels = {name: row["spot"], f"{name}.vol": row["vol"] * row["years"] ** 0.5, "USD.2Y": rate}
    if name in pricing.PAIRS:
        levels[f"{name[:3]}.2Y"] = row["carry"] * row["years"]
    return one, levels


@pytest.fixture
def dividends(monkeypatch):
    return lambda row: monkeypatch.setitem(pricing.DIVIDENDS, row["underlying"], row["carry"] * row["years"])


@pytest.mark.parametrize("row", TRUTH["european"], ids=lambda row: f"{row['source']} {row['option']}")
def test_published_european_values(row, dividends):
    dividends(row)
    one, levels = one_year(row)
    found = price(one, TODAY, {name: np.array([level]) for name, level in levels.items()})[0]
    assert found == pytest.approx(row["value"], abs=row["within"])


@pytest.mark.parametrize("row", TRUTH["greeks"], ids=lambda row: f"{row['underlying']} {row['option']}")
def test_published_greeks(row, dividends):
    dividends(row)
    one, levels = one_year(row)
    found = {measure: number for measure, _, number, _ in greeks(one, TODAY, levels)}
    if "delta" in row:
        assert found["delta"] / row["spot"] == pytest.approx(row["delta"], abs=1e-4)
    if "gamma" in row:
        assert found["gamma"] / row["spot"] ** 2 * 100 == pytest.approx(row["gamma"], abs=1e-4)
        # the vega of the scaled volatility is per sqrt(years) of the source's
        assert found["vega"] * 100 * row["years"] ** 0.5 == pytest.approx(row["vega"], abs=2e-3)


def never_touched(spot, barrier, rate, carry, vol) -> float:
    """Probability that a lognormal price stays above a barrier for a year (Reiner and Rubinstein 1991)."""
    drift, distance = rate - carry - vol**2 / 2, np.log(spot / barrier)
    mirrored = (barrier / spot) ** (2 * drift / vol**2) * norm.cdf((drift - distance) / vol)
    return float(norm.cdf((drift + distance) / vol) - mirrored)


@pytest.mark.parametrize(
    ("strike", "barrier", "vol", "expected"),
    TRUTH["down_and_in_put"]["rows"],
    ids=lambda cell: str(cell),
)
def test_published_down_and_in_puts(strike, barrier, vol, expected, dividends):
    table = TRUTH["down_and_in_put"]
    dividends({"underlying": "CSI300", **table})
    rate, carry, vol = table["rate"] * table["years"], table["carry"] * table["years"], vol * table["years"] ** 0.5
    one = put(barrier, strike=strike, expiry=TODAY + timedelta(days=365))
    found = value(one, CSI300=table["spot"], **{"CSI300.vol": vol, "USD.2Y": rate})
    rebate = table["rebate"] * np.exp(-rate) * never_touched(table["spot"], barrier, rate, carry, vol)
    assert found + rebate == pytest.approx(expected, abs=1e-4)


# --- QuantLib's engines


def engine_curve(levels: dict[str, float], currency: str) -> ql.ZeroCurve:
    today = ql.Date(TODAY.day, TODAY.month, TODAY.year)
    rates = [levels[f"{currency}.{node}Y"] for node in NODES]
    days = [today + ql.Period(node, ql.Years) for node in NODES]
    far = today + ql.Period(90, ql.Years)
    return ql.ZeroCurve([today, *days, far], [rates[0], *rates, rates[-1]], DAY_COUNT)


def schedule(first, last, months) -> ql.Schedule:
    first, last = (day if isinstance(day, ql.Date) else ql.Date(day.day, day.month, day.year) for day in (first, last))
    return ql.Schedule(first, last, ql.Period(months, ql.Months), ql.NullCalendar(), ql.Unadjusted, ql.Unadjusted,
                       ql.DateGeneration.Backward, False)  # fmt: skip


def flat(level: float) -> ql.YieldTermStructureHandle:
    return ql.YieldTermStructureHandle(ql.FlatForward(ql.Settings.instance().evaluationDate, level, DAY_COUNT))


def constant(level: float) -> ql.QuoteHandle:
    return ql.QuoteHandle(ql.SimpleQuote(level))


def european(one: Trade, levels: dict[str, float]) -> ql.VanillaOption:
    today = ql.Settings.instance().evaluationDate
    name = one.underlying
    if name in pricing.PAIRS:
        short = {"JPY": 0.001, "CHF": 0.001, "CNH": levels.get("CNY.2Y")}
        cash, carry = (short.get(code) or levels[f"{code}.2Y"] for code in (name[3:], name[:3]))
    else:
        cash = levels["USD.2Y"]
        carry = cash if name in ("WTI", "GOLD") else {"SPX": 0.018, "CSI300": 0.02, "AAPL": 0.015}[name]
    vol = ql.BlackVolTermStructureHandle(
        ql.BlackConstantVol(today, ql.NullCalendar(), levels[f"{name}.vol"], DAY_COUNT)
    )
    process = ql.BlackScholesMertonProcess(constant(levels[name]), flat(carry), flat(cash), vol)
    side = ql.Option.Call if one.option == "call" else ql.Option.Put
    exercise = ql.EuropeanExercise(ql.Date(one.expiry.day, one.expiry.month, one.expiry.year))
    option = ql.VanillaOption(ql.PlainVanillaPayoff(side, one.strike), exercise)
    option.setPricingEngine(ql.AnalyticEuropeanEngine(process))
    return option


def underlying_swap(one: Trade, curve: ql.YieldTermStructureHandle) -> ql.VanillaSwap:
    first, last = TODAY, one.expiry
    if one.kind == "swaption":
        first = ql.Date(one.expiry.day, one.expiry.month, one.expiry.year)
        last = first + ql.Period(one.tenor_years, ql.Years)
    days = schedule(first, last, 6)
    thirty = ql.Thirty360(ql.Thirty360.BondBasis)
    fixed = {"USD": thirty, "EUR": thirty}.get(one.underlying, DAY_COUNT)
    floating = {"USD": ql.Actual360(), "EUR": ql.Actual360()}.get(one.underlying, DAY_COUNT)
    index = ql.IborIndex("6M", ql.Period(6, ql.Months), 0, ql.USDCurrency(), ql.NullCalendar(), ql.Unadjusted, False,
                         floating, curve)  # fmt: skip
    side = ql.Swap.Receiver if one.option == "put" and one.kind == "swaption" else ql.Swap.Payer
    swap = ql.VanillaSwap(side, 1.0, days, one.strike, fixed, days, index, 0.0, floating)
    swap.setPricingEngine(ql.DiscountingSwapEngine(curve))
    return swap


def engine_instrument(one: Trade, levels: dict[str, float]):
    """The trade as a QuantLib instrument with the engine that its value must equal, for a quantity of 1."""
    if one.kind == "option":
        return european(one, levels)
    if one.kind == "cds":
        curve = ql.YieldTermStructureHandle(engine_curve(levels, "USD"))
        today = ql.Settings.instance().evaluationDate
        hazard = ql.FlatHazardRate(today, constant(levels[f"{one.underlying}.spread"] / 0.6), DAY_COUNT)
        cds = ql.CreditDefaultSwap(ql.Protection.Buyer, 1.0, one.strike, schedule(TODAY, one.expiry, 3),
                                   ql.Unadjusted, ql.Actual360(), True, True)  # fmt: skip
        cds.setPricingEngine(ql.MidPointCdsEngine(ql.DefaultProbabilityTermStructureHandle(hazard), 0.4, curve))
        return cds
    curve = ql.YieldTermStructureHandle(engine_curve(levels, one.underlying))
    swap = underlying_swap(one, curve)
    if one.kind == "swap":
        return swap
    vol = constant(levels[f"{one.underlying}.vol"])
    if one.kind == "cap":
        make = ql.Floor if one.option == "put" else ql.Cap
        leg = make(swap.floatingLeg(), [one.strike])
        engine = ql.BachelierCapFloorEngine(curve, ql.QuoteHandle(vol.currentLink()))
        leg.setPricingEngine(engine)
        return leg
    swaption = ql.Swaption(swap, ql.EuropeanExercise(ql.Date(one.expiry.day, one.expiry.month, one.expiry.year)))
    swaption.setPricingEngine(ql.BachelierSwaptionEngine(curve, vol, DAY_COUNT))
    return swaption


@pytest.fixture
def as_of_today():
    with ql.SavedSettings():
        ql.Settings.instance().evaluationDate = ql.Date(TODAY.day, TODAY.month, TODAY.year)
        yield


ENGINE_TRADES = [
    *(trade("option", name, option=side) for name in ("SPX", "AAPL", "CSI300", "WTI", "EURUSD", "USDJPY", "USDCNH")
      for side in ("call", "put")),
    *(trade("swap", currency, 0.015, expiry) for currency in CURVES
      for expiry in (date(2016, 3, 2), date(2018, 2, 28), date(2026, 3, 1), date(2049, 8, 31))),
    *(trade("swaption", currency, 0.015, option=side, tenor_years=years) for currency in CURVES
      for side, years in (("call", 10), ("put", 2), ("put", 30))),
    *(trade("cap", currency, 0.02, date(2023, 5, 17), option=side) for currency in CURVES for side in (None, "put")),
    *(trade("cds", "Harbor Air", 0.01, expiry) for expiry in (date(2016, 6, 20), date(2021, 6, 20), date(2026, 1, 5))),
]  # fmt: skip


@pytest.mark.parametrize(
    "one", ENGINE_TRADES, ids=lambda one: f"{one.kind} {one.underlying} {one.option or ''} {one.expiry}"
)
def test_equal_to_the_engine_in_random_states(one, as_of_today):
    states = random_states(one)
    engine = [engine_instrument(one, {name: states[name][i] for name in states}).NPV() for i in range(40)]
    # values may cross zero, so relative to the largest of the states
    np.testing.assert_allclose(price(one, TODAY, states), engine, rtol=1e-10, atol=1e-10 * np.abs(engine).max())


def test_quantity_scales_and_signs_every_kind():
    for one in ONE_OF_EACH.values():
        short = Trade(**{**vars(one), "quantity": -25e6})
        assert value(short) == pytest.approx(-25e6 * value(one), rel=1e-12)
        assert value(one) != 0


def test_evaluation_date_is_left_as_it_was():
    before = ql.Settings.instance().evaluationDate
    value(put(2500))
    assert ql.Settings.instance().evaluationDate == before


# --- the barrier against Monte Carlo, and its limits


@pytest.mark.parametrize(("strike", "barrier"), [(3000, 2400), (3000, 2850), (2600, 2800)])
def test_barrier_against_monte_carlo(strike, barrier):
    # one step to expiry and the Brownian bridge's probability of a touch in between (Beaglehole, Dybvig, Zhou 1997)
    one = put(barrier, strike=strike, expiry=TODAY + timedelta(days=365))
    spot, vol, rate = LEVELS["CSI300"], LEVELS["CSI300.vol"], LEVELS["USD.2Y"]
    draws = np.random.default_rng(5).standard_normal(200_000)
    ends = spot * np.exp(rate - 0.02 - vol**2 / 2 + vol * np.concatenate([draws, -draws]))
    touched = np.exp(-2 * np.log(spot / barrier) * np.maximum(np.log(ends / barrier), 0) / vol**2)
    paid = np.exp(-rate) * np.maximum(strike - ends, 0) * touched
    error = paid.std() / np.sqrt(len(paid))
    assert value(one) == pytest.approx(paid.mean(), abs=4 * error)


def test_barrier_that_is_touched_is_the_vanilla_put():
    vanilla = trade("option", "CSI300", 3000, option="put")
    one = put(2500, strike=3000)
    for spot in (1500.0, 2499.0, 2500.0):
        assert value(one, CSI300=spot) == value(vanilla, CSI300=spot)
    assert value(one, CSI300=2500.0001) == pytest.approx(value(vanilla, CSI300=2500.0), rel=1e-6)


@given(spot=st.floats(500, 9000), barrier=st.floats(500, 6000), strike=st.floats(500, 6000), vol=st.floats(0.05, 1.2))
def test_barrier_lies_between_nothing_and_the_vanilla_put(spot, barrier, strike, vol):
    levels = {"CSI300": spot, "CSI300.vol": vol}
    vanilla = value(trade("option", "CSI300", strike, option="put"), **levels)
    assert -1e-9 * strike <= value(put(barrier, strike=strike), **levels) <= vanilla + 1e-9 * strike


# --- parities


@given(
    name=OPTION_NAMES, moneyness=st.floats(0.3, 3), days=st.integers(1, 3000), vol=st.floats(0.01, 2),
    rate=st.floats(-0.02, 0.15),
)  # fmt: skip
def test_put_call_parity(name, moneyness, days, vol, rate):
    terms = {"underlying": name, "strike": LEVELS[name] * moneyness, "expiry": TODAY + timedelta(days=days)}
    levels = {f"{name}.vol": vol, "USD.2Y": rate}
    call, other = (value(trade("option", option=side, **terms), **levels) for side in ("call", "put"))
    levels.pop(f"{name}.vol")
    assert call - other == pytest.approx(value(trade("forward", **terms), **levels), abs=1e-10 * terms["strike"] * 10)


@given(strike=st.floats(-0.02, 0.1), currency=st.sampled_from(CURVES), vol=st.floats(0.0005, 0.03))
def test_payer_less_receiver_is_the_forward_swap(strike, currency, vol):
    expiry, end = date(2018, 3, 1), date(2025, 3, 1)
    levels = {f"{currency}.vol": vol}
    payer, receiver = (
        value(trade("swaption", currency, strike, expiry, option=side, tenor_years=7), **levels)
        for side in ("call", "put")
    )
    # on these dates the swap to 2025 less the swap to 2018 is the swap in between
    forward = value(trade("swap", currency, strike, end)) - value(trade("swap", currency, strike, expiry))
    assert payer - receiver == pytest.approx(forward, abs=1e-11)


@given(strike=st.floats(-0.02, 0.1), vol=st.floats(0.0005, 0.03))
def test_cap_less_floor_is_the_payer_swap(strike, vol):
    # in CNY both legs count days alike
    cap, floor = (
        value(trade("cap", "CNY", strike, date(2022, 6, 1), option=side), **{"CNY.vol": vol}) for side in (None, "put")
    )
    assert cap - floor == pytest.approx(value(trade("swap", "CNY", strike, date(2022, 6, 1))), abs=1e-11)


def test_swap_and_cds_at_their_par_rates(as_of_today):
    swap, cds = ONE_OF_EACH["swap"], ONE_OF_EACH["CDS"]
    fair = engine_instrument(swap, LEVELS).fairRate()
    assert value(trade("swap", "USD", fair, swap.expiry)) == pytest.approx(0, abs=1e-14)
    fair = engine_instrument(cds, LEVELS).fairSpread()
    assert value(trade("cds", "Harbor Air", fair, cds.expiry)) == pytest.approx(0, abs=1e-14)
    # the credit triangle: a flat hazard of spread / (1 - recovery) makes nearly that spread fair
    assert fair == pytest.approx(LEVELS["Harbor Air.spread"] * 360 / 365, rel=0.005)


def test_swaption_at_the_money_is_annuity_times_deviation(as_of_today):
    one = ONE_OF_EACH["swaption"]
    swap = underlying_swap(one, ql.YieldTermStructureHandle(engine_curve(LEVELS, "EUR")))
    at_the_money = trade("swaption", "EUR", swap.fairRate(), option="call", tenor_years=5)
    years = (one.expiry - TODAY).days / 365
    expected = -swap.fixedLegBPS() * 1e4 * LEVELS["EUR.vol"] * np.sqrt(years / (2 * np.pi))
    assert value(at_the_money) == pytest.approx(expected, rel=1e-9)


# --- Greeks


@pytest.mark.parametrize("name", ["SPX", "WTI", "EURUSD", "USDJPY"])
@pytest.mark.parametrize("side", ["call", "put"])
def test_option_greeks_against_the_engine(name, side, as_of_today):
    one = trade("option", name, option=side, quantity=-3.0)
    engine, found, spot = european(one, LEVELS), listed(one), LEVELS[name]
    assert found["delta", name] == pytest.approx(-3 * engine.delta() * spot, rel=2e-4)
    assert found["gamma", name] == pytest.approx(-3 * engine.gamma() * spot**2 / 100, rel=2e-3)
    assert found["vega", name] == pytest.approx(-3 * engine.vega() / 100, rel=1e-3)
    # Black-76 holds the futures price: its rate moves the discounting alone
    years = (one.expiry - TODAY).days / 365
    expected = {
        "SPX": {"USD": engine.rho()}, "WTI": {"USD": -years * engine.NPV()},
        "EURUSD": {"USD": engine.rho(), "EUR": engine.dividendRho()}, "USDJPY": {"USD": engine.dividendRho()},
    }[name]  # fmt: skip
    for currency, rho in expected.items():
        assert found["pv01", currency] == pytest.approx(-3 * rho / 1e4, rel=1e-4)
    assert set(found) == {(measure, name) for measure in ("delta", "gamma", "vega")} | {
        ("pv01", currency) for currency in expected
    }


@pytest.mark.parametrize("kind", ["swap", "swaption", "cap", "CDS"])
def test_curve_greeks_against_the_engine(kind, as_of_today):
    one = ONE_OF_EACH[kind]
    found = listed(one)
    currency = "USD" if kind == "CDS" else one.underlying
    bumped = [
        engine_instrument(
            one, LEVELS | {f"{currency}.{node}Y": LEVELS[f"{currency}.{node}Y"] + step for node in NODES}
        )
        for step in (1e-4, -1e-4)
    ]
    assert found["pv01", currency] == pytest.approx((bumped[0].NPV() - bumped[1].NPV()) / 2, rel=1e-6)
    buckets = [number for (measure, _), number in found.items() if measure == "bucket_pv01"]
    if kind == "CDS":
        assert not buckets
        bumped = [engine_instrument(one, LEVELS | {"Harbor Air.spread": level}).NPV() for level in (0.0181, 0.0179)]
        assert found["cs01", "Harbor Air"] == pytest.approx((bumped[0] - bumped[1]) / 2, rel=1e-6)
        assert found["jump_to_default", "Harbor Air"] == pytest.approx(0.6 - engine_instrument(one, LEVELS).NPV())
    else:
        assert sum(buckets) == pytest.approx(found["pv01", currency], rel=1e-3)
    if kind in ("swaption", "cap"):
        assert found["vega", currency] == pytest.approx(engine_instrument(one, LEVELS).vega() / 1e4, rel=1e-4)


def test_swap_pv01_falls_into_the_buckets_around_its_maturity():
    found = listed(trade("swap", "USD", 0.02, date(2023, 3, 1), quantity=1e8))
    buckets = {factor: number for (measure, factor), number in found.items() if measure == "bucket_pv01"}
    assert set(buckets) == {"USD 2Y", "USD 5Y", "USD 10Y"}
    assert buckets["USD 5Y"] > buckets["USD 2Y"] and buckets["USD 10Y"] > buckets["USD 2Y"]
    # a payer gains when rates rise: T x discount(T) of the floating leg plus strike x sum of times of the fixed one
    discount = np.exp(-7 * (0.6 * LEVELS["USD.5Y"] + 0.4 * LEVELS["USD.10Y"]))
    expected = 7 * discount + 0.02 * sum(half / 4 for half in range(1, 15))
    assert found["pv01", "USD"] == pytest.approx(1e4 * expected, rel=0.005)


@pytest.mark.parametrize("kind", ["future", "equity forward", "FX forward", "JPY forward"])
def test_linear_trades_have_a_delta_and_neither_gamma_nor_vega(kind):
    one = ONE_OF_EACH[kind]
    found, spot = listed(one), LEVELS[one.underlying]
    expected = (value(one, **{one.underlying: 2 * spot}) - value(one)) if kind != "future" else spot
    assert found["delta", one.underlying] == pytest.approx(expected, rel=1e-9)
    assert {measure for measure, _ in found} <= {"delta", "pv01"}


def test_every_bump_is_said():
    said = {measure: bump for one in ONE_OF_EACH.values() for measure, _, _, bump in greeks(one, TODAY, state(one))}
    assert said == {
        "delta": "100%", "gamma": "1%", "vega": "1bp normal vol", "pv01": "1bp", "bucket_pv01": "1bp", "cs01": "1bp",
        "jump_to_default": "default",
    }  # fmt: skip
    option = ONE_OF_EACH["equity option"]
    assert ("vega", "1 vol point") in {(one[0], one[3]) for one in greeks(option, TODAY, state(option))}


@pytest.mark.parametrize("kind", [name for name, one in ONE_OF_EACH.items() if one.underlying in depends_on(one)])
def test_greeks_predict_a_small_move(kind):
    one = ONE_OF_EACH[kind]
    base, found, move = state(one), listed(one), 0.004
    predicted = found["delta", one.underlying] * move + found.get(("gamma", one.underlying), 0) * move**2 / 0.02
    actual = value(one, **{one.underlying: base[one.underlying] * (1 + move)}) - value(one)
    assert predicted == pytest.approx(actual, rel=0.01)


# --- what it depends on, in which currency


@pytest.mark.parametrize(
    ("one", "currency", "factors"),
    [
        (trade("option", "SPX", option="call"), "USD", ("SPX", "SPX.vol", "USD.2Y")),
        (put(2500), "USD", ("CSI300", "CSI300.vol", "USD.2Y")),
        (trade("future", "GOLD"), "USD", ("GOLD",)),
        (trade("forward", "WTI"), "USD", ("WTI", "USD.2Y")),
        (trade("forward", "EURUSD"), "USD", ("EURUSD", "USD.2Y", "EUR.2Y")),
        (trade("option", "GBPUSD", option="put"), "USD", ("GBPUSD", "GBPUSD.vol", "USD.2Y", "GBP.2Y")),
        (trade("option", "USDJPY", option="put"), "JPY", ("USDJPY", "USDJPY.vol", "USD.2Y")),
        (trade("forward", "USDCHF"), "CHF", ("USDCHF", "USD.2Y")),
        (trade("forward", "USDCNH"), "CNH", ("USDCNH", "CNY.2Y", "USD.2Y")),
        (trade("swap", "CNY"), "CNY", ("CNY.2Y", "CNY.5Y", "CNY.10Y", "CNY.30Y")),
        (trade("cap", "EUR"), "EUR", ("EUR.vol", "EUR.2Y", "EUR.5Y", "EUR.10Y", "EUR.30Y")),
        (
            trade("cds", "Harbor Air"),
            "USD",
            ("Harbor Air.spread", "USD.2Y", "USD.5Y", "USD.10Y", "USD.30Y"),
        ),
    ],
    ids=lambda cell: f"{cell.kind} {cell.underlying}" if isinstance(cell, Trade) else "",
)
def test_currency_and_factors(one, currency, factors):
    assert one.currency == currency
    assert depends_on(one) == factors


def test_usdxxx_is_valued_in_the_other_currency():
    # 10m USD bought at 6.50 for one day, with USD at 6.60: 1m CNH, but for one day's interest
    one = trade("forward", "USDCNH", 6.5, TODAY + timedelta(days=1), quantity=10e6)
    assert value(one, USDCNH=6.6) == pytest.approx(1e6, rel=0.02)


@each_kind
def test_every_factor_moves_the_value(one):
    before = value(one, **state(one))
    for name, level in state(one).items():
        if name in ("USD.30Y", "GBP.10Y", "GBP.30Y", "EUR.30Y"):
            continue  # beyond the cash flows of these trades
        assert value(one, **{name: level * 1.01}) != before, name


# --- expiry


@pytest.mark.parametrize(
    ("one", "spot", "paid"),
    [
        (trade("option", "SPX", 2000, option="call", quantity=-10), 2050.0, -500.0),
        (trade("option", "SPX", 2000, option="call"), 1950.0, 0.0),
        (trade("option", "USDJPY", 110, option="put", quantity=1e6), 108.0, 2e6),
        (trade("option", "WTI", 10, option="put"), -37.63, 47.63),
        (put(2500, strike=3000), 2400.0, 600.0),
        (put(2500, strike=3000), 2600.0, 0.0),
        (trade("forward", "EURUSD", 1.1, quantity=1e6), 1.05, -5e4),
        (trade("future", "WTI", 30, quantity=1000), -37.63, -67630.0),
    ],
    ids=lambda cell: f"{cell.kind} {cell.underlying}" if isinstance(cell, Trade) else "",
)
def test_pays_its_payoff_at_expiry(one, spot, paid):
    assert value(one, one.expiry, **{one.underlying: spot}) == pytest.approx(paid, rel=1e-12)


def test_a_swaption_at_expiry_is_worth_its_swap_or_nothing():
    for strike in (0.005, 0.05):
        one = trade("swaption", "USD", strike, TODAY, option="call", tenor_years=5)
        swap = value(trade("swap", "USD", strike, date(2021, 3, 1)))
        assert value(one) == pytest.approx(max(swap, 0.0), abs=1e-12)


@pytest.mark.parametrize("kind", ["swap", "cap", "CDS"])
def test_nothing_is_left_to_pay_at_maturity(kind):
    one = ONE_OF_EACH[kind]
    assert value(one, one.expiry) == 0
    assert greeks(one, one.expiry, state(one)) == []


@each_kind
def test_an_expired_trade_is_refused(one):
    with pytest.raises(PricingError, match=rf"^T1: expired on {one.expiry}"):
        value(one, one.expiry + timedelta(days=1))


def test_no_jump_on_a_coupon_day():
    swap = trade("swap", "CNY", 0.09, date(2020, 3, 1))
    cds = trade("cds", "Harbor Air", 0.05, date(2020, 3, 1))
    for one in (swap, cds):
        days = [value(one, TODAY + timedelta(days=step)) for step in range(-3, 4)]
        assert np.abs(np.diff(days, n=2)).max() < 2e-4 * abs(days[0])


# --- refusals


@pytest.mark.parametrize(
    "one", [trade("option", "WTI", 20, option="put"), put(20, underlying="WTI", strike=30)], ids=["option", "barrier"]
)
@pytest.mark.parametrize("level", [-37.63, 0.0])
def test_lognormal_model_refuses_a_price_at_or_below_zero(one, level):
    states = {name: np.full(5, found) for name, found in state(one).items()}
    states["WTI"][3] = level
    with pytest.raises(PricingError, match=rf"^T1: WTI of {level:g} has no lognormal model \(state 4 of 5\)$"):
        price(one, TODAY, states)
    with pytest.raises(PricingError, match="no lognormal model"):
        greeks(one, TODAY, state(one, WTI=level))


def test_linear_trades_price_at_negative_prices():
    assert value(trade("future", "WTI", 20, quantity=1000), WTI=-37.63) == pytest.approx(-57630)
    assert value(trade("forward", "WTI", 20), WTI=-37.63) == pytest.approx(
        -57.63 * np.exp(-LEVELS["USD.2Y"] * 568 / 365)
    )


@each_kind
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_levels_that_are_not_numbers_are_refused(one, bad):
    for name in depends_on(one):
        with pytest.raises(PricingError, match=rf"^T1: {name} of -?(nan|inf) is not a number"):
            value(one, **{name: bad})


@each_kind
def test_volatilities_and_spreads_must_be_positive(one):
    for name in depends_on(one):
        if name.endswith((".vol", ".spread")):
            for bad in (0.0, -0.01):
                with pytest.raises(PricingError, match=rf"^T1: {name} of {bad:g} must be above 0"):
                    value(one, **{name: bad})


@each_kind
def test_missing_factors_are_refused(one):
    for name in depends_on(one):
        levels = state(one)
        del levels[name]
        with pytest.raises(PricingError, match=rf"^T1: the market has no {name}$"):
            price(one, TODAY, {other: np.array([level]) for other, level in levels.items()})
        with pytest.raises(PricingError, match=rf"^T1: the market has no {name}$"):
            greeks(one, TODAY, levels)


def test_states_of_different_lengths_are_refused():
    states = {"SPX": np.full(3, 2000.0), "SPX.vol": np.full(2, 0.2), "USD.2Y": np.full(3, 0.01)}
    with pytest.raises(PricingError, match=r"SPX.vol has shape \(2,\), SPX has \(3,\)"):
        price(trade("option", "SPX", option="call"), TODAY, states)


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"kind": "straddle", "underlying": "SPX"}, "unknown kind 'straddle'"),
        ({"kind": "option", "underlying": "SPX"}, "call or put, not None"),
        ({"kind": "option", "underlying": "SPX", "strike": -5.0, "option": "put"}, "strike above 0, not -5"),
        ({"kind": "future", "underlying": "SPX", "quantity": float("nan")}, "must be finite"),
        ({"kind": "future", "underlying": "SPX", "expiry": date(2015, 1, 1)}, "before it starts"),
        ({"kind": "swap", "underlying": "JPY"}, "no curve for 'JPY'"),
        ({"kind": "swaption", "underlying": "USD", "option": "call"}, "tenor_years above 0, not None"),
        ({"kind": "barrier", "underlying": "SPX", "option": "put"}, "barrier above 0, not None"),
        ({"kind": "barrier", "underlying": "SPX", "option": "call", "barrier": 5.0}, "down-and-in put"),
    ],
    ids=lambda cell: cell if isinstance(cell, str) else "",
)
def test_terms_that_cannot_be_priced_are_refused(terms, reason):
    with pytest.raises(PricingError, match=rf"^T1: .*{reason}"):
        trade(**terms)


def test_the_error_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(PricingError("T1", "expired")))
    assert (error.trade, error.reason, str(error)) == ("T1", "expired", "T1: expired")
