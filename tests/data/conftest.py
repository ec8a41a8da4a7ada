"""Books generated once for every test of this folder."""

import random
from dataclasses import replace
from typing import NamedTuple

import pytest

from riskscribe.case import Case
from riskscribe.data import books
from riskscribe.policy import annotate
from riskscribe.report import LEVELS


class Generated(NamedTuple):
    """A book's plan, its cases, and the same cases before faults and notes were put into them."""

    plan: books.Plan
    cases: list[books.BookCase]
    clean: list[Case]


def _plan(i: int) -> books.Plan:
    level = LEVELS[i % 4]
    features = books.features(level)
    return books.Plan(
        seed=(3, i),
        level=level,
        language="zh" if i % 5 == 0 else "en",
        desk=books.DESKS[i % 6] if i < 34 else ("credit", "equity")[i % 2],
        size=("compact", "usual", "long")[i // 6 % 3],
        first_day=random.Random(i).randrange(2700, 4300),
        days=10 if i == 8 else 5,
        feature=features[i // 4 % len(features)] if i % 8 else "",
        held_out=i >= 34,
    )


@pytest.fixture(scope="session")
def generated() -> list[Generated]:
    """44 books over all desks, sizes, levels, languages and features; six of them open what only tests hold.

    The last four look for a reduction that pushes another limit over soft, which one long FX book in two has.
    """
    plans = [_plan(i) for i in range(40)]
    wide = {"level": "high", "desk": "FX", "size": "long", "feature": "side effect", "held_out": False}
    plans += [replace(_plan(i), **wide) for i in (103, 109, 115, 121)]
    found = []
    disturbed = books._disturbed
    clean: list[Case] = []

    def kept(rng, book, case):
        clean.append(annotate(case))
        return disturbed(rng, book, case)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(books, "_disturbed", kept)
        for plan in plans:
            clean = []
            found.append(Generated(plan, books.book_cases(plan), clean))
    return found
