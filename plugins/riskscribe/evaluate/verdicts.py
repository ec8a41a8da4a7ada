"""What grounding says of a number, for people and machines."""

from typing import Literal

from pydantic import BaseModel, Field

# what is added to a reason where no evidence is cited
LENIENT = " (lenient: no evidence is cited)"

FaultKind = Literal[
    "not_found", "wrong_evidence", "unknown_evidence", "wrong_sign", "wrong_unit", "wrong_scale", "wrong_currency",
    "wrong_measure", "wrong_horizon", "wrong_confidence", "wrong_period", "threshold", "untrusted", "no_word",
    "comparative",
]  # fmt: skip


class Number(BaseModel):
    """A number found in a text.

    `span` counts characters; `value` has sign and scale word applied, a percentage stays as written. `fault` is the
    kind of what is wrong, for machines; `reason` says it in words, with the evidence.
    """

    span: tuple[int, int]
    text: str
    value: float
    unit: str | None = None
    verdict: Literal["quoted", "derived", "unsupported", "ignored"]
    evidence: list[str] = Field(default_factory=list)
    operation: str | None = None
    reason: str | None = None
    fault: FaultKind | None = None


class Claim(BaseModel):
    """A comparison that a text makes ("rose", "within its limit") and whether the evidence bears it out.

    `span` and `text` are the words that compare.
    """

    span: tuple[int, int]
    text: str
    kind: Literal["change", "compare", "limit", "extreme", "part", "order"]
    verdict: Literal["supported", "contradicted"]
    evidence: list[str] = []
    reason: str | None = None
