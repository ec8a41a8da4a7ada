"""A dataset version is built once, the same everywhere, and frozen: altered or leaking files are refused."""

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest

from riskscribe import manifest
from riskscribe.data.splits import Config, SplitPlan, build, check, pack, read_rows
from riskscribe.errors import InputError
from riskscribe.files import read_lines, sha256, write_json, write_lines

V0 = Path(__file__).parents[2] / "datasets" / "v0"
# never change this line: a model was compared on these very bytes
TEST_SHA256 = "79ab1bfd9a223f45afeebc0f2edfe386dea57323925690d918ce44b81e722bca"
TINY = Config(
    version="tiny",
    seed=5,
    splits={"train": SplitPlan(en=4, zh=4, days=(520, 560)), "test": SplitPlan(en=4, zh=0, days=(600, 640))},
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    assert build(folder, TINY, workers=1)
    return folder


@pytest.fixture
def copy(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def freeze(folder: Path, name: str) -> None:
    """Write the present hash of a file into the manifest, as someone would who wants to hide a change."""
    record = manifest.load(folder)
    record.outputs[name] = sha256(folder / name)
    write_json(folder / manifest.NAME, record)


def test_two_builds_are_the_same_bytes(tiny, tmp_path):
    build(tmp_path, TINY, workers=2)
    names = {path.name for path in tiny.glob("*.jsonl")}
    assert names == {"train.jsonl", "test.jsonl", "train_quick.jsonl", "test_quick.jsonl", "examples.jsonl"}
    assert {name: sha256(tmp_path / name) for name in names} == manifest.load(tiny).outputs


def test_a_build_is_balanced_and_not_repeated(tiny):
    assert not build(tiny, TINY)
    balance = check(tiny)
    assert balance["train"]["levels"] == {lang: dict.fromkeys(("low", "moderate", "high", "critical"), 1)
                                          for lang in ("en", "zh")}  # fmt: skip
    assert (balance["test"]["rows"], balance["test_quick"]["rows"]) == (4, 4)
    assert {json.loads(row["case"])["language"] for row in read_lines(tiny / "train_quick.jsonl")} == {"en"}


def test_a_version_never_changes(copy):
    other = TINY.model_copy(update={"seed": 6})
    with pytest.raises(InputError, match=r"holds version tiny built with other settings; .* build to another folder"):
        build(copy, other)


def test_a_broken_off_build_is_made_again(copy):
    record = manifest.load(copy)
    record.status, record.outputs = "pending", {}
    write_json(copy / manifest.NAME, record)
    (copy / "test.jsonl").unlink()
    with pytest.raises(InputError, match="build the data first"):
        check(copy)
    assert build(copy, TINY, workers=1)
    assert check(copy)["test"]["rows"] == 4


@pytest.mark.parametrize("action", [check, lambda folder: build(folder, TINY)])
def test_an_altered_file_is_refused(copy, action):
    with open(copy / "test.jsonl", "ab") as file:
        file.write(b"\n")
    with pytest.raises(InputError, match=r"test\.jsonl: altered: sha256 is \w+, frozen is \w+; restore the file"):
        action(copy)
    (copy / "test.jsonl").unlink()
    with pytest.raises(InputError, match=r"test\.jsonl: missing"):
        action(copy)


@pytest.mark.parametrize("what", ["book", "date", "case id"])
def test_leakage_is_refused(copy, what):
    (train, *_), test = read_lines(copy / "train.jsonl"), read_lines(copy / "test.jsonl")
    seen, row = json.loads(train["case"]), dict(test[0])
    unseen = json.loads(row["case"])
    if what == "book":
        row["book"] = train["book"]
    elif what == "date":
        unseen["as_of"] = seen["as_of"]
    else:
        unseen["case_id"] = seen["case_id"]
    write_lines(copy / "test.jsonl", [row | {"case": json.dumps(unseen)}, *test[1:]])
    freeze(copy, "test.jsonl")
    with pytest.raises(InputError, match=f"train and test share 1 {what}s, for example "):
        check(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": "severe"}, "row 1: level severe, report"),
        ({"report": "{"}, "row 1: report: line 1, column 2: not JSON"),
        ({"case": '{"case_id": 1}'}, "row 1: field case.case_id"),
        ({"language": "fr"}, "row 1: field language"),
    ],
)
def test_a_wrong_row_is_refused(copy, change, message):
    rows = read_lines(copy / "test.jsonl")
    write_lines(copy / "test.jsonl", [rows[0] | change, *rows[1:]])
    freeze(copy, "test.jsonl")
    with pytest.raises(InputError, match=message):
        check(copy)


def test_a_row_needs_case_and_report(tmp_path):
    write_lines(tmp_path / "a.jsonl", [{"case": "{}"}])
    with pytest.raises(InputError, match=r"a\.jsonl: row 1: needs the fields case and report, both JSON texts"):
        read_rows(tmp_path / "a.jsonl")


@pytest.mark.parametrize("days", [(500, 600), (520, 523), (600, 520), (1000, 1181)])
def test_days_outside_the_history_are_refused(days):
    with pytest.raises(ValueError, match="do not fit: books begin from day 501 on"):
        SplitPlan(en=1, zh=0, days=days)


def test_the_frozen_version_verifies():
    balance = check(V0)
    assert {name: one["rows"] for name, one in balance.items()} == {
        "train": 600, "val": 60, "test": 60, "train_quick": 120, "test_quick": 24, "examples": 4
    }  # fmt: skip
    assert {tuple(one["levels"]["en"].values()) for name, one in balance.items() if name != "examples"} == {
        (130,) * 4, (12,) * 4, (30,) * 4, (6,) * 4
    }  # fmt: skip


def test_the_frozen_test_set_is_the_one_results_were_made_on():
    assert sha256(V0 / "test.jsonl") == TEST_SHA256


def test_quick_and_example_rows_come_from_their_own_split():
    def cases(name: str) -> set[str]:
        return {row["case"] for row in read_lines(V0 / f"{name}.jsonl")}

    assert cases("train_quick") | cases("examples") <= cases("train")
    assert cases("test_quick") <= cases("test")


@pytest.mark.slow
def test_the_frozen_version_is_rebuilt_byte_for_byte(tmp_path):
    made = manifest.load(V0)
    if metadata.version("QuantLib") != made.packages["QuantLib"]:
        pytest.skip(f"v0 was made with QuantLib {made.packages['QuantLib']}")
    build(tmp_path)
    assert manifest.load(tmp_path).outputs == made.outputs


@pytest.fixture
def own(tmp_path) -> tuple[list[dict], list[dict], Path]:
    rows = read_lines(V0 / "test.jsonl")[:3]
    return [json.loads(row["case"]) for row in rows], [json.loads(row["report"]) for row in rows], tmp_path


def packed(cases: list[dict], reports: list[dict], folder: Path) -> int:
    write_lines(folder / "cases.jsonl", cases)
    write_lines(folder / "reports.jsonl", reports)
    return pack(folder / "cases.jsonl", folder / "reports.jsonl", folder / "own")


def test_own_cases_become_a_split(own):
    cases, reports, folder = own
    assert packed(cases, reports, folder) == packed(cases, reports, folder) == 3
    rows = read_rows(folder / "own" / "own.jsonl")
    assert [row.case.case_id for row in rows] == [case["case_id"] for case in cases]
    assert [row.report.model_dump(mode="json") for row in rows] == reports
    assert check(folder / "own")["own"]["rows"] == 3


def test_what_does_not_fit_is_not_packed(own):
    cases, reports, folder = own
    with pytest.raises(InputError, match=r"cases\.jsonl has 3 cases, .*reports\.jsonl has 2 reports"):
        packed(cases, reports[:2], folder)
    unknown = reports[1] | {"level_basis": [{"clause": "M1", "evidence": ["LIM-ZZZZ"]}]}
    with pytest.raises(InputError, match="row 2: cites LIM-ZZZZ, which is not evidence of c-"):
        packed(cases, [reports[0], unknown, reports[2]], folder)
    with pytest.raises(InputError, match=r"row 3: case id .* is used twice"):
        packed([*cases[:2], cases[0]], [*reports[:2], reports[0]], folder)
    with pytest.raises(InputError, match="row 1: field risk_level"):
        packed(cases[:1], [reports[0] | {"risk_level": "severe"}], folder)
    assert not (folder / "own").exists()


def test_packing_does_not_replace_a_frozen_version(own, copy):
    cases, reports, folder = own
    write_lines(folder / "cases.jsonl", cases)
    write_lines(folder / "reports.jsonl", reports)
    with pytest.raises(InputError, match="holds another dataset"):
        pack(folder / "cases.jsonl", folder / "reports.jsonl", copy)
    assert check(copy)
