"""A training killed with `kill -9` and started again ends where the uninterrupted one does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
STEPS, EVERY = 40, 10


def command(model: Path, data: Path, out: Path) -> list[str]:
    return [
        *(str(Path(sys.executable).with_name("llamafactory-cli")), "train", "recipes/smollm2_135m/sft_lora.yaml"),
        *(f"model_name_or_path={model}", f"dataset_dir={data}", "dataset=rows", "gradient_accumulation_steps=1"),
        *(f"max_steps={STEPS}", f"save_steps={EVERY}", "logging_steps=1", "plot_loss=false", f"output_dir={out}"),
        # the logged losses are rounded to four digits; that of an evaluation is not
        *("eval_dataset=rows", "do_eval=true", "per_device_eval_batch_size=2"),
    ]


def losses(out: Path) -> dict[int, float]:
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return {one["step"]: one["loss"] for one in history if "loss" in one}


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_nothing_had_been(tiny_model, make_dataset, tmp_path):
    data = make_dataset(12)
    given = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    whole = subprocess.run(command(tiny_model, data, tmp_path / "whole"), timeout=600, check=False, **given)
    assert whole.returncode == 0, whole.stdout[-3000:]

    out = tmp_path / "killed"
    with open(tmp_path / "log", "w") as log:
        one = subprocess.Popen(
            command(tiny_model, data, out), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        # what a checkpoint writes last
        while not (out / f"checkpoint-{EVERY}" / "trainer_state.json").exists():
            assert one.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.005)
        os.killpg(one.pid, signal.SIGKILL)
        assert one.wait(60) == -signal.SIGKILL
    assert not (out / "train_results.json").exists() and not (out / f"checkpoint-{STEPS}").exists()

    again = subprocess.run(command(tiny_model, data, out), timeout=600, check=False, **given)
    assert again.returncode == 0, again.stdout[-3000:]
    assert "checkpoint" in again.stdout and "Continuing training from global step" in again.stdout
    assert losses(out) == losses(tmp_path / "whole") and len(losses(out)) == STEPS
    final = [json.loads((one / "eval_results.json").read_text())["eval_loss"] for one in (tmp_path / "whole", out)]
    assert final[1] == pytest.approx(final[0], abs=1e-5)
    adapters = [load_file(one / "adapter_model.safetensors") for one in (tmp_path / "whole", out)]
    for name, weights in adapters[0].items():
        assert torch.allclose(weights.float(), adapters[1][name].float(), atol=1e-6), name
