"""A manifest is pending until its run is complete, and a run is current only while nothing it names has changed."""

import json

import pytest

from riskscribe import manifest
from riskscribe.errors import InputError

INPUTS, SETTINGS = {"base": "aa"}, {"seed": 1, "days": [1, 2]}


def completed(folder):
    record = manifest.start(folder, "train", inputs=INPUTS, settings=SETTINGS, command=["riskscribe"])
    (folder / "out.bin").write_bytes(b"weights")
    manifest.finish(folder, record, ["out.bin"])


def current(folder, stage="train", inputs=INPUTS, settings=SETTINGS) -> bool:
    return manifest.is_current(folder, stage, inputs, settings)


def test_pending_first_then_complete(tmp_path):
    record = manifest.start(tmp_path, "train", inputs=INPUTS, settings=SETTINGS)
    pending = manifest.load(tmp_path)
    assert pending == record and (pending.status, pending.outputs, pending.finished) == ("pending", {}, None)
    assert pending.packages["riskscribe"] and pending.machine["cores"] >= 1
    assert not current(tmp_path)
    completed(tmp_path)
    done = manifest.load(tmp_path)
    assert done.status == "complete" and done.seconds >= 0 and done.finished >= done.started
    assert done.outputs == {"out.bin": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"}
    assert current(tmp_path)


@pytest.mark.parametrize(
    "asked", [{"stage": "data"}, {"inputs": {"base": "bb"}}, {"inputs": {}}, {"settings": SETTINGS | {"seed": 2}}]
)
def test_another_run_is_not_current(tmp_path, asked):
    completed(tmp_path)
    assert not current(tmp_path, **asked)


def test_an_altered_or_missing_output_is_not_current(tmp_path):
    completed(tmp_path)
    (tmp_path / "out.bin").write_bytes(b"WEIGHTS")
    assert not current(tmp_path)
    (tmp_path / "out.bin").unlink()
    assert not current(tmp_path)


def test_a_summary_is_kept_and_does_not_make_a_run_another(tmp_path):
    record = manifest.start(tmp_path, "train", inputs=INPUTS, settings=SETTINGS)
    assert manifest.load(tmp_path).summary == {}
    (tmp_path / "out.bin").write_bytes(b"weights")
    record.summary = {"out.bin": {"rows": 7, "levels": {"en": {"low": 7}}}}
    manifest.finish(tmp_path, record, ["out.bin"])
    assert manifest.load(tmp_path).summary == {"out.bin": {"rows": 7, "levels": {"en": {"low": 7}}}}
    assert current(tmp_path)


def test_a_manifest_written_before_summaries_is_read(tmp_path):
    completed(tmp_path)
    old = json.loads((tmp_path / manifest.NAME).read_text())
    del old["summary"]
    (tmp_path / manifest.NAME).write_text(json.dumps(old))
    assert manifest.load(tmp_path).summary == {} and current(tmp_path)


def test_no_manifest(tmp_path):
    assert manifest.load(tmp_path) is None
    assert not current(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"stage": "train", "started": "now", "status": "done"}'])
def test_a_broken_manifest_is_refused(tmp_path, text):
    (tmp_path / manifest.NAME).write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        manifest.load(tmp_path)


def test_a_failing_run_leaves_a_pending_manifest(tmp_path):
    record = manifest.start(tmp_path, "train")
    with pytest.raises(FileNotFoundError):
        manifest.finish(tmp_path, record, ["never-written.bin"])
    assert json.loads((tmp_path / manifest.NAME).read_text())["status"] == "pending"


def test_outside_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    record = manifest.start(tmp_path / "run", "train")
    assert (record.commit, record.dirty) == (None, None)


def test_verify_tells_what_was_altered_since(tmp_path):
    source = tmp_path / "data.jsonl"
    source.write_text("{}")
    folder = tmp_path / "run"
    record = manifest.start(folder, "train", inputs={str(source): manifest.sha256(source), "template": "ab"})
    (folder / "out.bin").write_bytes(b"weights")
    manifest.finish(folder, record, ["out.bin"])
    assert manifest.verify(folder) == []
    source.write_text("{} ")
    (folder / "out.bin").write_bytes(b"WEIGHTS")
    first, second = manifest.verify(folder)
    assert "out.bin: altered: its sha256 is" in first and "data.jsonl: was" in second
    (folder / "out.bin").unlink()
    assert "out.bin: is gone" in manifest.verify(folder)[0]
    with pytest.raises(InputError, match=r"holds no manifest\.json"):
        manifest.verify(tmp_path / "nowhere")


def test_diff_answers_same_seed_different_result(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for folder, content in ((a, b"weights"), (b, b"other")):
        record = manifest.start(folder, "train", inputs=INPUTS, settings=SETTINGS)
        (folder / "out.bin").write_bytes(content)
        manifest.finish(folder, record, ["out.bin"])
    found = manifest.diff(a, b)
    assert found["outputs"] == ["out.bin"] and found["causes"] == []
    assert "not deterministic" in found["answer"]
    for folder in (a, b):
        (folder / "out.bin").write_bytes(b"weights")
        (folder / "train_results.json").write_text(f'{{"of": "{folder.name}"}}')
        manifest.finish(folder, manifest.load(folder), ["out.bin", "train_results.json"])
    found = manifest.diff(a, b)
    assert found["outputs"] == ["train_results.json"]
    assert found["answer"] == "The outputs are the same bytes but for records of the run, which hold times."
    for folder, content in ((a, b"weights"), (b, b"other")):
        (folder / "out.bin").write_bytes(content)
        manifest.finish(folder, manifest.load(folder), ["out.bin"])
    record = manifest.load(b)
    record.inputs["base"], record.packages["torch"], record.settings["seed"] = "bb", "0.1", 2
    manifest.write_json(b / manifest.NAME, record)
    found = manifest.diff(a, b)
    kinds = [one["kind"] for one in found["causes"]]
    assert kinds == ["data, model, template and recipe", "settings", "packages"]
    assert found["causes"][1] == {"kind": "settings", "name": "seed", "first": 1, "second": 2}
    assert "the seed among them" in found["answer"]
    (b / "out.bin").write_bytes(b"weights")
    record.outputs = manifest.load(a).outputs
    manifest.write_json(b / manifest.NAME, record)
    assert manifest.diff(a, b)["answer"] == "The outputs are the same bytes."


def test_the_gates_verdict_is_read_from_the_folder_above(tmp_path):
    completed(tmp_path)
    merged, report = tmp_path / "merged", tmp_path / "parity.json"
    merged.mkdir()
    report.write_text("{}")
    before = manifest.identity(tmp_path)
    manifest.judge(merged, ["merged: mean KL 0.2", "merged: answers differ"], report)
    assert manifest.load(tmp_path).status == "rejected"
    assert manifest.rejection(merged) == f"merged: mean KL 0.2 (and 1 more); see {report}"
    # finished all the same: it is not made again, and what builds on it neither
    assert current(tmp_path) and manifest.identity(tmp_path) == before
    manifest.judge(merged, [], report)
    assert manifest.load(tmp_path).status == "complete" and manifest.rejection(merged) == ""
