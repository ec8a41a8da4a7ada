"""Our decoding on a CPU gives upstream's tokens."""

from functools import wraps

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GenerationMixin
from transformers.cache_utils import DynamicLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from riskscribe.lf import decode

PAD = 0


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
def upstream():
    """transformers' own functions back in their places; decode.install() puts ours in."""
    decode.install()
    ours = GenerationMixin.generate, DynamicLayer.update, ALL_ATTENTION_FUNCTIONS["sdpa"]

    def put(generate, update, sdpa):
        GenerationMixin.generate, DynamicLayer.update = generate, update
        ALL_ATTENTION_FUNCTIONS["sdpa"] = sdpa

    put(*(one.__wrapped__ for one in ours))
    yield lambda: put(*ours)
    put(*ours)


@pytest.mark.parametrize("name", PROMPTS)
def test_tokens_are_upstreams(tiny_model, upstream, name, monkeypatch):
    monkeypatch.setattr(decode, "ROOM", 16)  # the in-place cache outgrows its buffer twice
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    assert model.config.num_attention_heads > model.config.num_key_value_heads
    given_ = batch(PROMPTS[name])
    options = {"max_new_tokens": 40, "do_sample": False, "eos_token_id": 63, "pad_token_id": PAD}
    expected = model.generate(**given_, **options)
    upstream()
    calls = []
    forward = model.forward

    @wraps(forward)  # transformers reads the signature
    def spy(**inputs):
        calls.append(tuple(inputs["input_ids"].shape))
        return forward(**inputs)

    model.forward = spy
    found = model.generate(**given_, **options)
    asked = given_["input_ids"].shape[1]
    assert torch.equal(found[:, asked : expected.shape[1]], expected[:, asked:])
    assert not found[:, expected.shape[1] :].any()
    shared_first = calls[0][0] == 1 and calls[1][0] > 1 and calls[0][1] + calls[1][1] == asked
    assert shared_first == (name not in ("unequal lengths", "a single row"))


@pytest.mark.parametrize("masked", [True, False])
def test_attention_over_a_shared_beginning_is_attention(masked):
    torch.manual_seed(0)
    batch_, heads, group, width, length, shared = 3, 2, 4, 16, 40, 25
    query = torch.randn(batch_, heads, group, width)
    key, value = (torch.randn(batch_, heads, length, width) for _ in range(2))
    for one in (key, value):
        one[:, :, :shared] = one[:1, :, :shared]
    mask = None
    if masked:  # padding in the middle, as share_prefix leaves it
        mask = torch.ones(batch_, 1, 1, length, dtype=torch.bool)
        mask[1, ..., shared : shared + 5] = False
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3)
    found = decode.shared_attention(query, key, value, mask, 0.3, shared)
    torch.testing.assert_close(found, expected)


@given(st.data())
def test_a_layout_keeps_every_prompt(data):
    alike = data.draw(st.lists(st.integers(1, 9), min_size=0, max_size=2 * decode.SHARED))
    rests = data.draw(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1, max_size=4))
    rows = [alike + rest for rest in rests]
    one = batch(rows)
    ids, mask, shared = decode.share_prefix(one["input_ids"], one["attention_mask"], PAD)
    assert ids.shape == mask.shape == one["input_ids"].shape
    assert [row[keep.bool()].tolist() for row, keep in zip(ids, mask, strict=True)] == rows
    assert shared == 0 or shared >= decode.SHARED
    assert bool((mask[:, :shared] == 1).all()) and bool((mask[:, -1] == 1).all())
