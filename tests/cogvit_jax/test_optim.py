"""Routing of every parameter, Muon per matrix, AdamW, decay, schedules, freezing, errors."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.contrib import scale_by_muon

from cogvit_jax import optim, tree
from cogvit_jax.models import text, vit
from cogvit_jax.models.two_towers import TwoTowers
from cogvit_jax.settings import ConfigError
from configs import stage2
from tests.random_params import random_params

FAST_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
LR = {"vision": 3e-3, "text": 1e-3, "projection": 7e-3}
WEIGHT_DECAY = {"vision": 0.1, "text": 0.3, "projection": 0.2}

# Parameter -> algorithm, its matrices ("how many of rows×columns"), multiplier of weight decay.
EXPECTED = """
bias                                 adamw -          0
image_pool/key/bias                  adamw -          0
image_pool/key/kernel                muon  1 of 24×24 1
image_pool/mlp/down/bias             adamw -          0
image_pool/mlp/down/kernel           muon  1 of 40×24 1
image_pool/mlp/up/bias               adamw -          0
image_pool/mlp/up/kernel             muon  1 of 24×40 1
image_pool/norm/bias                 adamw -          0
image_pool/norm/scale                adamw -          0
image_pool/out/bias                  adamw -          0
image_pool/out/kernel                muon  1 of 24×24 1
image_pool/probe                     adamw -          0
image_pool/query/bias                adamw -          0
image_pool/query/kernel              muon  1 of 24×24 1
image_pool/value/bias                adamw -          0
image_pool/value/kernel              muon  1 of 24×24 1
image_projection/bias                adamw -          0
image_projection/kernel              muon  1 of 24×20 1
log_scale                            adamw -          0
text/blocks/attention/k_norm/scale   adamw -          0
text/blocks/attention/out/bias       adamw -          0
text/blocks/attention/out/kernel     muon  3 of 16×16 1
text/blocks/attention/q_norm/scale   adamw -          0
text/blocks/attention/qkv/bias       adamw -          0
text/blocks/attention/qkv/kernel     muon  9 of 16×16 1
text/blocks/mlp/down/bias            adamw -          0
text/blocks/mlp/down/kernel          muon  3 of 36×16 1
text/blocks/mlp/up/bias              adamw -          0
text/blocks/mlp/up/kernel            muon  3 of 16×36 1
text/blocks/norm1/bias               adamw -          0
text/blocks/norm1/scale              adamw -          0
text/blocks/norm2/bias               adamw -          0
text/blocks/norm2/scale              adamw -          0
text/embedding/embedding             adamw -          1
text/norm/bias                       adamw -          0
text/norm/scale                      adamw -          0
text/positions                       adamw -          1
text_projection/bias                 adamw -          0
text_projection/kernel               muon  1 of 16×20 1
vision/blocks/attention/k_norm/scale adamw -          0
vision/blocks/attention/out/bias     adamw -          0
vision/blocks/attention/out/kernel   muon  2 of 24×24 1
vision/blocks/attention/q_norm/scale adamw -          0
vision/blocks/attention/qkv/bias     adamw -          0
vision/blocks/attention/qkv/kernel   muon  6 of 24×24 1
vision/blocks/mlp/down/bias          adamw -          0
vision/blocks/mlp/down/kernel        muon  2 of 40×24 1
vision/blocks/mlp/gate/bias          adamw -          0
vision/blocks/mlp/gate/kernel        muon  2 of 24×40 1
vision/blocks/mlp/up/bias            adamw -          0
vision/blocks/mlp/up/kernel          muon  2 of 24×40 1
vision/blocks/norm1/scale            adamw -          0
vision/blocks/norm2/scale            adamw -          0
vision/norm/scale                    adamw -          0
vision/patch_embedding/bias          adamw -          0
vision/patch_embedding/kernel        adamw -          1
"""


def expected_routes():
    """name -> (group, algorithm, matrices, decay multiplier)."""
    routes = {}
    for line in EXPECTED.strip().splitlines():
        name, algorithm, *matrices, decay = line.split()
        tower = name.split("/")[0]
        group = tower if tower in ("vision", "text") else "projection"
        routes[name] = (group, algorithm, " ".join(matrices), float(decay))
    return routes


ROUTES = expected_routes()


def config(**fields):
    """The smoke config's rules, with constant rates that differ by group and no clipping."""
    options = stage2.get_config("smoke").optim.to_dict() | {"clip_norm": 0.0}
    for name, group in options["groups"].items():
        group |= {"lr": LR[name], "weight_decay": WEIGHT_DECAY[name]}
        group |= {"schedule": "constant", "warmup_steps": 0}
    return options | fields


