"""The case: one book at one date as a list of evidence lines, the only facts a report may cite.

Conventions (market-risk practice, see docs/risk_policy.md): amounts are plain numbers with a unit and a currency;
VaR and ES are positive losses; MTM, P&L and stress P&L are signed and negative is a loss; `previous` is the value of
the business day before and `five_days_ago` of five business days before, or None for "not available".
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, model_validator

Language = Literal["en", "zh"]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2000, strip_whitespace=True)]
# pydantic's PositiveFloat takes infinity, and a limit of 1e999 would never be used
Positive = Annotated[FiniteFloat, Field(gt=0)]
Unit = Literal["money", "money_per_bp", "money_per_vol_point", "percent"]
Measure = Literal[
    "delta",
    "gamma",
    "vega",
    "pv01",
    "bucket_pv01",
    "cs01",
    "jump_to_default",
    "open_position",
    "concentration",
    "exposure",
    "var",
    "stress",
]
Status = Literal["within", "warning", "breach", "breach_within_approved_excess", "unconfirmed"]
Authority = Literal["desk", "business", "CRO", "board"]
Cause = Literal["active", "passive", "technical", "unknown"]
Issue = Literal[
    "stale_quote",
    "missing_quote",
    "short_history",
    "failed_pricing",
    "missing_counterparty",
    "missing_owner",
    "missing_fx_rate",
    "contradictory_totals",
    "unknown_bump",
    "partial_coverage",
    "mixed_currencies",
    "overlapping_windows",
    "untested_loss",
]

PREFIX = {
    "position": "POS",
    "limit": "LIM",
    "var": "VAR",
    "component": "CMP",
    "stress": "STR",
    "pnl": "PNL",
    "backtest": "BT",
    "change": "CHG",
    "counterparty": "CPT",
    "data_quality": "DQ",
    "note": "NOTE",
    "source": "SRC",
}
# The code after the prefix is random and short. A running number would teach a small model to count, not to read.
ID_PATTERN = rf"(?:{'|'.join(PREFIX.values())})-[A-Z0-9]{{2,8}}"
# what follows its first letter: `re` searches a text fast for a pattern that begins with a set of characters
ID_REST = rf"(?:{'|'.join(f'(?<={one[0]}){one[1:]}' for one in PREFIX.values())})-[A-Z0-9]{{2,8}}"
EvidenceId = Annotated[str, StringConstraints(pattern=rf"^{ID_PATTERN}$")]


class Strict(BaseModel):
    """Base of every contract model: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class _Evidence(Strict):
    id: EvidenceId

    @model_validator(mode="after")
    def _prefix_fits_kind(self):
        prefix = PREFIX[self.kind]
        if not self.id.startswith(prefix + "-"):
            raise ValueError(f"id {self.id} of a {self.kind} must begin with {prefix}-")
        return self


class Sensitivity(Strict):
    """One Greek of a position: the P&L in `currency` for `bump` of `factor` (an underlying, a bucket, a name)."""

    measure: Measure
    factor: Text | None = None
    value: FiniteFloat
    bump: Text
    currency: Currency


class Position(_Evidence):
    """A trade or a line of trades. `mtm` is signed, in `currency`; None when it could not be priced.

    `standalone_var` is the VaR of the position alone, in the base currency, under the case's first VaR line.
    """

    kind: Literal["position"] = "position"
    instrument: Text
    mtm: FiniteFloat | None = None
    currency: Currency
    previous: FiniteFloat | None = None
    standalone_var: Annotated[FiniteFloat, Field(ge=0)] | None = None
    notional: FiniteFloat | None = None
    counterparty: Text | None = None
    netting_set: Text | None = None
    sensitivities: list[Sensitivity] = []


class TemporaryIncrease(Strict):
    """An approved increase of a hard limit, in the limit's own unit; counts up to and including `expires`."""

    amount: Positive
    approved_by: Text
    expires: date


class Limit(_Evidence):
    """A limit and its use. `hard` and `soft` are positive, in the unit of `value`.

    `side` says which values use the limit: "both" |x|, "upper" max(0, x), "lower" max(0, -x) (stress P&L).
    `utilisation_pct` and `status` may be given by the risk system; the policy recomputes them and refuses a
    contradiction. `cause` and `days_open` belong to a breach; a limit counts from `effective_from` to `effective_to`.
    """

    kind: Literal["limit"] = "limit"
    measure: Measure
    scope: Text
    value: FiniteFloat
    unit: Unit = "money"
    currency: Currency
    side: Literal["both", "upper", "lower"] = "both"
    soft: Positive
    hard: Positive
    authority: Authority
    owner: Text | None = None
    effective_from: date | None = None
    effective_to: date | None = None
    temporary_increase: TemporaryIncrease | None = None
    previous: FiniteFloat | None = None
    five_days_ago: FiniteFloat | None = None
    days_open: Annotated[int, Field(ge=0)] | None = None
    cause: Cause | None = None
    utilisation_pct: FiniteFloat | None = None
    status: Status | None = None

    @model_validator(mode="after")
    def _soft_below_hard(self):
        if self.soft > self.hard:
            raise ValueError(f"soft {self.soft:g} must not exceed hard {self.hard:g}")
        return self


