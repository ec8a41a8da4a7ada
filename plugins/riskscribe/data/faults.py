"""What real data does to a finished case: each fault changes the evidence and adds the DQ- line that says so.

Conventions: docs/risk_policy.md (clauses M3, M4, H3) and the data-quality issues of `riskscribe.case`. The wordings
of a flag's detail are faults.yaml.
"""

import random
import re
import string
from collections.abc import Callable
from functools import cache
from math import sqrt
from pathlib import Path

from riskscribe import policy as rules
from riskscribe.case import (
    PREFIX,
    Case,
    Component,
    DataQuality,
    Evidence,
    Issue,
    Limit,
    Position,
    Stress,
    ValueAtRisk,
)
from riskscribe.files import read_yaml
from riskscribe.prompt import MEASURES, amount, limit_name

KINDS: tuple[Issue, ...] = (
    "stale_quote",
    "missing_quote",
    "short_history",
    "failed_pricing",
    "missing_counterparty",
    "missing_owner",
    "missing_fx_rate",
    "contradictory_totals",
    "unknown_bump",
    "untested_loss",
)
MATERIAL_PCT = 5.0  # of gross |MTM|
MINIMUM_WINDOWS = 500
_GREEKS = {"delta", "gamma", "vega", "pv01", "bucket_pv01", "cs01", "jump_to_default", "open_position"}
_NAMED = {*_GREEKS, "concentration"}
_LETTERS = "".join(sorted(set(string.ascii_uppercase) - set("IO")))
_CODE = "".join(sorted(set(string.ascii_uppercase + string.digits) - set("IO01")))
_CURRENCIES = ("EUR", "GBP", "JPY", "CHF", "CNY", "CNH", "HKD", "AUD", "SGD", "KRW")
_NEGATIVE_PRICE = re.compile(r"[-−－]\s*37\.63|negative (?:price|oil)|负价|负油价", re.IGNORECASE)
_REVERSE = re.compile(r"reverse|反向", re.IGNORECASE)
_OPTION = re.compile(r"call|put|option|barrier|看涨|看跌|期权|障碍", re.IGNORECASE)
_UNKNOWN = {"en": "unknown bump", "zh": "扰动不明"}


@cache
def wordings() -> dict[str, dict[str, list[str]]]:
    """Language -> kind -> the templates of a flag's detail; `failed_pricing_stress` is the negative-price case."""
    return read_yaml(Path(__file__).with_name("faults.yaml"))


def new_id(case: Case, prefix: str, rng: random.Random) -> str:
    """A random evidence id that the case does not use yet."""
    used = {one.id for one in case.evidence}
    while True:
        made = f"{prefix}-{rng.choice(_LETTERS)}{rng.choice(_CODE)}"
        if made not in used:
            return made


def with_evidence(case: Case, evidence: list[Evidence], **fields) -> Case:
    """The case with other evidence (and other fields), validated as a whole; limits are annotated anew."""
    cleared = [
        one.model_copy(update={"status": None, "utilisation_pct": None}) if isinstance(one, Limit) else one
        for one in evidence
    ]
    made = {name: getattr(case, name) for name in Case.model_fields}
    return rules.annotate(Case.model_validate({**made, **fields, "evidence": cleared}))


def factors(case: Case, position: Position) -> list[str]:
    """The risk factors a position names: by its sensitivities, else by a factor's name in its instrument."""
    own = [one.factor for one in position.sensitivities if one.factor]
    known = [one.factor for one in case.of_kind(Component)]
    known += [one.scope for one in case.of_kind(Limit) if one.measure in _NAMED]
    return list(dict.fromkeys([*own, *(one for one in known if _named(one, position.instrument))]))


def _named(name: str, text: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9.]){re.escape(name)}(?![A-Za-z0-9.])", text) is not None


