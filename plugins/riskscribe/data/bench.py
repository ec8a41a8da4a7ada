"""`python -m riskscribe.data.bench`: pricings, cases and memory of the data engine, on one core.

`--rows 20000` adds a run of that many rows to the memory comparison.
"""

import argparse
import cProfile
import pstats
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import ClassVar

from riskscribe import manifest
from riskscribe.data import books, risk, splits
from riskscribe.data.history import history
from riskscribe.report import LEVELS

BOOKS = 60
ROWS = 1000
_FLOOR = ("blackFormula", "bachelierBlackFormula", "Instrument_NPV", "SimpleQuote_setValue", "DayCounter_yearFraction")


def _plans() -> list[books.Plan]:
    plans = []
    for i in range(BOOKS):
        rng = random.Random(i)
        level = rng.choice(LEVELS)
        plans.append(
            books.Plan(
                seed=(1, i),
                level=level,
                language="zh" if i % 5 == 0 else "en",
                desk=rng.choice(books.DESKS),
                size=rng.choices([one for one, _ in splits.SIZES], [weight for _, weight in splits.SIZES])[0],
                first_day=rng.randrange(2700, 3500),
                days=rng.randint(5, 10),
                feature=rng.choice(books.features(level)) if rng.random() < splits.FEATURED else "",
            )
        )
    return plans


class _Timed(risk.Engine):
    """An engine that adds up the seconds and pricings of its revaluations by kind of trade."""

    seconds: ClassVar[defaultdict[str, float]] = defaultdict(float)
    states: ClassVar[defaultdict[str, int]] = defaultdict(int)

    def _price(self, trade, view):
        begun, before = time.perf_counter(), self.pricings
        found = super()._price(trade, view)
        self.seconds[trade.kind] += time.perf_counter() - begun
        self.states[trade.kind] += self.pricings - before
        return found


def _speed() -> None:
    history()
    plans = _plans()
    splits._book_rows(plans[0])  # files and caches that are read once
    plain, risk.Engine = risk.Engine, _Timed
    try:
        begun = time.perf_counter()
        rows = sum(len(splits._book_rows(one)) for one in plans)
        total = time.perf_counter() - begun
    finally:
        risk.Engine = plain
    revalued = sum(_Timed.seconds.values())
    print(f"{BOOKS} books gave {rows} rows in {total:.1f} s on one core")
    for kind in sorted(_Timed.seconds, key=lambda one: _Timed.states[one] / _Timed.seconds[one], reverse=True):
        rate = _Timed.states[kind] / _Timed.seconds[kind]
        print(f"  {kind:9} {rate:>12,.0f} pricings/s, {_Timed.seconds[kind] / revalued:4.0%} of the revaluation")
    states = sum(_Timed.states.values())
    print(f"pricings: {states:,} in {revalued:.1f} s, {states / revalued:,.0f}/s")
    print(f"cases: {rows / total:.0f}/s with revaluation, {rows / (total - revalued):.0f}/s for everything else")


def _profile() -> None:
    """Where revaluation has its floor: the share of it inside QuantLib's own functions."""
    profile = cProfile.Profile()
    plans = _plans()[::2]
    profile.enable()
    for one in plans:
        splits._book_rows(one)
    profile.disable()
    stats = pstats.Stats(profile).stats
    inside = {
        name: sum(own for (_, _, function), (_, _, own, _, _) in stats.items() if f".{name}>" in function)
        for name in _FLOOR
    }
    inside = {name: own for name, own in inside.items() if own}
    whole = sum(total for (_, _, function), (_, _, _, total, _) in stats.items() if function == "_price")
    shares = ", ".join(f"{name} {own / whole:.0%}" for name, own in sorted(inside.items(), key=lambda pair: -pair[1]))
    print(
        f"floor: {sum(inside.values()) / whole:.0%} of the revaluation is inside QuantLib ({shares}), under a profile"
    )


def _build(rows: int) -> None:
    """One build of `rows` rows in one process; prints its seconds and the peak memory of both processes in MiB."""
    chinese = rows // 5
    plan = splits.SplitPlan(en=rows - chinese, zh=chinese, first=date(2009, 7, 1), last=date(2018, 6, 1), parquet=True)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        splits.build(Path(folder), splits.Config(version="bench", seed=1, splits={"train": plan}), workers=1)
        seconds = time.perf_counter() - begun
        size = (Path(folder) / "train.parquet").stat().st_size
        assert manifest.load(Path(folder)).summary["train.parquet"]["rows"] == rows
    peaks = [resource.getrusage(who).ru_maxrss / 2**10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(rows, seconds, size, *peaks)


def _memory(counts: list[int]) -> None:
    """Peak memory of whole builds, each in a fresh process, and what they say of a million rows."""
    measured = []
    for rows in counts:
        command = [sys.executable, "-m", "riskscribe.data.bench", "--build", str(rows)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        _, seconds, size, writer, worker = map(float, told.stdout.split())
        measured.append((rows, writer, worker))
        print(
            f"{rows:,} rows: {seconds:.0f} s, {rows / seconds:.0f} rows/s, {size / 2**20:.1f} MiB of Parquet, "
            f"peak {writer:.0f} MiB in the writer and {worker:.0f} MiB in the worker"
        )
    (first, low, _), (last, high, _) = measured[0], measured[-1]
    if last > first:
        slope = (high - low) * 2**20 / (last - first)
        print(
            f"the writer grows by {slope:.0f} bytes a row: {(high + slope * (1e6 - last) / 2**20):.0f} MiB at 1M rows"
        )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, help="also build this many rows")
    parser.add_argument("--build", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        _build(arguments.build)
        return
    _speed()
    with ProcessPoolExecutor(1) as pool:
        pool.submit(_profile).result()
    _memory([ROWS, *([arguments.rows] if arguments.rows else [])])


if __name__ == "__main__":
    main()
