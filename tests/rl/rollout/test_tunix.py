"""The adapter to Tunix: with a sampler that behaves as seen in 0.1.7, and with Tunix if it is here.

pip install google-tunix && pytest tests/rl/rollout/test_tunix.py
"""

import asyncio
import contextlib
import dataclasses
import importlib.util
import threading
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.settings import ConfigError
from mmtp.data.encoded import Encoded
from mmtp.models import decoder, rope
from mmtp.models.decoder import DecoderSettings, resolve
from rl.rollout import tunix_qwen3
from rl.rollout.protocol import Ask, EngineDied, resume
from rl.rollout.tunix import Ids, TunixEngine, TunixSettings, make_sampler
from tests.mmtp import tiny_vlm

INSTALLED = importlib.util.find_spec("tunix") is not None
SETTINGS = TunixSettings(batch=4, prompt_length=16, wait=0.001)


class Fake:
    """Tokens 3 … 8 by the call's seed; what ends a reply is cut off, as in Tunix.

    Attributes:
        calls: what it was asked.
        go: while this is not set, it draws.
    """

    def __init__(self):
        self.calls, self.go = [], threading.Event()
        self.go.set()

    def __call__(self, input_strings, *, max_generation_steps, max_prompt_length, **options):
        expected = {"temperature", "top_p", "seed", "eos_tokens", "return_logprobs"}
        assert options.keys() == expected
        self.calls.append((list(input_strings), options))
        assert self.go.wait(30)
        # The two traps: None is greedy, and no seed is seed 0.
        greedy = options["top_p"] is None
        seed = 0 if options["seed"] is None or greedy else options["seed"]
        rng = np.random.default_rng(seed)
        shape = len(input_strings), max_generation_steps
        tokens = np.full(shape, 3) if greedy else rng.integers(3, 9, shape)
        rows = []
        for row in tokens:
            ends = np.flatnonzero(np.isin(row, options["eos_tokens"]))
            rows.append(row[: ends[0]] if len(ends) else row)
        return SimpleNamespace(tokens=rows, logprobs=[[-0.5] * len(row) for row in rows])


def asks(num, **changes):
    made = []
    for i in range(num):
        ids = np.array([1, 4, 5 + i % 3], np.int32)
        prompt = Encoded(ids, np.zeros(3, bool), (), 0, "p")
        made.append(Ask(f"s{i}", 0, 0, prompt, f"s{i}", 9, stop=(8,), seed=3))
    return [dataclasses.replace(a, **changes) for a in made]


@contextlib.asynccontextmanager
async def opened(sampler, **options):
    used = TunixEngine(sampler, SETTINGS, **options)
    try:
        yield used
    finally:
        await used.close()


def test_asks_that_come_together_are_batches_with_seeds_of_their_own():
    fake = Fake()

    async def run():
        async with opened(fake) as used:
            told = await asyncio.gather(*map(used.generate, asks(6)))
            return told, used.stats()

    told, stats = asyncio.run(run())
    assert [len(texts) for texts, _ in fake.calls] == [4, 4]  # the second one is filled up
    options = [options for _, options in fake.calls]
    assert {o["top_p"] for o in options} == {1.0}
    assert options[0]["seed"] != options[1]["seed"]
    assert len({t.tokens for t in told}) == 6
    for found in told:
        assert found.logprobs == found.raw_logprobs == (-0.5,) * len(found.tokens)
        assert (found.finish_reason == "stop") == (found.tokens[-1] == 8)
        assert 8 not in found.tokens[:-1]
    assert stats["told"] == 6


def test_greedy_asks_go_apart():
    fake = Fake()
    mixed = [*asks(2), *asks(2, temperature=0.0)]

    async def run():
        async with opened(fake) as used:
            return await asyncio.gather(*map(used.generate, mixed))

    told = asyncio.run(run())
    assert len(fake.calls) == 2
    assert told[2].tokens == (3,) * 9
    assert set(told[2].logprobs) == {0.0}


