"""The sigmoid loss: every method, device count and tile size equals the N x N sum in float64."""

import inspect
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from cogvit_jax.losses.siglip import sigmoid_loss

GOLDEN = Path(__file__).parents[2] / "golden" / "siglip_loss.npz"
METHODS = ("all_gather", "dual_gather", "ring", "bidirectional")
CHUNKS = (None, 2, 4, 100)  # of a device's B rows: all, a divisor, none, more
B, D = 6, 8
FAST_COMPILE = {"compiler_options": {"xla_backend_optimization_level": 0}}
LOG_SCALE, BIAS = jnp.float32(1.2), jnp.float32(-1.5)
IDS = np.zeros(B, np.int32)


def embeddings(n, d=D, seed=0, t=None):
    """n images and t texts; texts resemble the images of their rows, as far as there are any."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((n, d))
    text = np.resize(image, (t or n, d)) + rng.standard_normal((t or n, d))
    return tuple(
        jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), jnp.float32)
        for x in (image, text)
    )


def shared_ids(n, seed=1):
    return jnp.asarray(np.random.default_rng(seed).integers(0, n // 2 + 1, n), jnp.int32)


def oracle(image, text, log_scale, bias, image_ids=None, text_ids=None):
    """Loss of each image, the four gradients of the mean, and the metrics, in closed form."""
    image, text = np.asarray(image, np.float64), np.asarray(text, np.float64)
    log_scale, bias = np.float64(log_scale), np.float64(bias)
    image_ids = np.arange(len(image)) if image_ids is None else np.asarray(image_ids)
    text_ids = image_ids if text_ids is None else np.asarray(text_ids)
    positive = image_ids[:, None] == text_ids[None, :]
    z = np.where(positive, 1.0, -1.0)
    cosines = image @ text.T
    logits = np.exp(log_scale) * cosines + bias
    error = -z * np.exp(-np.logaddexp(0, z * logits)) / len(image)
    scaled = np.exp(log_scale) * error
    grads = (scaled @ text, scaled.T @ image, np.sum(scaled * cosines), np.sum(error))
    metrics = {  # with the sum of magnitudes, since the logits' signs differ
        "positive_logit_sum": (logits[positive].sum(), np.abs(logits[positive]).sum()),
        "negative_logit_sum": (logits[~positive].sum(), np.abs(logits[~positive]).sum()),
        "num_positives": (positive.sum(), 0),
        "num_negatives": ((~positive).sum(), 0),
    }
    return np.logaddexp(0, -z * logits).sum(1), grads, metrics


def mesh_of(size):
    return jax.make_mesh(
        (size,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:size]
    )


def global_mean(axis, *args, **kwargs):
    total, weight, metrics = sigmoid_loss(*args, axis_name=axis, **kwargs)
    mean = jax.lax.psum(total, axis) / jax.lax.psum(weight, axis)
    return mean, jax.tree.map(lambda x: x[None], (total, weight, metrics))


def sharded(mesh, axis="data", *, ids=True, check_vma=True, **kwargs):
    """`f(image, text, log_scale, bias[, image_ids[, text_ids]])`.

    Returns (mean, per-device (total, weight, metrics)).
    """

    def local(*args):
        *args, image_ids, text_ids = args if ids else (*args, None, None)
        named = dict(image_ids=image_ids, text_ids=text_ids)
        return global_mean(axis, *args, **named, **kwargs)

    specs = (P(axis), P(axis), P(), P(), P(axis), P(axis))[: 6 if ids else 4]
    function = jax.shard_map(
        local, mesh=mesh, in_specs=specs, out_specs=(P(), P(axis)), check_vma=check_vma
    )
    return lambda *args: function(*args, *args[4:5] if len(args) == 5 else ())


def with_grads(function, **jit_options):
    function = jax.value_and_grad(function, argnums=(0, 1, 2, 3), has_aux=True)
    return jax.jit(function, **(jit_options or FAST_COMPILE))


def assert_close(actual, expected, tolerance=1e-6):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.linalg.norm(actual - expected) <= tolerance * np.linalg.norm(expected)


def assert_metrics(metrics, expected):
    assert metrics.keys() == expected.keys()
    for name, (value, magnitude) in expected.items():
        assert abs(np.asarray(metrics[name], np.float64).sum() - value) <= 1e-6 * magnitude


def assert_equals_oracle(result, args, devices):
    (mean, (totals, weights, metrics)), grads = result
    per_image, expected, expected_metrics = oracle(*args)
    assert_close(mean, per_image.mean())
    assert_close(totals, per_image.reshape(devices, -1).sum(1))
    assert_close(weights, np.full(devices, len(per_image) / devices))
    assert_metrics(metrics, expected_metrics)
    for actual, wanted in zip(grads, expected, strict=True):
        assert_close(actual, wanted)


def on_one_device(*args, ids=None, **kwargs):
    total, weight, metrics = sigmoid_loss(*args, image_ids=ids, text_ids=ids, **kwargs)
    return total / weight, jax.tree.map(lambda x: x[None], (total, weight, metrics))


def check_distributed(method, size, chunk_size):
    args = (*embeddings(size * B, seed=size), LOG_SCALE, BIAS)
    function = with_grads(sharded(mesh_of(size), method=method, chunk_size=chunk_size))
    for ids in (np.arange(size * B, dtype=np.int32), shared_ids(size * B)):
        assert_equals_oracle(function(*args, ids), (*args, ids), size)


# Bidirectional treats odd and even counts apart; of ring, no hop, one and many hops differ.
@pytest.mark.parametrize(
    ("method", "size"),
    [("bidirectional", size) for size in range(1, 9)]
    + [("ring", size) for size in (1, 2, 3, 8)]
    + [(method, size) for method in ("all_gather", "dual_gather") for size in (2, 7)],
)
def test_every_method_equals_the_oracle_on_any_number_of_devices(method, size):
    check_distributed(method, size, CHUNKS[(size + METHODS.index(method)) % 4])


@pytest.mark.slow
@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("method", METHODS)
def test_every_tile_size_equals_the_oracle_on_any_number_of_devices(method, size):
    for chunk_size in (*CHUNKS, 1, 5, B):
        check_distributed(method, size, chunk_size)


@pytest.mark.parametrize(("method", "chunk_size"), list(zip(METHODS, CHUNKS, strict=True)))
def test_without_ids_row_i_belongs_to_row_i(method, chunk_size):
    args = (*embeddings(5 * B), LOG_SCALE, BIAS)
    f = with_grads(sharded(mesh_of(5), ids=False, method=method, chunk_size=chunk_size))
    assert_equals_oracle(f(*args), args, 5)


@pytest.mark.parametrize("method", ["all_gather", "dual_gather", "bidirectional"])
def test_images_and_texts_need_no_order_and_no_equal_number(method):
    images, texts = 5 * 4, 5 * 7
    args = (*embeddings(images, t=texts), LOG_SCALE, BIAS)
    ids = (shared_ids(images), shared_ids(texts, seed=2))
    function = with_grads(sharded(mesh_of(5), method=method, chunk_size=3))
    assert_equals_oracle(function(*args, *ids), (*args, *ids), 5)


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 4, 100])
def test_one_device_needs_no_mesh_and_all_its_methods_agree(chunk_size):
    ids = shared_ids(B)
    args = (*embeddings(B), LOG_SCALE, BIAS)
    for method in METHODS if chunk_size == 4 else ("bidirectional",):
        loss = partial(on_one_device, ids=ids, method=method, chunk_size=chunk_size)
        assert_equals_oracle(with_grads(loss)(*args), (*args, ids), 1)


@pytest.mark.parametrize(
    ("method", "size"), [("all_gather", 5), ("dual_gather", 2), ("ring", 5), ("bidirectional", 8)]
)
def test_loss_without_differentiation_is_the_same(method, size):
    args = (*embeddings(size * B), LOG_SCALE, BIAS, shared_ids(size * B))
    mean, (totals, _, metrics) = jax.jit(sharded(mesh_of(size), method=method, chunk_size=4))(*args)
    per_image, _, expected = oracle(*args)
    assert_close(mean, per_image.mean())
    assert_close(totals, per_image.reshape(size, -1).sum(1))
    assert_metrics(metrics, expected)


def test_all_pairs_is_partitioned_by_the_compiler():
    args = (*embeddings(8 * B), LOG_SCALE, BIAS)
    rows = NamedSharding(mesh_of(8), P("data"))
    image, text = jax.device_put(args[:2], rows)

    loss = partial(on_one_device, method="all_pairs")
    assert_equals_oracle(with_grads(loss)(image, text, *args[2:]), args, 1)


@pytest.mark.parametrize("method", ["all_gather", "dual_gather", "bidirectional"])
def test_two_mesh_axes_act_as_one(method):
    mesh = jax.make_mesh((2, 4), ("slice", "data"), axis_types=(AxisType.Auto,) * 2)
    args = (*embeddings(8 * B), LOG_SCALE, BIAS, shared_ids(8 * B))
    f = with_grads(sharded(mesh, ("slice", "data"), method=method, chunk_size=4))
    assert_equals_oracle(f(*args), args, 8)


def test_a_mesh_axis_that_does_not_share_the_batch_is_left_alone():
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    args = (*embeddings(4 * B), LOG_SCALE, BIAS, shared_ids(4 * B))
    assert_equals_oracle(with_grads(sharded(mesh))(*args), args, 4)


def test_gradients_from_outside_do_not_need_the_vma_check():
    args = (*embeddings(5 * B), LOG_SCALE, BIAS, shared_ids(5 * B))
    assert_equals_oracle(with_grads(sharded(mesh_of(5), check_vma=False))(*args), args, 5)


@pytest.mark.parametrize("varying", [False, True])
def test_gradients_inside_shard_map_are_global(varying):
    def local(image, text, *scalars):
        if varying:  # the caller's own cast: each device then holds its share of the gradient
            scalars = jax.lax.pcast(scalars, "data", to="varying")
        gradients = jax.grad(partial(global_mean, "data"), argnums=(0, 1, 2, 3), has_aux=True)
        (*d_rows, d_scale, d_bias), _ = gradients(image, text, *scalars)
        if varying:
            d_scale, d_bias = jax.lax.psum((d_scale, d_bias), "data")
        return *d_rows, d_scale, d_bias

    specs = (P("data"), P("data"), P(), P())
    args = (*embeddings(5 * B), LOG_SCALE, BIAS)
    grads = jax.jit(jax.shard_map(local, mesh=mesh_of(5), in_specs=specs, out_specs=specs))(*args)
    for actual, wanted in zip(grads, oracle(*args)[1], strict=True):
        assert_close(actual, wanted)


def test_devices_whose_totals_count_differently_get_nan_gradients():
    def local(image, text):
        total, _, _ = sigmoid_loss(image, text, LOG_SCALE, BIAS, axis_name="data")
        return jax.lax.psum(total * (1 + jax.lax.axis_index("data")), "data")

    f = jax.shard_map(local, mesh=mesh_of(3), in_specs=(P("data"), P("data")), out_specs=P())
    assert np.isnan(jax.jit(jax.grad(f))(*embeddings(3 * B))).all()


@pytest.mark.parametrize("method", ["all_gather", "dual_gather", "bidirectional"])
def test_bfloat16_embeddings_keep_the_loss_and_its_gradients(method):
    image, text = embeddings(8 * 32, d=64)
    log_scale, bias = np.float32(np.log(10)), np.float32(-10)
    half = (image.astype(jnp.bfloat16), text.astype(jnp.bfloat16))
    f = with_grads(sharded(mesh_of(8), ids=False, method=method, chunk_size=16))
    (mean, _), grads = f(*half, log_scale, bias)
    assert [g.dtype for g in grads] == [jnp.bfloat16] * 2 + [jnp.float32] * 2
    per_image, expected, _ = oracle(image, text, log_scale, bias)
    assert_close(mean, per_image.mean(), 2.2e-4)
    for actual, wanted in zip(grads[:2], expected[:2], strict=True):
        x, y = np.asarray(actual, np.float64).ravel(), wanted.ravel()
        assert x @ y / np.linalg.norm(x) / np.linalg.norm(y) >= 0.99999
    assert_close(grads[2], expected[2], 2e-4)
    assert_close(grads[3], expected[3], 2e-4)


def test_float32_texts_beside_bfloat16_images_get_float32_gradients():
    image, text = (x.astype(jnp.bfloat16) for x in embeddings(2 * 8, d=64))
    f = with_grads(sharded(mesh_of(2), ids=False))
    texts = text.astype(jnp.float32)
    (mean, _), grads = f(image, texts, LOG_SCALE, BIAS)
    (same, _), rounded = f(image, text, LOG_SCALE, BIAS)
    assert mean == same
    assert grads[1].dtype == jnp.float32
    # Exact, since the mean's 1/16 rounds nothing.
    np.testing.assert_array_equal(grads[1].astype(jnp.bfloat16), rounded[1])
    traced = jax.make_jaxpr(sharded(mesh_of(2), ids=False))(image, texts, LOG_SCALE, BIAS)
    sent = [x for x in str(traced).splitlines() if " = ppermute" in x and ",64]" in x]
    assert sent
    assert all(":bf16" in x for x in sent)


@pytest.mark.parametrize("bias", [-1000.0, 0.0, 1000.0])
def test_extreme_logits_stay_finite_and_exact(bias):
    args = (*embeddings(2 * B), np.float32(6), np.float32(bias))
    (mean, _), grads = with_grads(partial(on_one_device, chunk_size=5))(*args)
    per_image, expected, _ = oracle(*args)
    assert_close(mean, per_image.mean())
    for actual, wanted in zip(grads, expected, strict=True):
        assert np.isfinite(actual).all()
        assert_close(actual, wanted, 2e-5)


def test_equals_torch():
    with np.load(GOLDEN) as golden:
        names = ("image", "text", "log_scale", "bias")
        args = [golden[name].astype(np.float32) for name in names]
        (mean, _), grads = with_grads(partial(on_one_device, chunk_size=5))(*args)
        assert_close(mean, golden["loss"])
        for name, grad in zip(names, grads, strict=True):
            assert_close(grad, golden[f"d_{name}"])


def test_metrics_carry_no_gradient():
    def metrics(image, text):
        return sum(sigmoid_loss(image, text, LOG_SCALE, BIAS)[2].values())

    assert not np.any(jax.jit(jax.grad(metrics))(*embeddings(B)))


def temporary_bytes(function, size, rows):
    sharding = NamedSharding(mesh_of(size), P("data"))
    x = jax.ShapeDtypeStruct((size * rows, 64), jnp.float32, sharding=sharding)
    lowered = with_grads(function, compiler_options={}).lower(x, x, LOG_SCALE, BIAS)
    return lowered.compile().memory_analysis().temp_size_in_bytes


def test_memory_grows_with_the_tile_not_with_the_number_of_pairs():
    def tiled(size, rows):
        return temporary_bytes(sharded(mesh_of(size), ids=False, chunk_size=128), size, rows)

    whole = temporary_bytes(lambda *x: sigmoid_loss(*x, method="all_pairs")[::2], 8, 1024)
    reference = tiled(8, 1024)
    assert reference <= 0.03 * whole
    assert reference <= tiled(6, 1024)
    assert tiled(8, 2048) <= 2.1 * reference


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(method="bidir"), "method is 'bidir'; choose one of all_pairs"),
        (dict(chunk_size=0), "chunk_size is 0"),
        (dict(method="all_pairs", chunk_size=2), "all_pairs.*choose one of all_gather"),
        (dict(method="all_pairs", axis_name="data"), "all_pairs.*choose one of all_gather"),
        (dict(text_emb=np.zeros((B, D + 1), np.float32)), r"text_emb is \(6, 9\)"),
        (dict(text_emb=np.zeros((B + 1, D), np.float32)), "without image_ids and text_ids"),
        (dict(text_emb=np.zeros((0, D), np.float32)), "neither may be empty"),
        (dict(image_emb=np.zeros((B,), np.float32)), r"image_emb is \(6,\)"),
        (dict(image_ids=IDS), "text_ids is None"),
        (dict(text_ids=IDS), "image_ids is None"),
        (dict(image_ids=IDS, text_ids=np.zeros(B + 1, np.int32)), r"text_ids is \(7,\)"),
        (dict(bias=np.zeros(1, np.float32)), r"bias has shape \(1,\)"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    image, text = embeddings(B)
    kwargs = dict(image_emb=image, text_emb=text, log_scale=LOG_SCALE, bias=BIAS) | change
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(sigmoid_loss)(**kwargs)  # the tests' type checks come before its own
