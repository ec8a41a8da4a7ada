"""Slices: what makes a case hard, read off the case itself, so that any case can be counted in them."""

from collections.abc import Sequence

from riskscribe import policy as rules
from riskscribe.case import Case, Change, DataQuality, Limit, Position, Stress
from riskscribe.data.notes import NoteTruth

LONG = 13
BOUNDARY_PCT = (98.0, 102.0)
SLICES = (
    "standard",
    "en",
    "zh",
    "raw",
    "long",
    "noisy",
    "boundary",
    "gain-only stress",
    "approved excess",
    "passive breach",
    "hedge worsens another limit",
    "desk within, book over",
    "day sequence",
    "nothing breached",
    "nothing to recommend",
    "insufficient data",
)
_DESK = ("desk", "交易台")
_BOOK = ("book", "账簿")
# slices that do not make a case hard by themselves
_PLAIN = {"en", "zh", "day sequence", "nothing breached", "nothing to recommend"}


def slices_of(case: Case, notes: Sequence[NoteTruth] = ()) -> list[str]:
    """The slices a case belongs to, in the order of SLICES. `standard` is a case that none of the hard ones holds."""
    found = rules.assess(case)
    limits = case.of_kind(Limit)
    status = {one.limit_id: one.status for one in found.limit_breaches}
    within_desk = {one.measure for one in limits if one.scope in _DESK and one.id not in status}
    over_book = {one.measure for one in limits if one.scope in _BOOK and rules.excess(one) > 0}
    stresses = case.of_kind(Stress)
    low, high = BOUNDARY_PCT
    holds = {
        case.language: True,
        "raw": case.layout == "raw",
        "long": len(case.of_kind(Position)) >= LONG,
        "noisy": any(one.material for one in case.of_kind(DataQuality))
        or any(one.kind in ("wrong", "hostile") for one in notes),
        "boundary": any(low <= rules.utilisation_pct(one) <= high for one in limits),
        "gain-only stress": bool(stresses) and all(one.pnl >= 0 for one in stresses),
        "approved excess": "breach_within_approved_excess" in status.values(),
        "passive breach": any(one.cause == "passive" and rules.excess(one) > 0 for one in limits),
        "hedge worsens another limit": any(one.pushes_over_soft for one in found.actions),
        "desk within, book over": bool(within_desk & over_book),
        "day sequence": bool(case.of_kind(Change)),
        "nothing breached": not status,
        "nothing to recommend": found.actions[0].action == "no_action",
        "insufficient data": found.assessment_status == "insufficient",
    }
    holds["standard"] = not any(held for name, held in holds.items() if name not in _PLAIN)
    return [name for name in SLICES if holds.get(name)]