class ValueAtRisk(_Evidence):
    """VaR or expected shortfall: a positive loss in `currency` at `confidence_pct` over `horizon_days`.

    `tail_count` is how many windows lie in the tail; `undiversified` the sum of the standalone values of its factors.
    """

    kind: Literal["var"] = "var"
    measure: Literal["VaR", "ES"] = "VaR"
    value: Annotated[FiniteFloat, Field(ge=0)]
    currency: Currency
    confidence_pct: Annotated[float, Field(gt=50, lt=100)]
    horizon_days: Annotated[int, Field(ge=1, le=250)]
    horizon_method: Literal["direct", "overlapping", "sqrt_of_time"] = "direct"
    method: Text = "historical simulation, full revaluation"
    window: Literal["recent", "stressed"] = "recent"
    windows: Annotated[int, Field(ge=1)] | None = None
    tail_count: Annotated[int, Field(ge=1)] | None = None
    standard_error: Annotated[FiniteFloat, Field(ge=0)] | None = None
    undiversified: Annotated[FiniteFloat, Field(ge=0)] | None = None
    previous: FiniteFloat | None = None
    five_days_ago: FiniteFloat | None = None


class Component(_Evidence):
    """Contribution of one risk factor to a VaR line or to the loss of a stress line (`of`).

    Positive adds, negative hedges; the components of a line add up to it. `standalone` is the factor's risk alone.
    """

    kind: Literal["component"] = "component"
    factor: Text
    contribution: FiniteFloat
    share_pct: FiniteFloat
    currency: Currency
    of: EvidenceId
    standalone: Annotated[FiniteFloat, Field(ge=0)] | None = None
    previous: FiniteFloat | None = None


class Stress(_Evidence):
    """P&L of a named scenario, signed; `shocks` names each factor's move."""

    kind: Literal["stress"] = "stress"
    scenario: Text
    shocks: Text
    pnl: FiniteFloat
    currency: Currency
    previous: FiniteFloat | None = None


class PnL(_Evidence):
    """A P&L explain line, signed."""

    kind: Literal["pnl"] = "pnl"
    measure: Literal["actual", "hypothetical", "risk_theoretical", "explained", "unexplained"]
    value: FiniteFloat
    currency: Currency
    previous: FiniteFloat | None = None


class Backtest(_Evidence):
    """Exceptions of a VaR model over `days` days."""

    kind: Literal["backtest"] = "backtest"
    exceptions: Annotated[int, Field(ge=0)]
    days: Annotated[int, Field(ge=1)]
    confidence_pct: Annotated[float, Field(gt=50, lt=100)]


class Change(_Evidence):
    """One step of the bridge from yesterday's value of `of` (its `previous`) to today's; the steps add up exactly.

    `of` is a VaR, stress or limit line; `value` is in its unit and sign.
    """

    kind: Literal["change"] = "change"
    of: EvidenceId
    step: Literal["new_trades", "matured", "market", "model_or_data", "residual"]
    value: FiniteFloat
    currency: Currency


class Counterparty(_Evidence):
    """Exposure to a counterparty inside one netting set, and collateral held; `threshold` goes uncollateralised."""

    kind: Literal["counterparty"] = "counterparty"
    name: Text
    netting_set: Text
    enforceable: bool
    exposure: FiniteFloat
    collateral: FiniteFloat = 0.0
    threshold: Annotated[FiniteFloat, Field(ge=0)] | None = None
    currency: Currency


class DataQuality(_Evidence):
    """A data-quality flag on other evidence. `material` flags raise the level (policy clause M3)."""

    kind: Literal["data_quality"] = "data_quality"
    issue: Issue
    affects: list[EvidenceId] = []
    material: bool
    detail: Text


class Note(_Evidence):
    """A desk note: words of people, untrusted. Nothing in it changes what the policy says."""

    kind: Literal["note"] = "note"
    author: Text
    text: Text


class Source(_Evidence):
    """Lineage: where numbers came from."""

    kind: Literal["source"] = "source"
    system: Text
    detail: Text


