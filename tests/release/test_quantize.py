"""Quantizers in their own environments: what each fix is for, and what an interrupted or impossible run leaves."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from riskscribe import manifest
from riskscribe.data.rows import read_rows
from riskscribe.errors import InputError
from riskscribe.lf import prompts
from riskscribe.release import checkpoint, environments, quantize

ROOT = Path(__file__).resolve().parents[2]
RELEASE = ROOT / "plugins" / "riskscribe" / "release"


def worker(engine: str):
    """The worker script of an engine as a module; its imports of the engine are inside main()."""
    path = RELEASE / f"awq_{engine}" / "worker.py"
    spec = importlib.util.spec_from_file_location(f"worker_{engine}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recipe(small, tmp_path: Path, **changed) -> quantize.Recipe:
    fields = {"model": small.merged, "template": "smollm2", "group_size": 32, "data": small.data, "rows": 8}
    return quantize.Recipe(**(fields | {"tokens": 128, "out": tmp_path / "awq"} | changed))


def best_scale(self, x, w_mean, x_mean, module, linears, output, kwargs):
    """What AutoAWQ's search does to the weights: keep them with .cpu(), try, put back what was kept."""
    kept = {name: value.cpu() for name, value in module.state_dict().items()}
    with torch.no_grad():
        for linear in linears:
            linear.weight.mul_(3.0)
    module.load_state_dict(kept)
    return "scales"


def test_the_search_for_a_scale_leaves_the_weights_alone():
    module = torch.nn.Sequential(torch.nn.Linear(4, 4))
    before = module[0].weight.detach().clone()
    fixed = worker("autoawq").restored_weights(best_scale)
    assert fixed(None, None, None, None, module, [module[0]], None, {}) == "scales"
    assert torch.equal(module[0].weight, before)
    assert list(module.state_dict()) == ["0.weight", "0.bias"]  # the module is its old self
    # without the fix, on a CPU: what was kept were the weights themselves
    best_scale(None, None, None, None, module, [module[0]], None, {})
    assert not torch.equal(module[0].weight, before)


def test_nothing_is_pinned_without_a_gpu():
    cache = type("Cache", (), {"pin_memory": lambda self, batch: torch.zeros(1).pin_memory()})
    worker("llmcompressor").unpinned(cache)
    assert cache().pin_memory(0) is None


@pytest.mark.parametrize("engine", [*environments.ENGINES, *environments.SERVERS])
def test_the_lock_is_pinned_hashed_and_names_no_index(engine):
    text = environments.lock(engine).read_text(encoding="utf-8")
    packages = re.findall(r"^([a-z0-9][\w.-]*)==", text, flags=re.MULTILINE)
    assert len(packages) > 40 and engine in packages
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(packages) and all("--hash=sha256:" in one for one in blocks)
    assert not re.search(r"https?://|--index|--find-links|file:", text)


def test_calibration_is_seeded_and_holds_training_prompts(small, tmp_path):
    names, blocks = quantize.calibration(recipe(small, tmp_path))
    assert quantize.calibration(recipe(small, tmp_path)) == (names, blocks)
    assert quantize.calibration(recipe(small, tmp_path, seed=1))[1] != blocks
    assert len(names) == len(set(names)) == 8 and {len(one) for one in blocks} == {128}
    # half of every block or more is gold answer
    tokenizer = prompts.tokenizer_of(small.merged, "smollm2")
    answers = {one.case_id: one.answer for one in prompts.encode(read_rows(small.data), tokenizer, "smollm2")}
    for name, block in zip(names, blocks, strict=True):
        text, answer = tokenizer.decode(block[64:]), tokenizer.decode(answers[name])
        assert text in answer
    with pytest.raises(InputError, match="12 rows of 128 tokens or more, the recipe asks for 50"):
        quantize.calibration(recipe(small, tmp_path, rows=50))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"group_size": 48}, "group_size 48 does not divide the model's hidden_size 128"),
        ({"model": Path("/nowhere")}, "/nowhere: no config.json"),
    ],
)
def test_what_cannot_be_quantized_is_refused_first(small, tmp_path, monkeypatch, changed, reason):
    monkeypatch.setattr(environments, "python", lambda engine: Path(sys.executable))
    with pytest.raises(InputError, match=reason):
        quantize.quantize(recipe(small, tmp_path, **changed))
    assert not (tmp_path / "awq").exists()


def test_a_missing_environment_is_told_with_the_command_that_makes_it(small, tmp_path, monkeypatch):
    monkeypatch.setenv(environments.VARIABLE, str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"the environment of autoawq is not installed .*quantize --install autoawq"):
        quantize.quantize(recipe(small, tmp_path))
    with pytest.raises(InputError, match="no AWQ engine 'gptq'"):
        environments.install("gptq")


