"""Greedy decoding of a batch on a CPU: the same arithmetic, less of it, and a bar that shows it.

Prompts that begin alike (the worked examples of a few-shot prompt) have that beginning computed once, and read once a
token for the whole batch (as in Hydragen, arXiv:2402.05099). transformers copies the whole key-value cache twice a
token: `torch.cat` to append to it, and `repeat_kv` to give every query head its own copy of the keys its group shares.
Here the cache grows in place inside a buffer with room, and the query heads of a group attend as rows of one query.
Nothing changes on a GPU or where gradients are wanted.
Upstream: transformers cache_utils.py (DynamicLayer.update), integrations/sdpa_attention.py, generation/utils.py.
"""

from functools import wraps

from tqdm import tqdm

ROOM = 256
# below this many tokens the extra pass costs more than it saves
SHARED = 128


def alike_rows(ids, mask) -> list[list[int]]:
    """Row numbers of left-padded prompts in groups that begin alike (English, Chinese); the others make one group."""
    groups: dict[tuple, list[int]] = {}
    for i, (row, start) in enumerate(zip(ids.tolist(), mask.argmax(dim=1).tolist(), strict=True)):
        groups.setdefault(tuple(row[start : start + SHARED]), []).append(i)
    alone = [i for one in groups.values() if len(one) == 1 for i in one]
    return [one for one in groups.values() if len(one) > 1] + [alone] * bool(alone)


def share_prefix(ids, mask, pad: int):
    """Left-padded prompts (batch, length) laid out as [shared beginning][padding][rest of each].

    Returns the new ids and mask, of the same shape, and the length of the shared beginning (0: nothing to share).
    Positions are counted along the mask, so padding in the middle is as good as padding in front.
    """
    first = mask.argmax(dim=1)
    # one token at least must be left to predict from
    reach = int((ids.shape[1] - first).min()) - 1
    rows = [row[start : start + reach] for row, start in zip(ids, first.tolist(), strict=True)]
    alike = 0 if reach < 1 else int(sum(row == rows[0] for row in rows).eq(len(rows)).cumprod(dim=0).sum())
    if len(rows) < 2 or alike < SHARED:
        return ids, mask, 0
    new_ids, new_mask = ids.new_full(ids.shape, pad), mask.new_zeros(mask.shape)
    new_ids[:, :alike], new_mask[:, :alike] = rows[0][:alike], 1
    for i, start in enumerate(first.tolist()):
        rest = ids[i, start + alike :]
        new_ids[i, -len(rest) :], new_mask[i, -len(rest) :] = rest, 1
    return new_ids, new_mask, alike


def shared_attention(query, key, value, mask, scale: float, shared: int):
    """One token's attention when the first `shared` keys and values are the same in every row.

    query (batch, key heads, group, width), key and value (batch, key heads, length, width), boolean mask that
    broadcasts to (batch, key heads, group, length) or None. One softmax over both parts, so nothing is approximated.
    """
    import torch

    batch, heads, group, width = query.shape
    query = query * scale
    rows = query.transpose(0, 1).reshape(heads, batch * group, width)
    first = (rows @ key[0, :, :shared].mT).view(heads, batch, group, shared).transpose(0, 1)
    rest = query @ key[:, :, shared:].mT
    if mask is not None:
        rest = rest.masked_fill(~mask[..., shared:], float("-inf"))
    weights = torch.cat([first, rest], dim=-1).softmax(dim=-1)
    rows = weights[..., :shared].transpose(0, 1).reshape(heads, batch * group, shared)
    found = (rows @ value[0, :, :shared]).view(heads, batch, group, width).transpose(0, 1)
    return found + weights[..., shared:] @ value[:, :, shared:]


def install() -> None:
    """Attach to transformers; idempotent."""
    import torch
    from transformers import DynamicCache, GenerationMixin, StoppingCriteria
    from transformers.cache_utils import DynamicLayer
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if hasattr(DynamicLayer.update, "__wrapped__"):
        return
    upstream_update = DynamicLayer.update
    upstream_attention = ALL_ATTENTION_FUNCTIONS["sdpa"]
    upstream_generate = GenerationMixin.generate

    class Bar(StoppingCriteria):
        """Stops nothing: shows how far a batch is, which takes minutes."""

        def __init__(self, total: int):
            self.bar = tqdm(total=total, desc="tokens an answer, at most", leave=False)

        def __call__(self, input_ids, scores, **options):
            self.bar.update()
            return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    @wraps(upstream_generate)
    def generate(self, *rest, **options):
        ids, mask = options.get("input_ids"), options.get("attention_mask")
        if rest or ids is None or mask is None or ids.device.type != "cpu" or len(ids) < 2:
            return upstream_generate(self, *rest, **options)
        config = options.get("generation_config") or self.generation_config
        total = options.get("max_new_tokens") or config.max_new_tokens
        groups = alike_rows(ids, mask)
        if (
            total
            and len(groups) > 1
            and not (options.get("return_dict_in_generate") or config.return_dict_in_generate)
        ):
            width, pad = ids.shape[1], config.pad_token_id or 0
            found = ids.new_full((len(ids), width + total), pad)
            for group in groups:
                blank = width - int(mask[group].sum(dim=1).max())
                inputs = {"input_ids": ids[group, blank:], "attention_mask": mask[group, blank:]}
                one = generate(self, **options | inputs)
                found[group, blank : blank + one.shape[1]] = one
            return found
        ids, mask, alike = share_prefix(ids, mask, config.pad_token_id or 0)
        cache = DynamicCache(config=self.config)
        # beams repeat the prompts, not the cache; a sliding window would count the padding in the middle
        plain = all(type(layer) is DynamicLayer for layer in cache.layers) and all(
            (options.get(name) or getattr(config, name)) == 1 for name in ("num_beams", "num_return_sequences")
        )
        if alike and plain and options.get("past_key_values") is None:
            with torch.no_grad():
                self(input_ids=ids[:1, :alike], past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache.batch_repeat_interleave(len(ids))
            for layer in cache.layers:
                layer.shared = alike
            options |= {"input_ids": ids, "attention_mask": mask, "past_key_values": cache}
        bar = Bar(total)
        criteria = [*(options.pop("stopping_criteria", None) or []), bar]
        try:
            return upstream_generate(self, **options, stopping_criteria=criteria)
        finally:
            bar.bar.close()

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
        # all that the attention function is handed of a cache is its tensors
        self.keys.shared = getattr(self, "shared", 0)
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
        query = query.reshape(batch, heads // groups, groups, width)
        mask = None if attention_mask is None else attention_mask[..., : key.shape[-2]].expand(-1, -1, groups, -1)
        shared = getattr(key, "shared", 0)
        if shared and (mask is None or mask.dtype is torch.bool):
            grouped = shared_attention(query, key, value, mask, scaling or width**-0.5, shared)
        else:
            grouped = torch.nn.functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, scale=scaling
            )
        return grouped.reshape(batch, 1, heads, width), None

    GenerationMixin.generate = generate
    DynamicLayer.update = update
    ALL_ATTENTION_FUNCTIONS["sdpa"] = attention
