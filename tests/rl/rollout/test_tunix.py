"""The adapter to Tunix: with a sampler that behaves as seen in 0.1.7, and with Tunix if it is here.

pip install google-tunix && pytest tests/rl/rollout/test_tunix.py
"""

import asyncio
import contextlib
import dataclasses
import importlib.util
import time
from types import SimpleNamespace

import numpy as np
import pytest

from cogvit_jax.settings import ConfigError
from mmtp.data.encoded import Encoded
from rl.rollout.protocol import Ask, EngineDied, resume
from rl.rollout.tunix import Ids, TunixEngine, TunixSettings, make_sampler
from tests.mmtp import tiny_vlm

INSTALLED = importlib.util.find_spec("tunix") is not None
SETTINGS = TunixSettings(batch=4, prompt_length=16, wait=0.001)


class Fake:
    """Tokens 3 … 8 by the call's seed; what ends a reply is cut off, as in Tunix."""

    def __init__(self):
        self.calls = []

    def __call__(self, input_strings, *, max_generation_steps, max_prompt_length, **options):
        expected = {"temperature", "top_p", "seed", "eos_tokens", "return_logprobs"}
        assert options.keys() == expected
        self.calls.append((list(input_strings), options))
        time.sleep(0.02)
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

    async def run():
        async with opened(fake, update=lambda _, params: states.append(params)) as used:
            asked = asks(5, stop=())
            tasks = [asyncio.ensure_future(used.generate(a)) for a in asked]
            await asyncio.sleep(0.01)
            used.abort(["s0", "s4", "unknown"])
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


@pytest.mark.skipif(not INSTALLED, reason="google-tunix is not installed")
def test_tunix_itself():
    """Sampling differs from ask to ask, and log probabilities are those of its own model."""
    import jax
    import jax.numpy as jnp
    from flax import nnx
    from tunix.models.qwen3 import model as qwen3

    config = qwen3.ModelConfig(
        num_layers=1,
        vocab_size=16,
        embed_dim=16,
        hidden_dim=32,
        num_heads=2,
        head_dim=8,
        num_kv_heads=1,
        rope_theta=10_000,
        norm_eps=1e-6,
        use_tied_embedding=True,
    )
    model = qwen3.Qwen3(config, rngs=nnx.Rngs(0))
    asked = asks(4, stop=(7,))

    async def run():
        async with opened(make_sampler(model, 32, 1, 1, 8)) as used:
            return await asyncio.gather(*map(used.generate, asked))

    told = asyncio.run(run())
    assert len({t.tokens for t in told}) > 1
    for ask, found in zip(asked, told, strict=True):
        ids = jnp.asarray([*ask.prompt.tokens, *found.tokens])[None]
        mask = jnp.tril(jnp.ones((ids.shape[1], ids.shape[1]), bool))[None]
        logits, _ = model(ids, jnp.arange(ids.shape[1])[None], None, mask)
        table = np.asarray(jax.nn.log_softmax(logits[0, 2:-1].astype(jnp.float32), axis=-1))
        wanted = table[np.arange(len(found.tokens)), list(found.tokens)]
        np.testing.assert_allclose(found.raw_logprobs, wanted, atol=1e-4)
