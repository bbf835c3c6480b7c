"""Generation on random tiny models: against uncached recomputation, and rules of the engine.

Greedy output is compared with the argmax of the whole sequence run without a cache; drafts with
what `mtp.run`, which trains the layers, predicts at the same places.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp.generate import Completion, Engine, EngineSettings, Request, RequestError, make_request
from mmtp.generation import packing
from mmtp.generation import requests as asked
from mmtp.models import decoder, mtp, vlm
from mmtp.models.mtp_settings import conventions
from tests.mmtp import tiny_vlm

SETTINGS = EngineSettings(rows=3, max_length=64, buckets=(32,), vision_length=32, num_stops=2)
PLAIN = tiny_vlm.model(depth=2, shared=False)
SEPARATE = tiny_vlm.model(
    depth=2, shared=False, conventions="hf", zero_first=True, visual_input="masked"
)


@functools.cache
def engine(model: vlm.VLM, settings: EngineSettings) -> Engine:
    """One engine for each pair: compiling takes seconds."""
    return Engine(model, tiny_vlm.init(model), settings)


def speculating(num_draft: int, **changes) -> EngineSettings:
    return dataclasses.replace(SETTINGS, num_draft=num_draft, **changes)


LENGTH = 64  # everything is padded to it, so that the oracle compiles once


@functools.partial(jax.jit, static_argnums=(0, 1))
def oracle(model, num_heads, params, tokens, positions, visual, image, num):
    """Main logits `[t, v]`, and the most probable tokens `[k, t]` of the heads, without caches."""
    image = {name: x[None] for name, x in image.items()}
    features = vlm.encode_images(model, params, image)
    x = vlm.embed(model, params, tokens[None, None], visual[None, None], features)
    segments = (jnp.arange(LENGTH) < num).astype(jnp.int32)[None]
    inputs = decoder.make_inputs(model.decoder, positions[None], segments)
    hidden, _ = decoder.run(params["decoder"], model.decoder, x, inputs)
    logits = decoder.logits(
        params["decoder"],
        model.decoder,
        decoder.final_norm(params["decoder"], model.decoder, hidden),
    )
    ahead = jnp.arange(LENGTH)[None] + jnp.arange(1, num_heads + 1)[:, None]
    valid = ahead < num
    ahead = jnp.where(valid, ahead, 0)
    batch = {
        "positions": positions[None],
        "mtp_tokens": jnp.where(valid, tokens[ahead], 0)[None],
        "mtp_valid": valid[None],
        "mtp_sources": ahead[None],
        "mtp_positions": jnp.where(valid[..., None], positions[ahead], 0)[None],
    }
    settings = dataclasses.replace(model.mtp, depth=num_heads)
    known = params["mtp"], params["decoder"], settings, model.decoder
    heads = mtp.run(*known, hidden, x, batch, inputs, model.image_token) if num_heads else []
    best = [decoder.logits(params["decoder"], model.decoder, h)[0].argmax(-1) for h in heads]
    return logits[0], jnp.stack(best) if best else jnp.zeros((0, LENGTH), jnp.int32)


def foretell(model, params, request: Request, completion: Completion, num_heads: int = 0):
    """`oracle` of prompt and completion."""
    encoded = request.prompt
    num = len(encoded.tokens) + len(completion.tokens)
    tokens, positions = np.zeros(LENGTH, np.int32), np.zeros((LENGTH, 3), np.int32)
    tokens[:num] = np.concatenate([encoded.tokens, completion.tokens])
    new = request.next_position + np.arange(len(completion.tokens))
    positions[:num] = np.concatenate([request.positions, np.repeat(new[:, None], 3, axis=1)])
    prompts = packing.pack([request], 1, LENGTH, LENGTH)
    patch_dim = model.patch_dim
    image = prompts.image or {
        "patches": np.zeros((1, LENGTH, patch_dim), np.uint8),
        "positions": np.zeros((1, LENGTH, 2), np.int32),
        "segments": np.zeros((1, LENGTH), np.int32),
    }
    known = model, num_heads, params, tokens, positions, prompts.visual[0], image
    return jax.tree.map(np.asarray, oracle(*known, num))


def test_greedy_is_the_argmax_of_the_whole_sequence_with_its_log_probabilities():
    requests = tiny_vlm.requests(0, 5)
    used = engine(PLAIN, SETTINGS)
    assert {len(r.prompt.visuals) for r in requests} == {0, 1, 2}
    for request, completion in zip(requests, used.generate(requests), strict=True):
        first = len(request.prompt.tokens)
        logits, _ = foretell(PLAIN, used.params, request, completion)
        logits = logits[first - 1 : first - 1 + len(completion.tokens)]
        np.testing.assert_array_equal(completion.tokens, logits.argmax(-1))
        raw = jax.nn.log_softmax(logits, axis=-1)[np.arange(len(logits)), completion.tokens]
        # f32 logits of size 10; rounding of differently shaped products.
        np.testing.assert_allclose(completion.raw_logprobs, raw, atol=5e-5)
        np.testing.assert_array_equal(completion.logprobs, 0)
        assert completion.finish_reason == "length"


def check_drafts(model: vlm.VLM, settings: EngineSettings, num_requests: int = 6) -> float:
    """Output is the plain one, and every verdict is what the training heads foretell."""
    requests = tiny_vlm.requests(1, num_requests, max_new_tokens=14)
    used = engine(model, settings)
    for request, completion in zip(requests, used.generate(requests), strict=True):
        first = len(request.prompt.tokens)
        logits, heads = foretell(model, used.params, request, completion, settings.num_draft)
        best = logits[first - 1 : first - 1 + len(completion.tokens)].argmax(-1)
        np.testing.assert_array_equal(completion.tokens, best)
        place = 1
        while place < len(completion.tokens):
            num_drafts = min(settings.num_draft, len(completion.tokens) - place - 1)
            # Head k at the token before the newest one, which is where drafts start from.
            drafts = heads[:num_drafts, first + place - 2]
            right = drafts == completion.tokens[place : place + num_drafts]
            accepted = int(np.cumprod(right).sum())
            if num_drafts:
                assert [place, num_drafts, accepted] in completion.drafts.tolist()
            place += accepted + 1
    return np.mean([c.drafts[:, 2].mean() for c in used.generate(requests)])


def test_drafts_are_what_training_promises():
    assert check_drafts(SEPARATE, speculating(2)) > 0.03


@pytest.mark.slow
@pytest.mark.parametrize("conventions", ["deepseek", "glm", "hf", "vllm", "maxtext"])
@pytest.mark.parametrize(("shared", "num_draft"), [(False, 3), (True, 3)])
def test_drafts_of_all_conventions_are_what_training_promises(shared, conventions, num_draft):
    depth = num_draft if not shared else 1  # shared: more drafts than trained depths
    model = tiny_vlm.model(
        depth=depth, shared=shared, conventions=conventions, visual_input="visual"
    )
    check_drafts(model, speculating(num_draft))


@pytest.mark.slow
@pytest.mark.parametrize("visual_input", ["visual", "masked", "image_token"])
@pytest.mark.parametrize("masked", ["keys", "zeros"])
def test_the_served_arm_may_differ_from_the_trained_one(visual_input, masked):
    trained = tiny_vlm.model(depth=2, shared=True, visual_input="image_token", masked=masked)
    served = dataclasses.replace(
        trained, mtp=dataclasses.replace(trained.mtp, visual_input=visual_input)
    )
    requests = tiny_vlm.requests(1, 6, max_new_tokens=14)
    argument = engine(trained, speculating(2, visual_input=visual_input)).generate(requests)
    for ours, theirs in zip(
        argument, engine(served, speculating(2)).generate(requests), strict=True
    ):
        np.testing.assert_array_equal(ours.drafts, theirs.drafts)
    check_drafts(served, speculating(2))


def test_batch_rows_and_order_do_not_change_samples():
    requests = tiny_vlm.requests(2, 7, temperature=1.1, top_k=9, top_p=0.95, seed=5)
    used = engine(SEPARATE, speculating(2))
    together = {r.id: c for r, c in zip(requests, used.generate(requests), strict=True)}
    backwards = used.generate(requests[::-1])
    alone = [used.generate([r])[0] for r in requests]
    for request, other, single in zip(requests, backwards[::-1], alone, strict=True):
        expected = together[request.id]
        for found in (other, single):
            np.testing.assert_array_equal(found.tokens, expected.tokens)
            np.testing.assert_array_equal(found.drafts, expected.drafts)
    texts = {tuple(c.tokens) for c in together.values()}
    again = [dataclasses.replace(r, seed=6) for r in requests]
    assert texts.isdisjoint(tuple(c.tokens) for c in used.generate(again))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 8])
def test_other_numbers_of_rows_do_not_change_samples(rows):
    requests = tiny_vlm.requests(2, 9, temperature=1.1, seed=5)
    expected = engine(SEPARATE, speculating(2)).generate(requests)
    found = engine(SEPARATE, speculating(2, rows=rows)).generate(requests)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.tokens, theirs.tokens)


def test_limits_and_stop_tokens_are_each_requests_own():
    used = engine(SEPARATE, speculating(2))
    long = used.generate(tiny_vlm.requests(3, 4, max_new_tokens=20))
    requests, expected = [], []
    for number, (request, full) in enumerate(zip(tiny_vlm.requests(3, 4), long, strict=True)):
        stop = int(full.tokens[3 + number])
        first = int(np.flatnonzero(full.tokens == stop)[0])
        limit = [20, 2, 1, 20][number]
        requests.append(dataclasses.replace(request, max_new_tokens=limit, stop=(99, stop)))
        expected.append((full.tokens[: min(first + 1, limit)], first < limit))
    for found, (tokens, stopped) in zip(used.generate(requests), expected, strict=True):
        np.testing.assert_array_equal(found.tokens, tokens)
        assert found.finish_reason == ("stop" if stopped else "length")


def test_a_completion_may_fill_the_slots_to_the_last():
    used = engine(SEPARATE, speculating(2))
    request = tiny_vlm.requests(4, 1)[0]
    full = dataclasses.replace(request, max_new_tokens=64 - len(request.prompt.tokens))
    completion = used.generate([full])[0]
    assert len(completion.tokens) == full.max_new_tokens
    logits, _ = foretell(SEPARATE, used.params, full, completion, 2)
    first = len(request.prompt.tokens)
    np.testing.assert_array_equal(completion.tokens, logits[first - 1 : -1].argmax(-1))


def test_steps_one_by_one_and_cancelling():
    used = engine(SEPARATE, speculating(2))
    requests = tiny_vlm.requests(5, 5)
    expected = used.generate(requests)
    for request in requests:
        used.add(request)
    used.cancel(requests[4])
    seen, done = {}, {}
    while used.busy:
        for request, completion in used.advance(max_steps=1):
            before = seen.get(request.id, np.zeros(0))
            np.testing.assert_array_equal(completion.tokens[: len(before)], before)
            seen[request.id] = completion.tokens
            if completion.finish_reason:
                done[request.id] = completion
        if 0 in seen and 0 not in done:
            used.cancel(requests[0])
            seen.pop(0)
    assert done.keys() == {1, 2, 3}
    for number, completion in done.items():
        np.testing.assert_array_equal(completion.tokens, expected[number].tokens)


@pytest.mark.slow
@pytest.mark.parametrize("draft", ["greedy", "sampled"])
def test_sampled_output_is_distributed_as_plain_sampling(draft):
    """Pairs of tokens 1 and 2 of 3000 requests with one prompt, against exact probabilities."""
    model = tiny_vlm.model(vocab=6, image_token=5, depth=1, shared=True)
    settings = speculating(1, rows=50, draft=draft, max_length=32, buckets=(16,))
    used = engine(model, settings)
    prompt = np.array([1, 3, 2], np.int32)
    encoded = asked.Encoded(prompt, np.zeros(3, bool), (), 0, "p")
    asked_for = [make_request(i, encoded, 4, temperature=1.2, top_p=0.9) for i in range(3000)]
    completions = used.generate(asked_for)
    tokens = np.stack([c.tokens[:3] for c in completions])
    pairs = np.bincount(tokens[:, 1] * 6 + tokens[:, 2], minlength=36) / 3000
    exact = pair_probabilities(model, used.params, prompt, 1.2, 0.9)
    # sqrt(36 / (2 pi 3000)) = 0.044 bounds the mean of a perfect sampler.
    assert np.abs(pairs - exact).sum() / 2 < 0.06
    assert 0.05 < np.mean([c.drafts[0, 2] for c in completions]) < 0.95


def pair_probabilities(model, params, prompt, temperature, top_p):
    """p(token 1, token 2) of the completion, summed over token 0."""
    options = asked_options(temperature, top_p)
    size = model.decoder.vocab_size

    def next_probs(tokens):
        ids = jnp.asarray(tokens, jnp.int32)
        x = decoder.embed(params["decoder"], model.decoder, ids)
        places = jnp.broadcast_to(jnp.arange(ids.shape[1])[None, :, None], (*ids.shape, 3))
        inputs = decoder.make_inputs(model.decoder, places, jnp.ones_like(ids))
        hidden, _ = decoder.run(params["decoder"], model.decoder, x, inputs)
        normed = decoder.final_norm(params["decoder"], model.decoder, hidden)
        logits = decoder.logits(params["decoder"], model.decoder, normed)[:, -1]
        return np.exp(options(logits))

    total, first = np.zeros(size * size), next_probs(prompt[None])[0]
    for a in np.flatnonzero(first):
        second = next_probs(np.concatenate([prompt, [a]])[None])[0]
        for b in np.flatnonzero(second):
            third = next_probs(np.concatenate([prompt, [a, b]])[None])[0]
            total[b * size : (b + 1) * size] += first[a] * second[b] * third
    return total


def asked_options(temperature, top_p):
    from mmtp.generation import sampling

    def apply(logits):
        rows = logits.shape[0]
        options = sampling.Options(
            jnp.full(rows, temperature), jnp.zeros(rows, jnp.int32), jnp.full(rows, top_p)
        )
        return sampling.distribution(logits, options)

    return apply


def test_what_does_not_fit_is_refused():
    used = engine(SEPARATE, speculating(2))
    good = tiny_vlm.requests(6, 1)[0]
    large = tiny_vlm.prompt(np.random.default_rng(0), 3, ((6, 6),))
    lost = asked.Encoded(np.array([1, tiny_vlm.IMAGE], np.int32), np.zeros(2, bool), (), 0, "p")
    cases = {
        "max_length = 64": dataclasses.replace(good, max_new_tokens=64),
        "36 patches": make_request(0, large, 4),
        "at least 1": dataclasses.replace(good, max_new_tokens=0),
        "stop tokens": dataclasses.replace(good, stop=(1, 2, 3)),
        "temperature": dataclasses.replace(good, temperature=float("nan")),
        "top_p": dataclasses.replace(good, top_p=0.0),
        "top_k": dataclasses.replace(good, top_k=-1),
        "placeholders": make_request(0, lost, 4),
    }
    for words, request in cases.items():
        with pytest.raises(RequestError, match=words):
            used.generate([request])
    assert not used.busy


def test_settings_without_sense_are_refused():
    bare = tiny_vlm.model(depth=0)
    with pytest.raises(ValueError, match="no MTP layer"):
        Engine(bare, {}, speculating(1))
    with pytest.raises(ValueError, match="draft = 'best'"):
        Engine(PLAIN, {}, speculating(1, draft="best"))
    with pytest.raises(ValueError, match="multiple of 4"):
        Engine(PLAIN, {}, dataclasses.replace(SETTINGS, vision_length=30))


def test_conventions_of_the_tests_are_not_the_defaults():
    chosen = conventions(SEPARATE.mtp)
    assert (chosen.position, chosen.zero_first, chosen.chain) == ("next", True, "post")
