"""Prediction heads: shapes, names of parameters, and that both can learn a map."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cogvit_jax.losses import distill
from cogvit_jax.models import heads
from cogvit_jax.settings import ConfigError
from cogvit_jax.tree import named_leaves

WIDTH, DIM = 16, 24
X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, WIDTH)), jnp.float32)


class Two(nn.Module):
    """A student with two teachers."""

    @nn.compact
    def __call__(self, x):
        semantic = heads.build("linear", DIM, "float32", "semantic")(x)
        return semantic, heads.build("mlp", 8, "float32", "texture")(x)


def test_parameters_are_under_the_teachers_names():
    params = Two().init(jax.random.key(0), X)["params"]
    shapes = {name: leaf.shape for name, leaf in named_leaves(params)}
    assert shapes == {
        "semantic/kernel": (WIDTH, DIM),
        "semantic/bias": (DIM,),
        "texture/up/kernel": (WIDTH, WIDTH),  # the hidden layer is not narrower than its input
        "texture/up/bias": (WIDTH,),
        "texture/norm/scale": (WIDTH,),
        "texture/norm/bias": (WIDTH,),
        "texture/down/kernel": (WIDTH, 8),
        "texture/down/bias": (8,),
    }


@pytest.mark.parametrize("kind", heads.KINDS)
def test_computes_in_its_dtype_with_float32_parameters(kind):
    head = heads.build(kind, DIM, "bfloat16", "semantic")
    params = head.init(jax.random.key(0), X)
    out = head.apply(params, X)
    assert (out.shape, out.dtype) == ((2, 5, DIM), jnp.bfloat16)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("kind", heads.KINDS)
def test_learns_a_teacher(kind):
    """The teacher is a linear map of the student's features, which both heads can express."""
    rng = np.random.default_rng(1)
    target = X @ jnp.asarray(rng.standard_normal((WIDTH, DIM)) / 4, jnp.float32)
    masked = jnp.ones(X.shape[:2], bool)
    head = heads.build(kind, DIM, "float32", "semantic")
    optimizer = optax.adam(3e-2)

    def loss(params):
        found = distill.distillation(head.apply(params, X), target, masked)
        return found.total / found.weight

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        change, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, change), state, value

    params = head.init(jax.random.key(0), X)
    state, first = optimizer.init(params), loss(params)
    for _ in range(100):
        params, state, _ = step(params, state)
    assert loss(params) < 0.1 * first


@pytest.mark.parametrize("name", ["texture", "head_texture"])
def test_unknown_kind_names_the_field(name):
    with pytest.raises(ConfigError, match=r"config.teachers.texture.head = 'liner'.*'linear'"):
        heads.build("liner", DIM, "float32", name)
