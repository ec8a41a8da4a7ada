"""Scored runs on the same cases, judged by a rule that was written before: differences, tests, a verdict per language.

The statistics are in `statistics`; here is which of them answers which question. Languages are never pooled.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from riskscribe.case import Language
from riskscribe.errors import InputError
from riskscribe.evaluate import statistics
from riskscribe.evaluate.changes import failures, representative_cases
from riskscribe.evaluate.log import scorings
from riskscribe.evaluate.score import METRICS, RUBRIC, Metric, Record, metrics_by_language, resample_books
from riskscribe.files import numbered_lines, read_json, read_yaml, sha256, validate

DECISION = Path(__file__).with_name("decision.yaml")


class Column(NamedTuple):
    """A known way to write the reports: its name and note, and why a comparison may lack it; (English, Chinese)."""

    name: tuple[str, str]
    note: tuple[str, str]
    absent: tuple[str, str] = ("it was not run", "未运行")


_NO_CONSTRAINT = ("it was not run with constrained decoding", "未以约束解码运行")
# the columns that make a claim honest, in the order a page shows them; a run's folder name is its key
COLUMNS = {
    "constant": Column(
        ("Constant majority report", "固定多数报告"), ("floor: one report for every case", "下限：所有案例同一份报告")
    ),
    "policy_template": Column(
        ("Policy with a template", "政策加模板"),
        ("ceiling: what the policy and fixed wording give", "上限：政策与固定措辞所能给出的结果"),
    ),
    "base_free": Column(
        ("Base without examples", "基础模型（无示例）"),
        ("the untuned model, told the schema", "未微调的模型，仅给出格式"),
    ),
    "base_few_shot": Column(
        ("Base with two examples", "基础模型（两个示例）"),
        ("the untuned model, shown the schema and examples", "未微调的模型，给出格式与示例"),
    ),
    "base_few_shot_constrained": Column(
        ("Base with two examples, constrained", "基础模型（两个示例，约束解码）"),
        ("the untuned model, held to the schema", "未微调的模型，强制符合格式"),
        _NO_CONSTRAINT,
    ),
    "tuned": Column(("Tuned", "微调模型"), ("the fine-tuned model, free decoding", "微调后的模型，自由解码")),
    "tuned_constrained": Column(
        ("Tuned, constrained", "微调模型（约束解码）"),
        ("the fine-tuned model, held to the schema", "微调后的模型，强制符合格式"),
        _NO_CONSTRAINT,
    ),
}
# tested in every slice, and between the judged run and the columns that are no part of the claim
MAIN = ("fatal_error_free", "schema_valid", "level_accuracy", "level_balanced", "under_call", "breach_f1", "grounded")
# between two runs that could both be read these say nothing, or the same as another metric
_OF_READABLE = ("schema_valid", "_repaired")
# not a share: as it is, times 100
_PLAIN = ("unsupported_numbers", "level_kappa")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(_Strict):
    """A pair of columns about which something is claimed."""

    candidate: str
    reference: str


class SeedRule(_Strict):
    """How many runs of one recipe with other seeds make a noise band, and whether a verdict needs one."""

    minimum: int = Field(default=3, ge=3)
    required: bool = False


class Decision(_Strict):
    """What counts as better and as no worse; a committed file, written before a comparison is looked at."""

    version: str
    primary_metric: str
    claims: list[Claim] = []
    alpha: float = Field(gt=0, lt=0.5)
    power: float = Field(gt=0.5, lt=1)
    minimum_cases: int = Field(ge=6, description="per language; McNemar's exact test cannot reject with fewer than 6")
    better_when: list[Literal["interval", "test", "seed_noise"]] = Field(min_length=1)
    minimum_gain_points: float = Field(ge=0, lt=100)
    seeds: SeedRule = SeedRule()
    no_worse_when: list[Literal["bound", "no_new_fatal_error"]] = Field(min_length=1)
    margin_points: float = Field(gt=0, lt=100)


def read_decision(path: Path | None = None) -> tuple[Decision, dict[str, str]]:
    """The decision file and what identifies it: {file, sha256}.

    Raises InputError naming the field that is wrong, or the metrics there are when the primary one is none of them.
    """
    path = Path(path or DECISION)
    found = validate(Decision, read_yaml(path), str(path))
    if found.primary_metric not in _metrics():
        raise InputError(f"{path}: primary_metric {found.primary_metric!r} is none of {', '.join(_metrics())}")
    return found, {"file": path.name, "sha256": sha256(path)}


def _metrics() -> dict[str, Metric]:
    return {one.key: one for one in METRICS}


class Run(NamedTuple):
    """A scored run: the name of its column, its records by case id, and its metrics.json."""

    key: str
    folder: Path
    records: dict[str, Record]
    about: dict[str, Any]


def read_run(folder: Path, key: str | None = None) -> Run:
    """Records and metrics of one scored run. Raises InputError naming file and line."""
    folder = Path(folder)
    path = folder / "records.jsonl"
    if not path.exists():
        raise InputError(f"{path}: no such file; `riskscribe score DATA PREDICTIONS --out {folder}` makes it")
    records = [validate(Record, one, f"{path}: line {n}") for n, one in numbered_lines(path)]
    if not records:
        raise InputError(f"{path}: holds no record")
    about = read_json(folder / "metrics.json")
    if not isinstance(about, dict):
        raise InputError(f"{folder / 'metrics.json'}: is not an object; score the run again")
    by_id = {one.case_id: one for one in sorted(records, key=lambda one: one.case_id)}
    if len(by_id) < len(records):
        twice = next(name for name, count in Counter(one.case_id for one in records).items() if count > 1)
        raise InputError(f"{path}: case {twice} is there twice; score the run again")
    return Run(key or _place(folder).name, folder, by_id, about)


def _place(folder: Path) -> Path:
    """Where a folder really is; unlike Path.resolve, a link that leads to itself is no error here."""
    return Path(os.path.realpath(folder))


def _read_runs(folders: list[Path]) -> list[Run]:
    """The runs, named by their folders, or by the path above too where two folders have one name."""
    places = [_place(one) for one in folders]
    if len(set(places)) < len(places):
        raise InputError("one folder is given twice; give each run once")
    depth = 1
    while len({one.parts[-depth:] for one in places}) < len(places):
        depth += 1
    names = ["/".join(one.parts[-depth:]) for one in places]
    return [read_run(one, name) for one, name in zip(folders, names, strict=True)]


def _figures(run: Run) -> dict[str, Any]:
    """A run's figures by language: those of its metrics.json, or computed where that lacks a metric of this rubric."""
    stored = run.about.get("languages") if run.about.get("rubric") == RUBRIC else None
    if stored and all(_metrics().keys() <= block["metrics"].keys() for block in stored.values()):
        return stored
    return metrics_by_language(list(run.records.values()))


