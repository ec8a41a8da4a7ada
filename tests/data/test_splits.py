"""A dataset version is built once, the same everywhere, and frozen: altered or leaking files are refused."""

import contextlib
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from riskscribe import manifest
from riskscribe.cli import main
from riskscribe.data import splits
from riskscribe.data.gold import wording
from riskscribe.data.rows import read_records, read_rows, write_rows
from riskscribe.data.splits import (
    Config,
    SplitPlan,
    build,
    check,
    open_sealed,
    openings,
)
from riskscribe.errors import InputError
from riskscribe.evaluate.verify import verify
from riskscribe.files import read_lines, sha256, write_json, write_lines
from riskscribe.report import LEVELS

DATASETS = Path(__file__).parents[2] / "datasets"
V0, V1 = DATASETS / "v0", DATASETS / "risk_report" / "v1"
# never change these lines: models were compared on these very bytes
V0_TEST_SHA256 = "79ab1bfd9a223f45afeebc0f2edfe386dea57323925690d918ce44b81e722bca"
TINY = {
    "version": "tiny",
    "seed": 5,
    "splits": {
        "train": {"en": 16, "zh": 8, "first": "2010-01-04", "last": "2011-12-30"},
        "val": {"en": 4, "zh": 4, "first": "2012-02-01", "last": "2012-12-31", "parquet": True},
        "test": {"en": 8, "zh": 0, "first": "2013-02-01", "last": "2013-12-31", "held_out": True},
        "sealed": {"en": 8, "zh": 0, "first": "2014-02-03", "last": "2014-12-31", "held_out": True, "sealed": True},
    },
}
FILES = {
    "train.jsonl", "val.parquet", "test.jsonl", "sealed.jsonl.gz", "train_quick.jsonl", "test_quick.jsonl",
    "train_full.parquet", "examples.jsonl",
}  # fmt: skip
# small books in small chunks: seconds, and enough chunks to be stopped between two
SMALL: dict[str, Any] = {"CHUNK": 4, "SIZES": (("compact", 1),), "FEATURED": 0.2}
CLOCK = ("started", "finished", "seconds", "machine", "dirty")


def config() -> Config:
    return Config.model_validate(TINY)


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(splits, name, value)
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    assert build(folder, config(), workers=1)
    return folder