def test_an_environment_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch):
    lock = tmp_path / "requirements.lock"
    lock.write_text("autoawq==0.0.0 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setattr(environments, "lock", lambda engine: lock)
    monkeypatch.setenv(environments.VARIABLE, str(tmp_path / "environments"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(InputError, match="the environment of autoawq could not be made"):
        environments.install("autoawq")
    assert list((tmp_path / "environments").iterdir()) == []
    assert not environments.installed("autoawq")


def test_a_full_disk_is_told_before_anything_is_done(small, tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "python", lambda engine: Path(sys.executable))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"0\.0 GiB free, quantization needs"):
        quantize.quantize(recipe(small, tmp_path))


def fake(tmp_path: Path, monkeypatch, body: str) -> None:
    """An engine whose worker is `body`: for what happens around a worker, not in it."""
    (tmp_path / "worker.py").write_text("import json, shutil, sys, time\njob = json.load(open(sys.argv[1]))\n" + body)
    (tmp_path / "requirements.lock").write_text("")
    monkeypatch.setattr(environments, "lock", lambda engine: tmp_path / "requirements.lock")
    monkeypatch.setattr(environments, "python", lambda engine: Path(sys.executable))


UNQUANTIZED = "shutil.copy(job['model'] + '/model.safetensors', job['out'])\n"
UNQUANTIZED += "shutil.copy(job['model'] + '/config.json', job['out'])\n"


def test_what_a_worker_writes_gets_tokenizer_template_and_a_complete_manifest(small, tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, UNQUANTIZED)
    out = quantize.quantize(recipe(small, tmp_path), "awq.yaml")
    for name in ("tokenizer.json", "chat_template.jinja", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (small.merged / name).read_bytes()
    found = manifest.load(out)
    assert found.status == "complete" and found.settings["calibration"] and len(found.settings["calibration"]) == 8
    assert found.inputs["model.safetensors"] == manifest.weights(small.merged)["model.safetensors"]
    assert [one.name for one in out.parent.iterdir() if one.name.startswith(".")] == []
    # nothing has changed: it is not made again
    before = (out / manifest.NAME).stat().st_mtime_ns
    quantize.quantize(recipe(small, tmp_path), "awq.yaml")
    assert (out / manifest.NAME).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise OSError(28, 'No space left on device')", "failed with exit code 1: OSError: .*No space left"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9"),
        (UNQUANTIZED + "open(job['out'] + '/model.safetensors', 'r+b').truncate(1000)", "was cut off"),
        (
            UNQUANTIZED
            + "c = json.load(open(job['out'] + '/config.json')); c['vocab_size'] = 7\n"
            + "del c['rope_theta']; json.dump(c, open(job['out'] + '/config.json', 'w'))",
            None,  # what the architecture is, the source says: AutoAWQ's transformers writes its defaults
        ),
    ],
)
def test_a_worker_that_fails_or_writes_half_a_model_leaves_what_was_there(small, tmp_path, monkeypatch, body, reason):
    fake(tmp_path, monkeypatch, UNQUANTIZED)
    out = quantize.quantize(recipe(small, tmp_path, seed=1))
    before = (out / manifest.NAME).read_bytes()
    fake(tmp_path, monkeypatch, body)
    if reason is None:
        assert checkpoint.config(quantize.quantize(recipe(small, tmp_path)))["rope_theta"] == 100000.0
        return
    with pytest.raises(InputError, match=reason):
        quantize.quantize(recipe(small, tmp_path))
    assert (out / manifest.NAME).read_bytes() == before
    assert sorted(one.name for one in out.parent.iterdir()) == ["autoawq", "autoawq.log"]


def test_an_interrupted_run_leaves_only_its_log(small, tmp_path):
    """SIGTERM while the worker is at work: the worker ends too, and nothing half-written stays."""
    script = tmp_path / "run.py"
    job = json.dumps(recipe(small, tmp_path).model_dump(mode="json"))
    (tmp_path / "worker.py").write_text("import time, pathlib\npathlib.Path(__file__).with_name('up').touch()\n")
    with open(tmp_path / "worker.py", "a") as file:
        file.write("time.sleep(600)\n")
    (tmp_path / "requirements.lock").write_text("")
    script.write_text(
        "import json, pathlib, sys\nfrom riskscribe.release import environments, quantize\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "environments.lock = lambda engine: here / 'requirements.lock'\n"
        "environments.python = lambda engine: sys.executable\n"
        # the blocks cost a start of LLaMA-Factory, and this is about what comes after
        "quantize.calibration = lambda recipe: (['a'], [[1] * 128])\n"
        f"quantize.quantize(quantize.Recipe(**json.loads({job!r})))\n"
    )
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE)
    for _ in range(600):
        if (tmp_path / "up").exists():
            break
        time.sleep(0.1)
    assert (tmp_path / "up").exists()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert [one.name for one in (tmp_path / "awq").iterdir()] == ["autoawq.log"]
    told = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path / "worker.py") not in told


# --- the engines themselves, where their environments are

each_engine = pytest.mark.parametrize("engine", environments.ENGINES)


def installed(engine: str):
    if not environments.installed(engine):
        pytest.skip(f"the environment of {engine} is not installed: riskscribe quantize --install {engine}")


@pytest.mark.slow
@each_engine
def test_an_engine_quantizes_the_small_model(small, tmp_path, engine):
    installed(engine)
    out = quantize.quantize(recipe(small, tmp_path, engine=engine))
    assert manifest.load(out).status == "complete"
    assert checkpoint.quantized_head(out) == []
    stored = checkpoint.tensors(out)
    assert sum(name.endswith((".qweight", ".weight_packed")) for name in stored) == 14  # 7 layers in each of 2 blocks
    assert checkpoint.config(out)["rope_theta"] == 100000.0
    assert os.stat(out / "model.safetensors").st_mode & 0o044 == 0o044
