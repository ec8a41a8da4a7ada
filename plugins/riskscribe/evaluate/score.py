"""The structured-report evaluator: one record a case, aggregates by language, never pooled.

A record holds counts, so that every aggregate can be recomputed; a metric that cannot be decided is None (unscored),
which is not the same as wrong. Nothing here sees a gold report: a case's evidence and the policy are the truth.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel
from scipy.stats import binomtest

from riskscribe.case import Case, Language
from riskscribe.errors import InputError
from riskscribe.evaluate.grounding import ground_report
from riskscribe.evaluate.parse import parse_report
from riskscribe.evaluate.verify import Finding, citations, verify
from riskscribe.files import read_lines, sha256, write_json, write_lines
from riskscribe.policy import assess
from riskscribe.prompt import case_id_in
from riskscribe.report import LEVELS, Level, Report

RUBRIC = "0.1"
# what makes a report unusable for a risk manager, whatever else is right in it
FATAL = {
    "unparseable",
    "understated",
    "missed_breach",
    "invented_breach",
    "wrong_status",
    "wrong_utilisation",
    "unknown_evidence",
    "unsupported_number",
    "missed_data_quality",
}
RESAMPLES = 2000


class Record(BaseModel):
    """What one answer is worth, in counts. `None` is unscored."""

    case_id: str
    book: str = ""
    language: Language
    slices: list[str] = []
    official_level: Level
    answer: str
    is_json: bool
    schema_valid: bool
    error: str | None = None
    level: Level | None = None
    breaches_right: int = 0
    breaches_stated: int = 0
    breaches_official: int
    drivers_found: int = 0
    drivers_official: int
    ids_valid: int = 0
    ids_cited: int = 0
    numbers_supported: int = 0
    numbers: int = 0
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
    def fatal_error_free(self) -> bool:
        return not any(one.code in FATAL for one in self.findings)


def score_answer(case: Case, text: str, book: str = "", slices: Sequence[str] = ()) -> Record:
    """Score what a model wrote for a case. Deterministic; never raises for any text."""
    official = assess(case)
    right = {(one.limit_id, one.status) for one in official.limit_breaches}
    parsed = parse_report(text)
    record = Record(
        case_id=case.case_id,
        book=book or case.case_id,
        language=case.language,
        slices=list(slices),
        official_level=official.risk_level,
        answer=text,
        is_json=parsed.is_json,
        schema_valid=parsed.report is not None,
        error=parsed.error,
        breaches_official=len(right),
        drivers_official=len(official.driver_ids),
    )
    if parsed.report is None:
        record.findings = [Finding(code="unparseable", path="", message=parsed.error or "no report")]
        return record
    report: Report = parsed.report
    stated = {(one.limit_id, one.status) for one in report.limit_breaches}
    record.level = report.risk_level
    record.breaches_stated = len(report.limit_breaches)
    record.breaches_right = len(stated & right)
    record.drivers_found = _drivers_found(report, official.driver_ids, official.interchangeable_driver_ids)
    known = {one.id for one in case.evidence}
    cited = [name for _, name in citations(case, report)]
    record.ids_cited = len(cited)
    record.ids_valid = sum(one in known for one in cited)
    numbers = [one for _, one in ground_report(case, report) if one.verdict != "ignored"]
    record.numbers = len(numbers)
    record.numbers_supported = sum(one.verdict != "unsupported" for one in numbers)
    record.findings = verify(case, report)
    return record


def _drivers_found(report: Report, official: list[str], interchangeable: list[str]) -> int:
    """Official drivers the report names; within one standard error of the last, any may stand for another."""
    named = {one for driver in report.key_drivers for one in driver.evidence}
    fixed = [one for one in official if one not in interchangeable]
    places = len(official) - len(fixed)
    return sum(one in named for one in fixed) + min(places, len(named & set(interchangeable)))


def _level_parts(one: Record) -> list[float]:
    """Per official level: called right, and cases; the mean of the shares is balanced accuracy."""
    own = [one.official_level == level for level in LEVELS]
    return [*(float(mine and one.level_right) for mine in own), *map(float, own)]


@dataclass(frozen=True)
class Metric:
    """How records become one figure: `parts` of every record add up, and the metric is a mean of ratios of sums.

    `parts(record)` gives k numerators, then k denominators (k is 1 but for balanced accuracy). `flag` is set for
    yes/no metrics, which get a Wilson interval and McNemar's test; it is None where a record is unscored.
    """

    key: str
    name: str
    parts: Callable[[Record], list[float]]
    flag: Callable[[Record], bool | None] | None = None
    higher_is_better: bool = True

    def table(self, records: list[Record]) -> np.ndarray:
        """(records, 2k) array of parts."""
        return np.array([self.parts(one) for one in records], dtype=float)

    @staticmethod
    def combine(sums: np.ndarray) -> np.ndarray:
        """(..., 2k) sums to (...) values; NaN where nothing was scored."""
        top, bottom = np.split(sums, 2, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return np.nanmean(np.where(bottom > 0, top / bottom, np.nan), axis=-1)

    def value(self, records: list[Record]) -> float | None:
        """The metric as a fraction, or None where nothing was scored."""
        found = float(self.combine(self.table(records).sum(axis=0))) if records else float("nan")
        return None if np.isnan(found) else found


def _flag(key: str, name: str, flag: Callable[[Record], bool | None], **options) -> Metric:
    def parts(one: Record) -> list[float]:
        return [float(bool(flag(one))), float(flag(one) is not None)]

    return Metric(key, name, parts, flag, **options)


METRICS = [
    _flag("fatal_error_free", "Free of fatal errors", lambda one: one.fatal_error_free),
    _flag("schema_valid", "Schema valid", lambda one: one.schema_valid),
    _flag("level_accuracy", "Level right", lambda one: one.level_right),
    Metric("level_balanced", "Level right, balanced over levels", _level_parts),
    _flag("under_call", "Level understated (of readable)", lambda one: one.under_call, higher_is_better=False),
    Metric("breach_precision", "Breach precision", lambda one: [one.breaches_right, one.breaches_stated]),
    Metric("breach_recall", "Breach recall", lambda one: [one.breaches_right, one.breaches_official]),
    Metric(
        "breach_f1",
        "Breach F1 (limit and status)",
        lambda one: [2 * one.breaches_right, one.breaches_stated + one.breaches_official],
    ),
    Metric("driver_recall", "Driver recall at 3", lambda one: [one.drivers_found, one.drivers_official]),
    Metric("evidence_valid", "Cited ids that exist", lambda one: [one.ids_valid, one.ids_cited]),
    Metric("grounded", "Numbers found in the cited evidence", lambda one: [one.numbers_supported, one.numbers]),
]


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
    books = {name: i for i, name in enumerate(dict.fromkeys(one.book for one in records))}
    rng = np.random.default_rng(20261122)
    drawn = rng.multinomial(len(books), np.full(len(books), 1 / len(books)), RESAMPLES)
    return drawn[:, [books[one.book] for one in records]]


def estimate(metric: Metric, records: list[Record]) -> dict[str, Any]:
    """Value with 95 % interval in percent, denominator and unscored count.

    Yes/no metrics: Wilson score interval. Ratios: percentile bootstrap over books.
    """
    value, unscored = metric.value(records), 0
    low = high = None
    if metric.flag:
        scored = [flag for one in records if (flag := metric.flag(one)) is not None]
        count, unscored = len(scored), len(records) - len(scored)
        if count:
            low, high = binomtest(sum(scored), count).proportion_ci(method="wilson")
    else:
        table = metric.table(records)
        count = int(table[:, table.shape[1] // 2 :].sum())
        if value is not None:
            low, high = np.nanpercentile(metric.combine(resample_books(records) @ table), [2.5, 97.5])
    shown = [None if one is None else round(100 * float(one), 2) for one in (value, low, high)]
    return {"value": shown[0], "low": shown[1], "high": shown[2], "n": count, "unscored": unscored}


# what is told of a slice, where few cases would make the rest noise
SLICE_METRICS = ("fatal_error_free", "schema_valid", "level_accuracy", "under_call", "breach_f1", "grounded")


def _by_slice(records: list[Record]) -> dict[str, Any]:
    """Cases and main metrics of every slice of one language's records, largest slice first."""
    names = Counter(name for one in records for name in one.slices if name not in ("en", "zh"))
    chosen = [metric for metric in METRICS if metric.key in SLICE_METRICS]
    return {
        name: {
            "cases": count,
            "metrics": {
                metric.key: estimate(metric, [one for one in records if name in one.slices]) for metric in chosen
            },
        }
        for name, count in names.most_common()
    }


