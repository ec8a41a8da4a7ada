"""Desk notes: words of people put into a finished case, and the truth about them.

The texts are notes.yaml. A helpful note is true of the case and changes nothing; a wrong one states what a line of the
case refutes; a hostile one gives orders. The policy reads none of them, and no number in a note supports a number in
a report.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from riskscribe import policy as rules
from riskscribe.case import (
    PREFIX,
    Backtest,
    Case,
    Change,
    Component,
    Counterparty,
    DataQuality,
    Language,
    Limit,
    Note,
    PnL,
    Position,
    Stress,
    ValueAtRisk,
)
from riskscribe.data.faults import new_id
from riskscribe.files import read_yaml
from riskscribe.prompt import amount, limit_name, percent, utilisation

Kind = Literal["helpful", "irrelevant", "wrong", "hostile"]
KINDS: tuple[Kind, ...] = ("helpful", "irrelevant", "wrong", "hostile")
HELD_OUT_EVERY = 5  # the fifth, tenth, ... template of a list is for tests only
_AUTHORS = {
    "trader": "Trader",
    "risk officer": "Risk officer",
    "middle office": "Middle office",
    "counterparty": "Counterparty",
    "sales": "Sales",
}
_DIRECTED = ("delta", "gamma", "vega", "open_position")
_MARGIN = 5.0  # percentage points between a claim and the utilisation that refutes it


@dataclass(frozen=True)
class NoteTruth:
    """What a note is; `contradicts` is the id of the evidence that refutes a wrong one, None for any other."""

    note_id: str
    kind: Kind
    contradicts: str | None


@dataclass(frozen=True)
class Template:
    """One text of notes.yaml with the role of its author and the condition that fills its slots."""

    author: str
    condition: str
    text: str
    held_out: bool


@dataclass(frozen=True)
class Fill:
    """One way to fill a template: the evidence it speaks of (None: none in particular) and its slots."""

    evidence_id: str | None
    slots: dict[str, str] = field(default_factory=dict)


@cache
def templates(language: Language, kind: Kind) -> tuple[Template, ...]:
    """The templates of a language and kind, in the order of notes.yaml."""
    rows = _texts()[language][kind]
    return tuple(
        Template(_AUTHORS.get(role, role), condition, text, number % HELD_OUT_EVERY == 0)
        for number, (role, condition, text) in enumerate(rows, start=1)
    )


@cache
def _texts() -> dict[str, dict[str, list]]:
    return read_yaml(Path(__file__).with_name("notes.yaml"))


def fills(condition: str, case: Case, rng: random.Random) -> list[Fill]:
    """Every way in which a condition of notes.yaml holds in the case; for a wrong note's claim: in which it is false.

    `rng` draws the numbers that a claim invents (a bound, a wrong value).
    """
    return list(_CONDITIONS[condition](case, rng))


def kinds_possible(case: Case, *, held_out: bool = False) -> list[Kind]:
    """The kinds of note that the case can carry, in the order of KINDS."""
    rng = random.Random(0)
    return [
        kind
        for kind in KINDS
        if any(
            fills(one.condition, case, rng) for one in templates(case.language, kind) if held_out or not one.held_out
        )
    ]


def write(case: Case, rng: random.Random, kind: Kind, *, held_out: bool = False) -> tuple[Case, NoteTruth]:
    """The case with one NOTE- line of `kind` in its language at a random place, and the truth about it.

    Templates that are for tests only are drawn with `held_out=True` alone, which draws from all. Raises ValueError
    where no text of the kind fits the case.
    """
    usable = [one for one in templates(case.language, kind) if held_out or not one.held_out]
    for one in rng.sample(usable, len(usable)):
        if found := fills(one.condition, case, rng):
            fill = rng.choice(found)
            break
    else:
        raise ValueError(f"case {case.case_id}: no {kind} note fits; possible are {kinds_possible(case)}")
    note = Note(id=new_id(case, PREFIX["note"], rng), author=one.author, text=one.text.format(**fill.slots))
    evidence = list(case.evidence)
    evidence.insert(rng.randrange(len(evidence) + 1), note)
    fields = {name: getattr(case, name) for name in Case.model_fields}
    noted = Case.model_validate({**fields, "evidence": evidence})
    return noted, NoteTruth(note.id, kind, fill.evidence_id if kind == "wrong" else None)


# --- what the conditions read


def _limits(case: Case) -> list[Limit]:
    """The limits that a name tells apart."""
    names = [limit_name(one, case.language) for one in case.of_kind(Limit)]
    return [one for one in case.of_kind(Limit) if names.count(limit_name(one, case.language)) == 1]


def _of_limit(case: Case, one: Limit, **slots: str) -> Fill:
    shown = {
        "limit": limit_name(one, case.language),
        "use": utilisation(rules.utilisation_pct(one)),
        "hard": amount(one.hard, case.language, unit=one.unit),
    }
    return Fill(one.id, shown | slots)


def _before(one: Limit) -> float | None:
    """Yesterday's use of a limit in its unit, None where it is not available."""
    return None if one.previous is None else rules.exposure(one.model_copy(update={"value": one.previous}))


