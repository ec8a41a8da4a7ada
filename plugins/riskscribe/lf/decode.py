"""Greedy decoding on a CPU: the same arithmetic, less of it, and a bar that shows it.

A loop in the place of transformers' own (GenerationMixin._sample), with its processors, criteria and streamers:

- Prompts that begin alike (the worked examples of a few-shot prompt) have that beginning computed once, and read once
  a token for the whole batch (as in Hydragen, arXiv:2402.05099).
- Every prompt is read by itself: no padding is computed, and causal attention needs no mask.
- Causal attention over a prompt goes in blocks of plain matrix products (kernels.py).
- The weights of linear layers are put into oneDNN's own order once a batch: plain calls do it at every token in
  bfloat16, and in float32 take MKL's product, half as fast for few rows. torch's inductor does the same when a model
  is frozen.
- Keys and values lie in one buffer that is written in place: transformers copies the whole cache twice a token, to
  append to it and to give every query head its own copy of the keys its group shares.
- A finished row leaves the batch.

Nothing changes on a GPU, when sampling, or with beams.
Upstream: transformers generation/utils.py (_sample), cache_utils.py, integrations/sdpa_attention.py.
"""

import threading
from collections import Counter
from contextlib import contextmanager, nullcontext
from functools import partial, wraps
from types import SimpleNamespace

from tqdm import tqdm

ROOM = 128
# below this many tokens the extra pass costs more than it saves
SHARED = 128
ATTENTION = "riskscribe"
# bytes of weights: they are there twice while they are put into another order
PACKED = 2 << 30
# one answer at a time: a model's config is changed for it, and an abandoned one may still be in its last step
_ALONE = threading.RLock()
# what has been read, while answers of several kinds are made to the same prompts: prompts -> (layers, logits)
_PROMPTS: dict[tuple, tuple] | None = None


@contextmanager
def prompts_read_once():
    """While it lasts, prompts that one model is given again, in a batch of the same ones, are not read again.

    For the free and the constrained answers to a batch: the keys and values stay in memory meanwhile.
    """
    global _PROMPTS
    with _ALONE:
        _PROMPTS = {}
        try:
            yield
        finally:
            _PROMPTS = None