def metrics_by_language(records: list[Record]) -> dict[str, Any]:
    """Aggregates of a run, a block a language, with its slices."""
    blocks: dict[str, Any] = {}
    for language in ("en", "zh"):
        own = [one for one in records if one.language == language]
        if own:
            blocks[language] = {
                "cases": len(own),
                "books": len({one.book for one in own}),
                "metrics": {metric.key: estimate(metric, own) for metric in METRICS},
                "slices": _by_slice(own),
            }
    return blocks


class Scored(NamedTuple):
    """A case to score an answer against, with what its record is counted under."""

    case: Case
    book: str = ""
    slices: Sequence[str] = ()


def score_file(rows: list[Scored], predictions: Path) -> list[Record]:
    """Score a predictions file against the cases of a split.

    A prediction has `predict` and either `case_id` or the `prompt` LLaMA-Factory wrote; a case without a prediction,
    a prediction without a case and two for one case are refused: a missing answer must not pass unnoticed.
    """
    by_id = {one.case.case_id: one for one in rows}
    answers: dict[str, str] = {}
    for number, one in enumerate(read_lines(predictions), start=1):
        where = f"{predictions}: line {number}"
        if not isinstance(one, dict) or not isinstance(one.get("predict"), str):
            raise InputError(f"{where}: needs a text field predict, and case_id or prompt")
        case_id = one.get("case_id") or case_id_in(str(one.get("prompt", "")))
        if case_id not in by_id:
            raise InputError(f"{where}: case {case_id or '(no id found)'} is not in the data")
        if case_id in answers:
            raise InputError(f"{where}: a second prediction for case {case_id}")
        answers[case_id] = one["predict"]
    missing = sorted(by_id.keys() - answers.keys())
    if missing:
        raise InputError(f"{predictions}: no prediction for {len(missing)} of {len(by_id)} cases, e.g. {missing[0]}")
    return [score_answer(one.case, answers[name], one.book, one.slices) for name, one in by_id.items()]


