import os
import shutil
from datetime import date
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from riskscribe.case import Component, DataQuality, Limit, Position, Source, Stress, ValueAtRisk
from riskscribe.cli import main
from riskscribe.data.gold import gold_report
from riskscribe.data.import_ore import import_ore
from riskscribe.errors import InputError
from riskscribe.policy import assess
from riskscribe.prompt import render_case

ROOT = Path(__file__).parents[2]
ORE = Path(os.environ.get("RISKSCRIBE_ORE") or ROOT.parent / "shared" / "data" / "ore")
LIMITS_77 = ROOT / "datasets" / "ore_limits" / "example_77.yaml"
needs_ore = pytest.mark.skipif(
    not (ORE / "example_77" / "npv.csv").exists(),
    reason=f"no ORE sample reports in {ORE}; set RISKSCRIBE_ORE to a folder with example_77, example_24, histsimvar",
)

HEADER = {
    "npv.csv": "#TradeId,TradeType,Maturity,MaturityTime,NPV,NpvCurrency,NPV(Base),BaseCurrency,Notional,"
    "NotionalCurrency,Notional(Base),NettingSet,CounterParty",
    "sensitivity.csv": "#TradeId,IsPar,Factor_1,ShiftSize_1,Factor_2,ShiftSize_2,Currency,Base NPV,Delta,Gamma",
    "stresstest.csv": "#TradeId,ScenarioLabel,Base NPV,Scenario NPV,Sensitivity",
    "var.csv": "#Portfolio,RiskClass,RiskType,Quantile_0.010000,Quantile_0.990000,ExpectedShortfall_0.010000,"
    "ExpectedShortfall_0.990000",
    "historical_PnL.csv": "#Portfolio,RiskClass,RiskType,PLDate1,PLDate2,PLAmount",
    "sensitivity_config.csv": "#Key,Factor,BaseValue,ShiftSize",
    "simm.csv": "#Portfolio,ProductClass,RiskClass,MarginType,Bucket,SimmSide,Regulation,InitialMargin,Currency,"
    "CalculationCurrency",
    "simm_data.csv": "#Portfolio,RiskType,ProductClass,Amount",
}
HEADER["parsensitivity.csv"] = HEADER["sensitivity.csv"]
MARGIN = [
    "PF,RatesFX,FX,Delta,USD,Call,ESA,5.0,USD,USD",
    "PF,All,All,All,All,Call,ESA,1234567.891,USD,USD",
    "PF,All,All,All,All,Post,SEC,7.5,USD,USD",
]
FX, SWAP = "FX_1", "SWAP_1"
NPVS = [
    f"{FX},FxOption,2025-06-30,1.0,100000.0,USD,90000.0,EUR,1000000,USD,900000,NS,CPTY",
    f"{SWAP},Swap,2029-06-30,5.0,-30000.0,EUR,-30000.0,EUR,1000000,EUR,1000000,NS,CPTY",
]
DELTAS = [
    f"{FX},false,FXSpot/USDEUR/0/spot,0.009,,0.0,EUR,90000.00,-5000.00,10.00",
    f"{FX},false,FXVolatility/USDEUR/1/1Y/ATM,0.01,,0.0,EUR,90000.00,700.00,0.10",
    f"{SWAP},false,DiscountCurve/EUR/3/5Y,0.0001,,0.0,EUR,-30000.00,40.00,0.10",
    f"{SWAP},false,IndexCurve/EUR-EURIBOR-6M/3/5Y,0.0002,,0.0,EUR,-30000.00,-900.00,0.10",
]
STRESSES = [
    f"{FX},down,90000.00,50000.00,-40000.00",
    f"{SWAP},down,-30000.00,-35000.00,-5000.00",
    f"{FX},up,90000.00,150000.00,60000.00",
    f"{SWAP},up,-30000.00,-20000.00,10000.00",
]
VARS = ["All,All,All,-50000,48000,-60000,-900", "All,All,DeltaGamma,-50000,48000,-60000,-900"]
PV01 = {"scope": "book", "measure": "pv01", "hard": 1000, "authority": "desk", "owner": "desk"}
VAR = {"scope": "book", "measure": "var", "hard": 60000, "authority": "CRO", "owner": "desk"}


class Folder:
    """A small ORE output folder and its limits file."""

    def __init__(self, path: Path):
        self.path, self.limits, self.terms = path / "out", path / "limits.yaml", {}
        self.path.mkdir()
        self.write(**{"npv": NPVS, "sensitivity": DELTAS, "stresstest": STRESSES})
        self.set(desk="FX", base_currency="EUR", as_of=date(2024, 6, 30), limits=[PV01])

    def write(self, **reports):
        for name, rows in reports.items():
            (self.path / f"{name}.csv").write_text("\n".join([HEADER[f"{name}.csv"], *rows]) + "\n")

    def set(self, **terms):
        self.terms |= terms
        self.limits.write_text(yaml.safe_dump(self.terms))

    def limit(self, **fields):
        base = {"scope": "book", "hard": 1e6, "authority": "desk", "owner": "desk"}
        self.set(limits=[base | fields])
        found = self.case().of_kind(Limit)
        return found[0] if found else None

    def case(self, as_of=None):
        return import_ore(self.path, self.limits, as_of)

    def flags(self):
        return {(one.issue, one.material): one for one in self.case().of_kind(DataQuality)}


@pytest.fixture
def ore(tmp_path):
    return Folder(tmp_path)


def position_ids(case):
    return {one.instrument: one.id for one in case.of_kind(Position)}


def test_a_clean_folder_has_only_the_conversion_flag(ore):
    ore.write(var=VARS)
    ore.set(var={"horizon_days": 1}, limits=[PV01, VAR])
    case = ore.case()
    # the second: ES by name; the third: no limit asks for the FX rows
    assert set(ore.flags()) == {
        ("mixed_currencies", False), ("contradictory_totals", False), ("partial_coverage", False),
    }  # fmt: skip
    assert assess(case).assessment_status == "complete"
    assert [one.status for one in case.of_kind(Limit)] == ["within", "warning"]
    assert "npv.csv, sensitivity.csv, stresstest.csv, var.csv" in case.of_kind(Source)[0].detail
    gold_report(case)


