"""What the TPU compiler makes of Muon's update of CogViT-L on 256 chips: a compiled contract."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax import hlo, hlo_cost, optim, sharding, topology
from configs import stage2
from tests.libtpu import skip_without_libtpu

pytestmark = [pytest.mark.slow, skip_without_libtpu]
# CogViT-L's matrices: 24 layers of width 1024.
SHAPES = {
    "attention/qkv": (24, 1024, 3, 16, 64),
    "attention/out": (24, 16, 64, 1024),
    "mlp/gate": (24, 1024, 4096),
    "mlp/up": (24, 1024, 4096),
    "mlp/down": (24, 4096, 1024),
}
RULES = (
    (r"/qkv/kernel$", ("fsdp", None, None, None)),
    (r"/(gate|up)/kernel$", ("fsdp", None)),
    (".*", ("fsdp",)),
)


@pytest.fixture(scope="module")
def compiled():
    mesh = sharding.make_mesh(sharding.MeshSettings(data=32, fsdp=8), topology.devices("v5e:16x16"))
    params: dict = {}
    for name, shape in SHAPES.items():
        part, kernel = name.split("/")
        blocks = params.setdefault("vision", {}).setdefault("blocks", {})
        blocks.setdefault(part, {})[kernel] = {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32)}
    placed = sharding.param_shardings(mesh, RULES, params)
    options = stage2.get_config().optim.to_dict()
    options |= {"clip_norm": 0.0, "muon_dtype": "bfloat16"}
    options |= {"group_rules": ((".*", "vision"),), "decay_rules": ((".*", 1.0),)}
    options |= {"algorithm_rules": ((".*", "muon"),)}
    transform = optim.build(options, params, 10**6, placed).transform
    state = jax.eval_shape(transform.init, params)
    state_placed = sharding.like_params(mesh, params, placed, state)
    shapes = [
        jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), *pair)
        for pair in ((params, placed), (state, state_placed), (params, placed))
    ]
    update = jax.jit(transform.update, donate_argnums=1, out_shardings=(placed, state_placed))
    return update.lower(shapes[0], shapes[1], shapes[2]).compile(), mesh


@pytest.fixture(scope="module")
def cost(compiled):
    return hlo_cost.analyse(compiled[0].as_text())


def test_each_chip_orthogonalises_one_matrix_of_a_size(cost):
    """Five iterations of two Gram products, n n m each, and one of the Gram matrix, n n n."""
    one = sum(5 * 2 * (2 * 1024**2 * m + 1024**3) for m in (1024, 4096))
    np.testing.assert_allclose(cost.matmul_flops, one, rtol=0.01)


def test_only_the_updates_share_travels_in_bfloat16(cost, compiled):
    sent: dict[str, float] = {}
    for c in cost.collectives:
        assert c.count == 1, "no collective in a loop"
        sent[c.kind] = sent.get(c.kind, 0) + c.wire_bytes
    assert sorted(sent) == ["all-gather", "all-to-all"]
    # A chip sends and gets back one block of each size, and is sent its eighth of all updates:
    # 3 + 1 of 1024x1024 and 2 + 1 of 1024x4096 per copy and split, padded.
    blocks = 2 * 2 * (1024 * 1024 + 1024 * 4096)
    assert sent["all-to-all"] <= 1.01 * blocks
    weights = 2 * 403e6 / 8
    assert sent["all-gather"] < 1.35 * weights
    module = hlo.parse(compiled[0].as_text())
    for instruction in module.computations[module.entry]:
        if instruction.opcode in ("all-to-all", "all-gather"):
            assert {s.dtype for s in instruction.shapes} == {"bf16"}


def test_memory_and_time(cost, compiled):
    """With the state's eight-fold split, time is that of reading and writing it."""
    assert compiled[0].memory_analysis().temp_size_in_bytes < 300e6
    chip = topology.CHIPS["TPU v5 lite"]
    assert cost.cycles / chip.clock < 4e-3
