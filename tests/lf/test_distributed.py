"""Two processes give what one gives: torchrun (gloo) and Ray on a CPU, with the plugin active in every worker."""

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from riskscribe.lf import cluster, live

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "recipes"
RANKS = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "2"}
# on a busy machine its processes start slowly
RAY = {"USE_RAY": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "300"}
RAY["RAY_agent_register_timeout_ms"] = "300000"


def train(recipe: str, settings: dict, **environment: str) -> str:
    """`llamafactory-cli train` as a user types it; returns what it said."""
    # torchrun is looked for on the PATH
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run = subprocess.run(
        [sys.executable, "-m", "llamafactory.cli", "train", str(RECIPES / recipe)]
        + [f"{key}={value}" for key, value in settings.items()],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert run.returncode == 0, run.stdout[-5000:]
    return run.stdout


def lines(path: Path) -> list[dict]:
    return [json.loads(one) for one in path.read_text(encoding="utf-8").splitlines()]


def history(out: Path) -> list[dict]:
    return json.loads((out / "trainer_state.json").read_text())["log_history"]


def losses(out: Path) -> list[float]:
    return [one["loss"] for one in history(out) if "loss" in one]


def without_times(metrics: dict) -> dict:
    return {k: v for k, v in metrics.items() if not k.endswith(("_seconds", "_runtime", "_per_second", "_time"))}


@pytest.fixture
def settings(tiny_model, make_dataset, tmp_path):
    """`settings(out, **more)`: overrides that take a SmolLM2 recipe to the tiny model."""
    folder = None

    def make(out: str, rows: int = 7, **more) -> dict:
        nonlocal folder
        if folder is None:
            folder = make_dataset(rows)
            info = folder / "dataset_info.json"
            registry = json.loads(info.read_text())
            registry["live"] = registry["rows"] | {"live_evaluation": {"cases": 5, "max_new_tokens": 12}}
            info.write_text(json.dumps(registry))
        common = {"model_name_or_path": tiny_model, "dataset_dir": folder, "output_dir": tmp_path / out}
        return common | more

    return make


TRAINING = {"dataset": "rows", "max_steps": 3, "logging_steps": 1, "save_steps": 3, "plot_loss": "false"}


@pytest.mark.slow
def test_two_ranks_learn_as_one_process(settings, tmp_path):
    """A row on each of two ranks makes the steps of two rows on one."""
    evaluated = {"eval_dataset": "live", "eval_strategy": "steps", "eval_steps": 3, "per_device_eval_batch_size": 2}
    one, two = (settings(name, **TRAINING, **evaluated) for name in ("one", "two"))
    train("distributed/sft_ddp_cpu.yaml", one | {"per_device_train_batch_size": 2})
    said = train("distributed/sft_ddp_cpu.yaml", two, **RANKS)
    assert len(losses(tmp_path / "one")) == 3
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-3)
    assert losses(tmp_path / "one")[0] != losses(tmp_path / "one")[1]
    assert history(tmp_path / "two")[-1]["total_flos"] > 0
    # every rank took part in the evaluation, and the first one told it
    (evaluation,) = (one for one in history(tmp_path / "two") if "eval_risk_cases" in one)
    assert evaluation["eval_risk_cases"] == 5
    assert "not attached" not in said and "riskscribe: " not in said


@pytest.mark.slow
def test_two_ranks_evaluate_as_one_process(settings, tmp_path):
    """Live evaluation of one adapter, three batches: no rank waits for ever, and metrics and answers are equal."""
    frozen = {
        "dataset": "rows", "eval_dataset": "live", "max_steps": 2, "eval_steps": 1, "save_steps": 1,
        "per_device_eval_batch_size": 2, "gradient_accumulation_steps": 1, "plot_loss": "false",
        "learning_rate": 1e-9,  # the weights do not move, so that the ranks' data order does not matter
    }  # fmt: skip
    found = {}
    for name, environment in (("one", {}), ("two", RANKS)):
        train("smollm2_135m/sft_lora_live.yaml", settings(name, **frozen), **environment)
        out = tmp_path / name
        told = [live.task_metrics(one) for one in history(out)]
        found[name] = [without_times(one) for one in told if one], lines(out / "live_evaluation" / "eval-2.jsonl")
    metrics, answers = found["one"]
    assert len(metrics) == 2 and metrics[0]["eval_risk_cases"] == 5 and len(answers) == 5
    assert found["two"] == found["one"]


