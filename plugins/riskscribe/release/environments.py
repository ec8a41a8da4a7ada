"""Environments of the quantizers and of vLLM: none shares LLaMA-Factory's pins, and nothing of theirs enters .venv.

An environment is named by its engine and by the hash of its lock: another lock is another environment. It lies in
$RISKSCRIBE_ENVIRONMENTS, or else in the user's cache, where every clone of the repository finds it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from riskscribe.errors import InputError
from riskscribe.files import sha256

# engine -> disk it takes and what an index serves for it, as measured
ENGINES = {"autoawq": "5.5 GB, a 3 GB download", "llmcompressor": "6.9 GB, a 4 GB download"}
# the same for what serves; it was never installed here
SERVERS = {"vllm": "size not measured; for a machine with a GPU"}
VARIABLE = "RISKSCRIBE_ENVIRONMENTS"


def lock(engine: str) -> Path:
    """The pinned and hashed requirements of an engine. Raises InputError when there is no such engine."""
    if engine not in ENGINES | SERVERS:
        raise InputError(f"no AWQ engine {engine!r}; there is {' and '.join(ENGINES)}")
    return Path(__file__).parent / (engine if engine in SERVERS else f"awq_{engine}") / "requirements.lock"


def folder(engine: str) -> Path:
    """Where the environment of an engine's present lock lies, or would."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "riskscribe" / "env"
    return Path(os.environ.get(VARIABLE) or cache) / f"{engine}-{sha256(lock(engine))[:12]}"


def installed(engine: str) -> bool:
    """Whether the environment is complete; it is renamed into place when it is."""
    return (folder(engine) / "bin" / "python").exists()


def python(engine: str) -> Path:
    """The environment's python. Raises InputError when it is not installed, with the command that installs it."""
    if not installed(engine):
        raise InputError(
            f"the environment of {engine} is not installed ({folder(engine)}); "
            f"`riskscribe {_installer(engine)}` makes it: {(ENGINES | SERVERS)[engine]}"
        )
    return folder(engine) / "bin" / "python"


def _installer(engine: str) -> str:
    return f"serve --engine {engine} --install" if engine in SERVERS else f"quantize --install {engine}"


def install(engine: str) -> bool:
    """Make an engine's environment from its lock, hashes checked; False when it is there already.

    Raises InputError when uv fails; nothing is left then.
    """
    if installed(engine):
        return False
    target, uv = folder(engine), Path(sys.executable).with_name("uv")
    if not uv.exists():
        raise InputError(f"{uv} is missing; `make setup` installs it")
    work = target.with_name(f".{target.name}.{os.getpid()}")
    print(f"environment of {engine}: {(ENGINES | SERVERS)[engine]}, into {target}", file=sys.stderr)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for command in (
            ["venv", "--quiet", "--python", sys.executable, work],
            ["pip", "install", "--python", work / "bin/python", "--no-deps", "--require-hashes", "-r", lock(engine)],
        ):
            if subprocess.run([uv, *command], check=False).returncode:
                raise InputError(f"the environment of {engine} could not be made; uv's own message is above")
        os.replace(work, target)
    except OSError as error:
        raise InputError(f"{target}: {(error.strerror or str(error)).lower()}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return True
