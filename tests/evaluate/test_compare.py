"""Comparisons: what is judged by which rule, what is refused, and figures that are known because we planted them."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from riskscribe.cli import main
from riskscribe.errors import InputError
from riskscribe.evaluate import log, score, statistics
from riskscribe.evaluate.changes import changes, kind_of, marked, representative_cases
from riskscribe.evaluate.compare import (
    COLUMNS,
    DECISION,
    SeedRule,
    compare,
    format_and_content,
    judge,
    no_worse,
    paired_difference,
    read_decision,
    read_run,
    seed_bands,
)
from riskscribe.evaluate.score import METRICS, Record
from riskscribe.evaluate.verify import Finding

METRIC = {one.key: one for one in METRICS}
NAMES = ("constant", "policy_template", "base_few_shot", "tuned")
COMMITTED = read_decision()[0]


@pytest.fixture(autouse=True, scope="module")
def few_permutations():
    """The p-values of scores are tested elsewhere; here a few permutations do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "PERMUTATIONS", 199)
        yield


@pytest.fixture
def decision(tmp_path):
    """Writes a decision file: the committed one with some fields changed."""

    def write(**fields) -> Path:
        path = tmp_path / "decision.yaml"
        rules = yaml.safe_load(DECISION.read_text(encoding="utf-8")) | fields
        path.write_text(yaml.safe_dump({key: one for key, one in rules.items() if one is not None}))
        return path

    return write


@pytest.fixture(scope="module")
def found(scored_runs):
    return compare([scored_runs / one for one in NAMES], "test")


def made(number: int, *codes: str, fatal: bool = True, readable: bool = True, **fields) -> Record:
    findings = [Finding(code=one, path="summary", message=f"{one} here", fatal=fatal) for one in codes]
    if not readable:
        findings = [Finding(code="unparseable", path="", message="no report", fatal=True)]
    level = fields.pop("level", "low" if readable else None)
    return Record(
        **{
            "case_id": f"c-{number:04}",
            "book": f"b-{number // 3}",
            "language": "en",
            "official_level": "low",
            "answer": "{",
            "is_json": readable,
            "schema_valid": readable,
            "level": level,
            "breaches_official": 0,
            "drivers_official": 0,
            "findings": findings,
        }
        | fields
    )


def row_of(found, metric, a="base_few_shot", language="en"):
    (row,) = [one for one in found["paired"] if (one["metric"], one["a"], one["language"]) == (metric, a, language)]
    return row


# --- figures that are known


def test_planted_faults_come_back_as_differences(found):
    # 24 cases: 8 unreadable and 8 invented in base, 1 unreadable and 4 invented in tuned
    row = row_of(found, "fatal_error_free")
    assert row["difference"] == pytest.approx(100 * (19 - 8) / 24, abs=1e-3)
    # of base's 8 clean cases tuned loses case 5; it gains the 16 others but for 1, 7, 13, 19
    assert (row["only_a"], row["only_b"], row["n"]) == (1, 12, 24)
    assert row["p_value"] == pytest.approx(2 * 14 / 2**13)
    assert row["low"] < row["difference"] < row["high"] and row["detectable"] > 20
    valid = row_of(found, "schema_valid")
    assert valid["difference"] == pytest.approx(100 * (23 - 16) / 24, abs=1e-3)
    assert row_of(found, "schema_valid", language="zh")["difference"] == pytest.approx(100 * 4 / 12, abs=1e-3)


def test_languages_are_never_pooled(found):
    assert list(found["languages"]) == list(found["verdicts"]) == ["en", "zh"]
    assert [found["languages"][one]["cases"] for one in ("en", "zh")] == [24, 12]
    assert {one["language"] for one in found["paired"]} == {"en", "zh"}
    assert all(one["n"] <= 24 for one in found["paired"] if one["test"] == "McNemar exact")


def test_the_gain_is_format_and_content_and_nothing_else(found):
    split = found["languages"]["en"]["format_and_content"]
    # read by both: all but 0, 3, ... (base) and 5 (tuned)
    assert split["content"]["cases"] == 15 and split["format"]["cases"] == 9
    # of them 1, 7, 13, 19 are invented in both; 4, 10, 16, 22 in base alone
    assert split["content"]["points"] == pytest.approx(100 * 4 / 24)
    assert split["format"]["points"] == pytest.approx(100 * (8 - 1) / 24)
    assert split["format"]["points"] + split["content"]["points"] == pytest.approx(split["difference"], abs=1e-12)
    assert split["difference"] == pytest.approx(row_of(found, "fatal_error_free")["difference"], abs=1e-3)
    both = found["languages"]["en"]["both_readable"]
    assert both["cases"] == 15 and {one["metric"] for one in both["rows"]} >= {"level_accuracy", "grounded"}
    assert not any("schema_valid" in one["metric"] for one in both["rows"])


