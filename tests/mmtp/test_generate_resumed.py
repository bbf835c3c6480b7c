"""Completions that go on from part of themselves, and prompts that are shared.

Going on reads the tokens so far in one pass where the uninterrupted request had them one by one, so
log probabilities agree to rounding: f32 logits of size 10, as in `test_generate`.
"""

import dataclasses
import functools

import numpy as np
import pytest

from mmtp.generate import Completion, Engine, Request, RequestError, make_request
from mmtp.generation import completions, requests
from tests.mmtp import test_generate as plain
from tests.mmtp import tiny_vlm

ATOL = 5e-5
SAMPLED = {"temperature": 1.1, "top_k": 9, "top_p": 0.95, "seed": 5}


@functools.cache
def engine(num_draft: int, draft: str = "greedy") -> Engine:
    """With the models and sizes of `test_generate`, so that one process compiles them once."""
    if not num_draft:
        return Engine(plain.PLAIN, tiny_vlm.init(plain.PLAIN), plain.SETTINGS)
    settings = plain.speculating(num_draft, draft=draft)
    return Engine(plain.SEPARATE, tiny_vlm.init(plain.SEPARATE), settings)


def cut(completion: Completion, num: int) -> Completion:
    """The first tokens of a completion, as if it had been stopped there."""
    parts = {name: getattr(completion, name)[:num] for name in completions.PER_TOKEN}
    return dataclasses.replace(completion, finish_reason="cancelled", **parts)


def same(found: Completion, expected: Completion) -> None:
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=ATOL)
    np.testing.assert_allclose(found.raw_logprobs, expected.raw_logprobs, atol=ATOL)
    assert found.finish_reason == expected.finish_reason


@pytest.mark.parametrize(("num_draft", "options"), [(0, SAMPLED), (0, {}), (2, {})])
def test_going_on_from_any_token_is_as_without_a_break(num_draft, options):
    """Sampled plain decoding, and greedy decoding with and without drafts."""
    used = engine(num_draft)
    asked = tiny_vlm.requests(0, 5, **options)
    assert {len(r.prompt.visuals) for r in asked} == {0, 1, 2}
    whole = used.generate(asked)
    again, expected = [], []
    for request, completion in zip(asked, whole, strict=True):
        for num in range(1, len(completion.tokens)):
            again.append(dataclasses.replace(request, done=cut(completion, num)))
            expected.append(completion)
    for found, wanted in zip(used.generate(again), expected, strict=True):
        same(found, wanted)


def test_what_cancelling_gives_is_what_to_go_on_from():
    used = engine(2)
    asked = tiny_vlm.requests(0, 5)
    whole = used.generate(asked)
    for steps in range(1, 6):
        for request in asked:
            used.add(request)
        used.advance(max_steps=steps)
        partial = [used.cancel(request) for request in asked]
        assert not used.busy
        assert [len(p.tokens) > 0 for p in partial] == [True] * 3 + [False] * 2
        assert {p.finish_reason for p in partial} == {"cancelled"}
        # The rows took no harm: what goes on is in others than before.
        again = [dataclasses.replace(r, done=p) for r, p in zip(asked, partial, strict=True)]
        for found, wanted in zip(used.generate(again[::-1])[::-1], whole, strict=True):
            same(found, wanted)
            assert found.drafts.tolist()[0] == wanted.drafts.tolist()[0]
    assert used.cancel(asked[0]) is None