def test_aborts_versions_and_going_on():
    fake, states = Fake(), []
    fake.go.clear()

    async def run():
        async with opened(fake, update=lambda _, params: states.append(params)) as used:
            asked = asks(5, stop=())
            tasks = [asyncio.ensure_future(used.generate(a)) for a in asked]
            while not fake.calls:
                await asyncio.sleep(0.001)
            used.abort(["s0", "s4", "unknown"])
            fake.go.set()
            first = await asyncio.gather(*tasks)
            await used.publish(2, "new")
            part = dataclasses.replace(first[1], **{n: getattr(first[1], n)[:4] for n in PER_TOKEN})
            return first, await used.generate(resume(asked[1], part))

    first, again = asyncio.run(run())
    assert [t.finish_reason for t in first] == ["abort", "length", "length", "length", "abort"]
    assert first[0].tokens == ()
    assert states == ["new"]
    assert again.tokens[:4] == first[1].tokens[:4]
    assert again.versions == (0,) * 4 + (2,) * 5
    assert fake.calls[-1][0][0].split()[-4:] == [str(t) for t in first[1].tokens[:4]]


PER_TOKEN = ("tokens", "logprobs", "raw_logprobs", "versions")


def test_what_tunix_cannot_do_is_told():
    picture = tiny_vlm.prompt(np.random.default_rng(0), 4, ((2, 2),))

    async def run(**changes):
        async with opened(Fake()) as used:
            return await used.generate(asks(1, **changes)[0])

    for words, changes in {
        "no pictures": {"prompt": picture},
        "temperature = 0.7": {"temperature": 0.7},
        "top_p = 0.9": {"top_p": 0.9},
        "prompt_length = 16": {
            "prompt": Encoded(np.ones(17, np.int32), np.zeros(17, bool), (), 0, "p")
        },
    }.items():
        told = asyncio.run(run(**changes))
        assert told.finish_reason == "error"
        assert words in told.error


def test_a_failing_sampler_fails_all_that_is_asked():
    def broken(*args, **options):
        raise RuntimeError("out of memory")

    async def run():
        async with opened(broken) as used:
            found = await asyncio.gather(*map(used.generate, asks(5)), return_exceptions=True)
            assert all(isinstance(f, EngineDied) for f in found)
            with pytest.raises(EngineDied, match="out of memory"):
                await used.generate(asks(1)[0])

    asyncio.run(run())


@pytest.mark.skipif(INSTALLED, reason="google-tunix is installed")
def test_without_tunix_the_remedy_is_named():
    with pytest.raises(ConfigError, match="pip install google-tunix"):
        make_sampler(None, 32, 1, 1, 8)


def test_ids_are_their_own_text():
    assert Ids().encode(Ids().decode([5, 0, 12])) == [5, 0, 12]


def test_all_of_our_parameters_have_a_place_in_qwen3():
    _, config = small()
    params = decoder.init(jax.random.key(0), config)
    found = tunix_qwen3.arrays(params)
    assert sum(x.size for x in found.values()) == sum(x.size for x in jax.tree.leaves(params))
    up = found["layers", 1, "mlp", "up_proj", "kernel"]
    np.testing.assert_array_equal(up, params["blocks"]["mlp"]["up"]["kernel"][1])
    untied = decoder.init(jax.random.key(0), dataclasses.replace(config, tied=False))
    assert tunix_qwen3.arrays(untied)["lm_head", "w"].shape == (16, 20)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (r"config.decoder.qk_norm = False: .* has True", {"qk_norm": False}),
        (r"config.decoder.sandwich_norms = True", {"sandwich_norms": True}),
        (r"config.decoder.rope_theta = 10000.0: .* has 1000000.0", {"rope_theta": 1e4}),
        (r"config.decoder.rotary_dim = 4: .* has 8", {"rotary_dim": 4}),
    ],
)
def test_a_decoder_that_is_no_qwen3_is_refused(words, changes):
    _, config = small()
    with pytest.raises(ConfigError, match=words):
        tunix_qwen3.check(dataclasses.replace(config, **changes))


def small():
    """Two layers of Qwen3: parameters as of `mmtp.models.vlm`, and the decoder's config."""
    config = resolve(
        DecoderSettings(
            size="tiny",
            width=16,
            depth=2,
            num_heads=2,
            num_kv_heads=1,
            head_dim=8,
            mlp_dim=32,
            vocab_size=20,
            rotary_dim=8,
            mrope_sections=(2, 1, 1),
            rope_interleaved=False,
            rope_theta=tunix_qwen3.THETA,
            sandwich_norms=False,
            qk_norm=True,
            norm_eps=1e-6,
        )
    )
    return make_params(config, 0), config