@pytest.mark.slow
def test_two_ranks_predict_as_one_process(settings, tiny_model, tmp_path):
    """Seven cases in batches of two: on two ranks the last batch is filled up, and what filled it is not scored."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    # not the identity that an untrained adapter is
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(tmp_path / "adapter")
    asked = {
        "eval_dataset": "rows", "adapter_name_or_path": tmp_path / "adapter", "per_device_eval_batch_size": 2,
        "max_new_tokens": 40, "answer_schema": "dataset_info/report.schema.json",
    }  # fmt: skip
    train("smollm2_135m/predict_tuned.yaml", settings("one", **asked))
    train("smollm2_135m/predict_tuned.yaml", settings("two", **asked), **RANKS)
    one, two = (lines(tmp_path / name / "generated_predictions.jsonl") for name in ("one", "two"))
    cases = [json.loads(row["case"])["case_id"] for row in lines(tmp_path / "data" / "rows.jsonl")]
    assert len(two) == len(cases) == 7
    for row, case_id in zip(two, cases, strict=True):
        assert f"Case {case_id} |" in row["prompt"]
    assert two == one
    assert all(row["predict"].startswith('{"schema_version":') for row in two)
    one, two = (json.loads((tmp_path / name / "predict_results.json").read_text()) for name in ("one", "two"))
    assert two["predict_risk_cases"] == 7
    assert without_times(two) == without_times(one)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: uv pip install 'riskscribe[ray]'")
def test_ray_learns_as_one_process(settings, tmp_path):
    """Two workers on a CPU: they start, the plugin is active in both, and no secret is in their runtime_env."""
    evaluated = {"eval_dataset": "live", "eval_strategy": "steps", "eval_steps": 3, "per_device_eval_batch_size": 2}
    one, two = (settings(name, **TRAINING, **evaluated) for name in ("one", "two"))
    train("distributed/sft_ray_cpu.yaml", one | {"per_device_train_batch_size": 2})
    secret = "xyzzy-plugh"
    # Ray's sockets need a short path
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ray") as logs:
        train("distributed/sft_ray_cpu.yaml", two, **RAY, RISKSCRIBE_API_KEY=secret, RAY_TMPDIR=logs)
        written = [path for path in Path(logs).rglob("*") if path.is_file()]
        assert written and not [path for path in written if secret.encode() in path.read_bytes()]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-3)
    (evaluation,) = (one for one in history(tmp_path / "two") if "eval_risk_cases" in one)
    assert evaluation["eval_risk_cases"] == 5


# --- what Ray is told


def test_secrets_are_told_by_name_and_by_value():
    secrets = [
        "RISKSCRIBE_API_KEY", "HF_TOKEN", "WANDB_API_KEY", "OPENAI_KEY", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD",
        "DB_PASSWORD", "MY_SECRET", "HUGGING_FACE_HUB_TOKEN", "GITHUB_PAT", "MYSQL_PWD", "APIKEY", "hf_token",
        "AZURE_STORAGE_CONNECTION_STRING", "SSH_AUTH_SOCK",
    ]  # fmt: skip
    harmless = [
        "PATH", "PWD", "OLDPWD", "TOKENIZERS_PARALLELISM", "MONKEY", "KEYBOARD", "PYTHONPATH", "OMP_NUM_THREADS",
        "HF_HUB_OFFLINE",
    ]  # fmt: skip
    given = dict.fromkeys([*secrets, *harmless], "x") | {"PROXY": "http://me:word@proxy:80", "URL": "http://host:80/a"}
    assert sorted(cluster.without_secrets(given)) == sorted([*harmless, "URL"])


def test_bundles_fit_the_cluster(monkeypatch):
    """A bundle for every device, all of which fit; upstream asks for ten cores a core."""
    made = []
    group = SimpleNamespace(bundle_specs=[{"CPU": 1.0}, {"CPU": 3.0}])
    ray = ModuleType("ray")
    ray.cluster_resources = lambda: {"CPU": 12.0}
    util, groups = ModuleType("ray.util"), ModuleType("ray.util.placement_group")
    groups.placement_group = lambda bundles, strategy: made.append(bundles) or group
    for module in (ray, util, groups):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def configure(placement_group, bundle_idx, rank, world_size, master_addr, master_port, env):
        return {"num_cpus": 10, "runtime_env": {"env_vars": env | {"RANK": str(rank)}}}

    upstream = SimpleNamespace(
        get_device_name=lambda: "cpu",
        get_placement_group=lambda num_workers: None,
        get_ray_head_node_ip=lambda: None,
        get_ray_remote_config_for_worker=configure,
    )
    cluster.fit_ray(upstream)
    assert upstream.get_placement_group(12) == (group, {"CPU": 1})
    assert made == [[{"CPU": 1}] * 12]
    upstream.get_device_name = lambda: "gpu"
    assert upstream.get_placement_group(4)[1] == {"CPU": 3, "GPU": 1}
    ray.cluster_resources = lambda: {"CPU": 640.0, "GPU": 8.0}
    assert upstream.get_placement_group(8)[1] == {"CPU": 10, "GPU": 1}
    found = upstream.get_ray_remote_config_for_worker(
        placement_group=group, bundle_idx=1, rank=1, world_size=2, master_addr="a", master_port="1",
        env={"HF_TOKEN": "x", "A": "b"},
    )  # fmt: skip
    assert found == {"num_cpus": 3.0, "runtime_env": {"env_vars": {"A": "b", "RANK": "1"}}}
    ray.nodes = lambda: [
        {"Alive": False, "NodeManagerAddress": "old", "Resources": {"node:__internal_head__": 1.0}},
        {"Alive": True, "NodeManagerAddress": "worker", "Resources": {"CPU": 1.0}},
        {"Alive": True, "NodeManagerAddress": "head", "Resources": {"node:__internal_head__": 1.0}},
    ]
    assert upstream.get_ray_head_node_ip() == "head"
