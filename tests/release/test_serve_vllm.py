"""vLLM cannot run here: what it would be called with, what it is told in the environment, and what is refused."""

import asyncio
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from click.testing import CliRunner

from riskscribe import manifest
from riskscribe.cli import main
from riskscribe.errors import InputError
from riskscribe.files import write_json
from riskscribe.release import environments, serve, serve_vllm

ROOT = Path(__file__).resolve().parents[2]
KEY = "k" * 24
RECIPES = sorted((ROOT / "recipes").glob("*/serve_vllm.yaml"))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An environment that looks complete; nothing of it is run."""
    monkeypatch.setenv(environments.VARIABLE, str(tmp_path / "environments"))
    python = environments.folder("vllm") / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return python


@pytest.fixture
def model(tmp_path):
    """What vLLM's command looks at of a model."""
    folder = tmp_path / "merged"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"torch_dtype": "float32"}))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda one: one.parent.name)
def test_the_call_is_complete(recipe, model, installed):
    call = serve_vllm.command(recipe, model, 8123)
    assert call == [
        str(installed), "-m", "vllm.entrypoints.cli.main", "serve", str(model),
        "--config", str(recipe), "--host", "127.0.0.1", "--port", "8123", "--dtype", "float32",
        "--chat-template", str(model / "chat_template.jinja"), "--chat-template-content-format", "string",
        "--middleware", "require_key.RequireKey",
    ]  # fmt: skip
    assert len(RECIPES) == 2


def test_awq_is_served_in_bfloat16_and_what_is_stored_otherwise_is_kept(model, installed):
    def dtype(**config) -> str:
        (model / "config.json").write_text(json.dumps(config))
        call = serve_vllm.command(RECIPES[0], model, 8123)
        return call[call.index("--dtype") + 1]

    assert dtype(torch_dtype="float16", quantization_config={"quant_method": "awq"}) == "bfloat16"
    assert dtype(dtype="bfloat16") == "bfloat16"
    with pytest.raises(InputError, match=r"config\.json: dtype is None; float32"):
        dtype()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda one: one.parent.name)
def test_it_answers_as_the_tested_model_does(recipe):
    """Greedy, in the same budget, by the same grammar; the model's own sampling settings are not read."""
    told, api = (yaml.safe_load((recipe.parent / one).read_text()) for one in ("serve_vllm.yaml", "api.yaml"))
    assert told["generation-config"] == "vllm" and api["do_sample"] is False
    limits = {"temperature": 0.0, "max_new_tokens": api["max_new_tokens"]}
    assert told["override-generation-config"] == limits
    assert told["structured-outputs-config"] == {"backend": "guidance", "disable_any_whitespace": True}
    assert told["max-model-len"] >= yaml.safe_load((recipe.parent / "predict_tuned.yaml").read_text())["cutoff_len"]


def test_its_grammar_is_that_of_the_tested_answers():
    """vLLM's `guidance` with disable_any_whitespace is llguidance with whitespace_flexible off: compact JSON."""
    from llguidance import LLMatcher

    from riskscribe.lf import guide

    schema = json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    theirs = json.loads(LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False}))
    ours = json.loads(LLMatcher.grammar_from_json_schema(schema, defaults=guide.COMPACT))
    known = {"item_separator": ",", "key_separator": ":"}
    found = [one["grammars"][0]["json_schema"]["x-guidance"] for one in (theirs, ours)]
    assert known | found[0] == found[1]


@pytest.mark.parametrize("field", sorted(serve_vllm._REFUSED))
def test_a_recipe_may_not_say_what_is_decided_here(field, model, installed, tmp_path):
    for spelled in (field, field.replace("-", "_")):
        (tmp_path / "serve_vllm.yaml").write_text(yaml.safe_dump({"max-model-len": 8192, spelled: "x"}))
        with pytest.raises(InputError, match=f"field {spelled}: leave it out: "):
            serve_vllm.command(tmp_path / "serve_vllm.yaml", model, 8123)


