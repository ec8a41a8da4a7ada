"""Yesterday's case beside today's: earlier values where today's case has none, and only from the same book."""

from collections import Counter
from collections.abc import Hashable

from riskscribe.case import Case, Component, Evidence, Limit, PnL, Position, Stress, ValueAtRisk
from riskscribe.errors import InputError

# `previous` is the value of the business day before; long holidays (Chinese New Year) close ten days at most
LONGEST_BREAK = 10
# the field of today's value in every kind of line that carries an earlier one
_TODAY = {Limit: "value", ValueAtRisk: "value", Stress: "pnl", Position: "mtm", PnL: "value"}
_TODAY |= {Component: "contribution"}


def with_previous(case: Case, yesterday: Case) -> Case:
    """The case with `previous` filled in from yesterday's case where it says nothing.

    Lines are joined by what they measure (measure and scope of a limit, scenario of a stress line, ...), because ids
    may be new every day; a thing that stands twice in a case is not joined.

    Raises InputError where the two are not one book on two days: another desk or base currency, no earlier date or one
    too long ago, an id that means two things, no limit or VaR line in common, or an earlier value that today's case
    itself states otherwise.
    """
    about = f"case {case.case_id} and --previous {yesterday.case_id}"
    for field in ("desk", "base_currency"):
        today, before = getattr(case, field), getattr(yesterday, field)
        if today != before:
            raise InputError(f"{about}: {field} is {today!r} and {before!r}; give yesterday's case of the same book")
    days = (case.as_of - yesterday.as_of).days
    if not 0 < days <= LONGEST_BREAK:
        where = f"{days} days before" if days > 0 else "not before"
        raise InputError(
            f"{about}: {yesterday.as_of} is {where} {case.as_of}; give the case of the business day before"
        )
    now, before = _by_key(case), _by_key(yesterday)
    ids = {one.id: key for key, one in before.items()}
    moved = [(key, one) for key, one in now.items() if ids.get(one.id, key) != key]
    # where ids are new every day, two alike are chance
    if moved and sum(ids.get(one.id) == key for key, one in now.items()) > len(moved):
        key, one = moved[0]
        today, was = (" ".join(map(str, words[1:])) for words in (key, ids[one.id]))
        raise InputError(f"{about}: {one.id} is {today} today and was {was}; an id stays with what it measures")
    if not any(key in before and isinstance(one, Limit | ValueAtRisk) for key, one in now.items()):
        raise InputError(f"{about}: no limit and no VaR line is in both; are they of the same book?")
    earlier = {one: _value(line) for one, line in counterparts(case, yesterday).items()}
    evidence = []
    for one in case.evidence:
        found = earlier.get(one.id)
        unpriced = isinstance(one, Position) and one.mtm is None and one.currency not in {case.base_currency, *case.fx}
        if found is None or unpriced:
            pass
        elif one.previous is None:
            one = one.model_copy(update={"previous": found})
        elif abs(one.previous - found) > 0.01 + 1e-6 * abs(found):
            raise InputError(
                f"{about}: {one.id} was {one.previous:.2f} by today's case and {found:.2f} by yesterday's; "
                "give the case of the business day before, or correct one of them"
            )
        evidence.append(one)
    return Case.model_validate(case.model_dump() | {"evidence": evidence})


def counterparts(case: Case, yesterday: Case) -> dict[str, Evidence]:
    """Id of a line today -> the line of yesterday's case that measures the same."""
    before = _by_key(yesterday)
    return {one.id: before[key] for key, one in _by_key(case).items() if key in before}


def _value(one: Evidence) -> float | None:
    return getattr(one, _TODAY[type(one)])


def _by_key(case: Case) -> dict[tuple[Hashable, ...], Evidence]:
    """The lines that carry an earlier value, by what they measure; without those that stand twice."""
    lines = {one.id: one for one in case.evidence}
    keyed = [(_key(one, lines), one) for one in case.evidence if type(one) in _TODAY]
    counts = Counter(key for key, _ in keyed)
    return {key: one for key, one in keyed if counts[key] == 1}


def _key(one: Evidence, lines: dict[str, Evidence]) -> tuple[Hashable, ...]:
    match one:
        case Limit():
            return (one.kind, one.measure, one.scope, one.side, one.unit, one.currency)
        case ValueAtRisk():
            return (one.kind, one.measure, one.confidence_pct, one.horizon_days, one.horizon_method, one.window)
        case Stress():
            return (one.kind, one.scenario, one.currency)
        case Position():
            return (one.kind, one.instrument, one.counterparty, one.currency)
        case PnL():
            return (one.kind, one.measure, one.currency)
    return (one.kind, one.factor, one.currency, *_key(lines[one.of], lines))
