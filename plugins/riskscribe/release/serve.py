"""The OpenAI-compatible endpoint: plain `llamafactory-cli api`, local, with a key, without case texts in its log."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from riskscribe import manifest
from riskscribe.errors import InputError

KEY = "RISKSCRIBE_API_KEY"
HOST = "127.0.0.1"
START_SECONDS = 300


def api_key() -> str:
    """The key from the environment. Raises InputError when there is none: LLaMA-Factory would serve everyone."""
    key = os.environ.get(KEY, "")
    if len(key) < 16:
        raise InputError(
            f"{KEY} is {'too short (16 characters or more)' if key else 'not set'}: the server does not start without "
            f"a key. Make one: export {KEY}=\"$(python3 -c 'import secrets; print(secrets.token_urlsafe(24))')\""
        )
    return key


def settings(key: str, port: int) -> dict[str, str]:
    """LLaMA-Factory's server settings; its own defaults are 0.0.0.0, no key, and every request in the log."""
    return {
        "API_HOST": HOST,
        "API_PORT": str(port),
        "API_KEY": key,
        "API_VERBOSE": "0",
        # an image_url may name a file of the server
        "ALLOW_LOCAL_FILES": "0",
        "API_MODEL_NAME": "riskscribe",
    }


def free_port() -> int:
    """A TCP port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def ensure_free(port: int) -> None:
    """Raise InputError when something already listens on `port`."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise InputError(f"port {port} on {HOST} is taken; choose another with --port")


def ensure_servable(model: Path, *, gated: bool = True) -> None:
    """Raise InputError when there is no model in the folder, or (`gated`) the parity gate rejected it."""
    if not (model / "config.json").exists():
        raise InputError(f"{model}: no model here; `make export` makes it")
    if gated and (why := manifest.rejection(model)):
        raise InputError(f"{model}: rejected by the parity gate: {why}")


def command(cli: str, recipe: Path, model: Path, *, gated: bool = True) -> list[str]:
    """The llamafactory-cli call that serves `model` by `recipe`.

    Raises InputError when the model is not there, or was rejected by the parity gate (which serves it itself, with
    `gated` off, to judge it).
    """
    ensure_servable(model, gated=gated)
    return [cli, "api", str(recipe), f"model_name_or_path={model}"]


@contextmanager
def running(arguments: list[str], environment: dict[str, str], key: str, port: int, log: Path) -> Iterator[str]:
    """A server for the duration of a with block; yields its base URL. Ends only the process it started."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as file:
        process = subprocess.Popen(
            arguments, env={**environment, **settings(key, port)}, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            _wait(process, key, port, log)
            yield f"http://{HOST}:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen, key: str, port: int, log: Path) -> None:
    request = urllib.request.Request(f"http://{HOST}:{port}/v1/models", headers={"Authorization": f"Bearer {key}"})
    for second in range(START_SECONDS):
        if process.poll() is not None:
            raise InputError(
                f"the server stopped at start with exit code {process.returncode}; its output is in {log}"
            )
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if second and second % 15 == 0:
                print(f"  loading the model: {second} s", file=sys.stderr)
            time.sleep(1)
    raise InputError(f"the server did not answer within {START_SECONDS} s; its output is in {log}")
