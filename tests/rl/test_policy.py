"""What the engine says of its tokens is what the trainer says of them, packed, split and scored."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from cogvit_jax import sharding
from cogvit_jax.program import Program
from cogvit_jax.train_step import gradients
from mmtp.generate import Engine, EngineSettings
from mmtp.models import attend
from rl import batch_arrays, batching
from rl.batch_arrays import PackingSettings
from rl.batching import Packed
from rl.losses.settings import AlgorithmSettings
from rl.policy import Policy, logprobs
from rl.programs.rl_loss import make_loss
from rl.prompts import whole
from rl.scoring import make_score
from tests.mmtp import tiny_vlm

NUM = 12
MODEL = tiny_vlm.model(depth=1)
PACKING = PackingSettings(seq_len=64, rows=5, vision_row_length=32, vision_rows=8)
SETTINGS = EngineSettings(rows=4, max_length=64, buckets=(32,), vision_length=32, num_stops=2)
POLICY = Policy(MODEL, attend.xla, vocab_block=8, temperature=0.8)


@functools.cache
def params():
    return tiny_vlm.init(MODEL)


@functools.cache
def samples():
    """Replies of the engine as rows to train on."""
    asked = tiny_vlm.requests(3, NUM, 9, temperature=POLICY.temperature, seed=4)
    told = Engine(MODEL, params(), SETTINGS).generate(asked)
    gains = np.random.default_rng(0).normal(size=NUM)
    return [row(*pair, gain) for *pair, gain in zip(asked, told, gains, strict=True)]


def row(request, completion, advantage):
    """A request and what was drawn, as it is trained on."""
    first, num = len(request.prompt.tokens), len(completion.tokens)
    document = whole(request.prompt, completion.tokens, [(first, first + num)])
    values, advantages = np.zeros((2, len(document.tokens)), np.float32)
    values[first:], advantages[first:] = completion.logprobs, advantage
    versions = np.zeros(len(values), np.int32)
    return Packed(document, document.supervised, values, advantages, versions)


def with_prompt(request, prompt):
    """The same request of another prompt."""
    return dataclasses.replace(request, prompt=prompt)


def arrays(num_shards=1, num_microbatches=0, packing=PACKING, order=1):
    layout = batch_arrays.make_layout(
        packing,
        num_shards=num_shards,
        patch_dim=MODEL.patch_dim,
        image_token=MODEL.image_token,
        depth=1,
    )
    return batching.collate(samples()[::order], layout, num_microbatches)["arrays"]


def mesh(num):
    return sharding.make_mesh(sharding.MeshSettings(data=num), jax.devices()[:num])


def test_the_trainer_says_what_the_engine_said():
    batch = arrays()
    found, _ = jax.jit(functools.partial(logprobs, POLICY))(params(), batch)
    found = np.asarray(found).reshape(batch["mask"].shape)
    chosen = batch["mask"] > 0
    assert chosen.sum() == sum(s.trained.sum() for s in samples())
    np.testing.assert_allclose(found[chosen], batch["rollout_logprobs"][chosen], atol=5e-5)


@pytest.mark.parametrize("num_microbatches", [1, 3])
def test_scoring_goes_through_microbatches_and_keeps_places(num_microbatches):
    batch = arrays(num_microbatches=num_microbatches, packing=PACKING)
    here = mesh(1)
    score = make_score(POLICY, lambda b: b["tokens"].shape[0], here)
    placed = batch_arrays.put_batch(here, batch)
    found = np.asarray(score(params(), placed))
    chosen = batch["mask"] > 0
    np.testing.assert_allclose(found[chosen], batch["rollout_logprobs"][chosen], atol=5e-5)


def gradient(num_shards, num_microbatches, order=1):
    """(loss, gradient) of a batch laid out so."""
    here: Mesh = mesh(num_shards)
    algorithm = AlgorithmSettings(clip_low=0.2, clip_high=0.28, proximal="rollout")
    loss = make_loss(POLICY, algorithm, 0.1, NUM)
    batch = arrays(num_shards, num_microbatches, order=order)
    placed = batch_arrays.put_batch(here, batch)
    program = Program(init=lambda key: None, loss=loss, batches=lambda _: None, mesh=here)  # type: ignore
    parts = batch["tokens"].shape[0] // num_shards

    @jax.jit
    def run(values, batch):
        with jax.sharding.use_abstract_mesh(here.abstract_mesh):
            statistics = {"step": jnp.zeros((), jnp.int32)}
            key = jax.random.key(0)
            return gradients(program, values, None, batch, key, parts, statistics)

    found, grads = run(params(), placed)
    return float(found.total / found.weight), jax.device_get(grads)


@functools.cache
def reference():
    return gradient(1, 1)


@pytest.mark.parametrize(
    ("num_shards", "num_microbatches", "order"), [(1, 3, 1), (1, 1, -1), (2, 2, 1)]
)
def test_microbatches_devices_and_order_change_nothing(num_shards, num_microbatches, order):
    expected, found = reference(), gradient(num_shards, num_microbatches, order)
    assert found[0] == pytest.approx(expected[0], abs=1e-6)
    for one, other in zip(*map(jax.tree.leaves, (found[1], expected[1])), strict=True):
        scale = np.abs(other).max() + 1e-8
        np.testing.assert_allclose(one / scale, other / scale, atol=3e-4)
