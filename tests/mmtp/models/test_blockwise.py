"""Memory of attention in blocks inside a decoder; its numbers are in test_context.py."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from mmtp.models import context, decoder

TOKENS, BLOCK_SIZE, DEPTH = 128, 32, 2
CONFIG = decoder.DecoderSettings(
    size="tiny",
    width=16,
    depth=DEPTH,
    num_heads=2,
    num_kv_heads=1,
    head_dim=16,
    mlp_dim=32,
    rotary_dim=16,
    mrope_sections=(2, 3, 3),
    vocab_size=8,
)


def sizes(jaxpr):
    """Numbers in each array that a program makes, at any depth."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from sizes(inner)


@pytest.mark.parametrize("remat", ["none", "full", "attention"])
def test_training_makes_nothing_quadratic_in_the_tokens(remat):
    """Masks depend on no layer, which invites JAX to make those of all blocks before the layers.

    The largest array else is a stacked activation, `[2, 128, 32]`: half of what is refused.
    """
    config = decoder.resolve(dataclasses.replace(CONFIG, remat=remat))
    attend = partial(context.local, block_size=BLOCK_SIZE)

    def loss(blocks, x, segments):
        places = jnp.zeros((*segments.shape, 3), jnp.int32)
        inputs = decoder.make_inputs(config, places, segments)
        return jnp.sum(decoder.run_blocks(blocks, config, x, inputs, attend=attend)[0])

    arguments = (
        jax.eval_shape(partial(decoder.init_blocks, config=config, depth=DEPTH), jax.random.key(0)),
        jax.ShapeDtypeStruct((1, TOKENS, config.width), config.dtype),
        jax.ShapeDtypeStruct((1, TOKENS), jnp.int32),
    )
    program = jax.make_jaxpr(jax.grad(loss, (0, 1)))(*arguments)
    assert max(sizes(program.jaxpr)) < TOKENS**2