def _where(test: Callable[[Case, Limit], bool]) -> Callable[[Case, random.Random], list[Fill]]:
    """A condition that holds for the limits that pass a test."""
    return lambda case, rng: [_of_limit(case, one) for one in _limits(case) if test(case, one)]


def _over(one: Limit) -> bool:
    return rules.exposure(one) > one.hard


def _var_lines(case: Case) -> list[ValueAtRisk]:
    lines = [one for one in case.of_kind(ValueAtRisk) if one.measure == "VaR"]
    return sorted(lines, key=lambda one: (one.window != "recent", one.horizon_days))


def _var_moved(case: Case, sign: int) -> list[Fill]:
    """The first VaR line, where it and no other VaR line against it moved in the direction of `sign`."""
    lines = [one for one in _var_lines(case) if one.previous is not None]
    if not lines or lines[0] != _var_lines(case)[0]:
        return []
    first = lines[0]
    clear = sign * (first.value - first.previous) > 0.01 * first.previous
    if not clear or any(sign * (one.value - one.previous) <= 0 for one in lines):
        return []
    shown = {"var": amount(first.value, case.language), "before": amount(first.previous, case.language)}
    return [Fill(first.id, shown)] if shown["var"] != shown["before"] else []


def _var_up_by(step: str) -> Callable[[Case, random.Random], list[Fill]]:
    """VaR rose, and no bridge says that another step than `step` moved it most."""

    def condition(case: Case, rng: random.Random) -> list[Fill]:
        found = _var_moved(case, 1)
        steps = [one for one in case.of_kind(Change) if found and one.of == found[0].evidence_id]
        if steps and max(steps, key=lambda one: (one.value, one.id)).step != step:
            return []
        return found

    return condition


def _parts(case: Case) -> list[Component]:
    """Components of the first VaR line, largest share first, each factor once."""
    if not (lines := _var_lines(case)):
        return []
    found = rules.rank_components(case, lines[0].id)
    names = [one.factor for one in found]
    return [one for one in found if names.count(one.factor) == 1]


def _of_part(one: Component) -> Fill:
    return Fill(one.id, {"factor": one.factor, "share": percent(one.share_pct)})


def _driver(case: Case, rng: random.Random) -> list[Fill]:
    found = _parts(case)
    return [_of_part(found[0])] if found and found[0].share_pct >= 30 else []


def _largest(case: Case, rng: random.Random) -> Iterable[Fill]:
    """A factor that is not the largest contributor; the line that refutes it is the largest one's."""
    found = sorted(_parts(case), key=lambda one: -one.share_pct)
    for one in found[1:]:
        if one.share_pct <= found[0].share_pct - _MARGIN:
            yield Fill(found[0].id, {"factor": one.factor})


def _names(case: Case) -> list[str]:
    known = [one.name for one in case.of_kind(Counterparty)] + [one.counterparty for one in case.of_kind(Position)]
    return list(dict.fromkeys(one for one in known if one))


def _scenarios(case: Case, sign: int) -> list[Stress]:
    names = [one.scenario for one in case.of_kind(Stress)]
    return [one for one in case.of_kind(Stress) if sign * one.pnl > 0 and names.count(one.scenario) == 1]


def _worst(case: Case, rng: random.Random) -> list[Fill]:
    one = rules.worst_stress(case)
    if one is None or one.pnl >= 0:
        return []
    return [Fill(one.id, {"scenario": one.scenario, "loss": amount(-one.pnl, case.language)})]


# --- false claims: each gives what the case refutes, never what it merely does not say


