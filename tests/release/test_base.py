"""The embedded base: its type follows the machine unless the caller says otherwise."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from riskscribe import manifest
from riskscribe.cli import main
from riskscribe.release import base


def test_the_type_is_the_machines():
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fast = torch.cuda.is_available() or "avx512_bf16" in flags or "amx_tile" in flags
    assert base.native_dtype() == ("bfloat16" if fast else "float32")


@pytest.mark.slow
def test_both_types_are_the_same_model_to_rounding(tmp_path, monkeypatch):
    import gguf
    from safetensors.torch import load_file

    weights, parsed = {}, []
    read = gguf.GGUFReader
    monkeypatch.setattr(gguf, "GGUFReader", lambda *given: parsed.append(given) or read(*given))
    for dtype in ("float32", "bfloat16"):
        parsed.clear()
        assert base.build(tmp_path / dtype, dtype)
        assert len(parsed) == 1
        assert manifest.load(tmp_path / dtype).settings["dtype"] == dtype
        weights[dtype] = load_file(tmp_path / dtype / "model.safetensors")
        assert {str(one.dtype) for one in weights[dtype].values()} == {f"torch.{dtype}"}
    assert weights["float32"].keys() == weights["bfloat16"].keys()
    for name, exact in weights["float32"].items():
        assert torch.equal(exact.to(torch.bfloat16), weights["bfloat16"][name])
    assert not base.build(tmp_path / "bfloat16", "bfloat16")  # up to date
    # another type is another build, by the command the runbook names
    again = CliRunner().invoke(main, ["base", "build", "--out", str(tmp_path / "bfloat16"), "--dtype", "float32"])
    assert again.exit_code == 0 and manifest.load(tmp_path / "bfloat16").settings["dtype"] == "float32"