def with_group(name, **fields):
    options = config()
    options["groups"][name] |= fields
    return options


@pytest.fixture(scope="module")
def params():
    model = TwoTowers(
        vision_settings=vit.VisionSettings("tiny", 24, 2, 3, 40, patch_size=2, dtype="float32"),
        text_settings=text.TextSettings("tiny", 16, 3, 2, 36, dtype="float32"),
        vocab_size=11,
        embed_dim=20,
    )
    image = {
        "patches": np.zeros((1, 1, 12), np.uint8),
        "positions": np.zeros((1, 1, 2), np.int32),
        "segments": np.ones((1, 1), np.int32),
    }
    return random_params(model.init, image, np.zeros((1, 5), np.int32))


def gradients(params, steps=3):
    rng = np.random.default_rng(0)
    return [
        jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), params)
        for _ in range(steps)
    ]


def run(transform, params, grads):
    """The updates of each step; parameters follow them."""
    update = jax.jit(transform.update, compiler_options=FAST_COMPILE)
    state, out = transform.init(params), []
    for g in grads:
        updates, state = update(g, state, params)
        params = optax.apply_updates(params, updates)
        out.append(updates)
    return out


@pytest.fixture(scope="module")
def updates(params):
    return run(optim.build(config(), params, 100).transform, params, gradients(params))


def matrices(name, x):
    """The matrices of a parameter, each cut out on its own, as [inputs, outputs]."""
    x = np.asarray(x)
    layers = x if "/blocks/" in name else x[None]
    if "qkv" in name:
        return [layer[:, i].reshape(len(layer), -1) for layer in layers for i in range(3)]
    if "/out/" in name:
        return [layer.reshape(-1, layer.shape[-1]) for layer in layers]
    return [layer.reshape(len(layer), -1) for layer in layers]


def named(params):
    return dict(tree.named_leaves(params))


def rate(name):
    group, _, _, decay = ROUTES[name]
    return LR[group], WEIGHT_DECAY[group] * decay


def names(algorithm):
    return [name for name, route in ROUTES.items() if route[1] == algorithm]


def test_every_parameter_is_routed_as_expected(params):
    optimizer = optim.build(config(), params, 100)
    columns = {column.header: list(column.cells) for column in optimizer.table.columns}
    for i, name in enumerate(columns["parameter"]):
        group, algorithm, found, decay = ROUTES[name]
        assert named(optimizer.groups)[name] == columns["group"][i] == group
        assert columns["algorithm"][i] == algorithm
        assert columns["matrices"][i] == found.replace("-", "")
        assert columns["peak lr"][i] == f"{LR[group]:g}"
        assert columns["decay"][i] == f"{WEIGHT_DECAY[group] * decay:g}"
    assert columns["parameter"] == list(ROUTES) == list(named(params))


def test_muon_treats_every_matrix_by_itself(params, updates):
    single = lambda tree_: {  # noqa: E731
        f"{name}:{i}": m for name in names("muon") for i, m in enumerate(matrices(name, tree_[name]))
    }
    reference = run(scale_by_muon(), single(named(params)), [single(named(g)) for g in gradients(params)])
    current = named(params)
    for step, wanted in zip(updates, reference, strict=True):
        step = named(step)
        for name in names("muon"):
            lr, decay = rate(name)
            weights = matrices(name, current[name])
            for i, update in enumerate(matrices(name, step[name])):
                size = 0.2 * math.sqrt(max(update.shape))
                expected = -lr * (size * wanted[f"{name}:{i}"] + decay * weights[i])
                np.testing.assert_allclose(update, expected, atol=1e-5 * lr, rtol=1e-4)
        current = {name: current[name] + step[name] for name in step}


