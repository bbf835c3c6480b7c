"""Normalised targets equal brute force in float64 over all data, however the data are split."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from cogvit_jax import target_calibration
from cogvit_jax.losses import target_statistics as ts
from cogvit_jax.settings import ConfigError

GOLDEN = Path(__file__).parents[2] / "golden" / "distill.npz"
D = 12
FOLLOWING = ("ema_std", "phi_s")  # kinds with statistics


def teacher(num_batches=6, b=16, n=8, d=D, seed=0):
    """Correlated channels; the last has mean 1000 and deviation 0.1, the one before it 3e-3."""
    rng = np.random.default_rng(seed)
    mixture = rng.standard_normal((d, d))
    drift = np.linspace(0, 1, num_batches)[:, None, None, None]
    x = rng.standard_normal((num_batches, b, n, d)) @ mixture + drift
    x[..., -1] = 1000 + 0.1 * rng.standard_normal(x.shape[:-1]) + 0.05 * drift[..., 0]
    x[..., -2] *= 3e-3 / x[..., -2].std()
    return jnp.asarray(x, jnp.float32)


def calibrated(kind, batches):
    shift = jnp.mean(batches[0], axis=(0, 1))
    sums = [jax.jit(ts.moments)(x, shift) for x in batches]
    moments = jax.tree.map(lambda *leaves: sum(leaves), *sums)
    return jax.tree.map(jnp.asarray, target_calibration.calibrate(kind, np.asarray(shift), moments))


def tokens(x):
    return np.asarray(x, np.float64).reshape(-1, x.shape[-1])


def test_calibration_equals_all_data_at_once():
    batches = teacher()
    all_tokens = tokens(batches)
    deviation = all_tokens.std(axis=0)
    found = calibrated("ema_std", batches)
    mean = np.asarray(found["shift"], np.float64) + np.asarray(found["mean"])
    # Sums of 768 float32 numbers, of the size of a deviation since they are shifted.
    assert np.all(np.abs(mean - all_tokens.mean(axis=0)) < 1e-6 * deviation)
    np.testing.assert_allclose(found["variance"], np.var(all_tokens, axis=0), rtol=1e-6)
    rotation = np.asarray(calibrated("phi_s", batches)["rotation"], np.float64)
    covariance = rotation @ np.cov(all_tokens.T, ddof=0) @ rotation.T
    np.testing.assert_allclose(np.diagonal(covariance), np.ones(D), rtol=1e-6)


@pytest.mark.parametrize("kind", FOLLOWING)
def test_every_channel_gets_mean_zero_and_variance_one(kind):
    batches = teacher()
    statistics = calibrated(kind, batches)
    normal = tokens(jnp.stack([ts.normalize(kind, x, statistics) for x in batches]))
    # phi_s keeps its mean in float32, 6e-5 apart at 1000, and divides by a deviation near 3; its
    # rotation spreads the error over 12 channels.
    np.testing.assert_allclose(normal.mean(axis=0), np.zeros(D), atol=5e-6)
    # The floor takes 1e-4 from the channel of 3e-3, whose variance is near 1e-6 of the mean one.
    np.testing.assert_allclose(normal.var(axis=0), np.ones(D), rtol=2e-4)


def test_phi_s_is_a_rotation_times_one_number():
    batches = teacher()
    rotation = np.asarray(calibrated("phi_s", batches)["rotation"], np.float64)
    gram = rotation @ rotation.T
    mean_eigenvalue = np.var(tokens(batches), axis=0).mean()
    np.testing.assert_allclose(gram, np.eye(D) / mean_eigenvalue, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["none", *FOLLOWING])
def test_denormalize_inverts(kind):
    batches = teacher()
    statistics = calibrated(kind, batches)
    normal = ts.normalize(kind, batches[0], statistics)
    back = ts.denormalize(kind, normal, statistics)
    # Numbers of the size of a deviation are rotated; those near 1000, 6e-5 apart, come last.
    np.testing.assert_allclose(back[..., :-1], batches[0][..., :-1], atol=1e-5)
    np.testing.assert_allclose(back[..., -1], batches[0][..., -1], atol=1e-4)
    with pytest.raises(ValueError, match="layer_norm has no inverse"):
        ts.denormalize("layer_norm", normal, {})


def test_layer_norm_equals_torch():
    with np.load(GOLDEN) as file:
        target, expected = jnp.asarray(file["target"], jnp.float32), file["layer_norm"]
    np.testing.assert_allclose(ts.normalize("layer_norm", target, {}), expected, atol=2e-6)


@pytest.mark.parametrize("rate", [0.1, 1e-3, 1.0])
def test_update_is_the_exponential_mixture(rate):
    """400 steps against the recursion of raw moments in float64."""
    batches = teacher(num_batches=400, b=2)
    statistics = calibrated("ema_std", batches[:2])
    x = np.asarray(batches, np.float64)
    mean = np.asarray(statistics["shift"], np.float64) + np.asarray(statistics["mean"])
    second = np.asarray(statistics["variance"], np.float64) + mean**2
    for batch in x:
        mean = (1 - rate) * mean + rate * batch.mean(axis=(0, 1))
        second = (1 - rate) * second + rate * (batch**2).mean(axis=(0, 1))

    def step(statistics, batch):
        sums = ts.observe("ema_std", batch, statistics)
        return ts.update("ema_std", statistics, sums, rate), None

    found, _ = jax.lax.scan(step, statistics, batches)
    ours = np.asarray(found["shift"], np.float64) + np.asarray(found["mean"])
    variance = second - mean**2
    # 400 steps of float32 arithmetic at the size of a deviation; the raw moments of the channel of
    # mean 1000 lose 1e6 / 1e-2 of float64's 1e-16.
    assert np.all(np.abs(ours - mean) < 1e-6 * np.sqrt(variance))
    np.testing.assert_allclose(found["variance"], variance, rtol=5e-6)


def test_a_batch_of_nothing_changes_nothing():
    statistics = calibrated("ema_std", teacher(1))
    sums = jax.tree.map(jnp.zeros_like, ts.observe("ema_std", teacher(1)[0], statistics))
    found = ts.update("ema_std", statistics, sums, 0.5)
    jax.tree.map(np.testing.assert_array_equal, found, statistics)


@pytest.mark.parametrize("function", ["moments", "observe"])
def test_sums_of_parts_add_up_to_the_whole(function):
    batch = teacher(1)[0]
    statistics = calibrated("ema_std", batch[None])
    if function == "moments":
        sums = partial(ts.moments, shift=statistics["shift"])
    else:
        sums = partial(ts.observe, "ema_std", statistics=statistics)
    whole = sums(batch)
    parts = jax.tree.map(
        lambda *x: sum(x), *(sums(batch[i:j]) for i, j in ((0, 4), (4, 5), (5, 16)))
    )
    assert parts["count"] == whole["count"] == batch.shape[0] * batch.shape[1]
    # Sums of differences from the mean cancel, so errors are measured by the sum of their sizes.
    size = 128 * np.std(np.asarray(batch), axis=(0, 1))
    assert np.all(np.abs(parts["sum"] - whole["sum"]) < 1e-6 * size)
    if function == "observe":
        np.testing.assert_allclose(parts["square"], whole["square"], rtol=2e-6)
    else:
        scale = np.sqrt(np.diagonal(whole["outer"]))
        assert np.all(np.abs(parts["outer"] - whole["outer"]) < 2e-6 * np.outer(scale, scale))


@pytest.mark.parametrize("kind", FOLLOWING)
def test_eight_devices_equal_one(make_mesh, kind):
    batch = teacher(1)[0]
    split = jax.device_put(batch, NamedSharding(make_mesh(8), P("data")))
    shift = jnp.mean(batch, axis=(0, 1))
    one, eight = (jax.jit(ts.moments)(x, shift) for x in (batch, split))
    for name in one:
        np.testing.assert_allclose(eight[name], one[name], rtol=1e-5, atol=1e-3)
    statistics = calibrated(kind, batch[None])

    @jax.jit
    def step(x, statistics):
        sums = ts.observe(kind, x, statistics)
        return ts.normalize(kind, x, statistics), ts.update(kind, statistics, sums, 0.3)

    for ours, single in zip(
        jax.tree.leaves(step(split, statistics)),
        jax.tree.leaves(step(batch, statistics)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, single, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ts.KINDS)
def test_init_has_the_names_and_shapes_of_calibration_and_changes_nothing(kind):
    batches = teacher(2)
    shapes = jax.eval_shape(partial(ts.init, kind, D))
    found = calibrated(kind, batches)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), found) == jax.tree.map(
        lambda x: (x.shape, x.dtype), shapes
    )
    if kind != "layer_norm":
        same = ts.normalize(kind, batches[0], ts.init(kind, D))
        np.testing.assert_allclose(same, batches[0], rtol=1e-6)


@pytest.mark.parametrize("kind", ts.KINDS)
def test_bfloat16_features_become_float32_targets(kind):
    batches = teacher(1).astype(jnp.bfloat16)
    statistics = calibrated(kind, batches)
    normal = ts.normalize(kind, batches[0], statistics)
    assert normal.dtype == jnp.float32
    wide = ts.normalize(kind, batches[0].astype(jnp.float32), statistics)
    np.testing.assert_array_equal(normal, wide)


def test_a_channel_that_never_varies_stays_finite():
    batches = teacher(1).at[..., 0].set(5.0)
    statistics = calibrated("ema_std", batches)
    assert np.all(np.abs(ts.normalize("ema_std", batches[0], statistics)[..., 0]) < 1e-3)


def test_units_do_not_matter():
    batches = teacher(1)[..., :-1]
    tiny = 1e-4 * batches
    normal, same = (
        ts.normalize("ema_std", x[0], calibrated("ema_std", x)) for x in (batches, tiny)
    )
    np.testing.assert_allclose(same, normal, atol=1e-4)


def test_errors_name_what_is_wrong():
    zeros = np.zeros(D, np.float32)
    sums = {"count": 0.0, "sum": zeros, "outer": np.zeros((D, D), np.float32)}
    with pytest.raises(ValueError, match="of 0 tokens"):
        target_calibration.calibrate("ema_std", zeros, sums)
    with pytest.raises(ValueError, match="of 7 tokens do not vary"):
        target_calibration.calibrate("phi_s", zeros, sums | {"count": 7.0})
    with pytest.raises(ValueError, match="not finite"):
        target_calibration.calibrate("phi_s", zeros, sums | {"count": 7.0, "sum": zeros + np.inf})
    with pytest.raises(ConfigError, match=r"config.teachers.<name>.normalize = 'phis'.*'phi_s'"):
        ts.init("phis", D)
    with pytest.raises(ConfigError, match=r"width 11, and none exists.*ema_std"):
        target_calibration.calibrate(
            "phi_s", zeros[:11], {"count": 9.0, "sum": zeros[:11], "outer": np.eye(11)}
        )