def fed(case: Case, position: Position) -> list[Limit]:
    """The limits whose value contains a position: its Greeks, its names' concentration, its counterparty's exposure.

    A Greek limit of a factor takes the sensitivities to that factor, any other takes all of its measure (as
    `riskscribe.policy` adds them up). Where no position states the measure, the name in the instrument decides.
    VaR and stress limits are fed by lines, not by positions.
    """
    stated = [(one.measure, one.factor) for other in case.of_kind(Position) for one in other.sensitivities]
    own = {(one.measure, one.factor) for one in position.sensitivities}
    names = factors(case, position)
    every_name = {name for other in case.of_kind(Position) for name in factors(case, other)}

    def feeds(limit: Limit) -> bool:
        if limit.measure == "exposure":
            return limit.scope in (position.counterparty, position.netting_set)
        if limit.measure not in _NAMED:
            return False
        if (limit.measure, limit.scope) in stated:
            return (limit.measure, limit.scope) in own
        if any(measure == limit.measure for measure, _ in stated):
            return any(measure == limit.measure for measure, _ in own)
        return limit.scope in names or (limit.measure in _GREEKS and limit.scope not in every_name)

    return [one for one in case.of_kind(Limit) if feeds(one)]


def share_pct(case: Case, positions: list[Position]) -> float:
    """Share of gross |MTM| in the base currency, in percent; 100 where a size is unknown.

    An unpriced position counts with its previous MTM.
    """
    sizes = {}
    for one in case.of_kind(Position):
        worth = one.mtm if one.mtm is not None else one.previous
        known = worth is not None and (one.currency == case.base_currency or one.currency in case.fx)
        sizes[one.id] = abs(case.in_base(worth, one.currency)) if known else None
    if any(sizes[one.id] is None for one in positions):
        return 100.0
    total = sum(size for size in sizes.values() if size is not None)
    return 100.0 * sum(sizes[one.id] for one in positions) / total if total else 100.0


def material(case: Case, affected: list[Evidence], left_out: list[Position] | None = None) -> bool:
    """The size rule: is a flag on `affected` material?

    Yes when its positions (and those `left_out` of a line) carry 5 % of gross |MTM| or more, when it touches a limit
    at or above its soft threshold, or a VaR or ES line; everything else is minor. A limit without an owner and a trade
    without a counterparty are always minor: their numbers are not in doubt.
    """
    positions = [one for one in affected if isinstance(one, Position)] + (left_out or [])
    return (
        any(isinstance(one, ValueAtRisk) for one in affected)
        or any(isinstance(one, Limit) and rules.exposure(one) >= one.soft for one in affected)
        or (bool(positions) and share_pct(case, positions) >= MATERIAL_PCT)
    )


def _flagged(case: Case, kind: str) -> set[str]:
    return {one for flag in case.of_kind(DataQuality) if flag.issue == kind for one in flag.affects}


def _priced(case: Case) -> list[Position]:
    return [one for one in case.of_kind(Position) if one.mtm is not None and factors(case, one)]


def _stale(case: Case) -> list[str]:
    done = _flagged(case, "stale_quote")
    names = [name for one in _priced(case) if one.id not in done for name in factors(case, one)]
    return list(dict.fromkeys(names))


def _short(case: Case) -> list[str]:
    """The windows (recent, stressed) whose VaR lines are long enough to be cut."""
    done = _flagged(case, "short_history")
    names = [name for one in case.of_kind(Position) for name in factors(case, one)]
    lines = [one for one in case.of_kind(ValueAtRisk) if one.id not in done]
    return list(dict.fromkeys(one.window for one in lines if (one.windows or MINIMUM_WINDOWS) >= MINIMUM_WINDOWS)) * (
        1 if names else 0
    )


def _negative(case: Case) -> list[tuple[Position, Stress]]:
    """Commodity options and the scenarios with a negative price in which a lognormal model cannot value them."""
    done = _flagged(case, "failed_pricing")
    lines = [
        one
        for one in case.of_kind(Stress)
        if _NEGATIVE_PRICE.search(f"{one.scenario} {one.shocks}") and not _REVERSE.search(one.scenario)
    ]
    options = [one for one in _priced(case) if _OPTION.search(one.instrument) and "WTI" in factors(case, one)]
    return [(one, line) for one in options for line in lines if not {one.id, line.id} & done]