def _same_cases(first: Run, other: Run) -> None:
    """Raise InputError unless both runs hold the same cases of one data file, scored with one rubric."""
    same = first.about.get("data_sha256") == other.about.get("data_sha256")
    if not same or first.records.keys() != other.records.keys():
        raise InputError(f"{other.key} and {first.key} were not scored on the same data; score both on one file")
    if first.about.get("rubric") != other.about.get("rubric"):
        raise InputError(
            f"{other.key} was scored with rubric {other.about.get('rubric')}, {first.key} with "
            f"{first.about.get('rubric')}; score both with one version"
        )


def _points(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(100 * float(value), 4)


def _both_scored(metric: Metric, a: list[Record], b: list[Record]) -> tuple[list[Record], list[Record]]:
    """The pairs of cases that neither run left unscored; all of them for a score, which has its own denominators."""
    if metric.flag is None:
        return a, b
    kept = [(x, y) for x, y in zip(a, b, strict=True) if metric.flag(x) is not None and metric.flag(y) is not None]
    return [x for x, _ in kept], [y for _, y in kept]


def _books(records: list[Record]) -> list[str]:
    return [one.book or one.case_id for one in records]


def _interval(
    metric: Metric, a: list[Record], b: list[Record], confidence: float
) -> tuple[tuple[float, float] | None, float]:
    """Interval of the difference b - a (None: it cannot be computed) and its standard error (scores only)."""
    books = _books(a)
    if metric.flag:
        x, y = (np.array([bool(metric.flag(one)) for one in side]) for side in (a, b))
        effect = statistics.design_effect(y.astype(float) - x, books)
        counts = (int((x & ~y).sum()) / effect, int((y & ~x).sum()) / effect, len(a) / effect)
        return statistics.paired_interval(*counts, confidence=confidence), 0.0
    weights = resample_books(a)
    draws = metric.combine(weights @ metric.table(b)) - metric.combine(weights @ metric.table(a))
    draws = draws[np.isfinite(draws)]
    spread = float(np.std(draws, ddof=1)) if len(draws) > 1 else 0.0
    # draws that are all one value say nothing of the error: no interval is honest, one of no width is not
    found = statistics.bootstrap_interval(draws, len(set(books)), confidence) if spread > 1e-12 else None
    return found, spread


def paired_difference(metric: Metric, a: list[Record], b: list[Record], decision: Decision) -> dict[str, Any]:
    """The difference b - a of one metric on the same cases, in percentage points, with all that is known of it.

    Yes/no metrics: McNemar's exact test; score interval (Tango) on counts divided by the design effect of books;
    a case that either run left unscored is left out. Scores: bootstrap over books for the interval, permutation of
    whole books between the runs for the p-value.

    Args:
        metric: What is compared.
        a: Records of the reference, in the order of `b`.
        b: Records of the candidate.
        decision: Gives alpha and power for the smallest detectable difference.

    Returns:
        difference, low, high (95 %), detectable (all points); p_value, test, n, books; for yes/no metrics only_a,
        only_b and design_effect. What cannot be computed is None.
    """
    a, b = _both_scored(metric, a, b)
    books = _books(a)
    row: dict[str, Any] = dict.fromkeys(("difference", "low", "high", "p_value", "detectable"))
    row |= {"n": len(a), "books": len(set(books))}
    row["test"] = "McNemar exact" if metric.flag else "permutation over books"
    ends = [metric.value(a), metric.value(b)]
    if None in ends:
        return row
    interval, spread = _interval(metric, a, b, 0.95)
    row["difference"] = _points(ends[1] - ends[0])
    if interval:
        row |= {"low": _points(interval[0]), "high": _points(interval[1])}
    if metric.flag:
        x, y = (np.array([bool(metric.flag(one)) for one in side]) for side in (a, b))
        only_a, only_b = int((x & ~y).sum()), int((y & ~x).sum())
        effect = statistics.design_effect(y.astype(float) - x, books)
        row |= {"only_a": only_a, "only_b": only_b, "design_effect": round(effect, 3)}
        row["p_value"] = statistics.mcnemar_exact(only_a, only_b)
        detectable = statistics.detectable_proportion(
            int(len(a) / effect), (only_a + only_b) / len(a), decision.alpha, decision.power
        )
    else:
        row["p_value"] = statistics.permutation_p(metric.table(a), metric.table(b), books, metric.combine)
        detectable = statistics.detectable_score(spread, row["books"], decision.alpha, decision.power)
    row["detectable"] = _points(detectable)
    return row


def _fatal(record: Record) -> set[str]:
    """The kinds of fatal error an answer has."""
    return {one.code for one in record.findings if one.fatal}


def no_worse(metric: Metric, reference: list[Record], candidate: list[Record], decision: Decision) -> dict[str, Any]:
    """Non-inferiority on the same cases: whether a candidate loses no more than the margin, and nothing fatal.

    Args:
        metric: What may not get worse.
        reference: Records of what the candidate replaces.
        candidate: Records on the same cases in the same order.
        decision: Gives margin, conditions and the least number of cases.

    Returns:
        outcome `no_worse` | `worse` | `inconclusive`; loss and upper (its one-sided 95 % bound) in points, positive
        where the candidate is worse; margin; n; new_fatal, the cases with a kind of fatal error not seen before;
        reasons, the conditions that failed. Only `no_worse` passes: too few cases are inconclusive.
    """
    new = [y.case_id for x, y in zip(reference, candidate, strict=True) if _fatal(y) - _fatal(x)]
    a, b = _both_scored(metric, reference, candidate)
    found: dict[str, Any] = {"loss": None, "upper": None, "margin": decision.margin_points, "n": len(a)}
    ends = [metric.value(a), metric.value(b)]
    least = None
    if None not in ends:
        sign = -1 if metric.higher_is_better else 1
        found["loss"] = _points(sign * (ends[1] - ends[0]))
        # both ends of the two-sided 90 % interval are one-sided 95 % bounds
        interval, _ = _interval(metric, a, b, 0.90)
        if interval is None and np.array_equal(metric.table(a), metric.table(b), equal_nan=True):
            # no case differs: what may be lost is the share of cases that yet may, each of them losing everything
            interval = statistics.paired_interval(0, 0, len(a), confidence=0.90)
        if interval:
            least, most = sorted(_points(sign * one) for one in interval)
            found["upper"] = most
    held = {
        "bound": found["upper"] is not None and found["upper"] < decision.margin_points,
        "no_new_fatal_error": not new,
    }
    failed = [one for one in decision.no_worse_when if not held[one]]
    if "no_new_fatal_error" in failed or (least is not None and least > decision.margin_points):
        outcome = "worse"
    elif len(a) < decision.minimum_cases:
        outcome, failed = "inconclusive", [*failed, "cases"]
    else:
        outcome = "inconclusive" if failed else "no_worse"
    return found | {"outcome": outcome, "new_fatal": new, "reasons": failed}


def seed_bands(runs: list[Run], decision: Decision) -> dict[str, dict[str, dict[str, Any]]]:
    """What the seed alone changes: language -> metric -> mean, min, max, sd, range (percent and points), seeds.

    Raises InputError with fewer runs than the decision file asks for, on different data, or when two are one run.
    """
    least = decision.seeds.minimum
    if len(runs) < least:
        raise InputError(
            f"--seeds: {len(runs)} run(s) given; a noise band needs at least {least} runs with other seeds"
        )
    made = {}
    for one in runs:
        key = one.about.get("predictions_sha256")
        if key is not None and made.setdefault(key, one) is not one:
            raise InputError(f"--seeds: {one.folder} and {made[key].folder} hold the same predictions, not two seeds")
        _same_cases(runs[0], one)
    bands: dict[str, dict[str, dict[str, Any]]] = {}
    for language in ("en", "zh"):
        sides = [[one for one in run.records.values() if one.language == language] for run in runs]
        if not sides[0]:
            continue
        for metric in METRICS:
            values = [metric.value(side) for side in sides]
            if None in values:
                continue
            values = [100 * one for one in values]
            bands.setdefault(language, {})[metric.key] = {
                "values": [round(one, 4) for one in values],
                "mean": round(float(np.mean(values)), 4),
                "min": round(min(values), 4),
                "max": round(max(values), 4),
                "sd": round(float(np.std(values, ddof=1)), 4),
                "range": round(max(values) - min(values), 4),
            }
    return bands


def format_and_content(metric: Metric, a: list[Record], b: list[Record]) -> dict[str, Any] | None:
    """The difference of a yes/no metric as a sum: cases that one run could not be read on, and all others.

    `format` is the part of the difference from cases on which at least one of the two answers is no valid report,
    `content` the part from cases on which both are; each with its count of cases and 95 % interval (bootstrap over
    books), in points. The two add up to the difference exactly. None for a score, which is no sum over cases.
    """
    if metric.flag is None:
        return None
    a, b = _both_scored(metric, a, b)
    if not a:
        return None
    gain = np.array([bool(metric.flag(y)) - bool(metric.flag(x)) for x, y in zip(a, b, strict=True)], dtype=float)
    both = np.array([x.schema_valid and y.schema_valid for x, y in zip(a, b, strict=True)])
    weights, count = resample_books(a), len(set(_books(a)))
    parts = {}
    for name, own in (("format", ~both), ("content", both)):
        interval = statistics.bootstrap_interval(weights @ (gain * own) / weights.sum(axis=1), count)
        low, high = (_points(one) for one in interval) if interval else (None, None)
        points = 100 * float((gain * own).sum()) / len(gain)
        parts[name] = {"points": points, "low": low, "high": high, "cases": int(own.sum())}
    return {"difference": 100 * float(gain.sum()) / len(gain), "n": len(gain), **parts}


def _claim(decision: Decision, keys: list[str]) -> tuple[str, str]:
    """(candidate, reference): the first claim of the decision file that is there, else the last against the first."""
    for one in decision.claims:
        if one.candidate in keys and one.reference in keys:
            return one.candidate, one.reference
    return keys[-1], keys[0]


def judge(
    row: dict[str, Any], band: dict[str, Any] | None, decision: Decision, higher_is_better: bool
) -> dict[str, Any]:
    """The verdict on a primary metric's difference.

    Returns:
        outcome `met` | `not_met` | `inconclusive`; direction `better` | `worse` | `same` of what is shown;
        conditions {interval, test, seed_noise: held, not held, or None where it was not measured}; reasons.
    """
    sign = 1 if higher_is_better else -1
    ends = [None if row[one] is None else sign * row[one] for one in ("low", "high")]
    conditions: dict[str, bool | None] = dict.fromkeys(("interval", "test", "seed_noise"))
    significant = row["p_value"] is not None and row["p_value"] < decision.alpha
    if None not in ends:
        conditions["interval"] = min(ends) > decision.minimum_gain_points
        conditions["test"] = significant
        if band:
            conditions["seed_noise"] = sign * row["difference"] > band["range"]
    reasons = [one for one in decision.better_when if conditions[one] is False]
    unknown = [one for one in decision.better_when if conditions[one] is None]
    if not decision.seeds.required:
        unknown = [one for one in unknown if one != "seed_noise"]
    direction = "same"
    if None not in ends and significant and not min(ends) <= 0 <= max(ends):
        direction = "better" if min(ends) > 0 else "worse"
    if row["n"] < decision.minimum_cases:
        outcome, reasons = "inconclusive", ["cases", *reasons]
    elif reasons:
        outcome = "not_met"
    else:
        outcome, reasons = ("inconclusive", unknown) if unknown else ("met", [])
    return {"outcome": outcome, "direction": direction, "conditions": conditions, "reasons": reasons}


_SENTENCE: dict[Language, dict[str, Any]] = {
    "en": {
        "languages": {"en": "English", "zh": "Chinese"},
        "better": "{b} is better than {a} on {metric} ({language})",
        "worse": "{b} is worse than {a} on {metric} ({language})",
        "same": "{b} is not shown to differ from {a} on {metric} ({language})",
        "figures": ": {difference} points [{low} to {high}], {test} p {p}, {n} cases of {books} books; ",
        "unscored": ": not scored in both; ",
        "met": "rule met.",
        "not_met": "rule not met: {reasons}.",
        "inconclusive": "inconclusive: {reasons}.",
        "reasons": {
            "cases": "{n} cases, the rule asks for {minimum}",
            "interval": "the interval is not above {gain} points",
            "test": "p is not below {alpha}",
            "seed_noise": "the gain is inside the seed noise of {range} points",
        },
        "not_measured": {
            "interval": "there is no interval",
            "test": "there is no test",
            "seed_noise": "seed noise was not measured",
        },
        "join": ", ",
        "no_seeds": " Seed noise was not measured (no seed runs given).",
        "seeds": " Seed noise: {range} points over {count} seeds.",
        "tests": {"McNemar exact": "McNemar exact", "permutation over books": "permutation over books"},
    },
    "zh": {
        "languages": {"en": "英文", "zh": "中文"},
        "better": "在「{metric}」上（{language}案例），{b}优于{a}",
        "worse": "在「{metric}」上（{language}案例），{b}劣于{a}",
        "same": "在「{metric}」上（{language}案例），未显示{b}与{a}有差异",
        "figures": "：{difference} 个百分点 [{low} 至 {high}]，{test} p {p}，{n} 个案例、{books} 个账簿；",
        "unscored": "：两者未能同时评分；",
        "met": "满足决策规则。",
        "not_met": "未满足决策规则：{reasons}。",
        "inconclusive": "无法定论：{reasons}。",
        "reasons": {
            "cases": "仅 {n} 个案例，规则要求 {minimum} 个",
            "interval": "区间未高于 {gain} 个百分点",
            "test": "p 不小于 {alpha}",
            "seed_noise": "增益未超出随机种子噪声 {range} 个百分点",
        },
        "not_measured": {"interval": "没有区间", "test": "没有检验", "seed_noise": "未测量随机种子噪声"},
        "join": "，",
        "no_seeds": "未测量随机种子噪声（未提供种子运行）。",
        "seeds": "随机种子噪声：{count} 个种子间相差 {range} 个百分点。",
        "tests": {"McNemar exact": "McNemar 精确检验", "permutation over books": "账簿置换检验"},
    },
}


def sentence(
    row: dict[str, Any], found: dict[str, Any], names: dict[str, str], decision: Decision, to: Language
) -> str:
    """The verdict in one sentence, and a second on seed noise. `names`: a, b, metric and the band, as texts."""
    words, band = _SENTENCE[to], found["seed_band"]
    p = row["p_value"]
    values = {
        **names,
        "language": words["languages"][row["language"]],
        "test": words["tests"][row["test"]],
        "p": "" if p is None else "< 0.001" if p < 0.001 else f"= {p:.3f}",
        "n": row["n"],
        "books": row["books"],
        "minimum": decision.minimum_cases,
        "gain": f"{decision.minimum_gain_points:g}",
        "alpha": f"{decision.alpha:g}",
        "range": f"{band['range']:.1f}" if band else "",
        "count": len(band["values"]) if band else 0,
    }
    for key in ("difference", "low", "high"):
        values[key] = "–" if row[key] is None else f"{row[key]:+.1f}"
    why = [
        (words["not_measured"] if one != "cases" and found["conditions"].get(one) is None else words["reasons"])[one]
        for one in found["reasons"]
    ]
    values["reasons"] = words["join"].join(why).format(**values)
    form = words[found["direction"]] + words["figures" if row["difference"] is not None else "unscored"]
    form += words[found["outcome"]] + words["seeds" if band else "no_seeds"]
    return form.format(**values)


def compare(
    folders: list[Path],
    title: str,
    *,
    decision_file: Path | None = None,
    seeds: list[Path] | None = None,
    candidate: str | None = None,
    reference: str | None = None,
    log: Path | None = None,
) -> dict[str, Any]:
    """Compare scored runs; one pair of them is judged by the decision file, per language.

    Args:
        folders: Folders with records.jsonl and metrics.json; a folder's name is its column's key.
        title: Of the page.
        decision_file: Default: the committed decision.yaml beside this module.
        seeds: Folders of runs of the candidate's recipe with other seeds, three or more, or none.
        candidate, reference: Keys of the pair that is judged; default: the decision file's first claim that is there,
            else the last folder against the first.
        log: The log of test scorings; default: the one `score` writes.

    Returns:
        What `riskscribe.page.comparison` shows, JSON-ready; docs/statistics.md lists the fields.

    Raises:
        InputError: Unless all runs hold the same cases of one data file, scored with one rubric.
    """
    if len(folders) < 2:
        raise InputError("a comparison needs at least two scored runs; give two folders that `riskscribe score` wrote")
    decision, identity = read_decision(decision_file)
    runs = _read_runs(folders)
    for run in runs[1:]:
        _same_cases(runs[0], run)
    by_key = {one.key: one for one in runs}
    keys = list(by_key)
    chosen = _claim(decision, keys)
    pair = {"candidate": candidate or chosen[0], "reference": reference or chosen[1]}
    for side, key in pair.items():
        if key not in by_key:
            raise InputError(f"--{side} {key}: is none of the runs {', '.join(keys)}")
    if pair["candidate"] == pair["reference"]:
        raise InputError(f"{pair['candidate']} is both candidate and reference; name two runs")
    seed_runs = [read_run(one) for one in seeds or []]
    if seed_runs:
        _same_cases(runs[0], seed_runs[0])
    bands = seed_bands(seed_runs, decision) if seeds else {}
    ordered = {key: list(run.records.values()) for key, run in by_key.items()}
    blocks = {key: _figures(by_key[key]) for key in keys}
    about, metrics = runs[0].about, _metrics()
    primary = metrics[decision.primary_metric]

    languages: dict[str, Any] = {}
    paired: list[dict[str, Any]] = []
    verdicts: dict[str, Any] = {}
    for language, block in blocks[keys[0]].items():
        own = {key: [one for one in records if one.language == language] for key, records in ordered.items()}
        a, b = own[pair["reference"]], own[pair["candidate"]]
        rows = _paired_rows(language, own, pair, decision)
        for row in rows:
            row["seed_band"] = bands.get(language, {}).get(row["metric"]) if row["judged"] else None
        paired += rows
        row = next(one for one in rows if one["judged"] and one["metric"] == primary.key)
        found = judge(row, row["seed_band"], decision, primary.higher_is_better) | {"seed_band": row["seed_band"]}
        found["sentence"] = {to: sentence(row, found, _names(pair, primary, to), decision, to) for to in _SENTENCE}
        found["no_worse"] = no_worse(primary, a, b, decision)
        verdicts[language] = {"metric": primary.key, **pair, **found}
        readable = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x.schema_valid and y.schema_valid]
        languages[language] = {
            "cases": block["cases"],
            "books": block["books"],
            "metrics": [
                {
                    "key": metric.key,
                    "name": metric.name,
                    "unit": "" if metric.key in _PLAIN else "%",
                    "higher_is_better": metric.higher_is_better,
                    "values": {key: blocks[key][language]["metrics"][metric.key] for key in keys},
                    "seed_band": bands.get(language, {}).get(metric.key),
                }
                for metric in METRICS
            ],
            "prevalence": _at_prevalence({key: blocks[key].get(language, {}) for key in keys}),
            "slices": _slices(language, blocks, own, pair, decision),
            "format_and_content": format_and_content(primary, a, b),
            "both_readable": {
                "cases": len(readable),
                "rows": [
                    {"metric": one.key, "name": one.name}
                    | paired_difference(one, [a[i] for i in readable], [b[i] for i in readable], decision)
                    for one in METRICS
                    if not any(word in one.key for word in _OF_READABLE)
                ]
                if readable
                else [],
            },
            "failures": failures(own),
        }
    counted = scorings(about.get("data_sha256"), log)
    cases = len(runs[0].records)
    return {
        "title": title,
        "dataset": {
            "name": about.get("data"),
            "sha256": about.get("data_sha256"),
            "cases": cases,
            "books": len(set(_books(ordered[keys[0]]))),
            "rubric": about.get("rubric"),
        },
        "decision": identity | decision.model_dump(mode="json"),
        "pair": pair,
        "verdicts": verdicts,
        "columns": [_column(key, by_key[key], counted) for key in keys],
        "missing": [
            {"key": key, "name": _in_both(one.name), "why": _in_both(one.absent)}
            for key, one in COLUMNS.items()
            if key not in keys and COLUMNS.keys() & set(keys)
        ],
        "scorings": {"times": counted["times"], "distinct": len(counted["distinct"])},
        "seeds": [str(one.folder) for one in seed_runs],
        "languages": languages,
        "paired": paired,
        "cases": representative_cases(ordered[pair["reference"]], ordered[pair["candidate"]]),
        "commands": [],
        "smoke_test": all(one["cases"] < decision.minimum_cases for one in languages.values()),
    }


