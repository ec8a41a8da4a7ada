"""Training steps on a CPU: attention and LoRA layers give upstream's results and gradients; the rest is left alone."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from riskscribe.lf import kernels


@pytest.fixture
def installed(monkeypatch):
    """kernels.install() for one test; yields upstream's attention and LoRA layer."""
    from peft.tuners.lora.layer import Linear

    found = ALL_ATTENTION_FUNCTIONS["sdpa"], ALL_MASK_ATTENTION_FUNCTIONS["sdpa"], Linear.forward
    # another test's training may have installed them
    sdpa, mask, forward = (getattr(one, "__wrapped__", one) for one in found)
    monkeypatch.setattr(Linear, "forward", forward)
    ALL_ATTENTION_FUNCTIONS.register("sdpa", sdpa)
    ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", mask)
    kernels.install()
    yield sdpa, forward
    ALL_ATTENTION_FUNCTIONS.register("sdpa", sdpa)
    ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", mask)


def tensors(*shapes, dtype=torch.float64):
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("length", [1, 7, kernels.BLOCK, kernels.BLOCK + 1, 2 * kernels.BLOCK + 131])
@pytest.mark.parametrize(("heads", "groups"), [(6, 2), (3, 3), (4, 1)])
def test_attention_is_causal_attention(length, heads, groups):
    query, key, value = tensors((2, heads, length, 8), (2, groups, length, 8), (2, groups, length, 8))
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=0.3, enable_gqa=True
    )
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weights).sum(), (query, key, value))
    found = kernels.CausalAttention.apply(query, key, value, 0.3)
    assert torch.allclose(found, expected, atol=1e-12)
    for one, other in zip(torch.autograd.grad((found * weights).sum(), (query, key, value)), wanted, strict=True):
        # keys' and values' gradients are summed in float32
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("first_layer", [True, False])
def test_a_lora_layer_is_pefts(first_layer):
    x, weight, a, b = tensors((2, 5, 12), (7, 12), (3, 12), (7, 3))
    weight = weight.detach()
    x = x.detach() if first_layer else x
    asked = (a, b) if first_layer else (x, a, b)
    expected = x @ weight.T + 0.5 * (x @ a.T @ b.T)
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weights).sum(), asked)
    found = kernels.LoraLinear.apply(x, weight, a, b, 0.5)
    assert torch.allclose(found, expected)
    for one, other in zip(torch.autograd.grad((found * weights).sum(), asked), wanted, strict=True):
        assert torch.allclose(one, other)


def step(model, batch):
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return float(loss.detach()), {
        name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None
    }


def padded(batch, where: slice) -> dict:
    mask, labels = batch["attention_mask"].clone(), batch["labels"].clone()
    mask[:, where], labels[:, where] = 0, -100
    return batch | {"attention_mask": mask, "labels": labels}


@pytest.fixture
def adapted(tiny_model):
    """A tiny model in bfloat16 with a LoRA adapter in float32 that already says something, and its batch."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    torch.manual_seed(0)
    targets = ["o_proj", "gate_proj", "up_proj", "down_proj", "q_proj"]
    model = get_peft_model(model, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM")).train()
    for name, one in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(one, std=0.02)
    ids = torch.randint(0, model.config.vocab_size, (1, 300))
    return model, {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}


@pytest.mark.parametrize("padding", [0, 5])
def test_a_training_step_is_upstreams_to_bfloat16(adapted, installed, padding):
    model, batch = adapted
    _, forward = installed
    if padding:
        batch = padded(batch, slice(-padding, None))
    loss, gradients = step(model, batch)
    kept = type(model.base_model.model.model.layers[0].mlp.up_proj)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "forward", forward)
        ours = ALL_ATTENTION_FUNCTIONS["sdpa"]
        mask = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]
        ALL_ATTENTION_FUNCTIONS.register("sdpa", installed[0])
        ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", mask.__wrapped__)
        expected, wanted = step(model, batch)
        ALL_ATTENTION_FUNCTIONS.register("sdpa", ours)
        ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", mask)
    assert loss == pytest.approx(expected, rel=1e-3)
    assert gradients.keys() == wanted.keys() and any("q_proj" in name for name in gradients)
    found, stock = (torch.cat([one.flatten() for one in some.values()]) for some in (gradients, wanted))
    assert found.dtype == torch.float32
    # two roundings of the same step: each is as far from float32
    assert (found - stock).norm() < 0.05 * stock.norm()


def test_where_they_are_used_and_where_not(adapted, installed, monkeypatch):
    model, batch = adapted
    used = []
    for kernel in (kernels.CausalAttention, kernels.LoraLinear):
        monkeypatch.setattr(
            kernel, "forward", staticmethod(lambda *given, f=kernel.forward, n=kernel: used.append(n) or f(*given))
        )

    def kernels_of(run) -> set:
        used.clear()
        run()
        return set(used)

    both = {kernels.CausalAttention, kernels.LoraLinear}
    assert kernels_of(lambda: step(model, batch)) == both
    # the collator pads nearly every row on the right; on the left a mask is needed
    assert kernels_of(lambda: step(model, padded(batch, slice(-5, None)))) == both
    assert kernels_of(lambda: step(model, padded(batch, slice(None, 5)))) == {kernels.LoraLinear}
    holed = padded(batch, slice(100, 105))
    assert kernels_of(lambda: step(model, holed)) == {kernels.LoraLinear}
    with torch.no_grad():
        assert kernels_of(lambda: model(**batch)) == set()
    with model.disable_adapter():
        assert kernels.LoraLinear not in kernels_of(lambda: model(**batch))
    for layer in model.modules():
        if hasattr(layer, "lora_dropout"):
            layer.lora_dropout["default"] = torch.nn.Dropout(0.1)
    assert kernels_of(lambda: step(model, batch)) == {kernels.CausalAttention}
    model.float()
    for layer in model.modules():
        if hasattr(layer, "lora_dropout"):
            layer.lora_dropout["default"] = torch.nn.Identity()
    assert kernels_of(lambda: step(model, batch)) == {kernels.LoraLinear}


@pytest.mark.parametrize("once", [True, False])
def test_a_quantized_base_is_dequantized_once(tiny_model, tmp_path, in_root, monkeypatch, once, installed):
    import bitsandbytes
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_model, load_tokenizer

    # the order in which a run parses and loads, with its quantization
    recipe = {"stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_target": "all", "use_cpu": True}
    quantization = {"quantization_method": "bnb", "quantization_bit": 4, "quantization_type": "nf4"}
    data = {"dataset_dir": "dataset_info", "dataset": "risk_report_train", "output_dir": str(tmp_path / "out")}
    more = {"model_name_or_path": str(tiny_model), "template": "qwen", "cpu_kernels": True, "dequantize_once": once}
    model_args, _, _, finetuning_args, _ = get_train_args(recipe | quantization | data | more)
    tokenizer = load_tokenizer(model_args)["tokenizer"]
    model = load_model(tokenizer, model_args, finetuning_args, is_trainable=True)
    layers = [one.base_layer for one in model.modules() if hasattr(one, "lora_A")]
    assert {type(one) for one in layers} == {torch.nn.Linear if once else bitsandbytes.nn.Linear4bit}
    if once:
        # NF4 has 16 values a block of 64
        assert all(len(one.weight.detach().flatten()[:64].unique()) <= 16 for one in layers)