def _foreign(case: Case) -> list[str]:
    """Foreign currencies that only positions use, so that their rate can be missing."""
    for_position = {one.currency for one in case.of_kind(Position) if one.mtm is not None}
    other = {getattr(one, "currency", None) for one in case.evidence if not isinstance(one, Position)}
    for one in case.of_kind(Position):
        other |= {greek.currency for greek in one.sensitivities if greek.currency != one.currency}
    return sorted((for_position & set(case.fx)) - other - {case.base_currency})


def _contradictable(case: Case) -> list[ValueAtRisk | Stress]:
    done = _flagged(case, "contradictory_totals")
    with_parts = {one.of for one in case.of_kind(Component) if one.contribution}
    return [
        one for one in case.evidence if isinstance(one, ValueAtRisk | Stress) and one.id in with_parts - done
    ]  # fmt: skip


def _bumped(case: Case) -> list[tuple[Position, str]]:
    known = _UNKNOWN.values()
    return list(
        dict.fromkeys(
            (one.id, greek.measure)
            for one in case.of_kind(Position)
            for greek in one.sensitivities
            if greek.bump not in known and greek.measure in _GREEKS
        )
    )


_CAN: dict[Issue, Callable[[Case], object]] = {
    "stale_quote": _stale,
    "missing_quote": _priced,
    "short_history": _short,
    "failed_pricing": _priced,
    "missing_counterparty": lambda case: [one for one in case.of_kind(Position) if one.counterparty],
    "missing_owner": lambda case: [one for one in case.of_kind(Limit) if one.owner],
    "missing_fx_rate": lambda case: [one for one in case.of_kind(Position) if one.mtm is not None],
    "contradictory_totals": _contradictable,
    "unknown_bump": _bumped,
    "untested_loss": lambda case: (
        case.of_kind(Stress)
        and not _flagged(case, "untested_loss")
        and all(one.pnl >= 0 for one in case.of_kind(Stress))
    ),
}


def applicable(case: Case) -> list[str]:
    """The kinds of fault that the case can still have, in the order of KINDS."""
    return [kind for kind in KINDS if _CAN[kind](case)]


def apply(kind: str, case: Case, rng: random.Random) -> Case:
    """A new valid case with one fault of `kind` in its evidence and a DQ- line that says it.

    Statuses of limits are annotated anew: a material flag on a limit at or above soft makes it unconfirmed. Whether
    the flag is material follows the size rule of `material`. Faults compose. Raises ValueError where the case cannot
    have the fault.
    """
    if kind not in KINDS or not _CAN[kind](case):
        raise ValueError(f"case {case.case_id} cannot have the fault {kind!r}; it can have {applicable(case)}")
    return _APPLY[kind](case, rng)


def _finish(
    case: Case,
    rng: random.Random,
    kind: str,
    affected: list[Evidence],
    changed: dict[str, Evidence],
    slots: dict[str, object],
    *,
    wording: str | None = None,
    weight: bool | None = None,
    left_out: list[Position] | None = None,
    **fields,
) -> Case:
    """The case with `changed` evidence (by id) and the flag on `affected` at a random place among it."""
    templates = wordings()[case.language][wording or kind]
    flag = DataQuality(
        id=new_id(case, PREFIX["data_quality"], rng),
        issue=kind,
        affects=list(dict.fromkeys(one.id for one in affected)),
        material=material(case, affected, left_out) if weight is None else weight,
        detail=rng.choice(templates).format(**slots),
    )
    evidence = [changed.get(one.id, one) for one in case.evidence]
    evidence.insert(rng.randrange(len(evidence) + 1), flag)
    return with_evidence(case, evidence, **fields)


def _limits_of(case: Case, positions: list[Position]) -> list[Limit]:
    found = {one.id for position in positions for one in fed(case, position)}
    return [one for one in case.of_kind(Limit) if one.id in found]