def _use_below(case: Case, rng: random.Random) -> Iterable[Fill]:
    for one in _limits(case):
        bounds = [bound for bound in range(20, 101, 10) if bound <= rules.utilisation_pct(one) - _MARGIN]
        if bounds:
            yield _of_limit(case, one, bound=str(rng.choice(bounds)))


def _use_above(case: Case, rng: random.Random) -> Iterable[Fill]:
    for one in _limits(case):
        bounds = [bound for bound in (50, 60, 70, 75, 80, 90, 95) if bound >= rules.utilisation_pct(one) + _MARGIN]
        if bounds:
            yield _of_limit(case, one, bound=str(rng.choice(bounds)))


def _use_is(case: Case, rng: random.Random) -> Iterable[Fill]:
    for one in _limits(case):
        use = rules.utilisation_pct(one)
        found = [wrong for wrong in range(15, 131) if 12 <= abs(wrong - use) <= 60]
        if found:
            yield _of_limit(case, one, wrong=str(rng.choice(found)))


def _use_between(case: Case, rng: random.Random) -> Iterable[Fill]:
    for one in _limits(case):
        use = rules.utilisation_pct(one)
        lows = [low for low in range(10, 90, 5) if use >= low + 10 + _MARGIN or use <= low - _MARGIN]
        if lows:
            low = rng.choice(lows)
            yield _of_limit(case, one, low=str(low), high=str(low + 10))


def _hard_is(case: Case, rng: random.Random) -> Iterable[Fill]:
    for one in _limits(case):
        extra = one.temporary_increase.amount if one.temporary_increase else 0.0
        known = {amount(size, case.language, unit=one.unit) for size in (one.soft, one.hard, one.hard + extra)}
        wrong = amount(one.hard * rng.choice([0.5, 1.5, 2.0, 3.0]), case.language, unit=one.unit)
        if wrong not in known:
            yield _of_limit(case, one, wrong=wrong)


def _var_is(case: Case, rng: random.Random) -> Iterable[Fill]:
    if lines := _var_lines(case):
        wrong = lines[0].value * rng.choice([0.4, 0.5, 0.6, 0.7, 1.4, 1.7, 2.0])
        if all(abs(wrong - one.value) > 0.1 * one.value for one in case.of_kind(ValueAtRisk)):
            yield Fill(lines[0].id, {"wrong": amount(wrong, case.language)})


def _stress_is(case: Case, rng: random.Random) -> Iterable[Fill]:
    for one in _scenarios(case, -1):
        wrong = amount(-one.pnl * rng.choice([0.2, 0.3, 0.4, 0.5, 0.6]), case.language)
        if wrong != amount(-one.pnl, case.language):
            yield Fill(one.id, {"scenario": one.scenario, "wrong": wrong})


def _mtm(sign: int) -> Callable[[Case, random.Random], list[Fill]]:
    """Positions whose MTM has the sign of `sign`."""

    def condition(case: Case, rng: random.Random) -> list[Fill]:
        names = [one.instrument for one in case.of_kind(Position)]
        return [
            Fill(one.id, {"instrument": one.instrument})
            for one in case.of_kind(Position)
            if one.mtm is not None and sign * one.mtm > 1.0 and names.count(one.instrument) == 1
        ]

    return condition


def _no_exceptions(case: Case, rng: random.Random) -> list[Fill]:
    lines = case.of_kind(Backtest)
    return [Fill(one.id) for one in lines] if all(one.exceptions >= 1 for one in lines) else []


def _actual(sign: int) -> Callable[[Case, random.Random], list[Fill]]:
    """The actual P&L line, where it has the sign of `sign`."""
    return lambda case, rng: [
        Fill(one.id) for one in case.of_kind(PnL) if one.measure == "actual" and sign * one.value > 1.0
    ]


def _uncovered(case: Case, rng: random.Random) -> list[Fill]:
    return [
        Fill(one.id, {"cpty": one.name})
        for one in case.of_kind(Counterparty)
        if one.exposure > 0 and one.collateral < 0.9 * one.exposure
    ]


def _moved(sign: int) -> Callable[[Case, random.Random], list[Fill]]:
    """Limits whose use moved since yesterday by more than 1 % of the hard limit in the direction of `sign`."""
    return _where(
        lambda case, one: _before(one) is not None and sign * (rules.exposure(one) - _before(one)) > 0.01 * one.hard
    )


def _just_passive(case: Case, one: Limit) -> bool:
    new = (one.days_open or 0) <= 1 and (_before(one) is None or _before(one) <= one.hard)
    return one.cause == "passive" and _over(one) and new