def newton_schulz(matrix, steps=5):
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / np.linalg.norm(matrix)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def test_muon_equals_newton_schulz_in_float64(params, updates):
    """Nesterov's momentum with optax's bias correction, as in NAdam."""
    beta, momentum, current = 0.95, dict.fromkeys(names("muon"), 0.0), named(params)
    for t, (grad, step) in enumerate(zip(gradients(params), updates, strict=True), start=1):
        grad, step = named(grad), named(step)
        for name in names("muon"):
            g = grad[name].astype(np.float64)
            momentum[name] = beta * momentum[name] + (1 - beta) * g
            ahead = beta * momentum[name] / (1 - beta ** (t + 1)) + (1 - beta) * g / (1 - beta**t)
            lr, decay = rate(name)
            parts = (matrices(name, x) for x in (ahead, current[name], step[name]))
            for direction, weights, update in zip(*parts, strict=True):
                size = 0.2 * math.sqrt(max(update.shape))
                expected = -lr * (size * newton_schulz(direction) + decay * weights)
                np.testing.assert_allclose(update, expected, atol=1e-4 * lr, rtol=1e-4)
        current = {name: current[name] + step[name] for name in step}


@pytest.mark.parametrize(
    ("coefficients", "spread"), [("quintic", (0.65, 1.25)), ("dion", (0.85, 1.2))]
)
def test_updates_are_nearly_orthogonal_and_as_large_as_adamws(params, coefficients, spread):
    options = config(muon_coefficients=coefficients)
    for group in options["groups"].values():
        group["weight_decay"] = 0.0
    transform = optim.build(options, params, 100).transform
    first = named(run(transform, params, gradients(params, 1))[0])
    for name in names("muon"):
        for update in matrices(name, first[name]):
            size = 0.2 * math.sqrt(max(update.shape)) * rate(name)[0]
            singular = np.linalg.svd(update / size, compute_uv=False)
            # A random matrix has few singular values so near 0 that five steps do not lift them.
            assert spread[0] < np.quantile(singular, 0.25)
            assert singular.max() < spread[1]


def test_adamw_is_optaxs(params, updates):
    for rates in sorted({rate(name) for name in names("adamw")}):
        mine = [name for name in names("adamw") if rate(name) == rates]
        pick = lambda tree_, mine=mine: {name: named(tree_)[name] for name in mine}  # noqa: E731
        lr, decay = rates
        transform = optax.adamw(lr, 0.9, 0.95, 1e-8, weight_decay=decay)
        reference = run(transform, pick(params), [pick(g) for g in gradients(params)])
        for step, wanted in zip(updates, reference, strict=True):
            for name in mine:
                np.testing.assert_allclose(named(step)[name], wanted[name], rtol=1e-5, atol=1e-9)


def test_decay_alone_shrinks_only_what_the_rules_name(params):
    zero = [jax.tree.map(np.zeros_like, params)]
    update = named(run(optim.build(config(), params, 100).transform, params, zero)[0])
    for name, x in named(params).items():
        lr, decay = rate(name)
        np.testing.assert_allclose(update[name], -lr * decay * x, rtol=1e-5, atol=1e-12)


def test_a_frozen_group_stays_and_has_no_state(params):
    grads = gradients(params)
    whole = run(optim.build(config(), params, 100).transform, params, grads)
    transform = optim.build(with_group("vision", freeze=True), params, 100).transform
    for update, reference in zip(run(transform, params, grads), whole, strict=True):
        assert not any(np.any(x) for x in jax.tree.leaves(update["vision"]))
        np.testing.assert_allclose(
            update["text"]["positions"], reference["text"]["positions"], rtol=1e-5
        )
    state = jax.eval_shape(transform.init, params)
    kept = {name: x.size for name, x in named(params).items() if not name.startswith("vision/")}
    moments = sum(size * (1 if ROUTES[name][1] == "muon" else 2) for name, size in kept.items())
    assert sum(x.size for x in jax.tree.leaves(state) if x.ndim > 1 or x.size > 3) <= moments
    assert sum(x.size for x in jax.tree.leaves(state)) <= moments + 20  # counters, coefficients