@pytest.fixture
def copy(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def freeze(folder: Path, *names: str) -> None:
    """Write the present hashes of files into the manifest, as someone would who wants to hide a change."""
    record = manifest.load(folder)
    record.outputs |= {name: sha256(folder / name) for name in names}
    write_json(folder / manifest.NAME, record)


def assert_same(folder: Path, other: Path) -> None:
    """Every byte of two builds, but the clock and the machine of their manifests; and nothing left beside them."""
    for one in (folder, other):
        assert {path.name for path in one.iterdir()} == FILES | {manifest.NAME}
    for name in FILES:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    records = [manifest.load(one).model_dump(exclude=set(CLOCK)) for one in (folder, other)]
    assert records[0] == records[1]


def test_two_builds_with_one_and_two_workers_are_the_same_bytes(tiny, tmp_path):
    assert build(tmp_path / "two", config(), workers=2)
    assert_same(tiny, tmp_path / "two")


def processes_of(group: int) -> list[str]:
    """The running processes of a group (Linux; those that have ended and wait for their parent do not count)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, owner = path.read_text().rpartition(")")[2].split()[:3]
            if int(owner) == group and state != "Z":
                found.append(path.parent.name)
    return found


def test_a_killed_build_goes_on_to_the_same_bytes(tiny, tmp_path):
    code = (
        "import json, sys; from pathlib import Path; from riskscribe.data import splits\n"
        "for name, value in json.loads(sys.argv[2]).items(): setattr(splits, name, value)\n"
        "splits.build(Path(sys.argv[1]), splits.Config.model_validate_json(sys.argv[3]), workers=2)\n"
    )
    out = tmp_path / "killed"
    command = [sys.executable, "-c", code, str(out), json.dumps(SMALL), json.dumps(TINY)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    chunks, pause = random.randint(1, 6), random.random() / 10
    try:
        deadline = time.monotonic() + 60
        while len(list(out.glob(".work/*.jsonl"))) < chunks and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(pause)
        process.kill()
        process.wait()
        ended = time.monotonic() + 20
        while processes_of(process.pid) and time.monotonic() < ended:
            time.sleep(0.02)
        assert not processes_of(process.pid), "workers outlive the build"
    finally:
        if processes_of(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    print(f"killed {pause:.3f} s after chunk {chunks}")
    visible = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert manifest.load(out).status == "pending" and process.returncode == -signal.SIGKILL
    assert visible <= FILES | {manifest.NAME}
    for name in visible - {manifest.NAME}:
        assert (out / name).read_bytes() == (tiny / name).read_bytes(), f"{name} is visible and not whole"
    (out / ".train.jsonl.abcd1234").write_text("half a line")
    made = {path.name: path.stat().st_mtime_ns for path in out.glob(".work/*.jsonl")}
    kept: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        rmtree = shutil.rmtree

        def noted(folder, **options):
            kept.update({path.name: path.stat().st_mtime_ns for path in Path(folder).glob("*.jsonl")})
            rmtree(folder, **options)

        patch.setattr(splits.shutil, "rmtree", noted)
        assert build(out, config(), workers=1)
    assert_same(tiny, out)
    assert made and made.items() <= kept.items(), "finished chunks are not made again"


def test_chunks_of_other_code_are_not_gone_on_from(tiny, tmp_path, monkeypatch):
    pool, rows = [], []

    class Pool:
        def map(self, make, plans):
            pool.append(len(plans))
            return [rows for _ in plans]

    class Enough(Exception):
        pass

    def one_chunk(code: str) -> None:
        monkeypatch.setattr(splits, "_code", lambda: code)
        monkeypatch.setattr(splits, "read_lines", lambda path: (_ for _ in ()).throw(Enough))
        with pytest.raises(Enough):
            next(splits._generate(config(), "train", Pool(), tmp_path, None))

    for code in ("a", "a", "b"):
        one_chunk(code)
    assert pool == [4, 4], "made for a, kept, made again for b"


def test_a_build_is_balanced_and_not_repeated(tiny):
    before = {path.name: path.stat().st_mtime_ns for path in tiny.iterdir()}
    assert not build(tiny, config())
    assert before == {path.name: path.stat().st_mtime_ns for path in tiny.iterdir()}
    balance = check(tiny)
    assert balance["train"]["levels"] == {"en": dict.fromkeys(LEVELS, 4), "zh": dict.fromkeys(LEVELS, 2)}
    assert balance["val"]["levels"] == {"en": dict.fromkeys(LEVELS, 1), "zh": dict.fromkeys(LEVELS, 1)}
    assert [balance[name]["rows"] for name in ("train", "val", "test")] == [24, 8, 8]
    assert balance["sealed"] == {"openings": 0}
    summary = manifest.load(tiny).summary
    assert summary["train.jsonl"] == balance["train"] and summary["sealed.jsonl.gz"]["rows"] == 8


def test_rows_are_what_their_plan_says(tiny):
    days = {name: (plan["first"], plan["last"]) for name, plan in TINY["splits"].items()}
    for name in ("train.jsonl", "val.parquet", "test.jsonl"):
        rows = read_rows(tiny / name)
        first, last = days[name.split(".")[0]]
        per_book: dict[str, int] = {}
        for row in rows:
            per_book[row.book] = per_book.get(row.book, 0) + 1
            assert first <= row.case.as_of.isoformat() <= last
            assert verify(row.case, row.report) == []
            assert row.wording and row.level == row.report.risk_level
            assert {one.note_id for one in row.notes} == {
                one.id for one in row.case.evidence if one.id.startswith("NOTE-")
            }
        assert max(per_book.values()) <= 6


def test_quick_full_and_example_rows_come_from_their_own_split(tiny):
    for folder, train in ((tiny, "train.jsonl"), (V1, "train.parquet")):
        cases = {
            name: {row["case"] for row in read_records(folder / name)}
            for name in (train, "test.jsonl", "train_quick.jsonl", "train_full.parquet", "examples.jsonl",
                         "test_quick.jsonl")
        }  # fmt: skip
        assert cases["train_quick.jsonl"] | cases["train_full.parquet"] | cases["examples.jsonl"] <= cases[train]
        assert cases["test_quick.jsonl"] <= cases["test.jsonl"]
    languages = {row["language"] for row in read_records(V1 / "examples.jsonl")}
    assert languages == {"en", "zh"}


def test_a_version_never_changes(copy):
    other = config().model_copy(update={"seed": 6})
    with pytest.raises(InputError, match=r"holds version tiny built with other settings; .* build to another folder"):
        build(copy, other)


# --- what check refuses


def altered(name: str) -> Callable[[Path], None]:
    def alter(folder: Path) -> None:
        with open(folder / name, "ab") as file:
            file.write(b"\n")

    return alter


@pytest.mark.parametrize("name", ["test.jsonl", "val.parquet", "sealed.jsonl.gz", "examples.jsonl"])
@pytest.mark.parametrize("action", [check, lambda folder: build(folder, config())])
def test_an_altered_file_is_refused(copy, action, name):
    altered(name)(copy)
    with pytest.raises(InputError, match=rf"{name}: altered: sha256 is \w+, frozen is \w+; restore the file"):
        action(copy)
    (copy / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: missing; its frozen sha256 is \w+"):
        action(copy)


def plant(folder: Path, name: str, change: Callable[[dict, dict], dict]) -> None:
    """Change the first row of a file (its record and its case, as values), and freeze the new hash."""
    first, *rest = list(read_records(folder / name))
    seen = json.loads(first["case"])
    record = change(dict(first), seen)
    write_rows(folder / name, [{**record, "case": json.dumps(seen, ensure_ascii=False)}, *rest])
    freeze(folder, name)


@pytest.mark.parametrize("what", ["book", "date", "case id"])
@pytest.mark.parametrize(("one", "other"), [("train.jsonl", "test.jsonl"), ("val.parquet", "test.jsonl")])
def test_leakage_is_refused(copy, what, one, other):
    source = next(read_records(copy / one))
    seen = json.loads(source["case"])

    def leak(record: dict, case: dict) -> dict:
        if what == "book":
            return record | {"book": source["book"]}
        key = {"date": "as_of", "case id": "case_id"}[what]
        case[key] = seen[key]
        return record

    plant(copy, other, leak)
    with pytest.raises(InputError, match=f"{one.split('.')[0]} and test share 1 {what}s, for example "):
        check(copy)


def test_test_dates_lie_after_train_dates(copy):
    def early(record: dict, case: dict) -> dict:
        case["as_of"] = "2010-01-01"
        return record

    plant(copy, "test.jsonl", early)
    with pytest.raises(InputError, match="dates of test do not all lie after those of train"):
        check(copy)


def test_a_near_duplicate_is_refused(copy):
    source = next(read_records(copy / "train.jsonl"))

    def near(record: dict, case: dict) -> dict:
        own = {key: case[key] for key in ("case_id", "as_of")}
        case.clear()
        case.update(json.loads(source["case"]) | own)
        case["evidence"].reverse()
        return source | {"book": record["book"], "wording": record["wording"]}

    plant(copy, "test.jsonl", near)
    with pytest.raises(InputError, match=r"train and test hold near-duplicates: c-\w+ and c-\w+ are \d+% alike"):
        check(copy)


def test_wording_kept_for_the_test_is_refused_in_train(copy):
    reserved = next(one.id for plan in wording("en").plans.values() for one in plan if one.reserved)
    plant(copy, "train.jsonl", lambda record, case: record | {"wording": [*record["wording"], reserved]})
    with pytest.raises(InputError, match=rf"train holds c-\w+ with the wording {reserved}, kept for the test"):
        check(copy)


def test_a_combination_kept_for_the_test_is_refused_in_train(copy):
    rows = list(read_records(copy / "train.jsonl"))
    chosen = next(row for row in rows if '"measure":"vega","scope"' in row["case"])
    case = json.loads(chosen["case"])
    position = next(one for one in case["evidence"] if one["kind"] == "position")
    position["instrument"] = "short SPX down-and-in put 1200/900 2011-06"
    rows[rows.index(chosen)] = chosen | {"case": json.dumps(case, ensure_ascii=False)}
    write_lines(copy / "train.jsonl", rows)
    freeze(copy, "train.jsonl")
    with pytest.raises(
        InputError, match=r"train holds c-\w+ with the combination barrier and vega, kept for the test"
    ):
        check(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": "severe"}, "row 1: level severe, report"),
        ({"slices": ["standard", "raw"]}, r"row 1: slices \['standard', 'raw'\], the case gives \['"),
        ({"report": "{"}, "row 1: report: line 1, column 2: not JSON"),
        ({"case": '{"case_id": 1}'}, "row 1: field case.case_id"),
        ({"language": "fr"}, "row 1: field language"),
        ({"notes": '[{"note_id": "NOTE-AA"}]'}, "row 1: field notes.0.kind"),
    ],
)
def test_a_wrong_row_is_refused(copy, change, message):
    rows = read_lines(copy / "test.jsonl")
    write_lines(copy / "test.jsonl", [rows[0] | change, *rows[1:]])
    freeze(copy, "test.jsonl")
    with pytest.raises(InputError, match=message):
        check(copy)


@pytest.mark.parametrize("name", ["train.jsonl", "val.parquet", "examples.jsonl"])
def test_a_level_that_the_policy_does_not_give_is_refused(copy, name):
    def raised(record: dict, case: dict) -> dict:
        level = LEVELS[LEVELS.index(record["level"]) - 1]
        report = json.loads(record["report"]) | {"risk_level": level}
        return record | {"level": level, "report": json.dumps(report)}

    plant(copy, name, raised)
    with pytest.raises(InputError, match=r"row 1: level (\w+), report \1, policy \w+"):
        check(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit_breaches": []}, r"limit_breaches \[\], policy \[\('LIM-"),
        ({"assessment_status": "partial"}, "assessment_status partial, policy "),
        ({"escalate": None}, r"escalate \w+, policy \w+"),
        ({"level_basis": [{"clause": "C1", "evidence": []}]}, r"level_basis \['C1'\], policy \["),
    ],
)
def test_a_gold_report_that_the_policy_does_not_give_is_refused(copy, change, message):
    rows = list(read_records(copy / "train.jsonl"))
    at = next(i for i, row in enumerate(rows) if row["level"] == "moderate" and '"complete"' in row["report"]
              and '"limit_breaches":[]' not in row["report"])  # fmt: skip
    report = json.loads(rows[at]["report"])
    change = change if "escalate" not in change else {"escalate": not report["escalate"]}
    rows[at] = rows[at] | {"report": json.dumps(report | change)}
    write_lines(copy / "train.jsonl", rows)
    freeze(copy, "train.jsonl")
    with pytest.raises(InputError, match=rf"row {at + 1}: report: {message}"):
        check(copy)


def test_a_version_without_its_manifest_is_refused(copy):
    record = manifest.load(copy)
    record.status = "pending"
    write_json(copy / manifest.NAME, record)
    with pytest.raises(InputError, match=r"no complete manifest\.json; build the data first"):
        check(copy)


# --- the sealed test


def test_the_sealed_test_is_opened_once_a_release(copy):
    with pytest.raises(InputError, match="is sealed; open it once a release: riskscribe data open"):
        read_rows(copy / "sealed.jsonl.gz")
    assert open_sealed(copy, "1.0", copy / "opened" / "sealed.jsonl") == 1
    assert len(read_rows(copy / "opened" / "sealed.jsonl")) == 8
    with pytest.raises(InputError, match=r"release 1\.0 has opened the sealed test before"):
        open_sealed(copy, "1.0", copy / "again.jsonl")
    assert not (copy / "again.jsonl").exists()
    assert open_sealed(copy, "1.1", copy / "opened" / "sealed.jsonl") == 2
    assert [one["release"] for one in openings(copy)] == ["1.0", "1.1"]
    assert {one["sha256"] for one in openings(copy)} == {sha256(copy / "sealed.jsonl.gz")}
    assert check(copy)["sealed"] == {"openings": 2}


def test_the_sealed_rows_follow_the_policy_too(copy):
    open_sealed(copy, "1.0", copy / "opened.jsonl")
    for row in read_rows(copy / "opened.jsonl"):
        assert "2014-02-03" <= row.case.as_of.isoformat() <= "2014-12-31" and verify(row.case, row.report) == []


def test_a_version_without_a_sealed_test(copy):
    record = manifest.load(copy)
    del record.outputs["sealed.jsonl.gz"]
    write_json(copy / manifest.NAME, record)
    with pytest.raises(InputError, match="has no sealed test"):
        open_sealed(copy, "1.0", copy / "opened.jsonl")


# --- files and settings


def test_rows_come_back_from_every_kind_of_file(tiny, tmp_path):
    rows = list(read_records(tiny / "train.jsonl")) * 30  # more than one batch of Parquet
    for suffix in (".jsonl", ".parquet", ".jsonl.gz"):
        for name in ("a", "b"):
            write_rows(tmp_path / f"{name}{suffix}", iter(rows))
        assert sha256(tmp_path / f"a{suffix}") == sha256(tmp_path / f"b{suffix}")
    assert list(read_records(tmp_path / "a.jsonl")) == list(read_records(tmp_path / "a.parquet")) == rows
    with gzip.open(tmp_path / "a.jsonl.gz", "rt", encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == rows
    assert (tmp_path / "a.jsonl.gz").read_bytes()[4:8] == bytes(4), "no time stamp"
    write_rows(tmp_path / "none.parquet", iter(()))
    assert list(read_records(tmp_path / "none.parquet")) == []


def test_a_failing_split_leaves_no_file(tmp_path):
    def rows():
        yield {}
        raise InputError("stopped")

    for suffix in (".jsonl", ".parquet", ".jsonl.gz"):
        with pytest.raises(InputError, match="stopped"):
            write_rows(tmp_path / f"a{suffix}", rows())
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    write_lines(tmp_path / "a.jsonl", [{"case": "{}"}])
    with pytest.raises(InputError, match=r"a\.jsonl: row 1: needs the fields case and report, both JSON texts"):
        read_rows(tmp_path / "a.jsonl")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"a\.parquet: not a Parquet file of rows"):
        read_rows(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"b\.parquet: no such file"):
        read_rows(tmp_path / "b.parquet")


BAD_CONFIGS = [
    ("version: v9\ncolour: red\n", "field colour: Extra inputs are not permitted"),
    ("seed: many\n", "field seed: "),
    ("splits: {train: {en: -1, zh: 0, first: 2010-01-04, last: 2011-01-04}}\n", "field splits.train.en"),
    ("splits: {train: {en: 1, zh: 0, first: 2010-01-04}}\n", "field splits.train.last: Field required"),
    (
        "splits: {train: {en: 1, zh: 0, first: 2010-01-04, last: 2010-01-20}}\n",
        "dates 2010-01-04 to 2010-01-20 do not",
    ),
    ("splits: {train: {en: 1, zh: 0, first: 1999-01-04, last: 2010-01-20}}\n", "do not fit: a range is 30 days or"),
    ("splits: {train: {en: 1, zh: 0, first: 2018-01-02, last: 2019-12-31}}\n", "longer inside "),
    ("splits: [", "not YAML"),
]


@pytest.mark.parametrize(("text", "message"), BAD_CONFIGS)
def test_a_bad_config_gets_one_line_and_exit_2(tmp_path, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    arguments = ["data", "build", "--config", str(tmp_path / "bad.yaml"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"riskscribe: {tmp_path}/bad.yaml: ") and message in result.stderr
    assert result.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_check_and_open_on_the_command_line(copy):
    found = CliRunner().invoke(main, ["data", "check", str(copy)])
    assert found.exit_code == 0 and json.loads(found.stdout)["test"]["rows"] == 8
    arguments = ["data", "open", str(copy), "--release", "1.0", "--out", str(copy / "opened.jsonl")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert CliRunner().invoke(main, arguments).exit_code == 2
    altered("test.jsonl")(copy)
    found = CliRunner().invoke(main, ["data", "check", str(copy)])
    assert found.exit_code == 2 and "test.jsonl: altered" in found.stderr


def test_the_splits_of_version_1_do_not_overlap_in_time():
    plans = Config().splits
    assert list(plans) == ["train", "val", "test", "sealed"]
    ranges = [(one.first, one.last) for one in plans.values()]
    assert all(last < first for (_, last), (first, _) in pairwise(ranges))
    assert {name for name, one in plans.items() if one.held_out} == {"test", "sealed"}
    assert SplitPlan.model_validate(TINY["splits"]["sealed"]).suffix == ".jsonl.gz"


# --- frozen versions


def test_version_1_checks():
    balance = check(V1)
    assert {name: balance[name]["rows"] for name in ("train", "val", "test")} == {
        "train": 2000,
        "val": 200,
        "test": 240,
    }
    assert balance["test"]["books"] >= 60
    levels = balance["test"]["levels"]
    assert sum(one["critical"] for one in levels.values()) >= 30 and sum(one["high"] for one in levels.values()) >= 60
    for name in ("train", "val", "test"):
        assert balance[name]["slices"].keys() == set(splits.SLICES), name
    frozen = manifest.load(V1)
    assert balance == {
        **{name.split(".")[0]: one for name, one in frozen.summary.items() if not name.startswith("sealed")},
        "sealed": {"openings": len(openings(V1))},
    }
    assert sum(path.stat().st_size for path in V1.rglob("*") if path.is_file()) < 12e6


def test_version_0_is_as_it_was_made():
    splits.verify_hashes(V0)
    assert sha256(V0 / "test.jsonl") == V0_TEST_SHA256


@pytest.mark.slow
def test_version_1_is_rebuilt_byte_for_byte(tmp_path):
    made = manifest.load(V1)
    for package in ("QuantLib", "numpy"):
        if made.packages.get(package) not in (None, metadata.version(package)):
            pytest.skip(f"v1 was made with {package} {made.packages[package]}")
    command = [Path(sys.executable).with_name("riskscribe"), "data", "build", "--out", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    assert {name: sha256(tmp_path / name) for name in made.outputs if "/" not in name} == {
        name: frozen for name, frozen in made.outputs.items() if "/" not in name
    }
