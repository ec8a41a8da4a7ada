"""Our decoding on a CPU gives upstream's tokens."""

import contextlib
import gc
import io
import weakref
from functools import wraps

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GenerationMixin, LogitsProcessor
from transformers.generation.streamers import BaseStreamer

from riskscribe.lf import decode, kernels

PAD, EOS = 0, 63


def batch(rows: list[list[int]]) -> dict[str, torch.Tensor]:
    """Left-padded ids and mask."""
    width = max(map(len, rows))
    ids = torch.tensor([[PAD] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def draw(seed: int, count: int) -> list[int]:
    return torch.randint(5, 60, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


PREFIX = draw(0, decode.SHARED + 12)
PROMPTS = {
    "unequal lengths": [draw(1, 40), draw(2, 9), draw(3, 25)],
    "a shared beginning": [[*PREFIX, *draw(1, 30)], [*PREFIX, *draw(2, 3)], [*PREFIX, *draw(3, 17)]],
    "one is the beginning of the others": [PREFIX, [*PREFIX, *draw(2, 3)], [*PREFIX, *draw(3, 17)]],
    "all the same": [PREFIX, PREFIX],
    "two beginnings and a stranger": [
        [*PREFIX, *draw(1, 30)],
        [7, *PREFIX, *draw(2, 3)],
        draw(4, 160),
        [*PREFIX, *draw(3, 17)],
        [7, *PREFIX, *draw(5, 8)],
    ],
    "a single row": [PREFIX],
}


@pytest.fixture
def model(tiny_model):
    found = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    assert found.config.num_attention_heads > found.config.num_key_value_heads
    return found


@contextlib.contextmanager
def upstream():
    """transformers' own loop back in its place."""
    decode.install()
    ours = GenerationMixin._sample
    GenerationMixin._sample = ours.__wrapped__
    try:
        yield
    finally:
        GenerationMixin._sample = ours


def both(model, prompts, **options):
    """(upstream's tokens, ours, the shapes of input ids our forward passes had)."""
    given_ = batch(prompts)
    options = {"max_new_tokens": 40, "do_sample": False, "eos_token_id": EOS, "pad_token_id": PAD} | options
    with upstream():
        expected = model.generate(**given_, **options)
    shapes, forward = [], model.forward

    @wraps(forward)  # transformers reads the signature
    def spy(**inputs):
        shapes.append(tuple(inputs["input_ids"].shape))
        return forward(**inputs)

    model.forward = spy
    try:
        found = model.generate(**given_, **options)
    finally:
        model.forward = forward
    return expected, found, shapes


@pytest.mark.parametrize("name", PROMPTS)
def test_tokens_are_upstreams(model, name, monkeypatch):
    monkeypatch.setattr(decode, "ROOM", 16)  # the cache outgrows its buffer twice
    expected, found, shapes = both(model, PROMPTS[name])
    assert torch.equal(found, expected)
    # prompts are read one by one, a shared beginning once
    assert shapes[0][0] == 1 and shapes[0][1] in (len(PREFIX), len(PREFIX) - 1, len(PREFIX) + 1, 40, 160)
    alike = name not in ("unequal lengths", "a single row")
    assert (sum(length for _, length in shapes) < sum(map(len, PROMPTS[name])) + 3 * 40) == alike or not alike
    assert model.config._attn_implementation == "sdpa"


def test_finished_rows_leave_the_batch(model):
    prompts = [draw(seed, 20 + seed) for seed in range(1, 7)]
    whole, _, _ = both(model, prompts)
    stops = sorted({int(token) for row in whole[:, -40:] for token in row[5:9]})
    expected, found, shapes = both(model, prompts, eos_token_id=stops)
    assert torch.equal(found, expected)
    sizes = [rows for rows, length in shapes if length == 1]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0] == len(prompts)


def test_processors_criteria_and_streamers_work_as_upstream(model):
    class NoEven(LogitsProcessor):
        """Not transformers' own, and without `keep`: rows stay where they are."""

        def __call__(self, input_ids, scores):
            assert len(input_ids) == len(scores) == 3
            return scores.index_fill(1, torch.arange(0, scores.shape[1], 2), float("-inf"))

    class Heard(BaseStreamer):
        def __init__(self):
            self.tokens, self.ended = [], 0

        def put(self, value):
            self.tokens.append(value.tolist())

        def end(self):
            self.ended += 1

    options = {"logits_processor": [NoEven()], "repetition_penalty": 1.3, "min_new_tokens": 6}
    expected, found, _ = both(model, PROMPTS["unequal lengths"], **options)
    assert torch.equal(found, expected)
    heard = []
    for where in (upstream(), contextlib.nullcontext()):
        with where:
            heard.append(Heard())
            given_ = batch([PREFIX])
            model.generate(**given_, max_new_tokens=5, do_sample=False, streamer=heard[-1], pad_token_id=PAD)
    assert heard[0].tokens == heard[1].tokens and heard[0].ended == heard[1].ended == 1


@pytest.mark.parametrize("options", [{"do_sample": True}, {"num_beams": 2}, {"return_dict_in_generate": True}])
def test_anything_else_is_left_to_upstream(model, options, monkeypatch):
    decode.install()
    monkeypatch.setattr(decode, "_decode", lambda *rest: pytest.fail("not a plain greedy batch"))
    model.generate(**batch([PREFIX, PREFIX]), max_new_tokens=3, pad_token_id=PAD, **options)


def test_a_single_answer_shows_no_bar(model):
    decode.install()
    with contextlib.redirect_stderr(io.StringIO()) as shown:
        model.generate(**batch([PREFIX]), max_new_tokens=3, do_sample=False, pad_token_id=PAD)
    assert "tokens an answer" not in shown.getvalue()


@pytest.mark.parametrize("shared", [0, 25])
def test_attention_over_a_shared_beginning_is_attention(shared):
    torch.manual_seed(0)
    rows, heads, group, width, length = 3, 2, 4, 16, 40
    query = torch.randn(rows, heads, group, width)
    key, value = (torch.randn(rows, heads, length, width) for _ in range(2))
    for one in (key, value):
        one[:, :, :shared] = one[:1, :, :shared]
    blank = torch.zeros(rows, 1, 1, length, dtype=torch.bool)
    blank[1, ..., shared : shared + 5] = True
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=~blank, scale=0.3)
    first = (key[0, :, :shared], value[0, :, :shared]) if shared else None
    own = key[:, :, shared:], value[:, :, shared:]
    found = decode.attend_one_token(query, first, own, blank[..., shared:], 0.3)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shared", [0, 25])
@pytest.mark.parametrize("length", [7, 300])
def test_attention_over_a_prompt_is_attention(shared, length):
    torch.manual_seed(0)
    query = torch.randn(1, 8, length, 16)
    key, value = (torch.randn(1, 2, shared + length, 16) for _ in range(2))
    mask = torch.ones(length, shared + length, dtype=torch.bool).tril(shared)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=1.0, enable_gqa=True
    )
    torch.testing.assert_close(kernels.causal_attention(query, key, value), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_weights_are_the_same_weights_and_leave_no_trace(tiny_model, dtype, monkeypatch):
    if dtype is torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16 in oneDNN")
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=dtype).eval().requires_grad_(False)
    model.lm_head.weight = model.model.embed_tokens.weight
    layers = {name: one for name, one in model.named_modules() if type(one) is torch.nn.Linear}
    assert any(one.bias is not None for one in layers.values())
    before = {name: one.clone() for name, one in model.state_dict().items()}
    x = torch.randn(3, model.config.hidden_size).to(dtype)
    layer = model.model.layers[0].mlp.up_proj
    trained = model.model.layers[1].mlp.up_proj.weight.requires_grad_()
    expected = layer(x)
    used = []
    linear = decode._packed_linear
    monkeypatch.setattr(decode, "_packed_linear", lambda *given: used.append(given) or linear(*given))
    with torch.no_grad(), decode.packed(model, 3):
        torch.testing.assert_close(layer(x), expected)
        # the embedding looks its rows up, the optimizer moves what is trained
        held = {id(one.weight) for one in layers.values() if one.weight.numel()}
        assert held == {id(model.lm_head.weight), id(trained)}
        assert all(one.untyped_storage().resizable() for one in model.parameters())  # in no file's memory any more
    assert len(used) == 1
    both(model, [draw(1, 12), draw(2, 9)])
    assert len(used) > len(layers)
    with pytest.raises(ValueError, match="stop"), decode.packed(model, 3):
        raise ValueError("stop")
    assert not any("forward" in vars(one) for one in layers.values())
    after = model.state_dict()
    assert all(torch.equal(one, after[name]) and one.dtype is after[name].dtype for name, one in before.items())
    with torch.autocast("cpu", torch.bfloat16), decode.packed(model, 3):
        assert "forward" not in vars(layer)
    monkeypatch.setattr(decode, "PACKED", 0)
    with decode.packed(model, 3):
        assert "forward" not in vars(layer)


