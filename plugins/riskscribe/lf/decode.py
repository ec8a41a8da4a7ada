"""Greedy decoding on a CPU with the same arithmetic and less copying.

transformers copies the whole key-value cache twice a token: `torch.cat` to append to it, and `repeat_kv` to give every
query head its own copy of the keys its group shares. Here the cache grows in place inside a buffer with room, and the
query heads of a group attend as rows of one query. Only one-token steps on a CPU without gradients take this way.
Upstream: transformers cache_utils.py (DynamicLayer.update), integrations/sdpa_attention.py.
"""

from functools import wraps

ROOM = 256


def install() -> None:
    """Attach to transformers; idempotent."""
    import torch
    from transformers.cache_utils import DynamicLayer
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if hasattr(DynamicLayer.update, "__wrapped__"):
        return
    upstream_update = DynamicLayer.update
    upstream_attention = ALL_ATTENTION_FUNCTIONS["sdpa"]

    @wraps(upstream_update)
    def update(self, key_states, value_states, cache_kwargs=None):
        if key_states.device.type != "cpu" or torch.is_grad_enabled() or type(self) is not DynamicLayer:
            return upstream_update(self, key_states, value_states, cache_kwargs)
        if not self.is_initialized:
            self.lazy_initialization(key_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        for name, states in (("keys", key_states), ("values", value_states)):
            held, buffer = getattr(self, name), getattr(self, f"_{name}_buffer", None)
            # whoever replaced the tensor (beam search, crop) left the buffer behind: begin a new one
            stale = buffer is None or held.data_ptr() != buffer.data_ptr() or held.shape[0] != buffer.shape[0]
            if stale or buffer.shape[-2] < after:
                shape = (*states.shape[:-2], after + ROOM, states.shape[-1])
                buffer = states.new_empty(shape)
                if before:
                    buffer[..., :before, :] = held
                setattr(self, f"_{name}_buffer", buffer)
            buffer[..., before:after, :] = states
            setattr(self, name, buffer[..., :after, :])
        return self.keys, self.values

    @wraps(upstream_attention)
    def attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, is_causal=None, **options):
        groups = getattr(module, "num_key_value_groups", 1)
        usual = (
            groups == 1
            or query.shape[2] != 1
            or query.device.type != "cpu"
            or torch.is_grad_enabled()
            or options.get("output_attentions")
            or (attention_mask is not None and (attention_mask.ndim != 4 or attention_mask.shape[1] != 1))
        )
        if usual:
            return upstream_attention(
                module, query, key, value, attention_mask, dropout, scaling, is_causal, **options
            )
        batch, heads, _, width = query.shape
        mask = None if attention_mask is None else attention_mask[..., : key.shape[-2]].expand(-1, -1, groups, -1)
        grouped = torch.nn.functional.scaled_dot_product_attention(
            query.reshape(batch, heads // groups, groups, width), key, value, attn_mask=mask, scale=scaling
        )
        return grouped.reshape(batch, 1, heads, width), None

    DynamicLayer.update = update
    ALL_ATTENTION_FUNCTIONS["sdpa"] = attention