def _names(pair: dict[str, str], metric: Metric, to: Language) -> dict[str, str]:
    """The names of a pair's columns and of a metric, in one language."""
    shown = {side: column_name(key)[to] for side, key in pair.items()}
    return {"a": shown["reference"], "b": shown["candidate"], "metric": metric.key}


def _in_both(texts: tuple[str, str]) -> dict[Language, str]:
    return dict(zip(("en", "zh"), texts, strict=True))


def column_name(key: str) -> dict[Language, str]:
    """A column's name in both languages; an unknown key is its own name."""
    return _in_both(COLUMNS[key].name if key in COLUMNS else (key, key))


def _column(key: str, run: Run, counted: dict[str, Any]) -> dict[str, Any]:
    """A column's names, and the place of its predictions among the distinct ones scored on this test set."""
    note = _in_both(COLUMNS[key].note if key in COLUMNS else ("", ""))
    place = counted["distinct"].get(run.about.get("predictions_sha256"))
    return {"key": key, "name": column_name(key), "note": note, "predictions": place}


def _paired_rows(
    language: str, own: dict[str, list[Record]], pair: dict[str, str], decision: Decision
) -> list[dict[str, Any]]:
    """The judged pair on every metric, and the candidate against every other column on the main ones.

    The primary metric of the judged pair is tested alone; every other row's p-values are Holm-adjusted as one family.
    """
    b, rows = own[pair["candidate"]], []
    for key in [pair["reference"], *(one for one in own if one not in pair.values())]:
        judged = key == pair["reference"]
        for metric in METRICS:
            if judged or metric.key in MAIN:
                row = {"language": language, "metric": metric.key, "name": metric.name, "a": key}
                row |= {"b": pair["candidate"], "judged": judged, "higher_is_better": metric.higher_is_better}
                rows.append(row | paired_difference(metric, own[key], b, decision))
    others = [one for one in rows if not (one["judged"] and one["metric"] == decision.primary_metric)]
    for row in rows:
        row["p_holm"] = None
    for row, p in zip(others, statistics.holm([one["p_value"] for one in others]), strict=True):
        row["p_holm"] = p
    return rows


