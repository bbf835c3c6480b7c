"""Held-out losses against the program's own loss, and gradients of heads against explicit ones."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax import sharding
from cogvit_jax.data.records import CorruptRecord, Source
from cogvit_jax.program import Loss
from mmtp.data.packing import Collate
from mmtp.evals import interference
from mmtp.evals.heldout import encode_some, make_heldout, spread
from mmtp.evals.teacher_forcing import make_teacher_forced
from mmtp.programs import vlm as program
from mmtp.programs import vlm_evals, vlm_loss
from tests.mmtp import tiny_vlm
from tests.mmtp.random_documents import make_layout, random_documents

VOCAB, IMAGE = 100, 7  # of random_documents
SETTINGS = vlm_loss.LossSettings(vocab_block=32)
MODEL = dataclasses.replace(tiny_vlm.model(VOCAB, IMAGE, depth=2, shared=False), patch_dim=3)
LOSS = vlm_loss.make_loss(MODEL, SETTINGS, program.ATTENTION["xla"])
DOCUMENTS = random_documents(0, 12, longest=24)
COLLATE = Collate(make_layout(1, 2, layout="padded", documents=5, rows=5, vision_rows=20))


@functools.cache
def params():
    return tiny_vlm.init(MODEL)


def test_losses_are_those_of_one_document_after_another():
    evaluate = make_heldout(LOSS, COLLATE, jax.device_put, DOCUMENTS, 5)
    found = evaluate({**params(), "statistics": {"step": jnp.int32(0)}})
    sums = {}
    single = jax.jit(lambda p, b: LOSS(p, None, b, jax.random.key(0)).metrics)
    for document in DOCUMENTS:
        batch = COLLATE([{"document": document}])["arrays"] | {"statistics": {"step": 0}}
        for name, pair in single(params(), batch).items():
            sums[name] = sums.get(name, 0) + np.asarray(pair)
    assert found.keys() == {name for name, (_, n) in sums.items() if n > 0}
    for name, value in found.items():
        np.testing.assert_allclose(value, sums[name][0] / sums[name][1], rtol=1e-5, err_msg=name)
    present = {d.category for d in DOCUMENTS}
    assert len([n for n in found if n.startswith("loss/") and n.count("/") == 1]) >= len(present)


def test_teacher_forced_acceptance_agrees_with_the_losses_metric():
    mesh = sharding.make_mesh(sharding.MeshSettings(data=1), jax.devices()[:1])
    predict = vlm_evals.make_predict(MODEL, SETTINGS, program.ATTENTION["xla"], mesh)
    batches = COLLATE, jax.device_put, DOCUMENTS, 5
    found = make_teacher_forced(predict, *batches)(params())
    expected = make_heldout(LOSS, *batches)(params())
    assert found["rate/1"] == pytest.approx(expected["acceptance/prefix_1"], abs=1e-6)
    assert found["rate/2"] == pytest.approx(expected["acceptance/prefix_2"], abs=1e-6)
    assert found["picture"].dtype == np.uint8


def test_documents_that_cannot_be_used_are_counted():
    def encode(number):
        if number == 0:
            raise CorruptRecord("zero")
        return number

    assert encode_some(Source("numbers", list(range(10)), False), encode, 4) == ([3, 6, 9], 1)
    assert spread(3, 10) == [0, 1, 2]
    assert spread(0, 10) == []


def linear(main, drafts):
    """Losses whose gradients are the vectors given, on each part of the trunk."""

    def loss(vector):
        def of(params, frozen, batch, key):
            total = sum(jnp.vdot(vector, params[p]["w"]) for p in interference.TRUNK)
            return Loss(total, jnp.float32(1), {})

        return of

    return loss(jnp.asarray(main, jnp.float32)), loss(jnp.asarray(main + drafts, jnp.float32))


@pytest.mark.parametrize(
    ("drafts", "cosine", "ratio"),
    [([3.0, 4.0], 1, 1), ([-6.0, -8.0], -1, 2), ([4.0, -3.0], 0, 1), ([0.0, 0.0], 0, 0)],
)
def test_cosines_of_known_gradients(drafts, cosine, ratio):
    pair = linear(np.array([3.0, 4.0]), np.array(drafts))
    start = {part: {"w": jnp.ones(2)} for part in interference.TRUNK}
    found = interference.make_interference(*pair, {})(start)
    for part in interference.TRUNK:
        assert found[f"cosine/{part}"] == pytest.approx(cosine, abs=1e-6)
        assert found[f"norm_ratio/{part}"] == pytest.approx(ratio, abs=1e-6)


@pytest.mark.slow
def test_interference_of_the_model_is_that_of_two_explicit_gradients():
    losses = [
        vlm_loss.make_loss(vlm_evals.with_weight(MODEL, weight), SETTINGS, program.ATTENTION["xla"])
        for weight in (0.0, 1.0)
    ]
    batch = COLLATE([{"document": d} for d in DOCUMENTS[:5]])["arrays"]
    found = interference.make_interference(*losses, batch)(params())

    def drafts_only(params, batch):
        """Sum of the heads' losses over depth, from the metrics alone."""
        metrics = LOSS(params, None, batch | {"statistics": {"step": 0}}, jax.random.key(0)).metrics
        per_head = [metrics[f"loss/mtp_{k}"][0] for k in (1, 2)]
        return sum(per_head) / 2 / metrics["loss/main"][1]

    # Metrics have no gradient: a finite difference along the main gradient instead.
    main = jax.jit(jax.grad(lambda p, batch: _mean(losses[0], p, batch)))(params(), batch)
    size = jnp.sqrt(sum(jnp.vdot(x, x) for x in jax.tree.leaves(main["decoder"])))
    step = 1e-2

    def moved(sign):
        decoder = jax.tree.map(
            lambda p, g: p + sign * step * g / size, params()["decoder"], main["decoder"]
        )
        return jax.jit(drafts_only)(params() | {"decoder": decoder}, batch)

    slope = (moved(1) - moved(-1)) / (2 * step)
    norm = found["norm_ratio/decoder"] * size
    # The difference is off by step² times a third derivative, and by f32 rounding of two losses.
    assert found["cosine/decoder"] == pytest.approx(float(slope / norm), abs=0.02)


def _mean(loss, params, batch):
    found = loss(params, None, batch | {"statistics": {"step": jnp.int32(0)}}, jax.random.key(0))
    return found.total / found.weight
