"""The endpoint by vLLM, in its own environment on a GPU: same key, host, schema and template as LLaMA-Factory's.

recipes/<model>/serve_vllm.yaml is vLLM's own configuration file; here is added what follows from the model served.
"""

import os
from pathlib import Path

from riskscribe.errors import InputError
from riskscribe.files import read_json, read_yaml
from riskscribe.release import environments, serve

_FOLDER = environments.lock("vllm").parent
# what a recipe may not say: a secret in a file, code of the model's, and what is decided here
_REFUSED = {
    "api-key": f"the key comes from {serve.KEY}",
    "trust-remote-code": "no code that comes with a model is run",
    "trust-request-chat-template": "the template is the one that was tested",
    "host": f"the server listens on {serve.HOST}",
    "port": "give --port",
    "model": "give --release or --awq",
    "dtype": "it is the type the model is stored in, or bfloat16 for AWQ",
    "chat-template": "it is the model's own chat_template.jinja",
    "middleware": "the one that asks for the key is given here",
    "enable-log-requests": "case texts are not logged",
    "enable-log-outputs": "answers are not logged",
}


def _check(recipe: Path) -> None:
    """Raise InputError for a recipe that is no mapping, or says what is not the recipe's to say."""
    found = read_yaml(recipe)
    if not isinstance(found, dict):
        raise InputError(f"{recipe}: is no mapping; recipes/smollm2_135m/serve_vllm.yaml is one")
    for key in found:
        if why := _REFUSED.get(str(key).replace("_", "-")):
            raise InputError(f"{recipe}: field {key}: leave it out: {why}")


def _dtype(model: Path) -> str:
    """vLLM's `auto` would turn float32 into 16 bits, which is not the model that was tested."""
    config = read_json(model / "config.json")
    if config.get("quantization_config"):
        return "bfloat16"
    stored = config.get("dtype") or config.get("torch_dtype")
    if stored not in ("float32", "bfloat16", "float16"):
        raise InputError(f"{model}/config.json: dtype is {stored!r}; float32, bfloat16 or float16 can be served")
    return stored


def command(recipe: Path, model: Path, port: int) -> list[str]:
    """The call that serves the merged or AWQ `model`; the key is not in it.

    Raises InputError when the model is not there, was rejected by the parity gate or lacks the template written at
    export, or when the recipe says what it may not.
    """
    serve.ensure_servable(model)
    _check(recipe)
    template = model / "chat_template.jinja"
    if not template.exists():
        raise InputError(f"{template}: no such file; `make export` writes the template that the model was tuned with")
    # not bin/vllm: an environment is renamed into place, and that script names the place it was made in
    return [
        str(environments.python("vllm")), "-m", "vllm.entrypoints.cli.main", "serve", str(model),
        "--config", str(recipe),
        "--host", serve.HOST,
        "--port", str(port),
        "--dtype", _dtype(model),
        "--chat-template", str(template),
        "--chat-template-content-format", "string",
        "--middleware", "require_key.RequireKey",
    ]  # fmt: skip


def settings(key: str) -> dict[str, str]:
    """What vLLM reads from the environment: the key, our middleware's folder, and nothing sent to anyone."""
    return {
        "VLLM_API_KEY": key,
        "PYTHONPATH": str(_FOLDER),
        "PATH": os.pathsep.join([str(environments.folder("vllm") / "bin"), os.environ.get("PATH", os.defpath)]),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "VLLM_SERVER_DEV_MODE": "0",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
        "TRANSFORMERS_OFFLINE": "1",
    }


def ensure_gpu() -> None:
    """Raise InputError where there is no GPU that vLLM's package from the index runs on."""
    import torch

    if not torch.cuda.is_available():
        raise InputError(
            "vLLM needs a CUDA GPU and this machine shows none; `make serve` without ENGINE=vllm serves on a CPU"
        )