def make_params(config, seed):
    """With gains that are not 1, and logits large enough that greedy draws are no ties."""
    params = decoder.init(jax.random.key(seed), config)
    params["norm"]["scale"] = params["norm"]["scale"] * 3
    for name in ("norm1", "norm2"):
        gains = params["blocks"][name]["scale"]
        params["blocks"][name]["scale"] = gains + 0.1 * jnp.arange(gains.shape[-1])[None]
    return {"decoder": params}


def table(params, config, ask, told):
    """Our log-probabilities `[tokens, vocabulary]` of what may follow, at each token told."""
    ids = jnp.asarray([*ask.prompt.tokens.tolist(), *told.tokens], jnp.int32)[None]
    inputs = decoder.make_inputs(
        config, rope.text_positions(*ids.shape), jnp.ones(ids.shape, jnp.int32)
    )
    params = params["decoder"]
    x = decoder.embed(params, config, ids)
    hidden, _ = decoder.run(params, config, x, inputs)
    logits = decoder.logits(params, config, decoder.final_norm(params, config, hidden))
    first = len(ask.prompt.tokens) - 1
    return np.asarray(jax.nn.log_softmax(logits[0, first:-1], axis=-1))


def assert_ours(params, config, ask, told):
    """What was told has the log-probabilities of our model on these parameters."""
    found = table(params, config, ask, told)
    if not ask.temperature:
        assert tuple(found.argmax(axis=-1).tolist()) == told.tokens
        assert set(told.logprobs) == {0.0}
    picked = found[np.arange(len(told.tokens)), list(told.tokens)]
    np.testing.assert_allclose(told.raw_logprobs, picked, atol=2e-5)


@pytest.fixture
def as_tunix_needs():
    """It adds arrays of unequal rank."""
    jax.config.update("jax_numpy_rank_promotion", "allow")
    yield
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.mark.skipif(not INSTALLED, reason="google-tunix is not installed")
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("as_tunix_needs")
def test_tunix_draws_from_our_model_before_and_after_its_weights_change():
    params, config = small()
    new = make_params(config, 1)
    # Prompts of unequal lengths; token 0 and the last one stand in them and are drawn like others.
    prompts = [[1, 4, 5], [0, 7], [19, 0, 0, 3, 2], [6]]
    asked = [
        dataclasses.replace(a, prompt=text(ids), stop=(13,), max_new_tokens=24)
        for a, ids in zip(asks(4), prompts, strict=True)
    ]
    greedy = [dataclasses.replace(a, temperature=0.0) for a in asked]

    async def run():
        model = tunix_qwen3.make_model(params, config)
        sampler = make_sampler(model, 48, config.depth, config.num_kv_heads, config.head_dim)
        async with opened(sampler, update=tunix_qwen3.update) as used:
            first = await asyncio.gather(*map(used.generate, [*asked, *greedy]))
            await used.publish(3, new)
            second = await asyncio.gather(*map(used.generate, [*asked, *greedy]))
            part = dataclasses.replace(first[2], **{n: getattr(first[2], n)[:4] for n in PER_TOKEN})
            return first, second, await used.generate(resume(asked[2], part))

    first, second, resumed = asyncio.run(run())
    for ask, before, after in zip([*asked, *greedy], first, second, strict=True):
        assert_ours(params, config, ask, before)
        assert_ours(new, config, ask, after)
        for told in (before, after):
            assert 13 not in told.tokens[:-1]
            assert told.finish_reason == ("stop" if told.tokens[-1] == 13 else "length")
            assert len(told.tokens) == 24 or told.finish_reason == "stop"
        assert set(before.versions) == {0}
        assert set(after.versions) == {3}
    drawn = [token for told in (*first[:4], *second[:4]) for token in told.tokens]
    assert 0 in drawn
    assert len({told.tokens for told in first}) > 4
    # An aborted reply goes on under the new weights; what was said before keeps its numbers.
    assert resumed.tokens[:4] == first[2].tokens[:4]
    assert resumed.raw_logprobs[:4] == first[2].raw_logprobs[:4]
    assert resumed.versions == (0,) * 4 + (3,) * (len(resumed.tokens) - 4)
    fresh = table(new, config, asked[2], resumed)
    picked = fresh[np.arange(len(resumed.tokens)), list(resumed.tokens)]
    np.testing.assert_allclose(resumed.raw_logprobs[4:], picked[4:], atol=2e-5)


def text(ids):
    """A prompt of text alone."""
    return Encoded(np.array(ids, np.int32), np.zeros(len(ids), bool), (), 0, "p")