def test_a_score_is_split_into_nothing():
    assert format_and_content(METRIC["grounded"], [made(1)], [made(1)]) is None


def test_every_test_but_the_primary_one_is_adjusted(found):
    for language in ("en", "zh"):
        rows = [one for one in found["paired"] if one["language"] == language and one["p_value"] is not None]
        (primary,) = [one for one in rows if one["judged"] and one["metric"] == "fatal_error_free"]
        assert primary["p_holm"] is None
        others = [one for one in rows if one is not primary]
        smallest = min(others, key=lambda one: one["p_value"])
        assert smallest["p_holm"] == pytest.approx(min(1, smallest["p_value"] * len(others)))
        assert all(one["p_holm"] >= one["p_value"] for one in others)


def test_slices_are_one_family(found):
    parts = found["languages"]["en"]["slices"]
    assert {"standard", "boundary"} <= {one["name"] for one in parts}
    rows = [row for part in parts for row in part["differences"].values() if row["p_value"] is not None]
    smallest = min(rows, key=lambda one: one["p_value"])
    assert smallest["p_holm"] == pytest.approx(min(1, smallest["p_value"] * len(rows)))
    part = next(one for one in parts if one["name"] == "boundary")
    assert part["values"]["policy_template"]["fatal_error_free"]["value"] == 100.0
    assert part["differences"]["fatal_error_free"]["n"] == part["cases"]


def test_unscored_cases_leave_a_yes_no_test():
    a = [made(i, level=None if i < 4 else "low", official_level="high") for i in range(10)]
    b = [made(i, level="high", official_level="high") for i in range(10)]
    row = paired_difference(METRIC["under_call"], a, b, COMMITTED)
    assert (row["n"], row["only_a"], row["only_b"], row["difference"]) == (6, 6, 0, -100.0)
    nothing = paired_difference(METRIC["under_call"], a[:4], b[:4], COMMITTED)
    assert nothing["difference"] is nothing["p_value"] is None


def test_draws_without_spread_give_no_interval():
    a = [made(i, numbers=2, numbers_supported=1) for i in range(12)]
    b = [made(i, numbers=2, numbers_supported=2) for i in range(12)]
    row = paired_difference(METRIC["grounded"], a, b, COMMITTED)
    assert row["difference"] == 50.0 and row["low"] is row["high"] is row["detectable"] is None
    assert row["p_value"] == pytest.approx(2 / 2**4), "four books, all one way"


# --- the rule


def test_the_committed_rule_calls_24_cases_inconclusive(found):
    verdict = found["verdicts"]["en"]
    assert verdict["outcome"] == "inconclusive" and verdict["direction"] == "better" and found["smoke_test"]
    assert (verdict["candidate"], verdict["reference"]) == ("tuned", "base_few_shot")
    assert found["decision"]["sha256"] == score.sha256(DECISION) and found["decision"]["file"] == "decision.yaml"
    english, chinese = verdict["sentence"]["en"], verdict["sentence"]["zh"]
    assert "Tuned is better than Base with two examples on fatal_error_free (English): +45.8 points [" in english
    assert "inconclusive: 24 cases, the rule asks for 40." in english and "Seed noise was not measured" in english
    assert "+45.8 个百分点" in chinese and "无法定论" in chinese and "未测量随机种子噪声" in chinese


def test_a_rule_that_is_met_and_one_that_is_not(scored_runs, decision):
    folders = [scored_runs / one for one in ("base_few_shot", "tuned")]
    verdicts = compare(folders, "test", decision_file=decision(minimum_cases=20))["verdicts"]
    assert verdicts["en"]["outcome"] == "met" and "; rule met." in verdicts["en"]["sentence"]["en"]
    assert verdicts["zh"]["outcome"] == "inconclusive"
    rules = decision(minimum_cases=20, minimum_gain_points=40)
    back = compare(folders, "t", decision_file=rules, candidate="base_few_shot", reference="tuned")["verdicts"]["en"]
    assert back["direction"] == "worse" and back["outcome"] == "not_met" and back["reasons"] == ["interval"]
    assert "Base with two examples is worse than Tuned" in back["sentence"]["en"]
    assert "rule not met: the interval is not above 40 points." in back["sentence"]["en"]


