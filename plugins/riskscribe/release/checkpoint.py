"""What a checkpoint must hold to be a model at all, and how a newer transformers' files are read by an older one.

Everything here reads headers and JSON; no weight is loaded.
"""

import json
import struct
from pathlib import Path
from typing import Any

from riskscribe import manifest
from riskscribe.errors import InputError
from riskscribe.files import read_json

# what must be the same in a model and in what is made of it; a changed one ruins the answers without an error
ARCHITECTURE = (
    "architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "vocab_size", "rms_norm_eps", "rope_theta", "rope_scaling",
    "tie_word_embeddings", "max_position_embeddings",
)  # fmt: skip
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "vocab.json", "merges.txt", "tokenizer.model",
)  # fmt: skip


def config(folder: Path) -> dict[str, Any]:
    """config.json, read by either generation of transformers. Raises InputError when it is none."""
    path = Path(folder) / "config.json"
    if not path.exists():
        raise InputError(f"{folder}: no config.json; a model folder is needed")
    found = read_json(path)
    if not isinstance(found, dict) or "model_type" not in found:
        raise InputError(f"{path}: is no model's configuration: model_type is missing")
    return readable_config(found)


def readable_config(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with both generations' names for the rotary base and the type of the weights.

    transformers 5 writes `rope_parameters` and `dtype`; 4 passes over both without a word and takes its default base
    of 10,000 for SmolLM2's 100,000. And the other way round a `rope_theta` is understood by both.
    """
    found = dict(config)
    rope = found.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:
        found["rope_theta"] = rope["rope_theta"]
        scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
        found["rope_scaling"] = None if scaling.get("rope_type", "default") == "default" else scaling
    if found.get("dtype") and "torch_dtype" not in found:
        found["torch_dtype"] = found["dtype"]
    return found


def readable_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json as transformers 4 reads it: 5 names a class it lacks, and lists where it has names."""
    found = dict(config)
    if found.get("tokenizer_class") == "TokenizersBackend":
        found["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(found.get("extra_special_tokens"), list):
        found["additional_special_tokens"] = found.pop("extra_special_tokens")
    return found


def tensors_of(path: Path) -> dict[str, dict[str, Any]]:
    """Name -> {dtype, shape} of every tensor in one safetensors file, from its header.

    Raises InputError when it is no safetensors file, or shorter than its header says.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        try:
            if not 0 < length <= size - 8:
                raise ValueError
            header = json.loads(file.read(length))
        except ValueError:
            raise InputError(f"{path}: is no safetensors file, or was cut off in its header") from None
    header.pop("__metadata__", None)
    due = 8 + length + max((one["data_offsets"][1] for one in header.values()), default=0)
    if size != due:
        raise InputError(f"{path}: has {size} bytes, its header says {due}; the file was cut off or altered")
    return {name: {"dtype": one["dtype"], "shape": one["shape"]} for name, one in header.items()}


def tensors(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> {dtype, shape} of every tensor in `folder`, from the files' headers.

    Raises InputError for a file that is missing, no safetensors, or shorter than its header says.
    """
    folder = Path(folder)
    index = folder / "model.safetensors.index.json"
    listed = read_json(index).get("weight_map", {}) if index.exists() else {}
    names = sorted(set(listed.values())) or ["model.safetensors"]
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        path = folder / name
        if not path.exists():
            raise InputError(f"{path}: no such file; the model's weights are incomplete")
        found |= tensors_of(path)
    if missing := sorted(listed.keys() - found.keys()):
        raise InputError(f"{folder}: {len(missing)} tensors of the index are in no file, e.g. {missing[0]}")
    return found


def altered_architecture(made: Path, source: Path) -> list[str]:
    """Every field of the architecture in which the model `made` differs from the one it was made of, a line each."""
    one, other = config(made), config(source)
    return [
        f"config.json: {key} is {one.get(key)!r}, it was {other.get(key)!r}"
        for key in ARCHITECTURE
        if one.get(key) != other.get(key)
    ]


def missing_tensors(made: Path, source: Path) -> list[str]:
    """Tensors of `source` of which `made` has nothing, quantized or not: transformers would fill in random numbers."""
    own = {_plain(name) for name in tensors(made)}
    tied = "lm_head" if config(source).get("tie_word_embeddings") else None
    return [f"{name} is missing" for name in sorted(tensors(source)) if _plain(name) not in own | {tied}]


def _plain(name: str) -> str:
    """The layer that a tensor belongs to, however it is stored."""
    return name.rsplit(".", 1)[0]


def quantized_head(folder: Path) -> list[str]:
    """Tensors of the output head or the embedding that are stored quantized; none in a sound AWQ model."""
    parts = ("lm_head.", "embed_tokens.")
    kinds = (".qweight", ".weight_packed", ".qzeros", ".weight_scale")
    return sorted(name for name in tensors(folder) if any(p in name for p in parts) and name.endswith(kinds))


def adapter_faults(adapter: Path, base: Path) -> list[str]:
    """Why a LoRA adapter does not belong to a base: a layer or a width that is not there, or other base weights than
    the manifest of its training names. One line a fault.
    """
    adapter, known = Path(adapter), tensors(base)
    path = adapter / "adapter_model.safetensors"
    if not path.exists():
        return [f"{path}: no such file; give the folder of a LoRA adapter"]
    faults = []
    for name, one in tensors_of(path).items():
        parts = name.removeprefix("base_model.model.").rsplit(".lora_", 1)
        if len(parts) < 2 or parts[1] not in ("A.weight", "B.weight"):
            continue
        there = known.get(f"{parts[0]}.weight")
        side = 1 if parts[1].startswith("A") else 0
        if there is None:
            faults.append(f"{adapter}: is for a layer {parts[0]} that {base} does not have")
        elif there["shape"][side] != one["shape"][side]:
            faults.append(
                f"{adapter}: {name} has width {one['shape'][side]}, the base's layer {there['shape'][side]}; "
                f"it was trained on another base"
            )
    trained_on = manifest.base_weights(adapter)
    if trained_on and trained_on != (own := manifest.origin(base)):
        one = next(name for name in {**trained_on, **own} if trained_on.get(name) != own.get(name))
        faults.append(
            f"{adapter}: was trained on another base: {one} had sha256 {str(trained_on.get(one))[:12]}, "
            f"that of {base} has {str(own.get(one))[:12]}"
        )
    return faults[:3]


def size(folder: Path) -> int:
    """Bytes of the files in a model folder."""
    return sum(path.stat().st_size for path in Path(folder).iterdir() if path.is_file())
