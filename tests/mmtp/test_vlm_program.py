"""The training program of the vision-language model: the same step however it is computed."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax import sharding, train_step, tree
from cogvit_jax.settings import ConfigError
from configs import vlm_pretrain
from mmtp.data import layout as layouts
from mmtp.data.packing import Collate
from mmtp.data.pipeline import put_batch
from mmtp.models import vlm
from mmtp.programs import build, vlm_loss
from mmtp.programs import vlm as program
from tests.mmtp import tiny_vlm
from tests.mmtp.random_documents import make_layout, random_documents

VOCAB, IMAGE = 100, 7  # of random_documents
ARMS = ("visual", "masked", "image_token", "image_token_frozen")


@pytest.fixture(scope="module", autouse=True)
def exact_products():
    with jax.default_matmul_precision("highest"):
        yield


def make_model(**mtp):
    tiny = tiny_vlm.model(VOCAB, IMAGE, **({"depth": 2, "shared": False} | mtp))
    return dataclasses.replace(tiny, patch_dim=3)


def documents():
    return random_documents(0, 16, longest=24)


def host_batch(mesh=None, **fields):
    """The same 16 documents, laid out for a mesh; groups do not depend on it."""
    shards = sharding.num_batch_shards(mesh) if mesh else 1
    context = mesh.shape["context"] if mesh else 1
    sizes = {"rows": 16, "vision_rows": 16} | fields
    made = make_layout(shards, 2, context=context, groups=8, **sizes)
    return Collate(made)([{"document": d} for d in documents()])["arrays"]


def params_of(model):
    return jax.jit(functools.partial(vlm.init, model))(jax.random.key(0))


def loss_and_gradient(model, mesh, batch, microbatches=1, attention="xla"):
    """(loss, gradient, metrics) as the training step computes them."""
    loss = vlm_loss.make_loss(
        model, vlm_loss.LossSettings(vocab_block=32, z_loss=1e-3), program.ATTENTION[attention]
    )
    stub = dataclasses.make_dataclass("Stub", ["loss", "shared"])(loss, None)

    @jax.jit
    def compute(params, batch):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            found, grads = train_step.gradients(
                stub, params, None, batch, jax.random.key(0), microbatches, {"step": jnp.int32(0)}
            )
        return found.total / found.weight, grads, found.metrics

    params = sharding.replicate(mesh, jax.device_get(params_of(model)))
    return jax.device_get(compute(params, put_batch(mesh, batch)))


@functools.cache
def one_device(arm):
    mesh = sharding.make_mesh(sharding.MeshSettings(data=1), jax.devices()[:1])
    return loss_and_gradient(make_model(visual_input=arm), mesh, host_batch())


def assert_same(found, expected, rtol=2e-4):
    # f32 sums of a few hundred terms in another order; small gradients are compared by the scale
    # of their array.
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for (name, a), (_, b) in zip(
        tree.named_leaves(found[1]), tree.named_leaves(expected[1]), strict=True
    ):
        scale = max(float(np.abs(b).max()), 1e-6)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-5 * scale + 1e-8, err_msg=name)
    for name, (total, count) in expected[2].items():
        np.testing.assert_allclose(found[2][name], (total, count), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("axes", "attention"),
    [
        ({"data": 8}, "xla"),
        ({"data": 2, "fsdp": 4}, "blockwise"),
        ({"data": 4, "context": 2}, "gathered"),
        ({"data": 2, "context": 4}, "ring"),
        ({"data": 2, "fsdp": 2, "tensor": 2}, "xla"),
    ],
)
def test_a_mesh_computes_what_one_device_does(axes, attention):
    mesh = sharding.make_mesh(sharding.MeshSettings(**axes))
    found = loss_and_gradient(make_model(), mesh, host_batch(mesh), attention=attention)
    assert_same(found, one_device("image_token"))


def test_visual_embeddings_reach_the_drafting_layers_across_devices():
    mesh = sharding.make_mesh(sharding.MeshSettings(data=2, context=4))
    model = make_model(visual_input="visual")
    found = loss_and_gradient(model, mesh, host_batch(mesh), attention="gathered")
    assert_same(found, one_device("visual"))


def test_microbatches_add_up():
    mesh = sharding.make_mesh(sharding.MeshSettings(data=2), jax.devices()[:2])
    found = loss_and_gradient(make_model(), mesh, host_batch(mesh), microbatches=4)
    assert_same(found, one_device("image_token"))


def test_packed_documents_are_separate_ones():
    mesh = sharding.make_mesh(sharding.MeshSettings(data=1), jax.devices()[:1])
    padded = host_batch(
        layout="padded", rows=16, vision_rows=64
    )
    assert (padded["segments"] > 0).sum() == (host_batch()["segments"] > 0).sum()
    assert_same(loss_and_gradient(make_model(), mesh, padded), one_device("image_token"))


def test_arms_have_the_same_parameters_and_another_loss():
    shapes = [
        jax.eval_shape(functools.partial(vlm.init, make_model(visual_input=arm)), jax.random.key(0))
        for arm in ARMS
    ]
    assert all(jax.tree.map(jnp.shape, s) == jax.tree.map(jnp.shape, shapes[0]) for s in shapes)
    losses = [float(one_device(arm)[0]) for arm in ARMS]
    assert losses[2] == losses[3]  # a gradient is not a value
    assert len(set(losses)) == 3
    main = [one_device(arm)[2]["loss/main"][0] for arm in ARMS]
    np.testing.assert_allclose(main, main[0], rtol=1e-6)


def test_pictures_are_seen():
    batch = host_batch()
    mesh = sharding.make_mesh(sharding.MeshSettings(data=1), jax.devices()[:1])
    flat = layouts.flatten(batch)
    dark = layouts.nest({**flat, "image/patches": np.zeros_like(flat["image/patches"])})
    assert loss_and_gradient(make_model(), mesh, dark)[0] != one_device("image_token")[0]
    gradient = one_device("image_token")[1]
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradient["vision"]["blocks"]))


def test_wrong_configs_are_told_with_a_remedy():
    config = vlm_pretrain.get_config("smoke")
    with config.unlocked():
        config.attention = "ring"
    with pytest.raises(ConfigError, match=r"config\.attention = 'ring'.*context = 1.*'auto'"):
        build(config)
    config.attention = "auto"
    config.decoder.vocab_size = 512
    with pytest.raises(ConfigError, match=r"config\.decoder\.vocab_size = 512.*2048"):
        build(config)
    config.decoder.vocab_size = 2048
    config.mmtp.visual_input = "image"
    with pytest.raises(ConfigError, match=r"visual_input = 'image'.*image_token"):
        build(config)
    config.mmtp.visual_input = "visual"
    config.data.supervise = "asistant"
    with pytest.raises(ConfigError, match=r"config\.data\.supervise = 'asistant'.*'assistant'"):
        build(config)