def test_a_run_against_itself_is_not_better(scored_runs, decision, tmp_path):
    copy = tmp_path / "again"
    copy.mkdir()
    for name in ("records.jsonl", "metrics.json"):
        (copy / name).write_bytes((scored_runs / "tuned" / name).read_bytes())
    verdict = compare([scored_runs / "tuned", copy], "t", decision_file=decision(minimum_cases=20))["verdicts"]["en"]
    assert verdict["outcome"] == "not_met" and verdict["direction"] == "same"
    assert "again is not shown to differ from Tuned" in verdict["sentence"]["en"]
    assert verdict["no_worse"]["new_fatal"] == [] and verdict["no_worse"]["loss"] == 0


@pytest.mark.parametrize(
    ("row", "band", "outcome", "reasons"),
    [
        ({"difference": 9.0, "low": 2.0, "high": 16.0, "p_value": 0.01}, None, "met", []),
        ({"difference": 9.0, "low": 2.0, "high": 16.0, "p_value": 0.01}, 8.9, "met", []),
        ({"difference": 9.0, "low": 2.0, "high": 16.0, "p_value": 0.01}, 9.0, "not_met", ["seed_noise"]),
        ({"difference": 9.0, "low": 2.0, "high": 16.0, "p_value": 0.06}, None, "not_met", ["test"]),
        ({"difference": 9.0, "low": -2.0, "high": 20.0, "p_value": 0.01}, None, "not_met", ["interval"]),
        ({"difference": -9.0, "low": -16.0, "high": -2.0, "p_value": 0.01}, None, "not_met", ["interval"]),
        ({"difference": 9.0, "low": 2.0, "high": 16.0, "p_value": 0.01}, "missing", "inconclusive", ["seed_noise"]),
        ({"difference": 9.0, "low": None, "high": None, "p_value": 0.01}, None, "inconclusive", ["interval", "test"]),
    ],
)
def test_every_condition_of_the_rule_counts(row, band, outcome, reasons):
    rules = COMMITTED
    if band == "missing":
        band, rules = None, COMMITTED.model_copy(update={"seeds": SeedRule(required=True)})
    found = judge(row | {"n": 100}, band and {"range": band}, rules, True)
    assert (found["outcome"], found["reasons"]) == (outcome, reasons)
    turned = {key: one if one is None or key == "p_value" else -one for key, one in row.items()}
    turned["low"], turned["high"] = turned["high"], turned["low"]
    assert judge(turned | {"n": 100}, band and {"range": band}, rules, False)["outcome"] == outcome


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"primary_metric": "brilliance"}, "primary_metric 'brilliance' is none of fatal_error_free"),
        ({"margin_points": -1}, "field margin_points"),
        ({"alpha": None}, "field alpha"),
        ({"better_when": ["mood"]}, "field better_when.0"),
        ({"seeds": {"minimum": 2}}, "field seeds.minimum"),
        ({"colour": "red"}, "field colour"),
    ],
)
def test_a_wrong_decision_file_names_the_field(decision, fields, message):
    path = decision(**fields)
    with pytest.raises(InputError) as error:
        read_decision(path)
    assert message in str(error.value) and str(path) in str(error.value)


# --- no worse


def test_no_worse_needs_the_bound_no_new_fatal_error_and_enough_cases():
    clean = [made(i) for i in range(200)]
    found = no_worse(METRIC["fatal_error_free"], clean, clean, COMMITTED)
    assert found["outcome"] == "no_worse" and 0 < found["upper"] < 2 and found["reasons"] == []
    # a score of equal answers has no bootstrap interval; its bound is that of the share that may differ
    same = no_worse(METRIC["level_balanced"], clean, clean, COMMITTED)
    assert (same["outcome"], same["loss"], same["upper"]) == ("no_worse", 0, found["upper"])
    few = no_worse(METRIC["fatal_error_free"], clean[:24], clean[:24], COMMITTED)
    assert few["outcome"] == "inconclusive" and few["upper"] > 5 and set(few["reasons"]) == {"bound", "cases"}
    one = [made(0, "understated"), *clean[1:]]
    new = no_worse(METRIC["fatal_error_free"], clean, one, COMMITTED)
    assert new["outcome"] == "worse" and new["new_fatal"] == ["c-0000"] and new["upper"] < 5
    assert no_worse(METRIC["fatal_error_free"], one, clean, COMMITTED)["outcome"] == "no_worse"
    other = no_worse(METRIC["fatal_error_free"], one, [made(0, "missed_breach"), *clean[1:]], COMMITTED)
    assert other["outcome"] == "worse", "another fatal error on a case that had one is new"
    harmless = [made(0, "wrong_driver", fatal=False), *clean[1:]]
    assert no_worse(METRIC["fatal_error_free"], clean, harmless, COMMITTED)["outcome"] == "no_worse"


