"""Several scored runs on the same cases: a table with intervals and paired tests, as data for the comparison page."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from riskscribe.errors import InputError
from riskscribe.evaluate.score import METRICS, Metric, Record, metrics_by_language, resample_books
from riskscribe.files import read_json, read_lines, validate

# the columns that make a claim honest, in the order a page shows them
COLUMNS = {
    "constant": ("Constant majority report", "floor: one report for every case"),
    "policy_template": ("Policy with a template", "ceiling: what the policy and fixed wording give"),
    "base_few_shot": ("Base, schema and two examples", "the untuned model, shown the format"),
    "tuned": ("Tuned", "the fine-tuned model, free decoding"),
}
PAIRED = ("fatal_error_free", "schema_valid", "level_accuracy", "level_balanced", "breach_f1", "grounded")
SMOKE_CASES = 30


def read_scores(folder: Path) -> tuple[list[Record], dict[str, Any]]:
    """Records and metrics of one scored run."""
    path = Path(folder) / "records.jsonl"
    records = [validate(Record, one, f"{path}: line {n}") for n, one in enumerate(read_lines(path), start=1)]
    if not records:
        raise InputError(f"{path}: holds no record")
    return records, read_json(Path(folder) / "metrics.json")


def paired_test(metric: Metric, a: list[Record], b: list[Record]) -> dict[str, Any]:
    """Difference b - a in percentage points on the same cases, 95 % interval and, for yes/no metrics, McNemar's p.

    The interval is a percentile bootstrap that resamples books; McNemar's test is exact (binomial on the cases on
    which only one of the two is right). A case that either run left unscored is left out of a yes/no test.
    """
    if metric.flag:
        kept = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if None not in (metric.flag(x), metric.flag(y))]
        a, b = [a[i] for i in kept], [b[i] for i in kept]
    ends = [metric.value(a), metric.value(b)]
    found: dict[str, Any] = {"difference": None, "low": None, "high": None, "p_value": None, "n": len(a)}
    found["test"] = "McNemar exact" if metric.flag else "bootstrap over books"
    if None in ends:
        return found
    weights = resample_books(a)
    drawn = metric.combine(weights @ metric.table(b)) - metric.combine(weights @ metric.table(a))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    found |= {"difference": 100 * (ends[1] - ends[0]), "low": 100 * float(low), "high": 100 * float(high)}
    if metric.flag:
        only_b = sum(bool(metric.flag(y)) and not metric.flag(x) for x, y in zip(a, b, strict=True))
        only_a = sum(bool(metric.flag(x)) and not metric.flag(y) for x, y in zip(a, b, strict=True))
        found["p_value"] = float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return found


def compare(folders: list[Path], title: str) -> dict[str, Any]:
    """Compare scored runs, the last one against each of the others.

    Raises InputError unless all runs hold the same cases of the same data file.
    """
    runs = {Path(one).name: read_scores(one) for one in folders}
    if len(runs) < len(folders):
        raise InputError("two runs have folders of one name; a folder's name is its column")
    keys = list(runs)
    first_key, (first, about) = next(iter(runs.items()))
    ids = [one.case_id for one in first]
    for key, (records, other) in runs.items():
        if other.get("data_sha256") != about.get("data_sha256") or sorted(one.case_id for one in records) != sorted(
            ids
        ):
            raise InputError(f"{key} and {first_key} were not scored on the same data; score both on one file")
        if other.get("rubric") != about.get("rubric"):
            raise InputError(
                f"{key} was scored with rubric {other.get('rubric')}, {first_key} with {about.get('rubric')}"
            )
    ordered = {key: sorted(records, key=lambda one: one.case_id) for key, (records, _) in runs.items()}
    blocks = {key: metrics_by_language(records) for key, records in ordered.items()}
    languages = {
        language: {
            "cases": block["cases"],
            "slices": [
                {
                    "name": name,
                    "cases": one["cases"],
                    # a run scored before its rows carried slices has none
                    "values": {
                        key: blocks[key][language]["slices"].get(name, {"metrics": {}})["metrics"] for key in keys
                    },
                }
                for name, one in block["slices"].items()
            ],
            "metrics": [
                {
                    "key": metric.key,
                    "name": metric.name,
                    "unit": "%",
                    "higher_is_better": metric.higher_is_better,
                    "values": {key: blocks[key][language]["metrics"][metric.key] for key in keys},
                }
                for metric in METRICS
            ],
        }
        for language, block in blocks[keys[0]].items()
    }
    paired = []
    for language in languages:
        last = [one for one in ordered[keys[-1]] if one.language == language]
        for key in keys[:-1]:
            other = [one for one in ordered[key] if one.language == language]
            for metric in METRICS:
                if metric.key in PAIRED:
                    row = {"language": language, "metric": metric.key, "name": metric.name, "a": key, "b": keys[-1]}
                    paired.append(row | paired_test(metric, other, last))
    cases = len(ids)
    return {
        "title": title,
        "dataset": {
            "name": about.get("data"),
            "sha256": about.get("data_sha256"),
            "cases": cases,
            "books": len({one.book for one in first}),
        },
        "columns": [
            {"key": key, "name": COLUMNS.get(key, (key, ""))[0], "note": COLUMNS.get(key, (key, ""))[1]}
            for key in keys
        ],
        "languages": languages,
        "paired": paired,
        "notes": [
            "Free decoding, greedy, the same token budget for every model; strict parse, nothing repaired.",
            "Tuned against the base with worked examples under the same free decoding; a constrained column needs "
            "constrained decoding, which is not built yet.",
            "Intervals: Wilson for yes/no metrics, bootstrap over books for ratios. Languages are never pooled.",
        ],
        "commands": [],
        "smoke_test": cases < SMOKE_CASES,
    }