def test_what_is_not_served(model, installed, tmp_path):
    with pytest.raises(InputError, match="no model here"):
        serve_vllm.command(RECIPES[0], tmp_path / "none", 8123)
    shutil.move(model / "chat_template.jinja", tmp_path / "kept")
    with pytest.raises(InputError, match=r"chat_template\.jinja: no such file; `make export` writes"):
        serve_vllm.command(RECIPES[0], model, 8123)
    shutil.move(tmp_path / "kept", model / "chat_template.jinja")
    record = manifest.start(model, "export")
    record.status, record.summary = "rejected", {"parity": {"failed": ["prompts: differ"], "report": "parity.json"}}
    write_json(model / manifest.NAME, record)
    for call in (lambda: serve_vllm.command(RECIPES[0], model, 8123), lambda: serve.command("x", RECIPES[0], model)):
        with pytest.raises(InputError, match="rejected by the parity gate: prompts: differ"):
            call()


def test_a_missing_environment_says_what_makes_it(model, monkeypatch, tmp_path):
    monkeypatch.setenv(environments.VARIABLE, str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"`riskscribe serve --engine vllm --install` makes it"):
        serve_vllm.command(RECIPES[0], model, 8123)


@pytest.fixture
def started(monkeypatch, installed, model):
    """Runs `riskscribe serve --engine vllm` up to the moment it becomes vLLM; what it would become."""
    import torch

    became = []

    def become(program, arguments, environment):
        became.append((program, arguments, environment))
        raise SystemExit(0)

    def run(*words: str, gpu: bool = True):
        monkeypatch.chdir(ROOT)
        monkeypatch.setenv(serve.KEY, KEY)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(os, "execve", become)
        monkeypatch.setattr("riskscribe.stages.Job.out", model.parent / "out")
        found = CliRunner().invoke(main, ["serve", "--port", str(serve.free_port()), *words])
        return found, became

    (model.parent / "out" / "export").mkdir(parents=True)
    shutil.copytree(model, model.parent / "out" / "export" / "merged")
    return run


def test_the_key_is_in_the_environment_and_never_on_the_command_line(started):
    found, became = started("--engine", "vllm")
    assert found.exit_code == 0, found.output
    ((program, arguments, environment),) = became
    assert program == arguments[0] and KEY not in " ".join(arguments) and KEY not in found.output
    assert (
        environment["VLLM_API_KEY"] == KEY and environment["VLLM_DO_NOT_TRACK"] == environment["HF_HUB_OFFLINE"] == "1"
    )
    assert (Path(environment["PYTHONPATH"]) / "require_key.py").exists()
    assert environment["PATH"].startswith(str(Path(program).parent))


def test_without_a_gpu_or_with_the_wrong_engine(started):
    for words, told in (
        (("--engine", "vllm"), "vLLM needs a CUDA GPU and this machine shows none"),
        (("--awq", "autoawq"), "--awq goes with --engine vllm"),
        (("--install",), "--install goes with --engine vllm"),
    ):
        found, became = started(*words, gpu=False)
        assert found.exit_code == 2 and told in found.output and not became
    # before anything is trained for it
    found, became = started("--engine", "vllm", "--check")
    assert found.exit_code == 0 and not became
    found, became = started("--engine", "vllm", "--check", gpu=False)
    assert found.exit_code == 2 and "needs a CUDA GPU" in found.output
    found, became = started("--engine", "vllm", "--awq", "autoawq")
    assert found.exit_code == 2 and "quantize/autoawq: no model here" in found.output and not became


def test_every_path_asks_for_the_key(monkeypatch):
    """In front of a real Starlette application, as vLLM puts it there."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route, WebSocketRoute

    path = Path(serve_vllm.__file__).parent / "vllm" / "require_key.py"
    spec = importlib.util.spec_from_file_location("require_key", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    paths = ("/v1/models", "/invocations", "/health")
    app = Starlette(routes=[Route(one, lambda request: PlainTextResponse("in")) for one in paths])
    app.routes.append(WebSocketRoute("/v1/realtime", None))
    app.add_middleware(module.RequireKey)

    async def codes(headers) -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return [(await client.get(one, headers=headers)).status_code for one in paths]

    assert asyncio.run(codes({"Authorization": f"Bearer {KEY}"})) == [200, 200, 200]
    for wrong in ({}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": KEY}):
        assert asyncio.run(codes(wrong)) == [401, 401, 200]

    sent = []

    async def socket() -> None:
        async def send(message):
            sent.append(message)

        await app({"type": "websocket", "path": "/v1/realtime", "headers": []}, None, send)

    asyncio.run(socket())
    assert sent == [{"type": "websocket.close", "code": 1008}]