def _at_prevalence(blocks: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Every column's rates as if the levels were met as often as the rubric says: shares_pct, and metric -> column."""
    found = {key: block["prevalence"] for key, block in blocks.items() if block.get("prevalence")}
    if not found:
        return None
    first = next(iter(found.values()))
    values = {name: {key: one["metrics"].get(name) for key, one in found.items()} for name in first["metrics"]}
    return {"shares_pct": first["shares_pct"], "values": values}


def _slices(
    language: str,
    blocks: dict[str, Any],
    own: dict[str, list[Record]],
    pair: dict[str, str],
    decision: Decision,
) -> list[dict[str, Any]]:
    """Every slice: the columns' values, and the judged pair's differences with Holm over all slices and metrics."""
    a, b = own[pair["reference"]], own[pair["candidate"]]
    first = next(iter(own))
    slices = []
    for name, one in blocks[first][language]["slices"].items():
        # a run scored before its rows carried slices has none
        within = [i for i, record in enumerate(own[first]) if name in record.slices]
        x, y = [a[i] for i in within], [b[i] for i in within]
        differences = {m.key: paired_difference(m, x, y, decision) for m in METRICS if m.key in MAIN} if x else {}
        values = {key: blocks[key][language]["slices"].get(name, {"metrics": {}})["metrics"] for key in own}
        slices.append({"name": name, "cases": one["cases"], "values": values, "differences": differences})
    family = [one for part in slices for one in part["differences"].values()]
    for row, p in zip(family, statistics.holm([one["p_value"] for one in family]), strict=True):
        row["p_holm"] = p
    return slices