def test_keys_and_values_are_freed_with_their_batch(model, monkeypatch):
    layers = []

    class Watched(decode.Layer):
        def __init__(self):
            super().__init__()
            layers.append(weakref.ref(self))

    monkeypatch.setattr(decode, "Layer", Watched)
    gc.disable()
    try:
        both(model, PROMPTS["unequal lengths"])
        assert layers and not any(one() for one in layers)
    finally:
        gc.enable()


@given(st.data())
def test_what_is_shared_is_in_every_prompt(data):
    alike = data.draw(st.lists(st.integers(1, 9), min_size=0, max_size=2 * decode.SHARED))
    rests = data.draw(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1, max_size=4))
    rows = [alike + rest for rest in rests]
    shared = decode.shared_length(rows)
    assert shared == 0 or (shared >= decode.SHARED and all(row[:shared] == rows[0][:shared] for row in rows))
    assert all(len(row) > shared for row in rows)
    groups = decode.alike_rows(rows)
    assert sorted(i for group in groups for i in group) == list(range(len(rows)))


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_given_twice_are_read_once_and_answered_the_same(model, name, monkeypatch):
    monkeypatch.setattr(decode, "ROOM", 16)

    class Never(LogitsProcessor):
        """Every other token may not come: the answers become others."""

        def __call__(self, input_ids, scores):
            scores[:, ::2] = float("-inf")
            return scores

    plain, banned = {}, {"logits_processor": [Never()]}
    apart = [both(model, PROMPTS[name], **options)[1] for options in (plain, banned)]
    assert not torch.equal(*apart)
    with decode.prompts_read_once():
        together = [both(model, PROMPTS[name], **options) for options in (plain, banned, plain)]
    for (_, found, _), wanted in zip(together, (*apart, apart[0]), strict=True):
        assert torch.equal(found, wanted)
    first, second, third = ([shape for shape in shapes if shape[1] > 1] for _, _, shapes in together)
    assert first and not second and not third
    assert [shape for shape in both(model, PROMPTS[name])[2] if shape[1] > 1] == first
