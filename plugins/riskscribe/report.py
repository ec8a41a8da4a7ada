"""The report a model writes: findings before conclusions before prose.

The order of the fields is part of the contract: a small model that writes the level first guesses it.
"""

import json
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, StringConstraints

from riskscribe.case import EvidenceId, Strict, Text

SCHEMA_VERSION = "1"

Level = Literal["low", "moderate", "high", "critical"]
LEVELS: tuple[Level, ...] = ("low", "moderate", "high", "critical")
BreachStatus = Literal["warning", "breach", "breach_within_approved_excess", "unconfirmed"]
AssessmentStatus = Literal["complete", "partial", "insufficient"]
Action = Literal["reduce_exposure", "review_approval", "confirm_data", "monitor", "no_action"]
Clause = Annotated[str, StringConstraints(pattern=r"^[CHML][1-9]$")]


class LimitBreach(Strict):
    """One limit at or above its soft threshold."""

    limit_id: EvidenceId
    status: BreachStatus
    utilisation_pct: FiniteFloat
    evidence: list[EvidenceId]


class Driver(Strict):
    """A material contribution to VaR."""

    driver: Text
    direction: Literal["increases", "offsets"]
    statement: Text
    evidence: list[EvidenceId]


class Basis(Strict):
    """A clause of the risk policy that gives the level, and the evidence it rests on."""

    clause: Clause
    evidence: list[EvidenceId]


class RecommendedAction(Strict):
    """An action of the closed list; sizes in the statement are indicative."""

    action: Action
    priority: Annotated[int, Field(ge=1, le=3)]
    statement: Text
    evidence: list[EvidenceId]


class Report(Strict):
    """A risk report, version 1. Prose fields cite evidence ids in square brackets."""

    schema_version: Literal["1"]
    limit_breaches: list[LimitBreach]
    key_drivers: Annotated[list[Driver], Field(max_length=3)]
    limitations: list[Text]
    assumptions: list[Text]
    assessment_status: AssessmentStatus
    level_basis: list[Basis]
    risk_level: Level
    escalate: bool
    recommended_actions: list[RecommendedAction]
    summary: Text

    def prose(self) -> list[tuple[str, str, list[str]]]:
        """Every prose field as (path, text, evidence ids of the object it stands in)."""
        fields = [
            (f"key_drivers.{i}.statement", one.statement, one.evidence) for i, one in enumerate(self.key_drivers)
        ]
        fields += [(f"limitations.{i}", text, []) for i, text in enumerate(self.limitations)]
        fields += [(f"assumptions.{i}", text, []) for i, text in enumerate(self.assumptions)]
        fields += [
            (f"recommended_actions.{i}.statement", one.statement, one.evidence)
            for i, one in enumerate(self.recommended_actions)
        ]
        return [*fields, ("summary", self.summary, [])]

    def cited(self) -> list[str]:
        """Every evidence id in the structured fields, in order, with repetitions."""
        ids = []
        for one in [*self.limit_breaches, *self.key_drivers, *self.level_basis, *self.recommended_actions]:
            ids += one.evidence
        return [*(one.limit_id for one in self.limit_breaches), *ids]

    def to_json(self) -> str:
        """The report on one line, compact, in the contract's order: the text a model is trained to write."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))
