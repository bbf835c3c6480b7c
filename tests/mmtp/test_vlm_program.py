"""The training program of the vision-language model: the same step however it is computed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax import sharding
from cogvit_jax.settings import ConfigError
from configs import vlm_pretrain
from mmtp.models import vlm
from mmtp.programs import build, vlm_loss
from tests.mmtp.vlm_steps import (
    ARMS,
    assert_same,
    host_batch,
    loss_and_gradient,
    make_model,
    one_device,
    one_device_mesh,
    without_pictures,
)

slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("arm", "axes", "attention"),
    [
        ("image_token", {"data": 2, "fsdp": 2, "context": 2}, "gathered"),
        pytest.param("image_token", {"data": 8}, "xla", marks=slow),
        pytest.param("image_token", {"data": 2, "fsdp": 4}, "blockwise", marks=slow),
        pytest.param("image_token", {"data": 2, "context": 4}, "ring", marks=slow),
        pytest.param("image_token", {"data": 2, "fsdp": 2, "tensor": 2}, "xla", marks=slow),
        # Visual embeddings reach the drafting layers across devices.
        pytest.param("visual", {"data": 2, "context": 4}, "gathered", marks=slow),
    ],
)
def test_a_mesh_computes_what_one_device_does(arm, axes, attention):
    mesh = sharding.make_mesh(sharding.MeshSettings(**axes))
    model = make_model(visual_input=arm)
    found = loss_and_gradient(model, mesh, host_batch(mesh), attention=attention)
    assert_same(found, one_device(arm))


@slow
def test_microbatches_add_up():
    mesh = sharding.make_mesh(sharding.MeshSettings(data=2), jax.devices()[:2])
    found = loss_and_gradient(make_model(), mesh, host_batch(mesh), microbatches=4)
    assert_same(found, one_device("image_token"))


@slow
def test_packed_documents_are_separate_ones():
    padded = host_batch(layout="padded", rows=16, vision_rows=64)
    assert (padded["segments"] > 0).sum() == (host_batch()["segments"] > 0).sum()
    found = loss_and_gradient(make_model(), one_device_mesh(), padded)
    assert_same(found, one_device("image_token"))


def test_arms_have_the_same_parameters():
    shapes = [
        jax.eval_shape(functools.partial(vlm.init, make_model(visual_input=arm)), jax.random.key(0))
        for arm in ARMS
    ]
    assert all(jax.tree.map(jnp.shape, s) == jax.tree.map(jnp.shape, shapes[0]) for s in shapes)


@slow
def test_arms_have_another_loss():
    losses = [float(one_device(arm)[0]) for arm in ARMS]
    assert losses[2] == losses[3]  # a gradient is not a value
    assert len(set(losses)) == 3
    main = [one_device(arm)[2]["loss/main"][0] for arm in ARMS]
    np.testing.assert_allclose(main, main[0], rtol=1e-6)


def test_pictures_are_trained():
    gradient = one_device("image_token")[1]
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradient["vision"]["blocks"]))


@slow
def test_pictures_are_seen():
    dark = loss_and_gradient(make_model(), one_device_mesh(), without_pictures(host_batch()))
    assert dark[0] != one_device("image_token")[0]


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


def test_a_model_without_mtp_layers_has_rows_without_paths():
    batch = {"tokens": np.zeros((2, 3, 5), np.int32), "path": np.zeros((2, 3, 0, 5), bool)}
    rows = vlm_loss.join_groups(batch | {"image": {}, "statistics": {}})
    assert {name: x.shape for name, x in rows.items()} == {"tokens": (6, 5), "path": (6, 0, 5)}