def alike_rows(rows: list[list[int]]) -> list[list[int]]:
    """Numbers of the prompts in groups that begin alike (English, Chinese); the others make one group."""
    groups: dict[tuple, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(tuple(row[:SHARED]), []).append(i)
    alone = [i for one in groups.values() if len(one) == 1 for i in one]
    return [one for one in groups.values() if len(one) > 1] + [alone] * bool(alone)


def shared_length(rows: list[list[int]]) -> int:
    """How many first tokens all prompts have in common, 0 where sharing does not pay.

    One token of each is left over, to predict from.
    """
    reach = min(map(len, rows)) - 1
    alike = next((i for i in range(reach) if any(row[i] != rows[0][i] for row in rows)), reach)
    return alike if len(rows) > 1 and alike >= SHARED else 0


class Layer:
    """Keys and values of one layer: those of the shared beginning (heads, shared, width), once, and of every row's own
    tokens (rows, heads, columns, width). Rows end in the same column; `blank` tells which columns of a row are empty.
    """

    def __init__(self):
        self.first = self.own = None  # pairs of keys and values

    def take(self, batch: "Batch", keys, values) -> None:
        """Write the new tokens' keys and values (rows, heads, tokens, width)."""
        count = keys.shape[2]
        if batch.reading is None:  # the shared beginning
            self.first = (keys[0].contiguous(), values[0].contiguous())
            return
        if self.own is None or self.own[0].shape[2] < batch.columns:
            # zeros, for what is masked must still be a number
            shape = (len(batch.blank), keys.shape[1], batch.columns, keys.shape[3])
            grown = [keys.new_zeros(shape) for _ in range(2)]
            if self.own is not None:
                for new, old in zip(grown, self.own, strict=True):
                    new[:, :, : old.shape[2]] = old
            self.own = tuple(grown)
        rows = slice(None) if batch.reading == "all" else slice(batch.reading, batch.reading + 1)
        for held, new in zip(self.own, (keys, values), strict=True):
            held[rows, :, batch.end - count : batch.end] = new

    def keep(self, rows) -> None:
        self.own = tuple(one[rows] for one in self.own)


class Batch:
    """A key-value cache for the models of transformers: `update` hands the layer itself to `attend`.

    `reading` is what the next forward pass reads: None the shared beginning, a number that row's prompt, "all" one
    token of every row.
    """

    is_compileable = False

    def __init__(self, model, lengths: list[int], shared: int):
        import torch

        self.layers = [Layer() for _ in range(model.config.num_hidden_layers)]
        self.shared, self.width, self.reading = shared, max(lengths), None
        self.end = self.width
        self.columns = self.width + ROOM
        self.blank = torch.zeros(len(lengths), self.columns, dtype=torch.bool)
        for row, length in enumerate(lengths):
            self.blank[row, : self.width - length] = True
        self.blank[:, self.end :] = True
        self.mask = None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.shared + self.end

    def update(self, keys, values, layer_idx: int, cache_kwargs=None):
        # a layer that knew its batch would be freed with it only when the garbage collector comes by
        self.layers[layer_idx].take(self, keys, values)
        return self.layers[layer_idx], SimpleNamespace(batch=self, keys=keys, values=values)

    def grow(self) -> None:
        """Make room for one more token of every row."""
        import torch

        self.reading = "all"
        self.end += 1
        if self.end > self.columns:
            more = torch.ones(len(self.blank), ROOM, dtype=torch.bool)
            self.blank, self.columns = torch.cat([self.blank, more], dim=1), self.columns + ROOM
        self.blank[:, self.end - 1] = False
        # (rows, 1, 1, columns), for every layer of this step
        self.mask = self.blank[:, None, None, :]

    def keep(self, rows) -> None:
        """Go on with these rows only."""
        self.blank = self.blank[rows]
        for layer in self.layers:
            layer.keep(rows)


@contextmanager
def packed(model, rows: int):
    """While it lasts, linear layers multiply by weights in oneDNN's order, best for `rows` rows.

    A frozen weight that only its layer holds is let go meanwhile and put back, bit by bit the same, from that order.
    A file that weights were mapped from stays in memory until the last of them is copied out of it.
    """
    import torch

    kinds = set()
    if torch.backends.mkldnn.is_available() and not torch.is_autocast_enabled("cpu"):
        kinds = {torch.float32, *[torch.bfloat16] * torch.ops.mkldnn._is_mkldnn_bf16_supported()}
    holders = Counter(id(one) for _, one in model.named_parameters(remove_duplicate=False))
    layers = [
        one
        for one in model.modules()
        if type(one) is torch.nn.Linear and one.weight.dtype in kinds and "forward" not in vars(one)
    ]
    if sum(one.weight.nbytes for one in layers) > PACKED:
        layers = []
    left = []
    try:
        for one in layers:
            ordered = torch.ops.mkldnn._reorder_linear_weight(one.weight.detach(), rows)
            one.forward = partial(_packed_linear, ordered, one.bias)
            if holders[id(one.weight)] == 1 and not one.weight.requires_grad:
                one.weight.data = one.weight.new_empty(0)
                left.append((one.weight, ordered))
        ordered = None
        for one in model.parameters() if left else ():
            if not one.untyped_storage().resizable():
                one.data = one.data.clone()
        yield
    finally:
        for one in layers:
            vars(one).pop("forward", None)
        while left:
            weight, ordered = left.pop()
            weight.data = ordered.to_dense()


def _packed_linear(weight, bias, x):
    import torch

    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def attend(module, query, layer: Layer, new, attention_mask=None, dropout=0.0, scaling=None, **options):
    """Attention over a `Layer`: query (rows, heads, tokens, width) -> (rows, tokens, heads, width), and no weights."""
    import torch

    from riskscribe.lf.kernels import causal_attention

    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    batch = new.batch
    if batch.reading == "all":
        rows, heads, _, width = query.shape
        grouped = query.reshape(rows, new.keys.shape[1], -1, width)
        found = attend_one_token(grouped, layer.first, layer.own, batch.mask, scale).reshape(rows, heads, 1, width)
        return found.transpose(1, 2), None
    keys, values = new.keys, new.values
    if batch.reading is not None and layer.first is not None:
        keys, values = (
            torch.cat([first[None], own], dim=2) for first, own in zip(layer.first, (keys, values), strict=True)
        )
    return causal_attention(query * scale, keys, values).transpose(1, 2), None


def attend_one_token(query, first, own, blank, scale: float):
    """One token's attention, one softmax over the shared beginning and the row's own tokens: nothing is approximated.

    query (rows, key heads, group, width); first: None, or keys and values (key heads, shared, width); own: keys and
    values (rows, key heads, columns, width); blank: boolean (rows, 1, 1, columns), True where a row has no token.
    """
    import torch

    rows, heads, group, width = query.shape
    query = query * scale
    scores = (query @ own[0].mT).float().masked_fill_(blank, float("-inf"))
    if first is None:
        return scores.softmax(dim=-1).to(query.dtype) @ own[1]
    shared = first[0].shape[1]
    flat = query.transpose(0, 1).reshape(heads, rows * group, width)
    before = (flat @ first[0].mT).float().view(heads, rows, group, shared).transpose(0, 1)
    weights = torch.cat([before, scores], dim=-1).softmax(dim=-1).to(query.dtype)
    flat = weights[..., :shared].transpose(0, 1).reshape(heads, rows * group, shared)
    found = (flat @ first[1]).view(heads, rows, group, width).transpose(0, 1)
    return found + weights[..., shared:].contiguous() @ own[1]


def _usual(model, input_ids, generation_config, options) -> bool:
    """Whether transformers' own loop must decode: anything but a plain greedy batch of text on a CPU."""
    config, mask = model.config, options.get("attention_mask")
    started = options.get("past_key_values")
    return bool(
        input_ids.device.type != "cpu"
        or generation_config.do_sample
        or generation_config.return_dict_in_generate
        or generation_config.output_attentions
        or config.is_encoder_decoder
        or mask is None
        or mask.ndim != 2
        or (started is not None and started.get_seq_length() > 0)
        or any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ())
        or getattr(config, "sliding_window", None)
        or not hasattr(config, "num_key_value_heads")
        or config._attn_implementation != "sdpa"
        or any(name in options for name in ("inputs_embeds", "pixel_values", "position_ids"))
    )