@pytest.mark.slow
@pytest.mark.parametrize("draft", ["greedy", "sampled"])
def test_going_on_with_drafts_is_distributed_as_plain_sampling(draft):
    """Tokens 1 and 2 of 3000 requests that were cut after token 0, or, by turns, after token 1.

    Where a step of the uninterrupted request began decides which random number draws a token, so
    that tokens differ; numbers of a place have drawn nothing before it, so the distribution cannot.
    """
    model = tiny_vlm.model(vocab=6, image_token=5, depth=1, shared=True)
    settings = plain.speculating(1, rows=50, draft=draft, max_length=32, buckets=(16,))
    used = Engine(model, tiny_vlm.init(model), settings)
    tokens = np.array([1, 3, 2], np.int32)
    encoded = requests.Encoded(tokens, np.zeros(3, bool), (), 0, "p")
    asked = [make_request(i, encoded, 4, temperature=1.2, top_p=0.9) for i in range(3000)]
    whole = used.generate(asked)
    again = [
        dataclasses.replace(r, done=cut(c, 1 + i % 2))
        for i, (r, c) in enumerate(zip(asked, whole, strict=True))
    ]
    resumed = used.generate(again)
    drawn = np.stack([c.tokens[:3] for c in resumed])
    pairs = np.bincount(drawn[:, 1] * 6 + drawn[:, 2], minlength=36) / 3000
    exact = plain.pair_probabilities(model, used.params, tokens, 1.2, 0.9)
    # As in `test_generate`: 0.044 bounds the mean of a perfect sampler.
    assert np.abs(pairs - exact).sum() / 2 < 0.06
    others = [np.any(c.tokens != w.tokens) for c, w in zip(resumed, whole, strict=True)]
    assert np.mean(others) > 0.1


def test_nothing_is_left_to_draw():
    used = engine(0)
    request = tiny_vlm.requests(0, 1)[0]
    completion = used.generate([request])[0]
    with pytest.raises(RequestError, match="12 tokens are done"):
        used.generate([dataclasses.replace(request, done=completion)])


def group(size: int, request: Request, **options) -> list[Request]:
    """Requests that share one prompt and nothing else."""
    return [dataclasses.replace(request, id=100 + i, **options) for i in range(size)]


@pytest.mark.parametrize("num_draft", [0, 2])
def test_a_group_reads_its_prompt_once(num_draft):
    used = engine(num_draft)
    groups = [group(5, r, **SAMPLED) for r in tiny_vlm.requests(0, 3)]
    asked = [request for members in groups for request in members]
    alone = []
    for request in asked:
        used.set_params(used.params, used.version + 1)  # forgets prompts that were read
        alone += used.generate([request])
    before = used.num_prefills, used.num_shared
    used.set_params(used.params, used.version + 1)
    # Rows become free one after the other: 15 requests, 3 rows.
    together = used.generate(asked)
    assert (used.num_prefills - before[0], used.num_shared - before[1]) == (3, 12)
    for found, wanted in zip(together, alone, strict=True):
        same(found, wanted)
    assert all(len({tuple(c.tokens) for c in together[i : i + 5]}) > 1 for i in (0, 5, 10))


def test_equal_prompts_are_told_by_what_they_hold():
    asked = tiny_vlm.requests(0, 5)
    picture = next(r for r in asked if r.prompt.visuals)
    one, other = [r for r in asked if r is not picture][:2]
    visual = picture.prompt.visuals[0]
    brighter = dataclasses.replace(visual, patches=visual.patches ^ 1)
    rest = picture.prompt.visuals[1:]
    changed = dataclasses.replace(picture.prompt, visuals=(brighter, *rest))
    digests = [
        requests.digest(r)
        for r in (one, other, picture, dataclasses.replace(picture, prompt=changed))
    ]
    assert len(set(digests)) == 4
    copied = dataclasses.replace(one.prompt, tokens=one.prompt.tokens.copy())
    again = dataclasses.replace(one, id=7, prompt=copied, temperature=1.0)
    assert requests.digest(again) == digests[0]


def test_more_prompts_than_the_pool_holds():
    used = engine(0)
    assert used.settings.pool == 3
    asked = tiny_vlm.requests(0, 5)
    mixed = [asked[i] for i in (0, 1, 0, 2, 3, 4, 3, 0)]
    mixed = [dataclasses.replace(r, id=i) for i, r in enumerate(mixed)]
    expected = used.generate(asked)
    for request, found in zip(mixed, used.generate(mixed), strict=True):
        number = next(i for i, r in enumerate(asked) if r.prompt is request.prompt)
        same(found, expected[number])
