"""A small Llama that has learned its training texts, a LoRA adapter of it, and the two merged by LLaMA-Factory.

Small enough for seconds, and trained, because in a model of random weights a ruined layer changes nothing that counts.
"""

import json
import shutil
from pathlib import Path

import pytest

from riskscribe import manifest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = "smollm2"


def _train(model, blocks, steps: int, rate: float) -> float:
    import torch

    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=rate)
    model.train()
    for step in range(steps):
        ids = blocks[step % len(blocks) : step % len(blocks) + 4]
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    return float(loss.detach())


def make_base(folder: Path, tokenizer, blocks, seed: int, steps: int) -> Path:
    """A Llama of two layers, trained on `blocks`, in float32; SmolLM2's rotary base."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=1536,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=8192,
            rope_theta=100000.0,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    _train(model, blocks, steps, 3e-3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Small:
    """Folders: base, other_base (same shapes, other weights), adapter, merged; blocks of token ids."""

    def __init__(self, folder: Path, tiny_model: Path):
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoTokenizer, LlamaForCausalLM

        from riskscribe.data.rows import read_rows
        from riskscribe.lf import prompts

        tokenizer = AutoTokenizer.from_pretrained(tiny_model)
        tokenizer.add_special_tokens({"bos_token": "<|im_start|>"})
        self.data = folder / "rows.jsonl"
        lines = (ROOT / "datasets/risk_report/v1/train_quick.jsonl").read_text(encoding="utf-8").splitlines()
        # short ones: a whole prompt is read for every token that is scored
        self.data.write_text("\n".join(sorted(lines, key=len)[:12]) + "\n", encoding="utf-8")
        encoded = prompts.encode(read_rows(self.data), tokenizer, TEMPLATE)
        stream = [token for one in encoded for token in one.prompt + one.answer]
        blocks = torch.tensor([stream[i : i + 256] for i in range(0, len(stream) - 256, 256)])
        self.blocks = blocks.tolist()
        self.base = make_base(folder / "base", tokenizer, blocks, 0, 60)
        self.other_base = make_base(folder / "other_base", tokenizer, blocks, 1, 1)
        self.adapter = folder / "adapter"
        torch.manual_seed(0)
        model = LlamaForCausalLM.from_pretrained(self.base)
        model = get_peft_model(
            model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
        )
        answers = torch.tensor([(one.prompt + one.answer)[-256:] for one in encoded])
        _train(model, answers, 40, 3e-3)
        model.save_pretrained(self.adapter)
        record = manifest.start(self.adapter, "train", summary={"base_weights": manifest.weights(self.base)})
        manifest.finish(self.adapter, record, ["adapter_model.safetensors"])
        self.merged = folder / "merged"
        self.merge(self.adapter, self.base, self.merged)

    @staticmethod
    def merge(adapter: Path, base: Path, out: Path) -> None:
        """By LLaMA-Factory, in float32."""
        from llamafactory.train.tuner import export_model

        export_model(
            {
                "model_name_or_path": str(base),
                "adapter_name_or_path": str(adapter),
                "template": TEMPLATE,
                "finetuning_type": "lora",
                "infer_dtype": "float32",
                "trust_remote_code": False,
                "export_dir": str(out),
                "export_device": "cpu",
                "export_legacy_format": False,
            }
        )

    @staticmethod
    def copy(source: Path, to: Path, change=None, **config) -> Path:
        """A copy to ruin: `change(tensors)` alters the dict of its weights, `config` fields of config.json."""
        from safetensors.torch import load_file, save_file

        folder = Path(shutil.copytree(source, to))
        if change:
            tensors = load_file(folder / "model.safetensors")
            change(tensors)
            kept = {key: one.contiguous() for key, one in tensors.items()}
            save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
        return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Small:
    """The small model and what is made of it; never written to."""
    return Small(tmp_path_factory.mktemp("small"), tiny_model)