def test_as_of_comes_from_the_option_then_the_file(ore):
    assert ore.case().as_of == date(2024, 6, 30)
    assert ore.case(date(2024, 7, 1)).as_of == date(2024, 7, 1)
    ore.terms.pop("as_of")
    ore.set()
    with pytest.raises(InputError, match="--as-of"):
        ore.case()


def test_an_as_of_far_from_what_maturities_imply_is_flagged(ore):
    assert ("stale_quote", True) not in ore.flags()
    ore.set(as_of=date(2024, 12, 31))
    assert "2024-06-" in ore.flags()[("stale_quote", True)].detail


# --- limits ---


def test_pv01_brings_every_shift_to_one_basis_point(ore):
    one = ore.limit(measure="pv01")
    assert (one.value, one.unit) == (pytest.approx(40 - 450), "money_per_bp")
    assert ore.limit(measure="pv01", factor="EUR").value == pytest.approx(-410)
    assert ore.limit(measure="pv01", factor="EUR-EURIBOR-6M").value == pytest.approx(-450)


def test_open_position_is_the_cash_delta_and_turns_the_inverse_pair(ore):
    # 0.009 of a spot of 0.90 is 1 %
    assert ore.limit(measure="open_position", factor="USDEUR").value == pytest.approx(-500_000)
    assert ore.limit(measure="open_position", factor="EURUSD").value == pytest.approx(500_000)


def test_a_limit_in_another_currency_is_measured_in_it(ore):
    one = ore.limit(measure="open_position", factor="EURUSD", currency="USD")
    assert one.value == pytest.approx(500_000 / 0.9)
    assert ore.case().fx == {"USD": pytest.approx(0.9)}


def test_delta_is_scaled_to_the_limits_bump_and_says_it(ore):
    ore.write(sensitivity=[f"{FX},false,CommodityCurve/WTI/{n}/{n}Y,{0.5 * n},,0,EUR,90000,-1000.0,0" for n in (1, 2)])
    one = ore.limit(scope="WTI", measure="delta", factor="WTI", bump=2)
    assert (one.value, one.scope) == (pytest.approx(-4000 - 2000), "WTI per 2")


def test_vega_is_per_vol_point_only_where_the_shift_is_known(ore):
    assert ore.limit(measure="vega").value == pytest.approx(700)
    ore.write(sensitivity=[row.replace("ATM,0.01", "ATM,0.0012") for row in DELTAS])
    assert ore.limit(measure="vega") is None
    flag = ore.flags()[("unknown_bump", True)]
    assert "vega" in flag.detail and "0.0012" in flag.detail
    ore.set(volatility_shift="absolute")
    assert ore.limit(measure="vega").value == pytest.approx(700 / 0.12)


def test_stress_is_the_worst_scenario_signed(ore):
    one = ore.limit(measure="stress", hard=50_000)
    assert (one.value, one.side, one.status) == (-45_000, "lower", "warning")


def test_exposure_nets_only_inside_enforceable_sets(ore):
    ore.write(npv=[*NPVS, NPVS[0].replace(FX, "FX_2").replace("NS,", "OTHER,")])
    assert ore.limit(measure="exposure", counterparty="CPTY").value == pytest.approx(180_000)
    ore.set(enforceable_netting=["NS"])
    assert ore.limit(measure="exposure", counterparty="CPTY").value == pytest.approx(60_000 + 90_000)


def test_concentration_is_a_share_of_gross_npv(ore):
    one = ore.limit(measure="concentration", hard=80)
    assert (one.value, one.unit) == (pytest.approx(75), "percent")
    assert ore.limit(measure="concentration", hard=80, by="counterparty").value == pytest.approx(100)


NOT_COMPARED = [
    ({"measure": "var"}, "partial_coverage", "no var.csv"),
    ({"measure": "pv01", "factor": "USD"}, "partial_coverage", "no row for USD"),
    ({"measure": "delta", "factor": "GOLD", "bump": 1}, "partial_coverage", "no row for GOLD"),
    ({"measure": "exposure", "counterparty": "Nobody"}, "missing_counterparty", "no trade with Nobody"),
]


@pytest.mark.parametrize(("fields", "issue", "words"), NOT_COMPARED)
def test_what_cannot_be_measured_is_compared_with_nothing_and_flagged(ore, fields, issue, words):
    assert ore.limit(**fields) is None
    detail = ore.flags()[(issue, True)].detail
    assert words in detail and "not compared" in detail
    assert assess(ore.case()).risk_level != "low"


# --- traps ---


def test_a_zero_shift_with_a_delta_is_an_unknown_bump(ore):
    ore.write(sensitivity=[row.replace("0.0002", "0.000000") for row in DELTAS])
    assert ore.limit(measure="pv01") is None
    assert "zero shift" in ore.flags()[("unknown_bump", True)].detail
    assert ore.limit(measure="vega") is not None  # other factors are not touched
    assert "no limit" in ore.flags()[("unknown_bump", False)].detail


def test_cross_gammas_and_par_rows_do_not_add_to_delta(ore):
    cross = f"{SWAP},false,DiscountCurve/EUR/3/5Y,0.0001,DiscountCurve/EUR/4/7Y,0.0001,EUR,-30000.00,40.00,#N/A"
    par = DELTAS[2].replace("false", "true")
    ore.write(sensitivity=[*DELTAS, cross, par])
    assert ore.limit(measure="pv01").value == pytest.approx(-410)
    assert "1 cross-gamma" in ore.case().of_kind(Source)[0].detail
    assert not ore.flags()[("partial_coverage", False)].material  # the #N/A gamma


def test_a_delta_that_is_not_available_leaves_the_limit_uncompared(ore):
    ore.write(sensitivity=[row.replace("-900.00", "#N/A") for row in DELTAS])
    assert ore.limit(measure="pv01") is None
    assert "#N/A" in ore.flags()[("failed_pricing", True)].detail


