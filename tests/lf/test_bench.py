"""`make bench`: the sides that are compared do the same work."""

import json
import re
import shutil

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM

from riskscribe.errors import InputError
from riskscribe.lf import bench


@pytest.mark.slow
def test_stock_and_ours_train_on_the_same_tokens(in_root, tiny_model, tmp_path):
    """Stock has the plugin off and reads messages, ours reads cases: same tokens, same loss, all of it told."""
    given = "train", "--base", str(tiny_model), "--against", "best-base", "--steps", "2"
    given += "--held-out", "3", "--out", str(tmp_path / "b")
    told = CliRunner().invoke(bench.main, given, catch_exceptions=False)
    assert told.exit_code == 0, told.output
    found = json.loads((tmp_path / "b" / "lora.json").read_text())
    (ours,), (stock,) = found["ours"], found["best-base"]
    assert ours["tokens"] == stock["tokens"] > 1000
    assert ours["loss"] == pytest.approx(stock["loss"], rel=0.01)
    assert 0.2 < ours["gib"] < 6 and ours["seconds"] > 0
    assert "riskscribe" not in (tmp_path / "b" / "lora-best-base-0" / "llamafactory.log").read_text()
    assert re.search(r"ours against best-base: \d", told.output)
    assert ours["held_out"] == pytest.approx(stock["held_out"], rel=0.01)
    assert re.search(r"3 rows held out, a seed a pair: ours \d\S+; best-base \d\S+; apart by -?0\.\d", told.output)


@pytest.mark.slow
def test_stock_and_ours_give_the_same_answers(in_root, tiny_model, tmp_path):
    base = tmp_path / "base"  # in float32: in bfloat16 a random model's choices are ties that rounding turns
    shutil.copytree(tiny_model, base)
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).save_pretrained(base)
    given = "predict", "--base", str(base), "--against", "best-base", "--rows", "3", "--tokens", "12"
    told = CliRunner().invoke(bench.main, [*given, "--out", str(tmp_path / "b")], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert told.output.count("3 of 3 answers ours") == 2
    found = json.loads((tmp_path / "b" / "predict.json").read_text())
    (ours,), (stock,) = found["ours"], found["best-base"]
    assert ours["tokens"] == stock["tokens"] > 0 and ours["answers"] == stock["answers"]
    assert "riskscribe" not in (tmp_path / "b" / "best-base-0" / "llamafactory.log").read_text()
    assert re.search(r"ours against best-base: \d", told.output)


def test_an_unknown_side_is_told(in_root):
    with pytest.raises(InputError, match=r"--against stock: no such side; there is ours, example"):
        CliRunner().invoke(bench.main, ["train", "--against", "stock"], catch_exceptions=False)


def test_the_start_of_python_is_compared_in_pairs():
    told = CliRunner().invoke(bench.main, ["start", "--pairs", "4"], catch_exceptions=False)
    assert re.search(r"added: median -?\d+\.\d\d ms", told.output)
    assert "with the .pth: " in told.output and "without the .pth: " in told.output


@pytest.mark.slow
def test_logits_for_the_answer_take_less_memory_at_the_same_loss():
    told = CliRunner().invoke(bench.main, ["memory", "--prompt", "400", "--answer", "100"], catch_exceptions=False)
    assert float(re.search(r"saved: (-?\d+\.\d+) GiB", told.output)[1]) > 0.3
    one, other = re.search(r"loss: (\S+) and (\S+)", told.output).groups()
    assert float(one) == pytest.approx(float(other), rel=1e-4)