def test_clipping_bounds_the_norm_of_what_is_trained(params):
    grads = gradients(params, 2)
    grads[1] = jax.tree.map(lambda g: 0.01 * g, grads[1])  # so that Adam's state shows the clipping
    frozen = with_group("vision", freeze=True)
    trained = {n: x for g in grads[:1] for n, x in named(g).items() if not n.startswith("vision/")}
    norm = math.sqrt(sum(np.sum(x.astype(np.float64) ** 2) for x in trained.values()))
    limit = norm / 7
    clipped = run(optim.build(frozen | {"clip_norm": limit}, params, 100).transform, params, grads)
    by_hand = [jax.tree.map(lambda g: g / 7, grads[0]), grads[1]]
    expected = run(optim.build(frozen, params, 100).transform, params, by_hand)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6), clipped, expected
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"schedule": "constant"}, {0: 0.0, 5: 0.5, 10: 1.0, 60: 1.0, 110: 1.0}),
        ({"schedule": "cosine"}, {0: 0.0, 5: 0.5, 10: 1.0, 60: 0.5, 110: 0.0, 200: 0.0}),
        ({"schedule": "linear"}, {5: 0.5, 10: 1.0, 35: 0.75, 110: 0.0}),
        ({"schedule": "cosine", "final_lr": 0.2}, {10: 1.0, 60: 0.6, 110: 0.2, 999: 0.2}),
        ({"schedule": "linear", "final_lr": 0.2}, {10: 1.0, 60: 0.6, 110: 0.2}),
        ({"schedule": "cosine", "decay_steps": 30}, {10: 1.0, 20: 0.5, 30: 0.0}),
        ({"schedule": "cosine", "warmup_steps": 0}, {0: 1.0, 55: 0.5, 110: 0.0}),
    ],
)
def test_schedules(params, fields, expected):
    options = with_group("text", **({"lr": 2.0, "warmup_steps": 10} | fields))
    schedule = optim.build(options, params, 110).schedules["text"]
    for step, share in expected.items():
        assert float(schedule(step)) == pytest.approx(2 * share, abs=1e-6)


def test_updates_follow_the_schedule(params):
    options = with_group("text", warmup_steps=4, weight_decay=0.0)
    grads = [gradients(params, 1)[0]] * 4  # equal gradients: every step has the same direction
    norms = [
        float(optax.tree.norm(u["text"]["blocks"]["mlp"]))
        for u in run(optim.build(options, params, 100).transform, params, grads)
    ]
    np.testing.assert_allclose(np.array(norms[1:]) / norms[1], [1, 2, 3], rtol=1e-3)
    assert norms[0] == 0


ADAMW = (".*", "adamw")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (config(clip_nrom=1.0), r"config\.optim\.clip_nrom.*Did you mean 'clip_norm'"),
        (config(clip_norm="1"), r"config\.optim\.clip_norm = '1' is a str.*must be a float"),
        (with_group("text", warmup=3), r"groups\.text\.warmup is not.*'warmup_steps'"),
        (with_group("text", schedule="cosin"), r"groups\.text\.schedule = 'cosin'.*'cosine'"),
        (with_group("text", warmup_steps=101), r"groups\.text\.warmup_steps = 101.*100 steps"),
        (config(muon_coefficients="quintik"), r"muon_coefficients = 'quintik'.*'quintic'"),
        (config(algorithm_rules=((".*", "adam"),)), r"algorithm_rules = 'adam'.*'adamw'"),
        (config(algorithm_rules=((".*", "muon"),)), r"algorithm_rules sends bias .*no matrix"),
        (config(algorithm_rules=(("kernel$", "muon"),)), r"algorithm_rules has no rule.*'bias'"),
        (config(algorithm_rules=(("kernl", "muon"), ADAMW)), "algorithm_rules: 'kernl' matches no"),
        (config(algorithm_rules=(("(", "muon"), ADAMW)), r"'\(' is no regular expression"),
        (config(group_rules=((".*", "visoin"),)), r"group_rules = 'visoin'.*'vision'"),
        (config(group_rules=(("^vision/", "vision"),)), r"group_rules has no rule.*'bias'"),
        (config(decay_rules=(("kernel$", 1.0),)), r"decay_rules has no rule.*'bias'"),
        (config(decay_rules=(("gain", 1.0), (".*", 0.0))), "decay_rules: 'gain' matches no"),
    ],
)
def test_mistakes_are_named(params, options, message):
    with pytest.raises(ConfigError, match=message):
        optimizer = optim.build(options, params, 100)
        jax.eval_shape(optimizer.transform.update, params, optimizer.transform.init(params), params)


def test_a_mistake_in_required_fields_is_named(params):
    options = config()
    del options["groups"]["text"]["lr"]
    with pytest.raises(ConfigError, match=r"config\.optim\.groups\.text lacks lr"):
        optim.build(options, params, 100)
    assert jnp.isscalar(options["clip_norm"])