def write_scores(out: Path, records: list[Record], about: dict[str, Any]) -> dict[str, Any]:
    """Write records.jsonl and metrics.json (with `about`: data file, hashes, run) into `out`; returns the metrics."""
    metrics = {"rubric": RUBRIC, **about, "languages": metrics_by_language(records)}
    write_lines(Path(out) / "records.jsonl", [one.model_dump(mode="json") for one in records])
    write_json(Path(out) / "metrics.json", metrics)
    return metrics


def score_run(rows: list[Scored], data: Path, predictions: Path, out: Path) -> list[Record]:
    """Score a predictions file against the rows of the split file `data` and write the scores with both hashes."""
    records = score_file(rows, predictions)
    about = {"data": data.stem, "data_sha256": sha256(data), "predictions_sha256": sha256(predictions)}
    write_scores(out, records, about)
    return records


def constant_report(level: Level) -> Report:
    """The floor of a comparison: one report for every case, of the given level, claiming nothing else."""
    return Report(
        schema_version="1",
        limit_breaches=[],
        key_drivers=[],
        limitations=[],
        assumptions=[],
        assessment_status="complete",
        level_basis=[],
        risk_level=level,
        escalate=level in ("high", "critical"),
        recommended_actions=[],
        summary=f"Risk is {level}.",
    )
