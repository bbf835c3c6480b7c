"""The training program's loss and gradient on one small batch, however it is computed."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from cogvit_jax import sharding, train_step, tree
from mmtp.data import layout as layouts
from mmtp.data.packing import Collate
from mmtp.data.pipeline import put_batch
from mmtp.models import vlm
from mmtp.programs import vlm as program
from mmtp.programs import vlm_loss
from mmtp.programs.vlm_loss import LossSettings
from tests.mmtp import tiny_vlm
from tests.mmtp.random_documents import make_layout, random_documents

VOCAB, IMAGE = 100, 7  # of random_documents
LOSS = LossSettings(vocab_block=32, z_loss=1e-3)
ARMS = ("visual", "masked", "image_token", "image_token_frozen")
# Machine code for one short run: what is computed is the same, and compiled in half the time.
QUICK = {"xla_backend_optimization_level": 0}


def make_model(layers=2, **mtp):
    tiny = tiny_vlm.model(VOCAB, IMAGE, **({"depth": 2, "shared": False} | mtp))
    language = dataclasses.replace(tiny.decoder, depth=layers)
    return dataclasses.replace(tiny, patch_dim=3, decoder=language)


def one_device_mesh():
    return sharding.make_mesh(sharding.MeshSettings(data=1), jax.devices()[:1])


def host_batch(mesh=None, **fields):
    """The same 16 documents, laid out for a mesh; groups do not depend on it."""
    shards = sharding.num_batch_shards(mesh) if mesh else 1
    context = mesh.shape["context"] if mesh else 1
    sizes = {"rows": 16, "vision_rows": 16} | fields
    made = make_layout(shards, 2, context=context, groups=8, **sizes)
    documents = random_documents(0, 16, longest=24)
    return Collate(made)([{"document": d} for d in documents])["arrays"]


@functools.cache
def random_params(layers):
    """On the host; the same in all arms."""
    params = jax.jit(functools.partial(vlm.init, make_model(layers)), compiler_options=QUICK)
    return jax.device_get(params(jax.random.key(0)))


def loss_and_gradient(model, mesh, batch, microbatches=1, *, attention="xla", loss=None):
    """(loss, gradient, metrics) as the training step computes them."""
    loss = loss or vlm_loss.make_loss(model, LOSS, program.ATTENTION[attention])
    stub = dataclasses.make_dataclass("Stub", ["loss", "shared"])(loss, None)

    def compute(params, batch):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            found, grads = train_step.gradients(
                stub, params, None, batch, jax.random.key(0), microbatches, {"step": jnp.int32(0)}
            )
        return found.total / found.weight, grads, found.metrics

    params = sharding.replicate(mesh, random_params(model.decoder.depth))
    with jax.default_matmul_precision("highest"):
        step = jax.jit(compute, compiler_options=QUICK)
        return jax.device_get(step(params, put_batch(mesh, batch)))


@functools.cache
def one_device(arm, layers=2):
    return loss_and_gradient(make_model(layers, visual_input=arm), one_device_mesh(), host_batch())


def without_pictures(batch):
    flat = layouts.flatten(batch)
    return layouts.nest({**flat, "image/patches": np.zeros_like(flat["image/patches"])})


def assert_same(found, expected, rtol=2e-4):
    # f32 sums of a few hundred terms in another order; small gradients are compared by the scale
    # of their array.
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    assert_same_arrays(found[1], expected[1], rtol)
    for name, (total, count) in expected[2].items():
        np.testing.assert_allclose(found[2][name], (total, count), rtol=1e-4, atol=1e-4)


def assert_same_arrays(found, expected, rtol=2e-4):
    for (name, a), (_, b) in zip(
        tree.named_leaves(found), tree.named_leaves(expected), strict=True
    ):
        scale = max(float(np.abs(b).max()), 1e-6)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-5 * scale + 1e-8, err_msg=name)
