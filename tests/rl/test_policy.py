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
from mmtp.models import attend, decoder
from rl import batch_arrays, batching
from rl.batch_arrays import PackingSettings
from rl.batching import Packed
from rl.losses.loss import policy_loss
from rl.losses.settings import AlgorithmSettings
from rl.policy import Policy, forward, said
from rl.programs.rl_loss import make_loss
from rl.prompts import whole
from rl.scoring import make_score, make_score_best
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
    extra = {"source": np.full(len(values), 1 + int(completion.tokens[0]) % 2, np.float32)}
    return Packed(document, document.supervised, values, advantages, versions, extra)


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

    @jax.jit
    def logprobs(values, batch):
        return said(POLICY, values, forward(POLICY, values, batch)).logprobs[..., 0]

    found = np.asarray(logprobs(params(), batch)).reshape(batch["mask"].shape)
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


ALGORITHM = AlgorithmSettings(
    clip_high=0.28, entropy_weight=0.05, topk_distill_weight=0.3, topk_distill=3
)
SOURCES = ("even", "odd")


def taught(here, batch):
    """A batch on the devices, with what a teacher finds likeliest."""
    placed = batch_arrays.put_batch(here, batch)
    shards = here.shape["data"]
    score = make_score_best(POLICY, lambda b: b["tokens"].shape[0] // shards, here, 3)
    _, best = score(tiny_vlm.init(MODEL, seed=5), placed)
    return placed | {"teacher_topk_logprobs": best.logprobs, "teacher_topk_ids": best.ids}


def gradient(num_shards, num_microbatches, order=1):
    """(loss, gradient) of a batch laid out so."""
    here: Mesh = mesh(num_shards)
    loss = make_loss(POLICY, ALGORITHM, NUM, SOURCES)
    batch = arrays(num_shards, num_microbatches, order=order)
    placed = taught(here, batch)
    program = Program(init=lambda key: None, loss=loss, batches=lambda _: None, mesh=here)  # type: ignore
    parts = batch["tokens"].shape[0] // num_shards

    @jax.jit
    def run(values, batch):
        with jax.sharding.use_abstract_mesh(here.abstract_mesh):
            statistics = {"step": jnp.zeros((), jnp.int32)}
            key = jax.random.key(0)
            return gradients(program, values, None, batch, key, parts, statistics)

    found, grads = run(params(), placed)
    means = {name: float(total / count) for name, (total, count) in found.metrics.items() if count}
    return float(found.total / found.weight), jax.device_get(grads), means


@functools.cache
def reference():
    return gradient(1, 1)


@pytest.mark.parametrize(
    ("num_shards", "num_microbatches", "order"),
    [(1, 3, 1), pytest.param(1, 1, -1, marks=pytest.mark.slow), (2, 2, 1)],
)
def test_microbatches_devices_and_order_change_nothing(num_shards, num_microbatches, order):
    expected, found = reference(), gradient(num_shards, num_microbatches, order)
    assert found[0] == pytest.approx(expected[0], abs=1e-6)
    assert found[2] == pytest.approx(expected[2], rel=1e-4, abs=1e-6)
    for one, other in zip(*map(jax.tree.leaves, (found[1], expected[1])), strict=True):
        scale = np.abs(other).max() + 1e-8
        np.testing.assert_allclose(one / scale, other / scale, atol=3e-4)


def test_entropy_and_likeliest_tokens_as_from_all_logits():
    """The loss, its gradient and entropies against softmaxes over the whole vocabulary."""
    silent = dataclasses.replace(MODEL.mtp, weight_start=0.0, weight_end=0.0)
    policy = dataclasses.replace(POLICY, model=dataclasses.replace(MODEL, mtp=silent))
    batch = taught(mesh(1), arrays()) | {"statistics": {"step": jnp.zeros((), jnp.int32)}}

    def dense(values):
        passed = forward(policy, values, batch)
        rows = passed.rows
        matrix = decoder.output_matrix(values["decoder"], MODEL.decoder)
        whole = jax.nn.log_softmax(passed.normed @ matrix)
        found = policy_loss(
            ALGORITHM,
            jnp.take_along_axis(whole, rows["labels"][:, 0, :, None], axis=2)[..., 0],
            rows,
            max_samples=NUM,
            entropy=-jnp.sum(jnp.exp(whole) * whole, axis=2),
            topk_logprobs=jnp.take_along_axis(whole, rows["teacher_topk_ids"], axis=2),
        )
        return found.total, (found, -jnp.sum(jnp.exp(whole) * whole, axis=2), rows)

    def ours(values):
        found = make_loss(policy, ALGORITHM, NUM, SOURCES)(values, None, batch, jax.random.key(0))
        return found.total, found

    (total, (expected, entropy, rows)), gradients = jax.jit(
        jax.value_and_grad(dense, has_aux=True)
    )(params())
    (found_total, found), found_gradients = jax.jit(jax.value_and_grad(ours, has_aux=True))(
        params()
    )
    assert float(found_total) == pytest.approx(float(total), rel=1e-5)
    for one, other in zip(*map(jax.tree.leaves, (found_gradients, gradients)), strict=True):
        scale = np.abs(other).max() + 1e-8
        np.testing.assert_allclose(one / scale, other / scale, atol=3e-4)
    means = {name: float(x / n) for name, (x, n) in found.metrics.items() if n}
    assert means["entropy/exact"] == pytest.approx(
        float(expected.metrics["entropy/exact"][0] / expected.weight), rel=1e-5
    )
    for number, name in enumerate(SOURCES, 1):
        chosen = np.asarray((rows["mask"] > 0) & (rows["source"] == number))
        assert chosen.any()
        mean = np.asarray(entropy)[chosen].mean()
        assert means[f"rl/source/{name}/entropy"] == pytest.approx(mean, rel=1e-5)