def test_no_worse_turns_with_the_metric():
    reference = [made(i, level="high", official_level="high") for i in range(200)]
    candidate = [made(i, level="low" if i < 40 else "high", official_level="high") for i in range(200)]
    found = no_worse(METRIC["under_call"], reference, candidate, COMMITTED)
    assert found["loss"] == 20.0 and found["upper"] > 20 and found["outcome"] == "worse"
    assert no_worse(METRIC["under_call"], candidate, reference, COMMITTED)["outcome"] == "no_worse"


def test_no_worse_of_a_score():
    reference = [made(i, numbers=10, numbers_supported=9 + i % 2) for i in range(120)]
    candidate = [made(i, numbers=10, numbers_supported=8 + i % 2) for i in range(120)]
    found = no_worse(METRIC["grounded"], reference, candidate, COMMITTED)
    assert found["loss"] == 10.0 and found["upper"] is None and found["outcome"] == "inconclusive"
    noisy = [made(i, numbers=10, numbers_supported=9 + (i // 2) % 2) for i in range(120)]
    assert no_worse(METRIC["grounded"], reference, noisy, COMMITTED)["outcome"] == "no_worse"


# --- seeds


def test_seed_bands(scored_runs, decision):
    seeds = [scored_runs / f"seed{n}" for n in (1, 2, 3)]
    rules = decision(minimum_cases=20)
    folders = [scored_runs / "base_few_shot", scored_runs / "tuned"]
    found = compare(folders, "test", decision_file=rules, seeds=seeds)
    band = found["verdicts"]["en"]["seed_band"]
    right = [100 * one / 24 for one in (17, 15, 13)]
    assert band["values"] == pytest.approx(right, abs=1e-3)
    assert (band["min"], band["max"]) == pytest.approx((right[2], right[0]), abs=1e-3)
    assert band["mean"] == pytest.approx(sum(right) / 3, abs=1e-3)
    assert band["sd"] == pytest.approx(100 * 2 / 24, abs=1e-3)
    assert "Seed noise: 16.7 points over 3 seeds." in found["verdicts"]["en"]["sentence"]["en"]
    inside = compare([seeds[2], seeds[0]], "t", decision_file=rules, seeds=[*seeds[:2], scored_runs / "tuned"])
    assert inside["verdicts"]["en"]["conditions"]["seed_noise"] is False
    assert "inside the seed noise of 16.7 points" in inside["verdicts"]["en"]["sentence"]["en"]


def test_fewer_than_three_seeds_are_refused(scored_runs):
    runs = [read_run(scored_runs / one) for one in ("seed1", "seed2")]
    with pytest.raises(InputError, match=r"2 run.s. given; a noise band needs at least 3 runs with other seeds"):
        seed_bands(runs, COMMITTED)
    with pytest.raises(InputError, match="hold the same predictions, not two seeds"):
        seed_bands([*runs, runs[0]._replace(folder=Path("elsewhere"), about=dict(runs[0].about))], COMMITTED)


# --- columns and what is refused


def test_missing_columns_say_why(found):
    assert [one["key"] for one in found["missing"]] == ["base_free", "base_few_shot_constrained", "tuned_constrained"]
    assert (
        "constrained decoding" in found["missing"][1]["why"]["en"] and "约束解码" in found["missing"][1]["why"]["zh"]
    )
    assert [one["name"]["en"] for one in found["columns"]][-1] == "Tuned"
    assert all(all(texts) for one in COLUMNS.values() for texts in (one.name, one.note, one.absent))


def test_constrained_columns_are_judged_first(scored_runs, tmp_path):
    folders = []
    for name, source in {
        "base_few_shot": "base_few_shot",
        "base_few_shot_constrained": "seed3",
        "tuned": "tuned",
        "tuned_constrained": "policy_template",
    }.items():
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        for file in ("records.jsonl", "metrics.json"):
            (folders[-1] / file).write_bytes((scored_runs / source / file).read_bytes())
    pair = compare(folders, "test")["pair"]
    assert pair == {"candidate": "tuned_constrained", "reference": "base_few_shot_constrained"}


def test_other_peoples_runs_have_their_own_names(scored_runs, tmp_path):
    folders = []
    for name in ("mine/scores", "theirs/scores"):
        folders.append(tmp_path / name)
        folders[-1].mkdir(parents=True)
        for file in ("records.jsonl", "metrics.json"):
            (folders[-1] / file).write_bytes(
                (scored_runs / ("tuned" if "mine" in name else "seed1") / file).read_bytes()
            )
    found = compare(folders, "test")
    assert [one["key"] for one in found["columns"]] == ["mine/scores", "theirs/scores"]
    assert found["missing"] == [] and found["pair"] == {"candidate": "theirs/scores", "reference": "mine/scores"}


def test_what_cannot_be_compared_is_refused(scored_runs, tmp_path):
    tuned, base = scored_runs / "tuned", scored_runs / "base_few_shot"
    with pytest.raises(InputError, match="at least two scored runs"):
        compare([tuned], "test")
    with pytest.raises(InputError, match="given twice"):
        compare([tuned, tuned], "test")
    with pytest.raises(InputError, match=r"records.jsonl: no such file; `riskscribe score"):
        compare([tuned, tmp_path], "test")
    with pytest.raises(InputError, match="--reference nobody: is none of the runs base_few_shot, tuned"):
        compare([base, tuned], "test", reference="nobody")
    with pytest.raises(InputError, match="both candidate and reference"):
        compare([base, tuned], "test", reference="tuned")
    about = json.loads((tuned / "metrics.json").read_text(encoding="utf-8"))
    for field, message in (("data_sha256", "not scored on the same data"), ("rubric", "scored with rubric other")):
        other = tmp_path / field
        other.mkdir()
        (other / "records.jsonl").write_bytes((tuned / "records.jsonl").read_bytes())
        (other / "metrics.json").write_text(json.dumps(about | {field: "other"}))
        with pytest.raises(InputError, match=message):
            compare([base, other], "test")
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    lines = (tuned / "records.jsonl").read_text(encoding="utf-8").splitlines()
    (fewer / "metrics.json").write_text(json.dumps(about))
    (fewer / "records.jsonl").write_text("\n".join(lines[1:]))
    with pytest.raises(InputError, match="not scored on the same data"):
        compare([base, fewer], "test")
    (fewer / "records.jsonl").write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(InputError, match="is there twice"):
        compare([base, fewer], "test")


# --- the log


def test_every_scoring_of_a_test_set_is_logged(scored_runs, scorings_log, tmp_path):
    data = scored_runs / "test_mixed.jsonl"
    for run in ("tuned", "base_few_shot", "tuned"):
        assert log.note_scoring(data, scored_runs / run / "predictions.jsonl", tmp_path / run, "1.0")
    (tmp_path / "val.jsonl").write_bytes(data.read_bytes())
    assert not log.note_scoring(tmp_path / "val.jsonl", scored_runs / "tuned" / "predictions.jsonl", tmp_path, "1.0")
    lines = [json.loads(one) for one in scorings_log.read_text(encoding="utf-8").splitlines()]
    assert [Path(one["run"]).name for one in lines] == ["tuned", "base_few_shot", "tuned"]
    assert lines[0].keys() == {"time", "data", "data_sha256", "predictions_sha256", "run", "rubric"}
    found = compare([scored_runs / "base_few_shot", scored_runs / "tuned"], "test")
    assert found["scorings"] == {"times": 3, "distinct": 2}
    assert {one["key"]: one["predictions"] for one in found["columns"]} == {"tuned": 1, "base_few_shot": 2}


def test_score_run_writes_the_log(scored_runs, scorings_log, tmp_path):
    from riskscribe.data.rows import read_rows

    data = scored_runs / "test_mixed.jsonl"
    rows = [score.Scored(row.case, row.book, row.slices) for row in read_rows(data)]
    score.score_run(rows, data, scored_runs / "tuned" / "predictions.jsonl", tmp_path / "out")
    (line,) = scorings_log.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["data_sha256"] == score.sha256(data)


def test_a_log_that_cannot_be_written_stops_the_scoring(scored_runs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="every scoring of a test set is logged"):
        log.note_scoring(
            scored_runs / "test_mixed.jsonl",
            scored_runs / "tuned" / "predictions.jsonl",
            tmp_path,
            "1.0",
            tmp_path / "file" / "log.jsonl",
        )


# --- cases and failures


def test_ten_cases_are_chosen_by_rule(found, scored_runs):
    shown = found["cases"]["shown"]
    assert len(shown) == 10 and len({one["case_id"] for one in shown}) == 10
    counts = found["cases"]["counts"]
    # base is worse on 0, 3, ... and on 4, 10, ... ; tuned on case 5 alone
    assert counts["en"] == {"improved": 12, "unchanged": 11, "regressed": 1} or counts["en"]["regressed"] == 1
    assert sum(counts["en"].values()) == 24 and sum(counts["zh"].values()) == 12
    assert {one["kind"] for one in shown} == {"improved", "unchanged", "regressed"}
    assert {one["language"] for one in shown} == {"en", "zh"}
    assert {one["official_level"] for one in shown} == {"low", "moderate", "high", "critical"}
    runs = [list(read_run(scored_runs / one).records.values()) for one in ("base_few_shot", "tuned")]
    assert representative_cases(*runs) == found["cases"]
    assert representative_cases(*(list(reversed(one)) for one in runs))["shown"] == shown, "whatever the order"


def test_what_changed_is_told(found):
    regressed = next(one for one in found["cases"]["shown"] if one["kind"] == "regressed")
    assert {"what": "readable", "from": True, "to": False} in regressed["changes"]
    assert regressed["a"]["summary"] and not regressed["b"]["readable"] and regressed["b"]["raw"] == "{"
    before, after = made(1, "understated", level="low"), made(1, level="high")
    assert changes(before, after) == [
        {"what": "level", "from": "low", "to": "high"},
        {"what": "solved", "code": "understated", "count": 1},
    ]
    assert kind_of(before, after) == "improved" and kind_of(after, before) == "regressed"
    assert kind_of(after, after) == "unchanged"


def test_unsupported_numbers_are_marked_where_they_stand():
    def finding(text, path="summary"):
        return Finding(code="unsupported_number", path=path, message=f"{text!r}: in no evidence", fatal=True)

    text = "VaR 261.1k, then 1 day, 1 of 7.77m and 7.77m [VAR-1]."
    record = made(1).model_copy(
        update={"findings": [finding("7.77m"), finding("1"), finding("9.9"), finding("1", "limitations.0")]}
    )
    pieces = marked(text, record)
    assert "".join(one for one, _ in pieces) == text
    assert [one for one, why in pieces if why] == ["1", "7.77m"], "not the 1 of 261.1k"
    assert marked("", record) == []


def test_failures_are_counted_by_kind_and_column(found):
    table = {one["code"]: one for one in found["languages"]["en"]["failures"]}
    assert table["unparseable"]["cases"] == {"constant": 0, "policy_template": 0, "base_few_shot": 8, "tuned": 1}
    numbers = table["unsupported_number"]
    assert (numbers["cases"]["base_few_shot"], numbers["cases"]["tuned"]) == (8, 4)
    assert numbers["example"]["column"] == "tuned" and "7.77m" in numbers["example"]["message"]
    assert found["languages"]["zh"]["failures"]


# --- the command


def run(*arguments):
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_command_takes_a_list_of_seeds(scored_runs, tmp_path):
    folders = [scored_runs / "base_few_shot", scored_runs / "tuned"]
    seeds = [scored_runs / f"seed{n}" for n in (1, 2, 3)]
    code, out, _ = run("compare", *folders, "--seeds", *seeds, "--out", tmp_path, "--json")
    told = json.loads(out)
    assert code == 0 and len(told["seeds"]) == 3 and told["verdicts"]["en"]["seed_band"]["range"] > 0
    assert json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8")) == told
    code, _, err = run("compare", *folders, "--out", tmp_path, "--seeds", *seeds[:2])
    assert code == 2 and "needs at least 3 runs with other seeds" in err and err.count("\n") == 1


def test_the_command_tells_the_verdict_and_refuses_a_wrong_file(scored_runs, tmp_path):
    folders = [scored_runs / "base_few_shot", scored_runs / "tuned"]
    code, out, _ = run("compare", *folders, "--out", tmp_path / "out")
    assert code == 0 and "Tuned is better than Base with two examples" in out and "comparison.zh.html" in out
    (tmp_path / "rule.yaml").write_text("primary_metric: x\n")
    code, out, err = run("compare", *folders, "--out", tmp_path, "--decision", tmp_path / "rule.yaml")
    assert (code, out) == (2, "") and "rule.yaml: field " in err


def test_a_link_that_leads_to_itself_is_no_run(scored_runs, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match=r"loop/records\.jsonl: no such file"):
        compare([tmp_path / "loop", scored_runs / "tuned"], "t")