def test_an_unpriced_trade_has_no_mtm_and_is_named(ore):
    ore.write(npv=[NPVS[0], NPVS[1].replace("-30000.0,EUR,-30000.0", "#N/A,EUR,#N/A")])
    case = ore.case()
    ids = position_ids(case)
    assert {one.id: one.mtm for one in case.of_kind(Position)} == {ids[FX]: 90_000, ids[SWAP]: None}
    flag = ore.flags()[("failed_pricing", True)]
    assert flag.affects == [ids[SWAP]] and SWAP in flag.detail
    assert assess(case).assessment_status == "insufficient"  # of unknown size
    assert "not priced" in render_case(case)
    gold_report(case)


def test_a_trade_that_ore_could_not_build_is_no_zero(ore):
    """ORE prints a failed trade as type Failed, maturity 2199, NPV 0."""
    failed = "BAD_1,Failed,2199-12-31,183.901632,0.000000,USD,0.000000,EUR,0.00,USD,0.00,NS,CPTY"
    ore.write(npv=[*NPVS, failed])
    case = ore.case()
    one = next(one for one in case.of_kind(Position) if one.instrument == "BAD_1")
    assert (one.mtm, one.notional) == (None, None)
    assert "could not build: 1 (BAD_1)" in ore.flags()[("failed_pricing", True)].detail
    assert ore.limit(measure="exposure", counterparty="CPTY") is None
    assert ore.limit(measure="concentration", hard=80) is None


def test_a_var_without_an_unpriced_trade_is_unconfirmed(ore):
    ore.write(npv=[NPVS[0], NPVS[1].replace("-30000.0,EUR,-30000.0", "#N/A,EUR,#N/A")], var=VARS)
    ore.set(var={"horizon_days": 1})
    one = ore.limit(measure="var", hard=60_000)
    assert one.status == "unconfirmed"
    assert {one.id, ore.case().of_kind(ValueAtRisk)[0].id} <= set(ore.flags()[("failed_pricing", True)].affects)


def test_an_npv_of_exactly_zero_is_said(ore):
    ore.write(npv=[*NPVS, NPVS[0].replace(FX, "FX_2").replace("100000.0,USD,90000.0", "0.000000,USD,0.000000")])
    flag = ore.flags()[("failed_pricing", False)]
    assert flag.affects == [position_ids(ore.case())["FX_2"]]


@pytest.mark.parametrize(
    ("npv", "issue"),
    [
        ("90000.00", None),
        ("90500.00", None),
        ("91500.00", ("contradictory_totals", True)),  # above 1 % and above 1,000
        ("88000.00", ("contradictory_totals", True)),
    ],
)
def test_base_npvs_of_two_reports(ore, npv, issue):
    ore.write(stresstest=[], sensitivity=[row.replace("EUR,90000.00", f"EUR,{npv}") for row in DELTAS])
    found = {key for key in ore.flags() if key[0] == "contradictory_totals"}
    assert found == ({issue} if issue else set())
    if issue:
        flag = ore.flags()[issue]
        assert flag.affects == [position_ids(ore.case())[FX]]
        assert "60000.00" in flag.detail and f"{float(npv) - 30000:.2f}" in flag.detail


def test_a_small_relative_difference_is_minor(ore):
    small = [row.replace("-30000.0,EUR,-30000.0", "-30.0,EUR,-30.0") for row in NPVS]
    ore.write(stresstest=[], npv=small, sensitivity=[row.replace("-30000.00", "-40.00") for row in DELTAS])
    assert "-40.00" in ore.flags()[("contradictory_totals", False)].detail


def test_a_scenario_without_a_row_for_a_trade_is_partial_coverage(ore):
    ore.write(stresstest=[STRESSES[0], *STRESSES[2:]])
    ore.limit(measure="stress", hard=41_000)
    case, flag = ore.case(), ore.flags()[("partial_coverage", True)]
    assert flag.detail == "down has rows for 1 of 2 trades"
    worst = min(case.of_kind(Stress), key=lambda one: one.pnl)
    assert flag.affects == [worst.id, case.of_kind(Limit)[0].id]
    assert case.of_kind(Limit)[0].status == "unconfirmed"


def test_only_gains_is_an_untested_loss(ore):
    ore.write(stresstest=STRESSES[2:])
    assert ore.limit(measure="stress").status == "within"
    assert ("untested_loss", True) in ore.flags()
    ore.set(limits=[PV01])
    assert ("untested_loss", False) in ore.flags()


def test_stress_sums_that_do_not_add_up_are_flagged(ore):
    ore.write(stresstest=[STRESSES[0].replace("-40000.00", "40000.00"), *STRESSES[1:]])
    assert "stresstest.csv" in ore.flags()[("contradictory_totals", True)].detail


def test_trades_of_other_reports_and_missing_ones_are_flagged(ore):
    ore.write(npv=NPVS[:1])
    assert "not in npv.csv" in ore.flags()[("partial_coverage", True)].detail
    ore.write(npv=NPVS, sensitivity=DELTAS[2:])
    assert "1 of 2 trades" in ore.flags()[("partial_coverage", True)].detail


def test_rates_that_contradict_each_other_are_flagged(ore):
    ore.set(fx={"USD": 0.8})
    assert "0.9000" in ore.flags()[("contradictory_totals", True)].detail


def test_no_counterparty_and_no_owner_are_minor(ore):
    ore.write(npv=[NPVS[0].removesuffix("CPTY"), NPVS[1]])
    ore.set(limits=[PV01 | {"owner": None}])
    assert {("missing_counterparty", False), ("missing_owner", False)} <= ore.flags().keys()


def test_flags_of_one_issue_are_one_line_and_a_large_book_is_shown_short(ore):
    ore.write(
        npv=[NPVS[0].replace(FX, f"FX_{n}").removesuffix("CPTY") for n in range(200)], sensitivity=[], stresstest=[]
    )
    case = ore.case()
    assert len(case.of_kind(Position)) == 7
    assert sum(one.mtm for one in case.of_kind(Position)) == pytest.approx(200 * 90_000)
    assert len(case.of_kind(DataQuality)) <= 4
    assert len(render_case(case).splitlines()) < 20


