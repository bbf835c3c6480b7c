"""Compiled contracts of the attention kernel: what the TPU compiler makes of it, without a TPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from cogvit_jax import attention, hlo_cost, topology
from cogvit_jax.kernels import attention as kernel
from cogvit_jax.kernels import cost
from tests.libtpu import skip_without_libtpu

HEADS, HEAD_DIM, TOKENS_PER_CHIP = 16, 64, 65_536
WIDTH = HEADS * HEAD_DIM
SLICES = {"v5e": "v5e:2x2", "v6e": "v6e:2x2", "v5p": "v5p:2x2x1"}

pytestmark = [pytest.mark.slow, skip_without_libtpu]


def shapes(rows, tokens, sharding):
    def array(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    angles = array((rows, tokens, HEAD_DIM), jnp.float32)
    return (
        array((rows, tokens, WIDTH), jnp.bfloat16),
        array((rows, tokens), jnp.int32),
        (angles, angles),
    )


def module_step(implementation, saved, params, x, segments, rope):
    """Gradients of one attention module under a remat policy."""
    model = attention.Attention(HEADS, dtype="bfloat16", implementation=implementation)
    policy = jax.checkpoint_policies.save_only_these_names(*saved)

    @functools.partial(jax.checkpoint, policy=policy)
    def apply(params, x):
        return model.apply({"params": params}, x, segments, rope)

    return jax.grad(lambda p, x: jnp.sum(apply(p, x).astype(jnp.float32) ** 2), (0, 1))(params, x)


def params_like(sharding):
    model = attention.Attention(HEADS)
    found = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 128, WIDTH)))["params"]
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), found)


def plain(qkv, segments, rope, gains):
    heads = qkv.reshape(*qkv.shape[:2], 3, HEADS, HEAD_DIM)
    norm = attention.RMSNorm(dtype="bfloat16", parent=None)
    q, k = (
        attention.apply_rope(norm.apply({"params": {"scale": g}}, heads[:, :, i]), rope)
        for i, g in enumerate(gains)
    )
    mask = attention.same_segment(segments, segments)
    return jax.nn.dot_product_attention(q, k, heads[:, :, 2], mask=mask).reshape(
        *qkv.shape[:2], WIDTH
    )


def fused(qkv, segments, rope, gains):
    return kernel.attend((qkv,), segments, rope, gains, num_heads=HEADS)


def compiled(attend, tokens, device):
    sharding = SingleDeviceSharding(device)
    rows = TOKENS_PER_CHIP // tokens
    dout, segments, rope = shapes(rows, tokens, sharding)
    qkv = jax.ShapeDtypeStruct((rows, tokens, 3 * WIDTH), jnp.bfloat16, sharding=sharding)
    gain = jax.ShapeDtypeStruct((HEAD_DIM,), jnp.float32, sharding=sharding)

    def step(qkv, segments, rope, gains, dout):
        out, vjp = jax.vjp(lambda qkv, gains: attend(qkv, segments, rope, gains), qkv, gains)
        return out, vjp(dout)

    return jax.jit(step).lower(qkv, segments, rope, (gain, gain), dout).compile()


# `benchmarks/attention.py` compiles every length for every chip.
@pytest.mark.parametrize(
    ("chip_name", "tokens"),
    [("v5e", 256), ("v5e", 512), ("v5e", 1024), ("v6e", 512), ("v5p", 1024)],
)
def test_memory_and_time_against_xla(chip_name, tokens):
    device = topology.devices(SLICES[chip_name])[0]
    clock = topology.chip(device).clock
    ours, xla = (compiled(f, tokens, device) for f in (fused, plain))
    temporaries = [c.memory_analysis().temp_size_in_bytes for c in (ours, xla)]
    assert temporaries[0] <= 0.05 * temporaries[1]
    seconds = [hlo_cost.analyse(c.as_text()).cycles / clock for c in (ours, xla)]
    rows = TOKENS_PER_CHIP // tokens
    seconds[0] += sum(
        cost.estimated_seconds(rows, tokens, HEADS, HEAD_DIM, chip_name, backward)
        for backward in (False, True)
    )
    assert seconds[0] <= 0.75 * seconds[1]


@pytest.mark.parametrize(
    ("saved", "kernels"), [(("qkv", "attention_out"), 2), (("qkv",), 3), ((), 3)]
)
def test_a_saved_output_needs_no_second_forward(saved, kernels):
    sharding = SingleDeviceSharding(topology.devices(SLICES["v5e"])[0])
    step = functools.partial(module_step, "pallas", saved)
    text = jax.jit(step).lower(params_like(sharding), *shapes(4, 256, sharding)).compile().as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == kernels


def test_on_a_mesh_each_chip_does_its_rows_and_heads():
    devices = topology.devices("v5e:2x4")
    mesh = Mesh(
        np.array(devices).reshape(2, 2, 2),
        ("data", "fsdp", "tensor"),
        axis_types=(jax.sharding.AxisType.Auto,) * 3,
    )
    rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))

    def step(*args):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return module_step("pallas", ("qkv", "attention_out"), *args)

    args = params_like(NamedSharding(mesh, PartitionSpec())), *shapes(8, 256, rows)
    text = jax.jit(step).lower(*args).compile().as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 2
    # One chip: 8 / 4 rows, 16 / 2 heads. The kernel states its useful work, two products of it.
    flops = 2 * 2 * (8 // 4) * (HEADS // 2) * 256**2 * HEAD_DIM
    assert f'"cost_estimate":{{"flops":"{flops}"' in text
