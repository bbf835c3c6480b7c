"""Muon's numbers on one device and on meshes, its coefficients, and what its programs exchange."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from optax.contrib import MuonDimensionNumbers

from cogvit_jax import muon
from tests.cogvit_jax.test_matrices import collectives
from tests.optim_cases import FAST_COMPILE

# name -> (shape, matrix dims): scan-stacked, wide, tall, square, fused; 5 + 3 of 16x32.
PARAMS = {
    "down": ((5, 32, 16), ((1,), (2,))),
    "qkv": ((3, 16, 3, 2, 8), ((1,), (3, 4))),
    "single": ((16, 16), ((0,), (1,))),
    "up": ((3, 16, 32), ((1,), (2,))),
}
FSDP = {"down": (None, None, "fsdp"), "qkv": (None, "fsdp"), "up": (None, "fsdp")}
TENSOR = {
    "down": (None, "tensor", "fsdp"),
    "qkv": (None, "fsdp", None, "tensor"),
    "single": ("fsdp", None),
    "up": (None, "fsdp", "tensor"),
}
LAYOUTS = {
    "data parallel": (dict(data=8), {}),
    "fsdp": (dict(data=2, fsdp=4), FSDP),
    "all fsdp": (dict(data=1, fsdp=8), FSDP),
    "fsdp and tensor": (dict(data=2, fsdp=2, tensor=2), TENSOR),
}
FIVE = ("quintic", "polar_express", "dion")


def iterations(name="quintic"):
    found = muon.NEWTON_SCHULZ[name]
    rows = found.coefficients
    return muon.Iterations(rows * 5 if len(rows) == 1 else rows, found.headroom)


def gradients(steps=3):
    rng = np.random.default_rng(0)
    return [
        {n: rng.standard_normal(shape).astype(np.float32) for n, (shape, _) in PARAMS.items()}
        for _ in range(steps)
    ]


def transform(name="quintic", **options):
    return muon.scale_by_muon(iterations(name), lambda name, _: PARAMS[name][1], **options)


def updates(optimizer, shardings=None, steps=3):
    """(updates of each step, last state), jitted, with gradients placed by `shardings`."""
    params = jax.tree.map(np.zeros_like, gradients(1)[0])
    state, out = optimizer.init(params), []
    update = jax.jit(optimizer.update, compiler_options=FAST_COMPILE)
    for grads in gradients(steps):
        grads = jax.device_put(grads, shardings) if shardings else grads
        found, state = update(grads, state, params)
        out.append(found)
    return out, state


@pytest.fixture(scope="module")
def on_one_device():
    return updates(transform())


def place(make_mesh, layout):
    axes, specs = LAYOUTS[layout]
    mesh = make_mesh(8, **axes)
    return {n: NamedSharding(mesh, PartitionSpec(*specs.get(n, ()))) for n in PARAMS}


def assert_close(found, wanted, rtol):
    """Largest difference, relative to the largest element of each array."""
    for step, reference in zip(found, wanted, strict=True):
        for name, x in reference.items():
            np.testing.assert_allclose(step[name], x, rtol=0, atol=rtol * np.abs(x).max())


@pytest.mark.parametrize("steps", [5, 3])
def test_equals_optax(steps):
    """The whole recipe: Nesterov, size, decoupled decay and rate, over scan-stacked matrices."""
    dims = {name: MuonDimensionNumbers(*d) for name, (_, d) in PARAMS.items()}
    reference = optax.contrib.muon(
        0.01,
        ns_steps=steps,
        weight_decay=0.1,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=dims,
    )
    quintic = muon.Iterations(muon.NEWTON_SCHULZ["quintic"].coefficients * steps)
    mine = optax.chain(
        muon.scale_by_muon(quintic, lambda name, _: PARAMS[name][1]),
        optax.scale(0.2),
        optax.add_decayed_weights(0.1),
        optax.scale_by_learning_rate(0.01),
    )
    # Ten products of f32 each round at 6e-8 and the iteration's slope of at most 3.4 per step
    # spreads that; optax differs between jit and no jit by as much.
    assert_close(updates(mine)[0], updates(reference)[0], 3e-5)


def test_dion_equals_optax():
    dims = {name: MuonDimensionNumbers(*d) for name, (_, d) in PARAMS.items()}
    reference = optax.contrib.scale_by_muon(
        muon.NEWTON_SCHULZ["dion"].coefficients, weight_dimension_numbers=dims
    )
    scale = {"down": 32, "qkv": 16, "single": 16, "up": 32}
    wanted = [{n: scale[n] ** 0.5 * x for n, x in u.items()} for u in updates(reference)[0]]
    assert_close(updates(transform("dion"))[0], wanted, 3e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_meshes_agree_with_one_device(make_mesh, layout, on_one_device):
    placed = place(make_mesh, layout)
    found, state = updates(transform(shardings=placed), placed)
    wanted, reference = on_one_device
    assert_close(found, wanted, 3e-5)
    assert_close([state.mu], [reference.mu], 1e-6)


def test_without_bias_correction_is_keller_jordans(on_one_device):
    """buf = lerp(buf, g, 1 - beta); update = lerp(g, buf, beta)."""
    beta, buffer = 0.95, {n: 0.0 for n in PARAMS}
    found, _ = updates(transform(bias_correction=False))
    for grads, update in zip(gradients(), found, strict=True):
        buffer = {n: beta * buffer[n] + (1 - beta) * g for n, g in grads.items()}
        x = np.moveaxis((1 - beta) * grads["qkv"] + beta * buffer["qkv"], 2, 1).reshape(9, 16, 16)
        wanted = 4 * muon.newton_schulz(jnp.asarray(x, jnp.float32), iterations())
        got = np.moveaxis(update["qkv"], 2, 1).reshape(9, 16, 16)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=3e-5 * np.abs(wanted).max())
    with_correction, _ = on_one_device
    assert np.abs(with_correction[1]["up"] - found[1]["up"]).max() > 1e-3


# Singular values as shares of the norm -> where five iterations bring them.
RANGES = {
    "quintic": (3e-3, 0.68, 1.21),
    "polar_express": (1e-3, 0.84, 1.15),
    "dion": (3e-3, 0.97, 1.15),
}


@pytest.mark.parametrize("name", FIVE)
def test_singular_values_come_into_the_promised_range(name):
    smallest, low, high = RANGES[name]
    share = np.geomspace(smallest, 1.0, 16)
    share /= np.linalg.norm(share)
    share[-1] = smallest
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.standard_normal((16, 16)))
    right, _ = np.linalg.qr(rng.standard_normal((48, 16)))
    x = jnp.asarray(7e-4 * (left * share) @ right.T, jnp.float32)[None]
    done = np.asarray(muon.newton_schulz(x, iterations(name))[0])
    singular = np.linalg.svd(done, compute_uv=False)
    assert low < singular.min()
    assert singular.max() < high
    # Singular vectors stay: with the original ones the result is diagonal.
    diagonal = left.T @ done @ right
    np.testing.assert_allclose(diagonal, np.diag(np.diag(diagonal)), atol=1e-4)


def test_polar_express_is_nearest_to_orthogonal():
    def error(name):
        share = np.geomspace(1e-3, 1, 1000)[:, None, None]
        # A 1 x 2 matrix has one singular value; the second row holds the rest of the norm.
        x = np.concatenate([share, np.sqrt(1 - share**2)], 2)
        x = np.stack([np.diag(row) for row in x[:, 0]])
        done = muon.newton_schulz(jnp.asarray(x, jnp.float32), iterations(name))
        return float(jnp.abs(jnp.diagonal(done, axis1=1, axis2=2)[:, 0] - 1).max())

    errors = {name: error(name) for name in FIVE}
    assert min(errors, key=errors.get) == "polar_express"
    assert errors["polar_express"] < 0.16


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", FIVE)
def test_a_zero_or_tiny_gradient_is_safe(name, dtype):
    x = jnp.stack([jnp.zeros((4, 8)), jnp.full((4, 8), 1e-30), jnp.eye(4, 8) * 1e15])
    done = muon.newton_schulz(x, iterations(name), dtype).astype(jnp.float32)
    assert jnp.isfinite(done).all()
    assert jnp.all(done[0] == 0)
    assert 0.6 < done[2, 0, 0] < 1.25


def test_bfloat16_is_near_float32(make_mesh, on_one_device):
    """Fifteen products, of operands rounded by at most 2^-9: 3% if all errors added up."""
    placed = place(make_mesh, "fsdp")
    rounded, state = updates(transform(dtype=jnp.bfloat16, shardings=placed), placed)
    exact, reference = on_one_device
    assert_close([state.mu], [reference.mu], 1e-6)  # the momentum stays in f32
    for step, wanted in zip(rounded, exact, strict=True):
        for name, x in wanted.items():
            assert step[name].dtype == jnp.float32
            difference = np.linalg.norm(np.ravel(step[name] - x)) / np.linalg.norm(np.ravel(x))
            assert 1e-4 < difference < 15 * 2**-9, (name, difference)


@pytest.fixture(scope="module")
def one_stack():
    """Compiled update of 5 stacked 32x16 matrices, split over 4 of 8 devices, on bf16."""
    mesh = jax.make_mesh((2, 4), ("data", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    placed = {"down": NamedSharding(mesh, PartitionSpec(*FSDP["down"]))}
    optimizer = muon.scale_by_muon(
        iterations("polar_express"),
        lambda name, _: PARAMS[name][1],
        dtype=jnp.bfloat16,
        shardings=placed,
    )
    x = jax.ShapeDtypeStruct(PARAMS["down"][0], jnp.float32, sharding=placed["down"])
    count = jax.ShapeDtypeStruct((), jnp.int32, sharding=NamedSharding(mesh, PartitionSpec()))
    state = muon.MuonState(count, {"down": x})
    jitted = jax.jit(
        optimizer.update,
        out_shardings=(placed, muon.MuonState(count.sharding, placed)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    return jitted.lower({"down": x}, state).compile().as_text()


def test_nothing_is_exchanged_during_the_iterations(one_stack):
    entry = one_stack[one_stack.index("ENTRY") :]
    found = re.findall(r" (all-to-all|all-gather)\(|/(newton_schulz)/dot_general", entry)
    assert collectives(entry) == collectives(one_stack)
    kinds = ["".join(groups) for groups in found]
    assert kinds.count("newton_schulz") >= 5
    order = [kind for kind, _ in itertools.groupby(kinds)]
    assert order == ["all-to-all", "newton_schulz", "all-to-all", "all-gather"]


def test_the_exchange_is_small(one_stack):
    """Of 5 matrices each copy has 3, padded to 4: one per device. The compiler for CPUs widens what
    travels to f32; on TPU it is bf16 (test_muon_tpu.py).
    """
    block = 4 * 32 * 16 // 4
    wanted = [("all-gather", 2 * 3 * block), ("all-to-all", 4 * block), ("all-to-all", 4 * block)]
    assert sorted(collectives(one_stack)) == wanted


def test_masked_parameters_are_left_alone(on_one_device):
    labels = {"down": "muon", "qkv": "frozen", "single": "muon", "up": "frozen"}
    optimizer = optax.partition({"muon": transform(), "frozen": optax.set_to_zero()}, labels)
    found, state = updates(optimizer)
    wanted, _ = on_one_device
    for step, reference in zip(found, wanted, strict=True):
        assert not np.any(step["up"])
        np.testing.assert_allclose(step["down"], reference["down"], rtol=1e-4, atol=1e-5)
    assert sum(x.size for x in jax.tree.leaves(state)) == 5 * 32 * 16 + 16 * 16 + 1


def test_newton_schulz_commutes_with_permutations():
    """What `matrices.map_matrices` relies on."""
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.standard_normal((2, 8, 12)), jnp.float32)
    rows, columns = rng.permutation(8), rng.permutation(12)
    run = functools.partial(muon.newton_schulz, iterations=iterations("polar_express"))
    np.testing.assert_allclose(
        run(x[:, rows][:, :, columns]), run(x)[:, rows][:, :, columns], atol=1e-5
    )
    square = x[:, :, :8]
    np.testing.assert_allclose(run(square.mT), run(square).mT, atol=1e-5)