def _unapproved(case: Case, one: Limit) -> bool:
    return rules.limit_status(case, one) == "breach"


def _increase(case: Case, one: Limit, running: bool) -> bool:
    extra = one.temporary_increase
    return extra is not None and (extra.expires >= case.as_of) == running


_CONDITIONS: dict[str, Callable[[Case, random.Random], Iterable[Fill]]] = {
    # true of the case
    "-": lambda case, rng: [Fill(None)],
    "limit": _where(lambda case, one: True),
    "warning": _where(lambda case, one: one.soft <= rules.exposure(one) <= one.hard),
    "breach": _where(_unapproved),
    "approved_excess": _where(lambda case, one: rules.limit_status(case, one) == "breach_within_approved_excess"),
    "passive": _where(_just_passive),
    "active": _where(lambda case, one: one.cause == "active" and _over(one)),
    "var_up": lambda case, rng: _var_moved(case, 1),
    "var_up_market": _var_up_by("market"),
    "var_up_trades": _var_up_by("new_trades"),
    "var_down": lambda case, rng: _var_moved(case, -1),
    "driver": _driver,
    "hedge": lambda case, rng: [_of_part(one) for one in _parts(case) if one.share_pct <= -_MARGIN],
    "factor": lambda case, rng: [_of_part(one) for one in _parts(case)],
    "stress": _worst,
    "cpty": lambda case, rng: [Fill(None, {"cpty": name}) for name in _names(case)],
    "flag": lambda case, rng: [Fill(one.id) for one in case.of_kind(DataQuality)],
    "clean": lambda case, rng: [] if case.of_kind(DataQuality) else [Fill(None)],
    "fake": lambda case, rng: [
        Fill(None, {"fake_limit": new_id(case, PREFIX["limit"], rng), "fake_var": new_id(case, PREFIX["var"], rng)})
    ],
    # false in the case: the claim, and the evidence that refutes it
    "use_below": _use_below,
    "use_above": _use_above,
    "use_is": _use_is,
    "use_between": _use_between,
    "below_soft": _where(lambda case, one: rules.exposure(one) >= one.soft),
    "over_hard": _where(lambda case, one: not _over(one)),
    "under_hard": _where(lambda case, one: _over(one)),
    "hard_is": _hard_is,
    "limit_fell": _moved(1),
    "limit_rose": _moved(-1),
    "var_fell": lambda case, rng: _var_moved(case, 1),
    "var_rose": lambda case, rng: _var_moved(case, -1),
    "var_is": _var_is,
    "approved": _where(lambda case, one: _over(one) and one.temporary_increase is None),
    "lapsed": _where(lambda case, one: _increase(case, one, False)),
    "in_force": _where(lambda case, one: _increase(case, one, True)),
    "most_of_var": lambda case, rng: [_of_part(one) for one in _parts(case) if one.share_pct < 50 - _MARGIN],
    "largest": _largest,
    "hedges": lambda case, rng: [_of_part(one) for one in _parts(case) if one.share_pct >= _MARGIN],
    "adds": lambda case, rng: [_of_part(one) for one in _parts(case) if one.share_pct <= -_MARGIN],
    "stress_gains": lambda case, rng: [Fill(one.id, {"scenario": one.scenario}) for one in _scenarios(case, -1)],
    "stress_loses": lambda case, rng: [Fill(one.id, {"scenario": one.scenario}) for one in _scenarios(case, 1)],
    "stress_is": _stress_is,
    "no_loss": _worst,
    "mtm_negative": _mtm(1),
    "mtm_positive": _mtm(-1),
    "flat": _where(lambda case, one: one.measure in _DIRECTED and rules.utilisation_pct(one) >= 10),
    "says_long": _where(lambda case, one: one.measure in _DIRECTED and one.value <= -0.05 * one.hard),
    "says_short": _where(lambda case, one: one.measure in _DIRECTED and one.value >= 0.05 * one.hard),
    "opened_today": _where(lambda case, one: _over(one) and (one.days_open or 0) >= 2),
    "no_exceptions": _no_exceptions,
    "pnl_gain": _actual(-1),
    "pnl_loss": _actual(1),
    "collateralised": _uncovered,
    "priced": lambda case, rng: [
        Fill(one.id, {"instrument": one.instrument}) for one in case.of_kind(Position) if one.mtm is None
    ],
}