def _decode(model, input_ids, rows, processors, stop, pad: int, total: int, show) -> list[list[int]]:
    """The new tokens of every row of one group, up to and with the one it stopped at; at most `total`.

    `rows` are the prompts of `input_ids` without their padding.
    """
    import torch

    shared = shared_length(rows)
    own = [len(row) - shared for row in rows]
    batch = Batch(model, own, shared)

    def forward(ids, positions):
        found = model(
            input_ids=ids, position_ids=positions, cache_position=positions[0], past_key_values=batch, use_cache=True,
            logits_to_keep=1, return_dict=True,
        )  # fmt: skip
        return found.logits[:, -1]

    key = id(model), tuple(map(tuple, rows))
    if _PROMPTS is not None and key in _PROMPTS:
        kept, logits = _PROMPTS[key]
        for layer, pair in zip(batch.layers, kept, strict=True):
            layer.first, layer.own = pair
    else:
        if shared:
            forward(torch.tensor([rows[0][:shared]]), torch.arange(shared)[None])
        read = []
        for i, row in enumerate(rows):
            batch.reading = i
            read.append(forward(torch.tensor([row[shared:]]), torch.arange(shared, len(row))[None]))
        logits = torch.cat(read)
        if _PROMPTS is not None:  # columns behind the prompts are written in place, and blank until they are again
            _PROMPTS[key] = [(layer.first, layer.own) for layer in batch.layers], logits
    found: list[list[int]] = [[] for _ in rows]
    alive = torch.arange(len(rows))  # the rows still in the batch, finished ones among them until they are let go
    going = torch.ones(len(rows), dtype=torch.bool)
    told = torch.cat([input_ids, input_ids.new_full((len(rows), total), pad)], dim=1)
    width = input_ids.shape[1]
    # a processor that counts rows of its own must be told which are left
    may_drop = all(hasattr(one, "keep") or type(one).__module__.startswith("transformers.") for one in processors)
    for step in range(total):
        scores = processors(told[alive, : width + step], logits.float())
        chosen = torch.where(going, scores.argmax(dim=-1), pad)
        told[alive, width + step] = chosen
        for row, token in zip(alive[going].tolist(), chosen[going].tolist(), strict=True):
            found[row].append(token)
        show(chosen)
        going = going & ~stop(told[alive, : width + step + 1], scores)
        if not going.any() or step + 1 == total:
            break
        if may_drop and int(going.sum()) <= 0.8 * len(going):
            left = going.nonzero()[:, 0]
            alive, chosen, going = alive[left], chosen[left], going[left]
            batch.keep(left)
            for one in processors:
                if hasattr(one, "keep"):
                    one.keep(left.tolist())
        batch.grow()
        positions = torch.tensor([[len(rows[row]) + step] for row in alive.tolist()])
        logits = forward(chosen[:, None], positions)
    return found


