"""The decoder on eight devices: one device's numbers, and no other device's rows gathered."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax import sharding, tree
from mmtp.models import decoder
from tests.mmtp.models.decoder_cases import make_config, make_params, random_rows

FSDP = (
    (r"embedding/table$", (None, "fsdp")),
    (r"head/kernel$", ("fsdp", None)),
    (r"experts/\w+/kernel$", (None, "fsdp", None)),
    (r"router/kernel$", ()),
    (r"attention/(query|key|value)/kernel$", ("fsdp", None, None)),
    (r"(gate|up)/kernel$", ("fsdp", None)),
    (r"kernel$", ("fsdp",)),
    (".*", ()),
)
FSDP_TENSOR = (
    (r"embedding/table$", ("tensor", "fsdp")),
    (r"head/kernel$", ("fsdp", "tensor")),
    (r"experts/(gate|up)/kernel$", (None, "fsdp", "tensor")),
    (r"experts/down/kernel$", (None, "tensor", "fsdp")),
    (r"router/kernel$", ()),
    (r"attention/(query|key|value)/kernel$", ("fsdp", "tensor", None)),
    (r"attention/(query|key|value)/bias$", ("tensor", None)),
    (r"attention/out/kernel$", ("tensor", None, "fsdp")),
    (r"(gate|up)/kernel$", ("fsdp", "tensor")),
    (r"down/kernel$", ("tensor", "fsdp")),
    (".*", ()),
)
ROWS, TOKENS = 8, 14  # 14 is no dim of a parameter


def loss(params, config, tokens, positions):
    inputs = decoder.make_inputs(config, positions, jnp.ones(tokens.shape, jnp.int32))
    x = decoder.embed(params, config, tokens)
    hidden, _, loads = decoder.run_counting(params, config, x, inputs)
    logits = decoder.logits(params, config, decoder.final_norm(params, config, hidden))
    return jnp.mean(jnp.sin(logits)), loads


@pytest.mark.parametrize(
    ("kind", "rules", "axes"),
    [
        ("normed", FSDP, {"data": 2, "fsdp": 4}),
        pytest.param(
            "experts", FSDP_TENSOR, {"data": 2, "fsdp": 2, "tensor": 2}, marks=pytest.mark.slow
        ),
        pytest.param("experts", FSDP, {"data": 2, "fsdp": 4}, marks=pytest.mark.slow),
        pytest.param(
            "sandwich", FSDP_TENSOR, {"fsdp": 2, "context": 2, "tensor": 2}, marks=pytest.mark.slow
        ),
    ],
)
def test_one_devices_numbers(make_mesh, kind, rules, axes):
    config = make_config(kind, remat="full")
    params = make_params(config)
    batch = random_rows(config, ROWS, TOKENS)
    mesh = make_mesh(8, **({"data": 1} | axes))
    names = [name for name, _ in tree.named_leaves(params)]
    used = [rule for rule in rules if any(re.search(rule[0], name) for name in names)]
    places = sharding.param_shardings(mesh, used, params)
    split = sharding.put_batch(mesh, jax.tree.map(np.asarray, batch))
    step = jax.value_and_grad(loss, has_aux=True)
    with jax.default_matmul_precision("highest"):
        expected = jax.jit(step, static_argnums=1)(params, config, *batch)
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            jitted = jax.jit(step, static_argnums=1, out_shardings=(None, places))
            compiled = jitted.lower(sharding.place(params, places), config, *split).compile()
        found = compiled(sharding.place(params, places), *split)
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-6, rtol=1e-4)
    if axes.get("context", 1) == 1:
        assert rows_gathered(compiled.as_text(), ROWS // sharding.num_batch_shards(mesh)) == []


def rows_gathered(text, local_rows):
    """Shapes of gathered activations of more rows than a device has."""
    shapes = re.findall(r"= f32\[([\d,]+)\]\S* all-gather\(", text)
    assert shapes  # of parameters
    dims = [tuple(map(int, shape.split(","))) for shape in shapes]
    return [d for d in dims if TOKENS in d[:-1] and d[0] > local_rows]
