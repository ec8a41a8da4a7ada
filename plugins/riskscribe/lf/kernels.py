"""A training step on a CPU: causal attention and adapted linear layers with less arithmetic and fewer copies.

- Attention: torch's CPU kernel reaches 40 GFLOP/s of 500 forward and backward. Here blocks of queries meet the keys
  before them in plain matrix products; nothing above the diagonal is computed, and the probabilities are computed
  again backward, not kept (as in FlashAttention, arXiv:2205.14135).
- LoRA: peft casts every layer's input to the adapter's float32, keeps that copy, and adds in float32. Here the
  adapter's product is added in place in the base's own type, as under autocast; its parameters, gradients and
  optimizer stay float32.

LLaMA-Factory pads a training batch on the right, to a multiple of eight. No token looks at what comes after it, so
that padding needs no mask; with one, torch takes neither its own causal path nor this one.

Forward passes without gradients, left padding, packed rows, GPUs, dropout, DoRA and biases go the usual way.
Upstream: transformers integrations/sdpa_attention.py and masking_utils.py (sdpa_mask), peft tuners/lora/layer.py
(Linear.forward).
"""

from functools import wraps

import torch

# queries a block: its scores stay in a core's cache
BLOCK = 128


def _blocks(query, key):
    """(slice of the queries, queries, slice of the keys up to them, what is added to their scores against their own
    keys) of every block; query heads that share keys lie together. The queries are those of the last keys.
    """
    batch, _, length, width = query.shape
    groups, before = key.shape[1], key.shape[2] - length
    most = min(BLOCK, length)
    later = torch.full((most, most), float("-inf"), dtype=query.dtype).triu(1)
    for first in range(0, length, BLOCK):
        own = slice(first, min(length, first + BLOCK))
        size = own.stop - first
        queries = query[:, :, own].reshape(batch, groups, -1, width)
        yield own, queries, slice(before + own.stop), later[:size, :size]


def _probabilities(queries, keys, later):
    """Softmax of scaled queries against keys, where the last columns are the queries' own positions."""
    scores = queries @ keys.transpose(-1, -2)
    own = later.shape[0]
    batch, groups, rows, columns = scores.shape
    scores.view(batch, groups, rows // own, own, columns)[..., columns - own :] += later
    return scores.softmax(-1)


def causal_attention(query, key, value):
    """Softmax attention of (batch, heads, length, width) scaled queries on the (batch, groups, keys, width) keys and
    values that end with their own: (batch, heads, length, width).
    """
    out = torch.empty_like(query)
    for own, queries, seen, later in _blocks(query, key):
        found = _probabilities(queries, key[:, :, seen], later) @ value[:, :, seen]
        out[:, :, own] = found.view_as(out[:, :, own])
    return out


class CausalAttention(torch.autograd.Function):
    """`causal_attention` for training, of as many queries as keys."""

    @staticmethod
    def forward(ctx, query, key, value, scaling):
        query = query * scaling
        ctx.save_for_backward(query, key, value)
        ctx.scaling = scaling
        return causal_attention(query, key, value)

    @staticmethod
    def backward(ctx, grad):
        query, key, value = ctx.saved_tensors
        to_query = torch.empty_like(query)
        # summed over blocks
        to_key, to_value = (torch.zeros(one.shape, dtype=torch.float32) for one in (key, value))
        for own, queries, seen, later in _blocks(query, key):
            p = _probabilities(queries, key[:, :, seen], later)
            back = grad[:, :, own].reshape(queries.shape)
            to_value[:, :, seen] += p.transpose(-1, -2) @ back
            scores = torch._softmax_backward_data(back @ value[:, :, seen].transpose(-1, -2), p, -1, p.dtype)
            to_query[:, :, own] = (scores @ key[:, :, seen]).view_as(to_query[:, :, own])
            to_key[:, :, seen] += scores.transpose(-1, -2) @ queries
        return to_query.mul_(ctx.scaling), to_key.to(key.dtype), to_value.to(value.dtype), None


class LoraLinear(torch.autograd.Function):
    """x W' + s x A' B', of x (..., in), W (out, in), A (rank, in) and B (out, rank); W is frozen."""

    @staticmethod
    def forward(ctx, x, weight, a, b, scaling):
        rows = x.reshape(-1, x.shape[-1])
        low, high = a.to(x.dtype), (b * scaling).to(x.dtype)
        middle = rows @ low.T
        ctx.save_for_backward(rows, weight, low, high, middle)
        ctx.shape, ctx.scaling, ctx.dtype = x.shape, scaling, a.dtype
        return torch.addmm(rows @ weight.T, middle, high.T).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, grad):
        rows, weight, low, high, middle = ctx.saved_tensors
        back = grad.reshape(-1, grad.shape[-1])
        inner = back @ high
        to_x = (back @ weight).addmm_(inner, low).view(ctx.shape) if ctx.needs_input_grad[0] else None
        to_a = (inner.T @ rows).to(ctx.dtype)
        to_b = (back.T @ middle).to(ctx.dtype).mul_(ctx.scaling)
        return to_x, None, to_a, to_b, None


def install() -> None:
    """Attach to transformers and peft; idempotent. In float32 torch's attention is as fast and stays."""
    from peft.tuners.lora.layer import Linear
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, causal_mask_function
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if hasattr(Linear.forward, "__wrapped__"):
        return
    attend, forward = ALL_ATTENTION_FUNCTIONS["sdpa"], Linear.forward
    mask_of = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]

    @wraps(mask_of)
    def sdpa_mask(*, attention_mask=None, mask_function=causal_mask_function, **more):
        if (
            torch.is_grad_enabled()
            and attention_mask is not None
            and attention_mask.device.type == "cpu"
            and attention_mask.shape[1] == more["kv_length"] == len(more["cache_position"])
            and mask_function is causal_mask_function
            and bool((attention_mask[:, 1:] <= attention_mask[:, :-1]).all())
        ):
            attention_mask = None
        return mask_of(attention_mask=attention_mask, mask_function=mask_function, **more)

    @wraps(attend)
    def sdpa(module, query, key, value, attention_mask, dropout=0.0, scaling=None, is_causal=None, **more):
        if (
            torch.is_grad_enabled()
            and query.requires_grad
            and query.device.type == "cpu"
            and query.dtype is torch.bfloat16
            and attention_mask is None
            and not dropout
            and is_causal is not False
            and getattr(module, "is_causal", True)
            and query.shape[2] == key.shape[2]
        ):
            scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
            return CausalAttention.apply(query, key, value, scaling).transpose(1, 2).contiguous(), None
        return attend(module, query, key, value, attention_mask, dropout, scaling, is_causal, **more)

    @wraps(forward)
    def linear(self, x, *rest, **more):
        base = self.get_base_layer()
        names = self.active_adapters
        if (
            torch.is_grad_enabled()
            and x.device.type == "cpu"
            and not (rest or more or self.disable_adapters or self.merged or self.lora_variant)
            and len(names) == 1
            and names[0] in self.lora_A
            and type(base) is torch.nn.Linear
            and base.bias is None
            and not base.weight.requires_grad
            and base.weight.dtype == x.dtype
            and isinstance(self.lora_dropout[names[0]], torch.nn.Identity)
            and self.lora_B[names[0]].bias is None
        ):
            a, b = self.lora_A[names[0]].weight, self.lora_B[names[0]].weight
            return LoraLinear.apply(x, base.weight, a, b, self.scaling[names[0]])
        return forward(self, x, *rest, **more)

    ALL_ATTENTION_FUNCTIONS.register("sdpa", sdpa)
    ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", sdpa_mask)
    Linear.forward = linear