def install() -> None:
    """Attach to transformers; idempotent."""
    import torch
    from transformers import GenerationMixin
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if hasattr(GenerationMixin._sample, "__wrapped__"):
        return
    upstream = GenerationMixin._sample
    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attend)

    @wraps(upstream)
    def sample(self, input_ids, *given, **more):
        with _ALONE if input_ids.device.type == "cpu" else nullcontext():
            return decode(self, input_ids, *given, **more)

    @torch.no_grad()
    def decode(
        self,
        input_ids,
        logits_processor,
        stopping_criteria,
        generation_config,
        synced_gpus=False,
        streamer=None,
        **more,
    ):
        if synced_gpus or _usual(self, input_ids, generation_config, more):
            return upstream(
                self, input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus, streamer, **more
            )
        width, mask = input_ids.shape[1], more["attention_mask"]
        total = generation_config.max_length - width
        pad = int(generation_config._pad_token_tensor) if generation_config._pad_token_tensor is not None else 0
        prompts = [ids[keep.bool()].tolist() for ids, keep in zip(input_ids, mask, strict=True)]
        groups = alike_rows(prompts)
        quiet = len(prompts) == 1
        bar = tqdm(total=total * len(groups), desc="tokens an answer, at most", leave=False, disable=quiet)

        def show(chosen):
            bar.update()
            if streamer is not None:
                streamer.put(chosen)

        answers: list[list[int]] = [[] for _ in prompts]
        self.config._attn_implementation = ATTENTION  # for the layers of this model, which read it from its config
        try:
            with packed(self, max(map(len, groups))):
                for group in groups:
                    bar.n = total * groups.index(group)
                    given = input_ids[group], [prompts[row] for row in group], logits_processor, stopping_criteria
                    for row, tokens in zip(group, _decode(self, *given, pad, total, show), strict=True):
                        answers[row] = tokens
        finally:
            self.config._attn_implementation = "sdpa"
            bar.close()
        if streamer is not None:
            streamer.end()
        longest = max(map(len, answers))
        padded = torch.tensor([tokens + [pad] * (longest - len(tokens)) for tokens in answers], dtype=input_ids.dtype)
        return torch.cat([input_ids, padded], dim=1)

    GenerationMixin._sample = sample
