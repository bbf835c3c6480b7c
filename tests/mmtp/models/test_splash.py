"""The TPU kernel against plain attention, interpreted, and when a config means it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax import sharding, topology
from cogvit_jax.settings import ConfigError
from mmtp.models import attend, context, splash
from mmtp.programs.vlm import choose_attention
from tests.libtpu import skip_without_libtpu
from tests.mmtp.models.attend_cases import make_inputs, random_qkv


@pytest.mark.slow
@pytest.mark.parametrize(("tokens", "dim"), [(128, 64), (1024, 128)])
def test_the_tpu_kernel(tokens, dim):
    arrays = random_qkv(2, 2, tokens, 4, 2, dim)
    cuts = np.sort(np.random.default_rng(0).integers(1, 4, (2, tokens)), axis=1)
    cuts[:, -9:] = 0
    inputs = make_inputs(cuts)

    def loss(attention, arrays):
        out = attention(*arrays, inputs)
        return jnp.sum(jnp.sin(out)), out

    with jax.default_matmul_precision("highest"):
        kernel = functools.partial(splash.splash, interpret=True)
        (_, expected), expected_grads = jax.value_and_grad(loss, 1, True)(attend.xla, arrays)
        (_, found), grads = jax.value_and_grad(loss, 1, True)(kernel, arrays)
    np.testing.assert_allclose(found, expected, atol=5e-6)
    for mine, theirs in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=5e-5, rtol=1e-5)


def test_the_kernel_leaves_dropped_keys_to_the_sweep():
    arrays = random_qkv(3, 1, 6, 2, 2, 8)
    inputs = make_inputs(np.ones((1, 6)), usable=np.asarray([[True, False] * 3]))
    expected = context.local(*arrays, inputs)
    np.testing.assert_array_equal(splash.splash(*arrays, inputs), expected)


@pytest.mark.slow
@skip_without_libtpu
def test_auto_means_the_kernel_on_tpus():
    mesh = sharding.make_mesh(sharding.MeshSettings(data=-1), topology.devices("v5e:2x2"))
    assert choose_attention("auto", 4096, 128, mesh) is splash.splash
    assert choose_attention("auto", 8000, 128, mesh) is not splash.splash
    assert choose_attention("xla", 4096, 128, mesh) is attend.xla


def test_the_kernel_is_refused_where_it_cannot_run(make_mesh):
    mesh = make_mesh(1)
    assert choose_attention("auto", 256, 128, mesh) is attend.xla
    with pytest.raises(ConfigError, match="on cpu"):
        choose_attention("splash", 4096, 128, mesh)
    with pytest.raises(ConfigError, match="flash"):
        choose_attention("flash", 4096, 128, mesh)
