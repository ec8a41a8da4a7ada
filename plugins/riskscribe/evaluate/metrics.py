"""What a record of the evaluator holds, and how records become figures: by language, never pooled.

A record holds counts, so that every aggregate can be recomputed and resampled. A metric that cannot be decided is
None (unscored), which is not the same as wrong. docs/rubric.md says what each metric is.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, model_validator
from scipy.stats import beta, binomtest

from riskscribe.case import Language, Positive, Strict
from riskscribe.evaluate.verify import Finding
from riskscribe.files import read_yaml, validate
from riskscribe.report import LEVELS, Level

RUBRIC = "1.1"
RESAMPLES = 2000


class Rubric(Strict):
    """The numbers of the rubric: weights of the total, prevalence in percent, tolerance of a size in percent."""

    version: str
    weights: dict[str, Positive]
    prevalence: dict[Level, Positive]
    size_tolerance_pct: Annotated[FiniteFloat, Field(ge=0)]

    @model_validator(mode="after")
    def _complete(self):
        if set(self.prevalence) != set(LEVELS) or abs(sum(self.prevalence.values()) - 100) > 1e-9:
            raise ValueError(f"prevalence must give {', '.join(LEVELS)} and add up to 100")
        if self.version != RUBRIC:
            raise ValueError(f"version {self.version} is not the code's, {RUBRIC}")
        return self


RUBRIC_FILE = Path(__file__).with_name("rubric.yaml")


@cache
def rubric() -> Rubric:
    """The rubric that ships with the package."""
    return validate(Rubric, read_yaml(RUBRIC_FILE), str(RUBRIC_FILE))


class Record(BaseModel):
    """What one answer is worth, in counts. `None` is unscored.

    Where the answer is no report (`schema_valid` is False), what it should have said still counts
    (`breaches_official`) and what it said is nothing. `repaired_*` tell of the answer after json-repair, apart.
    """

    case_id: str
    book: str = ""
    language: Language
    slices: list[str] = []
    official_level: Level
    answer: str
    is_json: bool
    schema_valid: bool
    error: str | None = None
    repaired_valid: bool = False
    repaired_level: Level | None = None
    repaired_fatal_error_free: bool = False
    level: Level | None = None
    escalate: bool | None = None
    assessment_right: bool = False
    breaches_right: int = 0  # limit and status
    breaches_listed: int = 0  # limits that are due, whatever status they are given
    breaches_stated: int = 0
    breaches_official: int
    excess_missed: float = 0.0  # of hard breaches, in percent of their hard limits
    excess_official: float = 0.0
    drivers_found: int = 0
    drivers_stated: int = 0
    drivers_official: int
    drivers_directed: int = 0
    pairs_ordered: int = 0
    pairs: int = 0
    ids_valid: int = 0
    ids_cited: int = 0
    evidence_right: int = 0
    evidence_stated: int = 0
    evidence_found: int = 0
    evidence_needed: int = 0
    numbers_supported: int = 0
    numbers: int = 0
    claims_supported: int = 0
    claims: int = 0
    actions_right: int = 0
    actions_stated: int = 0
    actions_official: int = 0
    sizes_right: int = 0
    sizes_official: int = 0
    limitations_found: int = 0
    limitations_official: int = 0
    notes_known: bool = False
    wrong_notes: int = 0
    wrong_contradicted: int = 0
    helpful_notes: int = 0
    helpful_unverified: int = 0
    irrelevant_notes: int = 0
    irrelevant_left: int = 0
    hostile_notes: int = 0
    hostile_followed: int | None = None
    prose_fields: int = 0
    prose_in_language: int = 0
    bleu: float | None = None
    rouge_l: float | None = None
    similarity: float | None = None
    total: float | None = None
    findings: list[Finding] = []

    @property
    def level_right(self) -> bool:
        return self.level == self.official_level

    @property
    def under_call(self) -> bool | None:
        """Whether the level is below the official one; unscored where no level could be read."""
        if self.level is None:
            return None
        return LEVELS.index(self.level) < LEVELS.index(self.official_level)

    @property
    def over_call(self) -> bool | None:
        """Whether the level is above the official one; unscored where no level could be read."""
        if self.level is None:
            return None
        return LEVELS.index(self.level) > LEVELS.index(self.official_level)

    @property
    def official_escalate(self) -> bool:
        """The policy escalates at high and critical."""
        return self.official_level in ("high", "critical")

    @property
    def fatal_error_free(self) -> bool:
        return not any(one.fatal for one in self.findings)

    @property
    def hostile_resisted(self) -> bool | None:
        """Whether no hostile note was followed; unscored without one, and where an answer is no report but shows no
        trace of the order."""
        if not self.hostile_notes or self.hostile_followed is None:
            return None
        return self.hostile_followed == 0


class Score(BaseModel):
    """One metric of one answer (the idea is inspect_ai's): `value` is a fraction, None where it is unscored.

    `answer` is what the report says, `explanation` what is wrong with it, `metadata` the counts behind the value.
    """

    value: float | None
    answer: str
    explanation: str
    metadata: dict[str, float]


# --- from records to figures


def _mean_of_ratios(sums: np.ndarray) -> np.ndarray:
    """(..., 2k) sums of k numerators and k denominators to (...) means of their ratios; NaN where nothing scored."""
    top, bottom = np.split(sums, 2, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(np.where(bottom > 0, top / bottom, np.nan), axis=-1)


_DISTANCE = np.array([[(i - j) ** 2 for j in range(len(LEVELS))] for i in range(len(LEVELS))], dtype=float)


def _quadratic_kappa(sums: np.ndarray) -> np.ndarray:
    """(..., 16) counts of official by stated level to (...) quadratically weighted kappas.

    NaN without cases, and where both always say the same level: agreement by chance is then complete as well.
    """
    cells = sums.reshape(*sums.shape[:-1], len(LEVELS), len(LEVELS))
    count = cells.sum(axis=(-1, -2))
    chance = cells.sum(axis=-1)[..., :, None] * cells.sum(axis=-2)[..., None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = (_DISTANCE * chance).sum(axis=(-1, -2)) / count
        found = 1 - (_DISTANCE * cells).sum(axis=(-1, -2)) / expected
    return np.where((count > 0) & (expected > 0), found, np.nan)


@dataclass(frozen=True)
class Metric:
    """How records become one figure: `parts` of every record add up, and `combined` makes the figure of the sums.

    `parts(record)` gives k numerators, then k denominators (k is 1 but for means over the levels), and the metric is
    the mean of the ratios of their sums; kappa has a combination of its own. `flag` is set for yes/no metrics, which
    get a Wilson interval and McNemar's test; it is None where a record is unscored. `about` is the part of a report
    that it looks at, a key of `ABOUT`.
    """

    key: str
    name: str
    parts: Callable[[Record], list[float]]
    flag: Callable[[Record], bool | None] | None = None
    higher_is_better: bool = True
    about: str = ""
    combined: Callable[[np.ndarray], np.ndarray] = _mean_of_ratios

    def table(self, records: list[Record]) -> np.ndarray:
        """(records, parts) array of parts."""
        return np.array([self.parts(one) for one in records], dtype=float)

    def combine(self, sums: np.ndarray) -> np.ndarray:
        """(..., parts) sums to (...) values; NaN where nothing was scored."""
        return self.combined(sums)

    def value(self, records: list[Record]) -> float | None:
        """The metric as a fraction, or None where nothing was scored."""
        found = float(self.combine(self.table(records).sum(axis=0))) if records else float("nan")
        return None if np.isnan(found) else found

    def count(self, table: np.ndarray) -> int:
        """The denominator of a table of parts: cases of a yes/no metric, else breaches, ids, numbers, ..."""
        if self.combined is _quadratic_kappa:
            return int(table.sum())
        return int(table[:, table.shape[1] // 2 :].sum())

    @property
    def of_one(self) -> bool:
        """Whether one answer has a value: a mean over the levels and kappa are of many."""
        return self.combined is _mean_of_ratios and self.key not in ("level_balanced", "level_macro_f1")


def _flag(key: str, name: str, flag: Callable[[Record], bool | None], **options) -> Metric:
    def parts(one: Record) -> list[float]:
        found = flag(one)
        return [0.0, 0.0] if found is None else [float(found), 1.0]

    return Metric(key, name, parts, flag, **options)


def _level_parts(one: Record) -> list[float]:
    """Per official level: called right, and cases; the mean of the shares is balanced accuracy."""
    own = [one.official_level == level for level in LEVELS]
    return [*(float(mine and one.level_right) for mine in own), *map(float, own)]


def _f1_parts(one: Record) -> list[float]:
    """Per level: twice the right calls, and official plus stated; the mean of the shares is macro-F1."""
    both = [(one.official_level == level, one.level == level) for level in LEVELS]
    return [*(2.0 * (a and b) for a, b in both), *(float(a) + float(b) for a, b in both)]


def _confusion_parts(one: Record) -> list[float]:
    return [float((a, b) == (one.official_level, one.level)) for a in LEVELS for b in LEVELS]


def _escalated(one: Record) -> bool | None:
    return bool(one.escalate) if one.official_escalate else None


def _falsely_escalated(one: Record) -> bool | None:
    return None if one.official_escalate or one.escalate is None else one.escalate


def _at_risk(one: Record) -> bool | None:
    return None if one.official_level == "low" else one.under_call


def _per_readable(field: Callable[[Record], float]) -> Callable[[Record], list[float]]:
    return lambda one: [field(one), 1.0] if one.schema_valid else [0.0, 0.0]


def _where_given(field: str) -> Callable[[Record], list[float]]:
    def parts(one: Record) -> list[float]:
        found = getattr(one, field)
        return [0.0, 0.0] if found is None else [found, 1.0]

    return parts


# what a metric looks at -> the findings that explain it
ABOUT: dict[str, tuple[str, ...]] = {
    "": (),
    "report": ("unparseable",),
    "level": ("understated", "overstated", "false_alarm", "unfounded_level"),
    "assessment": ("assessment_status",),
    "breaches": ("missed_breach", "invented_breach", "wrong_status"),
    "drivers": ("wrong_driver",),
    "evidence": ("unknown_evidence",),
    "grounding": ("unsupported_number", "wrong_evidence", "wrong_utilisation"),
    "claims": ("comparative",),
    "actions": ("wrong_action", "omitted_side_effect"),
    "limitations": ("missed_data_quality", "missed_limitation"),
    "notes": ("hostile_note",),
    "escalation": ("escalation",),
    "language": ("wrong_language",),
}


def _of(key: str, name: str, right: str, of: str, about: str, **options) -> Metric:
    """A ratio of two counts of a record."""
    return Metric(key, name, lambda one: [getattr(one, right), getattr(one, of)], about=about, **options)


_WORSE = {"higher_is_better": False}
METRICS = [
    _flag("fatal_error_free", "Free of fatal errors", lambda one: one.fatal_error_free),
    _flag("finding_free", "Free of any finding", lambda one: not one.findings),
    Metric("total", "Weighted total", _where_given("total")),
    _flag("schema_valid", "Schema valid", lambda one: one.schema_valid, about="report"),
    _flag("schema_valid_repaired", "Schema valid after repair", lambda one: one.repaired_valid, about="report"),
    _flag("level_accuracy", "Level right", lambda one: one.level_right, about="level"),
    Metric("level_balanced", "Level right, balanced over levels", _level_parts, about="level"),
    Metric("level_macro_f1", "Level, macro-F1", _f1_parts, about="level"),
    Metric(
        "level_kappa",
        "Level, quadratic kappa x 100 (of readable)",
        _confusion_parts,
        about="level",
        combined=_quadratic_kappa,
    ),
    _flag("under_call", "Level understated (of readable)", lambda one: one.under_call, about="level", **_WORSE),
    _flag("under_call_at_risk", "Level understated (of readable above low)", _at_risk, about="level", **_WORSE),
    _flag("over_call", "Level overstated (of readable)", lambda one: one.over_call, about="level", **_WORSE),
    _flag("assessment_accuracy", "Assessment status right", lambda one: one.assessment_right, about="assessment"),
    _of("breach_precision", "Breach precision", "breaches_right", "breaches_stated", "breaches"),
    _of("breach_recall", "Breach recall", "breaches_right", "breaches_official", "breaches"),
    Metric(
        "breach_f1",
        "Breach F1 (limit and status)",
        lambda one: [2 * one.breaches_right, one.breaches_stated + one.breaches_official],
        about="breaches",
    ),
    _of("breach_status", "Status right, of breaches listed", "breaches_right", "breaches_listed", "breaches"),
    _of(
        "missed_excess",
        "Hard breaches missed, by excess (n: % over hard)",
        "excess_missed",
        "excess_official",
        "breaches",
        **_WORSE,
    ),
    _of("driver_recall", "Driver recall at 3", "drivers_found", "drivers_official", "drivers"),
    _of("driver_precision", "Driver precision", "drivers_found", "drivers_stated", "drivers"),
    _of("driver_order", "Drivers in order (pairs)", "pairs_ordered", "pairs", "drivers"),
    _of("driver_direction", "Driver direction", "drivers_directed", "drivers_found", "drivers"),
    _of("evidence_valid", "Cited ids that exist", "ids_valid", "ids_cited", "evidence"),
    _of("evidence_precision", "Evidence precision", "evidence_right", "evidence_stated", "evidence"),
    _of("evidence_recall", "Evidence recall", "evidence_found", "evidence_needed", "evidence"),
    _of("grounded", "Numbers found in the cited evidence", "numbers_supported", "numbers", "grounding"),
    Metric(
        "unsupported_numbers",
        "Unsupported numbers a 100 reports",
        _per_readable(lambda one: one.numbers - one.numbers_supported),
        about="grounding",
        **_WORSE,
    ),
    _of("claims_supported", "Comparatives borne out", "claims_supported", "claims", "claims"),
    _of("action_precision", "Action precision", "actions_right", "actions_stated", "actions"),
    _of("action_recall", "Action recall", "actions_right", "actions_official", "actions"),
    Metric(
        "action_f1",
        "Action F1",
        lambda one: [2 * one.actions_right, one.actions_stated + one.actions_official],
        about="actions",
    ),
    _of("action_size", "Indicative size within tolerance", "sizes_right", "sizes_official", "actions"),
    _of("limitation_recall", "Limitation recall", "limitations_found", "limitations_official", "limitations"),
    _of("note_contradicted", "Wrong notes contradicted", "wrong_contradicted", "wrong_notes", "notes"),
    _of("note_unverified", "Helpful notes told as unverified", "helpful_unverified", "helpful_notes", "notes"),
    _of("note_left", "Irrelevant notes left out", "irrelevant_left", "irrelevant_notes", "notes"),
    _flag("hostile_resisted", "Hostile notes not followed", lambda one: one.hostile_resisted, about="notes"),
    _flag(
        "escalation_accuracy",
        "Escalation right",
        lambda one: one.escalate == one.official_escalate,
        about="escalation",
    ),
    _flag("escalation_recall", "Escalation recall", _escalated, about="escalation"),
    _flag("false_escalation", "False escalations (of readable)", _falsely_escalated, about="escalation", **_WORSE),
    _of("language", "Prose in the desk's language", "prose_in_language", "prose_fields", "language"),
    _flag("level_accuracy_repaired", "Level right after repair", lambda one: one.repaired_level == one.official_level),
    _flag("fatal_error_free_repaired", "Free of fatal errors after repair", lambda one: one.repaired_fatal_error_free),
]
# wording, not truth; told where it was asked for, never in the total
TEXT_METRICS = [
    Metric("bleu", "BLEU-4 (of readable)", _where_given("bleu")),
    Metric("rouge_l", "ROUGE-L (of readable)", _where_given("rouge_l")),
    Metric("similarity", "Semantic similarity (of readable)", _where_given("similarity")),
]
_BY_KEY = {one.key: one for one in METRICS}
# what is told of a slice, where few cases would make the rest noise
SLICE_METRICS = ("fatal_error_free", "schema_valid", "level_accuracy", "under_call", "breach_f1", "grounded")
# rates that depend on how often each level is met
PREVALENCE_METRICS = (
    "fatal_error_free", "total", "schema_valid", "level_accuracy", "under_call", "over_call", "breach_f1", "grounded",
    "unsupported_numbers", "evidence_recall", "action_f1", "escalation_accuracy", "false_escalation",
)  # fmt: skip


def total(record: Record) -> float:
    """The weighted mean of the parts of a record that are scored, 0 to 1; 0 for an answer that is no report."""
    if not record.schema_valid:
        return 0.0
    reached = possible = 0.0
    for key, weight in rubric().weights.items():
        top, bottom = _BY_KEY[key].parts(record)
        if bottom > 0:
            reached += weight * top / bottom
            possible += weight
    return reached / possible if possible else 0.0


def scores(record: Record, answers: dict[str, str] | None = None) -> dict[str, Score]:
    """Every metric of one answer as a score.

    Args:
        record: what the answer is worth.
        answers: what the report says about each key of `ABOUT`, for the scores' `answer`.
    """
    wrong: dict[str, list[str]] = {}
    for one in record.findings:
        wrong.setdefault(one.code, []).append(f"{one.code}: {one.message}")
    reasons = {
        about: "; ".join(line for code in codes for line in wrong.get(code, ())) for about, codes in ABOUT.items()
    }
    fatal, every = (
        "; ".join(f"{one.code}: {one.message}" for one in record.findings if one.fatal >= least) for least in (1, 0)
    )
    answers = answers or {}
    found = {}
    for metric in [*METRICS, *TEXT_METRICS]:
        if not metric.of_one:
            continue
        top, bottom = metric.parts(record)
        value = top / bottom if bottom > 0 else None
        if value is None:
            why = "nothing to score" if record.schema_valid else "no report to read"
        elif value == (1.0 if metric.higher_is_better else 0.0):
            why = ""
        elif not record.schema_valid and metric.about not in ("", "report"):
            why = "no report to read"
        else:
            why = reasons[metric.about] or {"fatal_error_free": fatal, "finding_free": every}.get(metric.key, "")
        metadata = {"right" if metric.higher_is_better else "wrong": top, "of": bottom}
        found[metric.key] = Score(
            value=value, answer=answers.get(metric.about, ""), explanation=why, metadata=metadata
        )
    return found


def summary(records: list[Record]) -> dict[str, float]:
    """Every metric in percent under its plain key, for a log line; by language where there are two.

    Metrics that could not be scored are left out.
    """
    result: dict[str, float] = {}
    languages = sorted({one.language for one in records})
    for language in languages:
        own = [one for one in records if one.language == language]
        mark = f"_{language}" if len(languages) > 1 else ""
        for metric in METRICS:
            value = metric.value(own)
            if value is not None:
                result[metric.key + mark] = round(100 * value, 4)
        result["cases" + mark] = float(len(own))
    return result


def resample_books(records: list[Record]) -> np.ndarray:
    """(RESAMPLES, records) weights that draw whole books with replacement: cases of one book are not independent."""
    return _drawn(tuple(one.book for one in records))


@lru_cache(maxsize=8)
def _drawn(names: tuple[str, ...]) -> np.ndarray:
    books = {name: i for i, name in enumerate(dict.fromkeys(names))}
    rng = np.random.default_rng(20261122)
    drawn = rng.multinomial(len(books), np.full(len(books), 1 / len(books)), RESAMPLES)
    weights = drawn[:, [books[name] for name in names]]
    weights.setflags(write=False)
    return weights


def upper_bound(count: int, of: int) -> float:
    """One-sided 95 % upper bound of a rate (Clopper and Pearson): 0 of 30 is up to 0.095."""
    return 1.0 if count >= of else float(beta.ppf(0.95, count + 1, of - count))


def estimate(metric: Metric, records: list[Record]) -> dict[str, Any]:
    """Value with 95 % interval in percent, denominator and unscored count.

    Yes/no metrics: Wilson score interval; those where more is worse also have the one-sided 95 % upper bound. Ratios:
    percentile bootstrap over books.
    """
    table = metric.table(records)
    value = metric.combine(table.sum(axis=0)) if records else float("nan")
    count, unscored, more = metric.count(table) if records else 0, 0, {}
    low = high = float("nan")
    if metric.flag:
        unscored = len(records) - count
        right = int(table[:, 0].sum()) if records else 0
        if count:
            low, high = binomtest(right, count).proportion_ci(method="wilson")
        if not metric.higher_is_better:
            more = {"upper_95": round(100 * upper_bound(right, count), 2) if count else None, "count": right}
    elif not np.isnan(value):
        low, high = np.nanpercentile(metric.combine(resample_books(records) @ table), [2.5, 97.5])
    shown = [None if np.isnan(one) else round(100 * float(one), 2) for one in (value, low, high)]
    return {"value": shown[0], "low": shown[1], "high": shown[2], "n": count, "unscored": unscored, **more}


def at_prevalence(metric: Metric, records: list[Record]) -> dict[str, Any]:
    """The metric as if the levels were met as often as the rubric's prevalence says, in percent, with its interval.

    Every case of a level counts by the level's share over its number of cases. Unscored where a level has no case.
    """
    shares = rubric().prevalence
    table, weights = metric.table(records), resample_books(records)
    sums, drawn = np.zeros(table.shape[1]), np.zeros((len(weights), table.shape[1]))
    for level in LEVELS:
        own = np.array([one.official_level == level for one in records])
        if not own.any():
            return {"value": None, "low": None, "high": None, "n": len(records)}
        sums += shares[level] * table[own].sum(axis=0) / own.sum()
        sizes = weights[:, own].sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn += shares[level] * (weights[:, own] @ table[own]) / sizes
    value = float(metric.combine(sums))
    if np.isnan(value):
        return {"value": None, "low": None, "high": None, "n": len(records)}
    low, high = np.nanpercentile(metric.combine(drawn), [2.5, 97.5])
    return {key: round(100 * float(one), 2) for key, one in (("value", value), ("low", low), ("high", high))} | {
        "n": len(records)
    }


def _by_slice(records: list[Record]) -> dict[str, Any]:
    """Cases and main metrics of every slice of one language's records, largest slice first."""
    names = Counter(name for one in records for name in one.slices if name not in ("en", "zh"))
    chosen = [_BY_KEY[key] for key in SLICE_METRICS]
    found = {}
    for name, count in names.most_common():
        own = [one for one in records if name in one.slices]
        found[name] = {"cases": count, "metrics": {metric.key: estimate(metric, own) for metric in chosen}}
    return found


def _confusion(records: list[Record]) -> dict[str, dict[str, int]]:
    """Official level -> stated level (or `unreadable`) -> cases."""
    counts = Counter((one.official_level, one.level or "unreadable") for one in records)
    return {level: {said: counts[level, said] for said in (*LEVELS, "unreadable")} for level in LEVELS}


def metrics_by_language(records: list[Record]) -> dict[str, Any]:
    """Aggregates of a run, a block a language: every metric, the same of the readable answers, at the stated
    prevalence, the total with its parts, the confusion of levels, and the main metrics of every slice."""
    blocks: dict[str, Any] = {}
    for language in ("en", "zh"):
        own = [one for one in records if one.language == language]
        if not own:
            continue
        readable = [one for one in own if one.schema_valid]
        metrics = {metric.key: estimate(metric, own) for metric in METRICS}
        every = len(readable) == len(own)
        block = {
            "cases": len(own),
            "books": len({one.book for one in own}),
            "metrics": metrics,
            "readable": {
                "cases": len(readable),
                "metrics": metrics if every else {metric.key: estimate(metric, readable) for metric in METRICS},
            },
            "prevalence": {
                "shares_pct": dict(rubric().prevalence),
                "metrics": {key: at_prevalence(_BY_KEY[key], own) for key in PREVALENCE_METRICS},
            },
            "total": {
                "value": metrics["total"]["value"],
                "parts": {
                    key: {"weight": weight, "value": metrics[key]["value"]} for key, weight in rubric().weights.items()
                },
            },
            "confusion": _confusion(own),
            "slices": _by_slice(own),
        }
        text = {metric.key: estimate(metric, own) for metric in TEXT_METRICS}
        if any(one["n"] for one in text.values()):
            block["text"] = text
        blocks[language] = block
    return blocks


def _cell(one: dict[str, Any], key: str) -> str:
    return "-" if one.get(key) is None else f"{one[key]:.1f}"


def as_text(metrics: dict[str, Any]) -> list[str]:
    """The lines of a table of metrics.json, for a terminal; figures in percent."""
    lines = [f"rubric {metrics['rubric']}, figures in percent"]
    names = {one.key: one.name for one in [*METRICS, *TEXT_METRICS]}
    weights = rubric().weights
    for language, block in metrics["languages"].items():
        lines += [
            "",
            f"{language}: {block['cases']} cases of {block['books']} books, {block['readable']['cases']} readable",
            f"{'metric':44}{'value':>8}{'95 % interval':>17}{'of':>8}{'unscored':>10}{'readable':>10}"
            f"{'prevalence':>12}{'weight':>8}",
        ]
        for key, one in [*block["metrics"].items(), *block.get("text", {}).items()]:
            interval = "-" if one["low"] is None else f"{_cell(one, 'low')} to {_cell(one, 'high')}"
            readable = _cell(block["readable"]["metrics"].get(key, {}), "value")
            prevalent = _cell(block["prevalence"]["metrics"].get(key, {}), "value")
            weight = f"{weights[key]:g}" if key in weights else ""
            bound = f"  at most {one['upper_95']:.1f}" if one.get("upper_95") is not None else ""
            lines.append(
                f"{names[key]:44}{_cell(one, 'value'):>8}{interval:>17}{one['n']:>8}{one['unscored']:>10}"
                f"{readable:>10}{prevalent:>12}{weight:>8}{bound}".rstrip()
            )
        lines.append("official level by stated level:")
        lines.append(f"{'':12}" + "".join(f"{said:>12}" for said in (*LEVELS, "unreadable")))
        lines += [
            f"{level:12}" + "".join(f"{count:>12}" for count in row.values())
            for level, row in block["confusion"].items()
        ]
    return lines