Evidence = Annotated[
    Position
    | Limit
    | ValueAtRisk
    | Component
    | Stress
    | PnL
    | Backtest
    | Change
    | Counterparty
    | DataQuality
    | Note
    | Source,
    Field(discriminator="kind"),
]


class Engine(Strict):
    """What computed the numbers, and on which market snapshot."""

    name: Text
    snapshot: Text


class Case(Strict):
    """One book at one date.

    `fx` gives the base-currency price of one unit of every other currency the evidence uses. `layout` says how a
    prompt shows the evidence: as an exception report (statuses given, worst first) or raw (as it came, no status).
    """

    case_id: Annotated[str, StringConstraints(pattern=r"^c-[a-z0-9]{6,16}$")]
    as_of: date
    desk: Text
    base_currency: Currency
    language: Language = "en"
    layout: Literal["exception", "raw"] = "exception"
    engine: Engine
    fx: dict[Currency, Positive] = {}
    evidence: list[Evidence]

    @model_validator(mode="after")
    def _consistent(self):
        ids = [item.id for item in self.evidence]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise ValueError(f"evidence id {twice[0]} is used twice; ids are unique in a case")
        if not self.of_kind(Position):
            raise ValueError("the book is empty: a case needs at least one position (POS-)")
        by_id = {item.id: item for item in self.evidence}
        for item in self.evidence:
            for other in [*getattr(item, "affects", []), *([item.of] if hasattr(item, "of") else [])]:
                if other not in ids:
                    raise ValueError(f"{item.id} refers to {other}, which is not evidence of this case")
            for currency in self._currencies(item):
                if currency != self.base_currency and currency not in self.fx:
                    raise ValueError(
                        f"{item.id} is in {currency} but the case has no rate for it; "
                        f"add fx.{currency} (price of 1 {currency} in {self.base_currency})"
                    )
            if isinstance(item, Component | Change):
                self._belongs(item, by_id[item.of])
            if isinstance(item, Limit):
                self._in_force(item)
            if isinstance(item, Position) and item.mtm is None:
                flags = [one for one in self.of_kind(DataQuality) if item.id in one.affects]
                if not flags:
                    raise ValueError(f"{item.id} has no mtm and no data-quality line says why; add one that names it")
        self._bridges_add_up(by_id)
        return self

    def _currencies(self, item) -> list[str]:
        """What an item needs rates for: its own currency and that of its Greeks."""
        greeks = [one.currency for one in getattr(item, "sensitivities", [])]
        # a missing rate can be why a position has no value
        if isinstance(item, Position) and item.mtm is None and item.previous is None:
            return greeks
        return [getattr(item, "currency", self.base_currency), *greeks]

    def _belongs(self, item, to) -> None:
        kinds = (ValueAtRisk, Stress) if isinstance(item, Component) else (ValueAtRisk, Stress, Limit)
        if not isinstance(to, kinds):
            allowed = " or ".join(PREFIX[one.model_fields["kind"].default] + "-" for one in kinds)
            raise ValueError(f"{item.id} is of {to.id}; a {item.kind} belongs to {allowed} evidence")

    def _in_force(self, limit: Limit) -> None:
        first, last = limit.effective_from or date.min, limit.effective_to or date.max
        if not first <= self.as_of <= last:
            raise ValueError(
                f"{limit.id} is not in force on {self.as_of} (effective {first} to {last}); give the limit that is"
            )

    def _bridges_add_up(self, by_id: dict) -> None:
        sums: dict[str, float] = {}
        for step in self.of_kind(Change):
            sums[step.of] = sums.get(step.of, 0.0) + step.value
        for target, total in sums.items():
            line = by_id[target]
            if line.previous is None:
                raise ValueError(f"{target} has a bridge but no previous value to start it from")
            today = line.pnl if isinstance(line, Stress) else line.value
            gap = today - line.previous - total
            # amounts carry cents; what is left below that is binary arithmetic
            if abs(gap) > 0.005 + 1e-12 * abs(today):
                raise ValueError(
                    f"the bridge of {target} does not add up: {line.previous:.2f} and its steps give "
                    f"{line.previous + total:.2f}, the line says {today:.2f}; add a residual step of {gap:.2f}"
                )

    def of_kind(self, kind: type) -> list:
        """Evidence of one kind, in the case's order."""
        return [item for item in self.evidence if isinstance(item, kind)]

    def unit_of(self, evidence_id: str) -> Unit:
        """Unit of a limit; every other line is in money."""
        found = next((one for one in self.of_kind(Limit) if one.id == evidence_id), None)
        return found.unit if found else "money"

    def in_base(self, amount: float, currency: str) -> float:
        """`amount` of `currency` in the base currency."""
        return amount if currency == self.base_currency else amount * self.fx[currency]