def test_chinese_details(ore):
    ore.set(language="zh", limits=[VAR])
    assert "未比较：没有var.csv" in ore.flags()[("partial_coverage", True)].detail
    assert "用中文撰写" in render_case(ore.case())


# --- VaR ---


def windows(days: int, overlap: bool, losses: list[float]) -> list[tuple[str, str, float]]:
    """P&L windows of `days` business days (a week has five)."""
    start = date(2020, 1, 6).toordinal()

    def business(n):
        return date.fromordinal(start + n // 5 * 7 + n % 5).isoformat()

    step = 1 if overlap else days
    return [(business(n * step), business(n * step + days), loss) for n, loss in enumerate(losses)]


def history(losses, days=10, overlap=True):
    rows = []
    for name, share in (("All", 1.0), ("FX", 1.2), ("InterestRate", -0.2)):
        for kind in ("All", "DeltaGamma"):
            rows += [f"All,{name},{kind},{a},{b},{share * x}" for a, b, x in windows(days, overlap, losses)]
    return rows


LOSSES = [float(-n * 100) for n in range(500, 0, -1)]  # 99 %: the 5 or 6 worst of 500; -49,500 is the sixth
CLASSES = [
    f"All,{name},{kind},{-q},{q},{-q * 1.005},-100"
    for name, q in (("All", 49_600), ("FX", 59_520), ("InterestRate", 9_920))
    for kind in ("All", "DeltaGamma")
]


def test_the_loss_tail_is_taken_by_sign(ore):
    ore.write(var=VARS)
    ore.set(var={"horizon_days": 1})
    var, es = ore.case().of_kind(ValueAtRisk)
    assert (var.measure, var.value, es.measure, es.value) == ("VaR", 50_000, "ES", 60_000)
    assert "900.00" in ore.flags()[("contradictory_totals", False)].detail
    # the same numbers under exchanged names
    ore.write(var=["All,All,All,48000,-50000,-900,-60000"])
    assert [one.value for one in ore.case().of_kind(ValueAtRisk)] == [50_000, 60_000]


def test_an_es_below_var_is_left_out(ore):
    ore.write(var=["All,All,All,-50000,48000,-20000,-900"])
    ore.set(var={"horizon_days": 1})
    assert [one.measure for one in ore.case().of_kind(ValueAtRisk)] == ["VaR"]
    assert "20000.00" in ore.flags()[("contradictory_totals", True)].detail


def test_a_file_with_the_gain_tail_only_has_no_var(ore):
    (ore.path / "var.csv").write_text("#Portfolio,RiskClass,RiskType,Quantile_0.990000\nAll,All,All,48000\n")
    ore.set(limits=[VAR])
    case = ore.case()
    assert not case.of_kind(ValueAtRisk) and not case.of_kind(Limit)
    assert assess(case).assessment_status == "insufficient"
    assert "no loss quantile" in ore.flags()[("partial_coverage", True)].detail


def test_the_windows_give_horizon_method_and_components(ore):
    ore.write(var=CLASSES, historical_PnL=history(LOSSES))
    case = ore.case()
    line = case.of_kind(ValueAtRisk)[0]
    assert (line.horizon_days, line.horizon_method, line.windows) == (10, "overlapping", 500)
    assert ore.flags()[("overlapping_windows", False)].detail == "500 windows of 10 days overlap"
    parts = {one.factor: one.contribution for one in case.of_kind(Component)}
    assert parts == {"FX": pytest.approx(1.2 * 49_600), "InterestRate": pytest.approx(-0.2 * 49_600)}
    assert sum(one.share_pct for one in case.of_kind(Component)) == pytest.approx(100)


def test_windows_end_to_end_are_direct(ore):
    ore.write(var=CLASSES, historical_PnL=history(LOSSES, days=1, overlap=False))
    line = ore.case().of_kind(ValueAtRisk)[0]
    assert (line.horizon_days, line.horizon_method) == (1, "direct")
    ore.write(historical_PnL=history(LOSSES, days=10, overlap=False))
    assert ore.case().of_kind(ValueAtRisk)[0].horizon_days == 10


def test_a_var_that_the_windows_deny_is_flagged(ore):
    ore.write(var=[one.replace("49600", "39600") for one in CLASSES], historical_PnL=history(LOSSES))
    flag = ore.flags()[("contradictory_totals", True)]
    assert "39600.00" in flag.detail and "of 500" in flag.detail
    assert ore.limit(measure="var", hard=40_000, horizon_days=10).status == "unconfirmed"


def test_standalone_classes_add_up_with_their_diversification(ore):
    ore.write(var=CLASSES)
    ore.set(var={"horizon_days": 10})
    parts = {one.factor: one.contribution for one in ore.case().of_kind(Component)}
    assert parts == {"FX standalone": 59_520, "InterestRate standalone": 9_920, "diversification": -19_840}


def test_a_var_of_another_horizon_is_compared_with_no_limit(ore):
    ore.write(var=CLASSES, historical_PnL=history(LOSSES))
    assert ore.limit(measure="var", hard=60_000) is None  # a one-day limit; nothing is scaled by the root of time
    assert "VaR is 99% 10d, limit is 99% 1d" in ore.flags()[("unknown_bump", True)].detail
    assert ore.limit(measure="var", hard=60_000, horizon_days=10).value == 49_600


def test_a_trade_whose_risk_class_has_no_row_is_not_in_the_var(ore):
    ore.write(var=CLASSES, npv=[NPVS[0], NPVS[1].replace(",Swap,", ",CommodityForward,")])
    ore.set(var={"horizon_days": 10})
    case, flag = ore.case(), ore.flags()[("partial_coverage", True)]
    assert "Commodity" in flag.detail
    assert flag.affects == [case.of_kind(ValueAtRisk)[0].id, position_ids(case)[SWAP]]


# --- refusals ---

BAD_REPORTS = [
    ({"npv": []}, ["npv.csv", "empty"]),
    ({"npv": [NPVS[0], NPVS[0]]}, ["npv.csv: line 3", "TradeId", "twice"]),
    ({"npv": [NPVS[0].replace("90000.0", "90,000.0")]}, ["npv.csv: line 2", "fields"]),
    ({"npv": [NPVS[0].replace("90000.0", "nan")]}, ["npv.csv: line 2", "NPV(Base)", "nan"]),
    ({"npv": [NPVS[0].replace("90000.0", "")]}, ["npv.csv: line 2", "NPV(Base)", "empty"]),
    ({"npv": [NPVS[0].replace(",EUR,", ",GBP,")]}, ["npv.csv: line 2", "BaseCurrency", "GBP", "EUR"]),
    ({"sensitivity": [DELTAS[0].replace(",EUR,", ",JPY,")]}, ["sensitivity.csv: line 2", "JPY", "fx.JPY"]),
    ({"sensitivity": [DELTAS[0].replace("FXSpot/USDEUR/0/spot", "spot")]}, ["line 2", "Factor_1"]),
    ({"sensitivity": [DELTAS[0].replace("0.009,", "1%,")]}, ["line 2", "ShiftSize_1"]),
    ({"sensitivity": [DELTAS[0], DELTAS[0].replace("-5000.00", "-5001.00")]}, ["line 3", "twice", "line 2"]),
    ({"stresstest": [STRESSES[0], STRESSES[0]]}, ["stresstest.csv: line 3", "twice", "down"]),
    ({"parsensitivity": [DELTAS[0].replace(",EUR,", ",JPY,")]}, ["parsensitivity.csv: line 2", "JPY", "fx.JPY"]),
    ({"var": VARS}, ["var.csv", "var.horizon_days"]),
    ({"var": [VARS[0].replace("All,All,All", "All,FX,All")]}, ["var.csv", "RiskClass"]),
    ({"var": ["A,All,All,-5,4,-6,-9", "B,All,All,-5,4,-6,-9"]}, ["var.csv", "Portfolio", "A, B"]),
    ({"var": VARS, "historical_PnL": ["All,All,All,2020-01-01,soon,5"]}, ["historical_PnL.csv: line 2", "PLDate2"]),
]


@pytest.mark.parametrize(("reports", "words"), BAD_REPORTS)
def test_bad_reports_are_one_line(ore, reports, words):
    ore.write(**reports)
    ore.set(limits=[PV01, PV01 | {"measure": "cs01"}])
    refused(ore, words)


def refused(ore, words):
    with pytest.raises(InputError) as caught:
        ore.case()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


BAD_LIMITS = [
    ({"measure": "jump_to_default"}, ["limits.0", "jump_to_default", "cs01"]),
    ({"measure": "beta"}, ["limits.0.measure"]),
    ({"measure": "delta", "factor": "WTI"}, ["limits.0", "bump"]),
    ({"measure": "gamma", "factor": "WTI"}, ["limits.0", "bump"]),
    ({"measure": "delta", "factor": "WTI", "bump": 1, "bump_pct": 1}, ["limits.0", "bump_pct", "give one"]),
    ({"measure": "pv01", "days_open": -1}, ["limits.0.days_open"]),
    ({"measure": "pv01", "effective_to": date(2024, 1, 1)}, ["not in force on 2024-06-30"]),
    ({"measure": "open_position"}, ["limits.0", "factor"]),
    ({"measure": "open_position", "factor": "EUR/USD"}, ["limits.0", "EURUSD"]),
    ({"measure": "exposure"}, ["limits.0", "counterparty"]),
    ({"measure": "stress", "side": "upper"}, ["limits.0", "lower"]),
    ({"measure": "pv01", "unit": "money"}, ["limits.0", "money_per_bp"]),
    ({"measure": "pv01", "currency": "JPY"}, ["limits.0", "fx.JPY"]),
    ({"measure": "pv01", "hard": "1,000"}, ["limits.0.hard"]),
    ({"measure": "pv01", "hard": float("nan")}, ["limits.0.hard"]),
    ({"measure": "pv01", "hard": True}, ["limits.0.hard"]),
    ({"measure": "pv01", "soft": 2e6}, ["limits.0", "soft"]),
    ({"measure": "pv01", "hart": 5}, ["limits.0.hart"]),
]


@pytest.mark.parametrize(("fields", "words"), BAD_LIMITS)
def test_bad_limits_are_one_line(ore, fields, words):
    ore.set(limits=[{"scope": "book", "hard": 1e6, "authority": "desk"} | fields])
    refused(ore, words)


def test_a_limit_that_stands_twice_is_refused(ore):
    ore.set(limits=[PV01, PV01])
    refused(ore, ["limits.1", "twice"])


def test_confidence_that_the_file_lacks_is_refused_with_those_it_has(ore):
    ore.write(var=VARS)
    ore.set(var={"horizon_days": 1, "confidence_pct": 97.5})
    refused(ore, ["var.csv", "97.5", "var.confidence_pct", "99"])


@pytest.mark.parametrize("text", ["", "[]", "desk: [", "as_of: 2024-02-31\ndesk: x\n", "\t:"])
def test_a_limits_file_that_is_none_is_refused(ore, text):
    ore.limits.write_text(text)
    refused(ore, ["limits.yaml"])


def test_missing_files_are_named(ore, tmp_path):
    (ore.path / "npv.csv").unlink()
    refused(ore, ["npv.csv", "no such file"])
    with pytest.raises(InputError, match="not a folder"):
        import_ore(tmp_path / "none", ore.limits)
    with pytest.raises(InputError, match="no such file"):
        import_ore(ore.path, tmp_path / "none.yaml")


def test_the_header_may_lack_its_hash_but_no_column(ore):
    path = ore.path / "npv.csv"
    path.write_text(path.read_text().removeprefix("#"))
    ore.case()
    path.write_text(path.read_text().replace("NPV(Base)", "NPV"))
    refused(ore, ["npv.csv: line 1", "'NPV(Base)'", "missing"])


# --- further measures ---

CONFIG = HEADER["sensitivity_config.csv"]
CREDIT = [
    f"{SWAP},{par},SurvivalProbability/ACME/{n}/{n}Y,0.0001,,0.0,EUR,-30000.00,{pnl},#N/A"
    for par, pnls in (("false", (7, 8)), ("true", (11, 12)))
    for n, pnl in enumerate(pnls, 1)
]
WTI = [
    f"{FX},false,CommodityCurve/WTI/0/1Y,0.5,,0,EUR,90000,-1000.0,20.0",
    f"{FX},false,CommodityCurve/WTI/1/2Y,0.4,,0,EUR,90000,-800.0,10.0",
    f"{FX},false,CommodityCurve/WTI/0/1Y,0.5,CommodityCurve/WTI/1/2Y,0.4,EUR,90000,#N/A,3.0",
    f"{FX},false,CommodityCurve/WTI/0/1Y,0.5,FXSpot/USDEUR/0/spot,0.009,EUR,90000,#N/A,99.0",
]


def report(ore, name, *lines):
    (ore.path / name).write_text("\n".join(lines) + "\n")


def test_bucket_pv01_takes_one_tenor_or_the_largest(ore):
    other = f"{SWAP},false,DiscountCurve/EUR/4/10Y,0.0001,,0.0,EUR,-30000.00,-60.00,0.10"
    ore.write(sensitivity=[*DELTAS, other])
    assert ore.limit(measure="bucket_pv01", factor="EUR/10Y").value == pytest.approx(-60)
    one = ore.limit(measure="bucket_pv01", factor="EUR")
    assert (one.value, one.unit) == (pytest.approx(40 - 450), "money_per_bp")
    assert ore.limit(measure="bucket_pv01", factor="EUR/7Y") is None
    assert "no row for EUR/7Y" in ore.flags()[("partial_coverage", True)].detail


def test_cs01_reads_par_rows_and_never_hazard_rates(ore):
    ore.write(sensitivity=[*DELTAS, *CREDIT[:2]])
    assert ore.limit(measure="cs01") is None
    assert "hazard" in ore.flags()[("unknown_bump", True)].detail
    report(ore, "parsensitivity.csv", HEADER["sensitivity.csv"], *CREDIT[2:])
    assert ore.limit(measure="cs01").value == pytest.approx(23)
    assert ore.limit(measure="cs01", factor="ACME").value == pytest.approx(23)
    assert ore.limit(measure="cs01", factor="OTHER") is None
    (ore.path / "parsensitivity.csv").unlink()
    ore.write(sensitivity=[*DELTAS, *CREDIT])  # both in one file
    assert ore.limit(measure="cs01").value == pytest.approx(23)


def test_par_sensitivities_alone_are_the_sensitivities(ore):
    (ore.path / "sensitivity.csv").unlink()
    rows = [row.replace(",false,", ",true,").replace(",0.10", ",#N/A") for row in DELTAS]
    report(ore, "par_sensitivity.csv", HEADER["sensitivity.csv"], *rows, *CREDIT[2:])
    assert ore.limit(measure="pv01").value == pytest.approx(-410)
    assert ore.limit(measure="cs01").value == pytest.approx(23)
    assert "par_sensitivity.csv" in ore.case().of_kind(Source)[0].detail


def test_gamma_scales_with_the_square_of_the_bump_and_adds_cross_terms(ore):
    ore.write(sensitivity=WTI)
    one = ore.limit(scope="WTI", measure="gamma", factor="WTI", bump=1)
    assert one.value == pytest.approx(20 / 0.25 + 10 / 0.16 + 2 * 3 / (0.5 * 0.4))
    assert one.scope == "WTI per 1"


def test_a_cross_row_in_a_currency_without_a_rate_is_a_gap(ore):
    ore.write(sensitivity=[*WTI[:2], WTI[2].replace(",EUR,", ",JPY,")])
    assert ore.limit(scope="WTI", measure="gamma", factor="WTI", bump=1) is None
    assert "no rate for JPY" in ore.flags()[("missing_fx_rate", True)].detail


def test_a_bump_in_percent_needs_the_level(ore):
    ore.write(sensitivity=WTI)
    asked = {"scope": "WTI", "measure": "delta", "factor": "WTI", "bump_pct": 1}
    assert ore.limit(**asked) is None
    assert "no level of WTI" in ore.flags()[("unknown_bump", True)].detail
    report(ore, "sensitivity_config.csv", CONFIG, "CommodityCurve/WTI/0,CommodityCurve/WTI/0/1Y,50.0,0.5",
           "CommodityCurve/WTI/1,CommodityCurve/WTI/1/2Y,60.0,0.4")  # fmt: skip
    one = ore.limit(**asked)
    assert (one.value, one.scope) == (pytest.approx(-1000 - 800 * 0.6 / 0.4), "WTI per 1%")
    # a pair's level is the rate
    ore.write(sensitivity=DELTAS)
    assert ore.limit(measure="delta", factor="USDEUR", bump_pct=2).value == pytest.approx(-10_000)


def test_the_configs_shift_stands_in_for_a_zero_one(ore):
    ore.write(sensitivity=[row.replace("0.0002", "#N/A") for row in DELTAS])
    assert ore.limit(measure="pv01") is None
    assert "zero shift" in ore.flags()[("unknown_bump", True)].detail
    report(ore, "sensitivity_config.csv", CONFIG, "x,IndexCurve/EUR-EURIBOR-6M/3/5Y,0.01,0.0002")
    assert ore.limit(measure="pv01").value == pytest.approx(-410)


def test_a_volatility_shift_with_its_level_is_known(ore):
    ore.write(sensitivity=[row.replace("ATM,0.01", "ATM,0.0012") for row in DELTAS])
    assert ore.limit(measure="vega") is None
    report(ore, "sensitivity_config.csv", CONFIG, "x,FXVolatility/USDEUR/1/1Y/ATM,0.12,0.0012")
    assert ore.limit(measure="vega").value == pytest.approx(700 / 0.12)
    report(ore, "sensitivity_config.csv", CONFIG, "x,FXVolatility/USDEUR/1/1Y/ATM,0.0,0.0")
    assert ore.limit(measure="vega") is None


def test_what_a_person_knows_of_a_limit_is_kept(ore):
    fields = {"five_days_ago": 5.5, "days_open": 3, "cause": "passive", "effective_from": date(2024, 1, 1)}
    one = ore.limit(measure="pv01", previous=4.5, **fields)
    assert one.previous == 4.5 and all(getattr(one, name) == value for name, value in fields.items())


# --- further traps ---


def test_factors_that_no_limit_asks_for_are_named(ore):
    ore.limit(measure="pv01")
    detail = ore.flags()[("partial_coverage", False)].detail
    assert detail == "no limit asks for FXSpot, FXVolatility: 2 rows"
    ore.set(limits=[PV01, *({"scope": "b", "measure": one, "hard": 1e6, "authority": "desk", "owner": "x"} | more
                            for one, more in (("vega", {}), ("open_position", {"factor": "EURUSD"})))])  # fmt: skip
    assert ("partial_coverage", False) not in ore.flags()


def test_rows_that_repeat_are_taken_once(ore):
    ore.write(sensitivity=[*DELTAS, DELTAS[2], DELTAS[2]])
    assert ore.limit(measure="pv01").value == pytest.approx(-410)
    flag = ore.flags()[("contradictory_totals", True)]
    assert "more than once, taken once: 2" in flag.detail
    assert flag.affects == [position_ids(ore.case())[SWAP]]


def test_sensitivities_under_a_stress_scenario_are_left_out(ore):
    rows = [f"{name},{row}" for name in ("BASE", "crash") for row in DELTAS]
    report(ore, "sensitivity.csv", "#Scenario," + HEADER["sensitivity.csv"].removeprefix("#"), *rows)
    assert ore.limit(measure="pv01").value == pytest.approx(-410)
    assert "left out: 4 rows" in ore.flags()[("partial_coverage", True)].detail
    report(ore, "sensitivity.csv", "#Scenario," + HEADER["sensitivity.csv"].removeprefix("#"), *rows[4:])
    assert ore.limit(measure="pv01") is None


def test_a_scenario_in_which_nothing_was_priced_is_no_zero(ore):
    ore.write(stresstest=[*STRESSES[2:], f"{FX},down,90000.00,#N/A,#N/A", f"{SWAP},down,#N/A,#N/A,#N/A"])
    one = ore.limit(measure="stress")
    assert [s.scenario for s in ore.case().of_kind(Stress)] == ["up"]
    assert "without a priced trade: 1 (down)" in ore.flags()[("failed_pricing", True)].detail
    assert one.value == 70_000
    ore.write(stresstest=[f"{FX},down,90000.00,#N/A,#N/A"])
    assert ore.limit(measure="stress") is None


def test_a_report_under_a_similar_name_is_taken_where_it_is_the_only_one(ore):
    (ore.path / "npv.csv").rename(ore.path / "npv_eur.csv")
    (ore.path / "sensitivity.csv").rename(ore.path / "Sensitivity_0.csv")
    (ore.path / "stresstest.csv").rename(ore.path / "stress_test.csv")
    report(ore, "stresstest_flows.csv", "#TradeId,Scenario")
    report(ore, "sensitivity_scenario.csv", "#TradeId,Factor")
    case = ore.case()
    assert case.of_kind(Source)[0].detail.startswith("npv_eur.csv, Sensitivity_0.csv, stress_test.csv")
    assert case.of_kind(Limit)[0].value == pytest.approx(-410)
    shutil.copy(ore.path / "npv_eur.csv", ore.path / "npv_usd.csv")
    refused(ore, ["npv_eur.csv, npv_usd.csv", "which is npv.csv"])


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_and_column_orders_are_read(ore, separator):
    for path in ore.path.glob("*.csv"):
        lines = [",".join(reversed(line.removeprefix("#").split(","))) for line in path.read_text().splitlines()]
        path.write_text("\n".join(line.replace(",", separator) for line in lines) + "\n")
    assert ore.case().of_kind(Limit)[0].value == pytest.approx(-410)


def test_several_portfolios_need_a_book(ore):
    ore.write(var=["PF1,All,All,-5000,4,-6000,-9", "PF2,All,All,-7000,4,-8000,-9"])
    ore.set(var={"horizon_days": 1})
    refused(ore, ["var.csv", "PF1, PF2"])
    ore.set(var={"horizon_days": 1, "portfolio": "PF2", "previous": 6500, "five_days_ago": 6000})
    line = ore.case().of_kind(ValueAtRisk)[0]
    assert (line.value, line.previous, line.five_days_ago) == (7000, 6500, 6000)
    ore.set(var={"horizon_days": 1, "portfolio": "PF3"})
    refused(ore, ["var.portfolio", "PF1, PF2"])


def test_var_says_its_tail_count_and_what_stands_alone(ore):
    ore.write(var=CLASSES, historical_PnL=history(LOSSES))
    line = ore.case().of_kind(ValueAtRisk)[0]
    assert (line.tail_count, line.undiversified) == (5, pytest.approx(59_520 + 9_920))
    assert {one.factor: one.standalone for one in ore.case().of_kind(Component)} == {
        "FX": 59_520, "InterestRate": 9_920,
    }  # fmt: skip


def test_initial_margin_is_lineage_and_crif_is_counted(ore):
    ore.write(simm=MARGIN, simm_data=["PF,Risk_FX,RatesFX,5"])
    sources = {one.system: one.detail for one in ore.case().of_kind(Source)}
    assert sources["ORE SIMM"] == "initial margin PF Call ESA 1234567.89 USD; PF Post SEC 7.50 USD"
    assert "1" in ore.flags()[("partial_coverage", False)].detail.split("CRIF")[1]


def test_header_only_reports_are_a_finding(ore):
    ore.write(sensitivity=[], stresstest=[], var=[])
    assert ore.limit(measure="pv01") is None
    ore.set(limits=[PV01, VAR, PV01 | {"measure": "stress"}])
    detail = ore.flags()[("partial_coverage", True)].detail
    assert "book PV01" in detail and "book VaR" in detail and "book stress" in detail


CELLS = st.text(max_size=12) | st.sampled_from(
    [
        "",
        "#N/A",
        "NaN",
        "inf",
        "0",
        "-1",
        "1e5",
        "9" * 400,
        "Failed",
        "All",
        "EUR",
        "2199-12-31",
        "/",
        "//",
        "a/b",
        '"',
    ]
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_cell_makes_the_import_raise_anything_but_a_refusal(ore, data):
    lines = {
        "npv": NPVS, "sensitivity": [*DELTAS, *WTI], "parsensitivity": CREDIT[2:], "stresstest": STRESSES,
        "var": CLASSES, "historical_PnL": history(LOSSES[:5]), "simm": MARGIN, "simm_data": ["PF,Risk_FX,RatesFX,5"],
        "sensitivity_config": ["x,FXVolatility/USDEUR/1/1Y/ATM,0.12,0.01", "x,CommodityCurve/WTI/0/1Y,50.0,0.5"],
    }  # fmt: skip
    ore.write(**lines)
    asked = {
        "pv01": {}, "bucket_pv01": {}, "cs01": {}, "vega": {}, "stress": {}, "concentration": {},
        "var": {"horizon_days": 10}, "delta": {"factor": "WTI", "bump": 1}, "gamma": {"factor": "WTI", "bump": 1},
        "open_position": {"factor": "EURUSD"}, "exposure": {"counterparty": "CPTY"},
    }  # fmt: skip
    ask = [PV01 | {"measure": one} | more for one, more in asked.items()]
    ore.set(limits=ask, var={"horizon_days": 10})
    name = data.draw(st.sampled_from(sorted(lines)))
    rows = [row.split(",") for row in [HEADER[f"{name}.csv"], *lines[name]]]
    row = data.draw(st.integers(0, len(rows) - 1))
    rows[row][data.draw(st.integers(0, len(rows[row]) - 1))] = data.draw(CELLS)
    (ore.path / f"{name}.csv").write_text("\n".join(map(",".join, rows)) + "\n", "utf-8", "surrogatepass")
    try:
        render_case(ore.case())
    except InputError as error:
        assert "\n" not in str(error)


# --- ORE's own reports ---


def test_bad_input_ends_with_code_2_and_leaves_no_file(ore, tmp_path):
    out = tmp_path / "case.json"
    arguments = ["case", "import-ore", str(ore.path), "--limits", str(ore.limits), "--out", str(out)]
    assert CliRunner().invoke(main, arguments).exit_code == 0 and out.exists()
    out.unlink()
    ore.write(npv=[NPVS[0], NPVS[1].replace("-30000.0,EUR,-30000.0", "-30000.0,EUR,NaN")])
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and not out.exists()
    assert "npv.csv: line 3: column NPV(Base): 'NaN'" in result.output and result.output.count("\n") == 1


@needs_ore
def test_example_77():
    case = import_ore(ORE / "example_77", LIMITS_77)
    limits = {one.scope + " " + one.measure: one for one in case.of_kind(Limit)}
    assert set(limits) == {"EURUSD open_position", "USD pv01", "book stress", "CPTY_A exposure"}
    # ORE's USDEUR rows sum to -21,676.21 for 1 % of spot
    assert limits["EURUSD open_position"].value == pytest.approx(2_167_621, rel=1e-3)
    assert limits["USD pv01"].value == pytest.approx(593.32)
    assert limits["book stress"].value == pytest.approx(37_971.05)
    assert limits["CPTY_A exposure"].value == pytest.approx(513_815.08 / 0.883222, rel=1e-5)
    flags = {one.issue: one for one in case.of_kind(DataQuality)}
    assert {key: one.material for key, one in flags.items()} == {
        "unknown_bump": True, "untested_loss": True, "partial_coverage": True, "mixed_currencies": False,
    }  # fmt: skip
    assert "weighting_off has rows for 1 of 4" in flags["partial_coverage"].detail
    assert assess(case).assessment_status == "insufficient"
    gold_report(case)


@needs_ore
def test_example_24(tmp_path):
    shutil.copytree(ORE / "example_24", tmp_path / "out")
    wti = {"scope": "WTI", "measure": "delta", "factor": "COMDTY_WTI_USD", "bump": 1, "hard": 1e6}
    limits = [one | {"authority": "desk", "owner": "desk"} for one in (wti, PV01, PV01 | {"measure": "vega"})]
    terms = {"desk": "commodity", "base_currency": "USD", "as_of": date(2016, 2, 5), "limits": limits}
    (tmp_path / "limits.yaml").write_text(yaml.safe_dump(terms))
    case = import_ore(tmp_path / "out", tmp_path / "limits.yaml")
    assert [one.scope for one in case.of_kind(Limit)] == ["WTI per 1"]
    flags = {(one.issue, one.material): one for one in case.of_kind(DataQuality)}
    assert "in 2 rows" in flags[("unknown_bump", True)].detail and "in 6 rows" in flags[("unknown_bump", True)].detail
    differ = flags[("contradictory_totals", True)]
    assert "707518.34" in differ.detail and "750747.22" in differ.detail
    ids = position_ids(case)
    assert differ.affects == [ids["CommodityForward_WTI_Oct_21"], ids["CommodityOption_WTI_Oct_21"]]
    gold_report(case)


@needs_ore
def test_histsimvar_needs_npv_and_then_gives_the_loss_tail(ore):
    for name in ("var.csv", "historical_PnL.csv"):
        shutil.copy(ORE / "histsimvar" / name, ore.path / name)
    with pytest.raises(InputError, match=r"npv\.csv: no such file"):
        import_ore(ORE / "histsimvar", ore.limits)
    case = ore.case()
    var, es = case.of_kind(ValueAtRisk)
    assert (var.value, es.value) == (pytest.approx(874_503.35), pytest.approx(949_845.99))
    assert (var.horizon_days, var.horizon_method, var.windows) == (10, "overlapping", 715)
    assert sum(one.contribution for one in case.of_kind(Component)) == pytest.approx(var.value, abs=0.05)
    flags = ore.flags()
    assert "19301.23" in flags[("contradictory_totals", False)].detail
    assert ("contradictory_totals", True) not in flags
