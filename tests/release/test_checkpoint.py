"""What is wrong with a model folder is told before it is loaded, and files of transformers 5 are read by 4."""

import json
import shutil
from pathlib import Path

import pytest

from riskscribe import manifest
from riskscribe.errors import InputError
from riskscribe.release import checkpoint

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 32,
    "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
    "dtype": "bfloat16",
}


def test_transformers_4_reads_the_rotary_base_of_a_version_5_config(tmp_path):
    from transformers import AutoConfig

    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    # what happens without the conversion, in silence
    assert AutoConfig.from_pretrained(tmp_path).rope_theta == 10000.0
    path.write_text(json.dumps(checkpoint.config(tmp_path)))
    found = AutoConfig.from_pretrained(tmp_path)
    assert found.rope_theta == 100000.0 and found.rope_scaling is None
    assert checkpoint.config(tmp_path)["torch_dtype"] == "bfloat16"


def test_a_scaled_rotary_embedding_keeps_its_scaling():
    rope = {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0}
    found = checkpoint.readable_config({**LLAMA, "rope_parameters": rope})
    assert found["rope_theta"] == 5e5 and found["rope_scaling"] == {"rope_type": "llama3", "factor": 8.0}


def test_transformers_4_reads_a_version_5_tokenizer(tmp_path, tiny_model):
    from transformers import AutoTokenizer

    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    path = folder / "tokenizer_config.json"
    about = json.loads(path.read_text()) | {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<|x|>"]}
    path.write_text(json.dumps(about))
    with pytest.raises((ValueError, AttributeError)):
        AutoTokenizer.from_pretrained(folder)
    path.write_text(json.dumps(checkpoint.readable_tokenizer(about)))
    found = AutoTokenizer.from_pretrained(folder)
    assert found("Risk")["input_ids"] == AutoTokenizer.from_pretrained(tiny_model)("Risk")["input_ids"]
    assert "<|x|>" in found.additional_special_tokens


@pytest.mark.parametrize(
    ("ruin", "reason"),
    [
        (lambda raw: raw[: len(raw) // 2], "its header says"),
        (lambda raw: raw[:5], "no safetensors file"),
        (lambda raw: b"x" * len(raw), "no safetensors file"),
        (lambda raw: raw + b"more", "its header says"),
    ],
)
def test_a_file_cut_off_or_altered_is_told(tmp_path, tiny_model, ruin, reason):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    path = folder / "model.safetensors"
    path.write_bytes(ruin(path.read_bytes()))
    with pytest.raises(InputError, match=reason):
        checkpoint.tensors(folder)


def test_a_missing_shard_is_told(tmp_path, tiny_model):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    names = sorted(checkpoint.tensors(folder))
    places = {name: "model.safetensors" if i else "model-2.safetensors" for i, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(InputError, match=r"model-2\.safetensors: no such file"):
        checkpoint.tensors(folder)


def test_no_model_at_all(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        checkpoint.config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match="model_type is missing"):
        checkpoint.config(tmp_path)


def test_the_adapter_belongs_to_its_base(small, tmp_path, tiny_model):
    assert checkpoint.adapter_faults(small.adapter, small.base) == []
    # same shapes, other weights: only the record of its training can tell
    (fault,) = checkpoint.adapter_faults(small.adapter, small.other_base)
    assert "was trained on another base: model.safetensors had sha256" in fault
    assert "it was trained on another base" in checkpoint.adapter_faults(small.adapter, tiny_model)[0]
    bare = Path(shutil.copytree(small.adapter, tmp_path / "bare"))
    (bare / manifest.NAME).unlink()
    assert checkpoint.adapter_faults(bare, small.other_base) == []
    assert "no such file" in checkpoint.adapter_faults(tmp_path, small.base)[0]