def _stale_quote(case: Case, rng: random.Random) -> Case:
    factor = rng.choice(_stale(case))
    positions = [one for one in _priced(case) if factor in factors(case, one)]
    # a limit on another factor of the same position (its volatility) is not fed by this quote
    limits = [
        one
        for one in _limits_of(case, positions)
        if one.scope == factor or not any(one.scope in factors(case, other) for other in positions)
    ]
    slots = {"factor": factor, "age": rng.randint(2, 9)}
    return _finish(case, rng, "stale_quote", [*positions, *limits], {}, slots)


def _unpriced(position: Position, rng: random.Random) -> Position:
    """The position without a value; its stand-alone VaR stays, so that coverage still knows its weight."""
    previous = position.previous
    if previous is None:
        previous = round(position.mtm * rng.uniform(0.93, 1.07), 2)
    return position.model_copy(update={"mtm": None, "previous": previous, "sensitivities": []})


def _no_price(kind: str, case: Case, rng: random.Random) -> Case:
    position = rng.choice(_priced(case))
    affected = [position, *fed(case, position)]
    slots = {"factor": factors(case, position)[0]}
    return _finish(case, rng, kind, affected, {position.id: _unpriced(position, rng)}, slots)


def _missing_quote(case: Case, rng: random.Random) -> Case:
    return _no_price("missing_quote", case, rng)


def _failed_pricing(case: Case, rng: random.Random) -> Case:
    if not (pairs := _negative(case)):
        return _no_price("failed_pricing", case, rng)
    position, line = rng.choice(pairs)
    limits = [one for one in case.of_kind(Limit) if one.measure == "stress" and abs(one.value - line.pnl) < 0.01]
    slots = {"factor": "WTI", "scenario": line.scenario}
    more = {"wording": "failed_pricing_stress", "left_out": [position]}
    return _finish(case, rng, "failed_pricing", [line, *limits], {}, slots, **more)


def _short_history(case: Case, rng: random.Random) -> Case:
    window = rng.choice(_short(case))
    lines = [one for one in case.of_kind(ValueAtRisk) if one.window == window]
    factor = rng.choice(list(dict.fromkeys(name for one in case.of_kind(Position) for name in factors(case, one))))
    windows = rng.randint(130, 480)
    changed = {}
    for one in lines:
        update = {"windows": windows}
        if one.tail_count is not None:
            update["tail_count"] = max(1, int(windows * (100 - one.confidence_pct) / 100))
        if one.standard_error is not None:
            longer = (one.windows or MINIMUM_WINDOWS) / windows
            update["standard_error"] = round(one.standard_error * sqrt(longer), 2)
        changed[one.id] = one.model_copy(update=update)
    slots = {"factor": factor, "windows": windows, "needed": MINIMUM_WINDOWS}
    return _finish(case, rng, "short_history", lines, changed, slots)


def _missing_counterparty(case: Case, rng: random.Random) -> Case:
    known = [one for one in case.of_kind(Position) if one.counterparty]
    # small tickets are booked in a hurry; it also keeps a field of static data from deciding the level alone
    known.sort(key=lambda one: (share_pct(case, [one]), one.id))
    position = rng.choice(known[: (len(known) + 1) // 2])
    changed = {position.id: position.model_copy(update={"counterparty": None, "netting_set": None})}
    return _finish(case, rng, "missing_counterparty", [position], changed, {}, weight=False)


def _missing_owner(case: Case, rng: random.Random) -> Case:
    limit = rng.choice([one for one in case.of_kind(Limit) if one.owner])
    changed = {limit.id: limit.model_copy(update={"owner": None})}
    slots = {"limit": limit_name(limit, case.language)}
    return _finish(case, rng, "missing_owner", [limit], changed, slots, weight=False)


def _missing_fx_rate(case: Case, rng: random.Random) -> Case:
    if foreign := _foreign(case):
        currency = rng.choice(foreign)
        positions = [one for one in case.of_kind(Position) if one.currency == currency]
    else:
        position = rng.choice([one for one in case.of_kind(Position) if one.mtm is not None])
        free = [one for one in _CURRENCIES if one != case.base_currency and one not in case.fx]
        currency = rng.choice([one for one in free if one in position.instrument] or free)
        positions = [position]
    lost = {"mtm": None, "previous": None, "sensitivities": [], "currency": currency}
    changed = {one.id: one.model_copy(update=lost) for one in positions}
    rates = {name: rate for name, rate in case.fx.items() if name != currency}
    slots = {"currency": currency, "base": case.base_currency}
    affected = [*positions, *_limits_of(case, positions)]
    # without a rate the size is not known in the base currency, so it cannot be called small
    return _finish(case, rng, "missing_fx_rate", affected, changed, slots, weight=True, fx=rates)


def line_name(line: ValueAtRisk | Stress) -> str:
    """A VaR, ES or stress line in words."""
    if isinstance(line, Stress):
        return line.scenario
    stressed = " stressed" if line.window == "stressed" else ""
    return f"{line.measure} {line.confidence_pct:g}% {line.horizon_days}d{stressed}"


def _contradictory_totals(case: Case, rng: random.Random) -> Case:
    line = rng.choice(_contradictable(case))
    parts = [one for one in case.of_kind(Component) if one.of == line.id]
    total = line.pnl if isinstance(line, Stress) else line.value
    worth = sum(one.contribution for one in parts)
    # components of a stress line explain its loss, a positive number, or its signed P&L
    sign = -1.0 if total < 0 < worth or worth < 0 < total else 1.0
    target = max((one for one in parts), key=lambda one: (abs(one.contribution), one.id))
    gap = rng.uniform(0.04, 0.12) * max(abs(total), 1.0) * rng.choice([1, -1])
    grown = round(target.contribution + gap, 2)
    if grown * target.contribution <= 0:
        grown = round(target.contribution - gap, 2)
    share = round(target.share_pct * grown / target.contribution, 4)
    changed = {target.id: target.model_copy(update={"contribution": grown, "share_pct": share})}
    added = sign * (worth - target.contribution + grown)
    slots = {
        "line": line_name(line),
        "total": amount(total, case.language, added),
        "sum": amount(added, case.language, total),
    }
    return _finish(case, rng, "contradictory_totals", [line], changed, slots)


def _unknown_bump(case: Case, rng: random.Random) -> Case:
    where, measure = rng.choice(_bumped(case))
    position = next(one for one in case.of_kind(Position) if one.id == where)
    greeks = [
        one.model_copy(update={"bump": _UNKNOWN[case.language]}) if one.measure == measure else one
        for one in position.sensitivities
    ]
    own = [one.factor for one in position.sensitivities if one.measure == measure and one.factor]
    slots = {
        "factor": [*own, *factors(case, position), position.instrument][0],
        "measure": MEASURES[case.language][measure],
    }
    limits = [one for one in fed(case, position) if one.measure == measure]
    changed = {position.id: position.model_copy(update={"sensitivities": greeks})}
    doubted = material(case, limits)  # the position has its price; its sensitivity is what cannot be compared
    return _finish(case, rng, "unknown_bump", [position, *limits], changed, slots, weight=doubted)


def _untested_loss(case: Case, rng: random.Random) -> Case:
    lines = case.of_kind(Stress)
    return _finish(case, rng, "untested_loss", lines, {}, {"count": len(lines)})


_APPLY: dict[str, Callable[[Case, random.Random], Case]] = {
    "stale_quote": _stale_quote,
    "missing_quote": _missing_quote,
    "short_history": _short_history,
    "failed_pricing": _failed_pricing,
    "missing_counterparty": _missing_counterparty,
    "missing_owner": _missing_owner,
    "missing_fx_rate": _missing_fx_rate,
    "contradictory_totals": _contradictory_totals,
    "unknown_bump": _unknown_bump,
    "untested_loss": _untested_loss,
}
