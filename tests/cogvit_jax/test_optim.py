"""Where every parameter goes, decay, freezing, clipping, schedules, errors."""

import functools
import math

import jax
import numpy as np
import optax
import pytest

from cogvit_jax import optim
from cogvit_jax.settings import ConfigError
from tests.optim_cases import (
    LR,
    ROUTES,
    WEIGHT_DECAY,
    config,
    gradients,
    make_params,
    named,
    only,
    rate,
    run,
    with_group,
)


@pytest.fixture(scope="module")
def params():
    return make_params()


@pytest.fixture(scope="module")
def optimizer(params):
    return optim.build(config(), params, 100)


@pytest.fixture(scope="module")
def updates(params, optimizer):
    return run(optimizer.transform, params, gradients(params))


def test_every_parameter_is_routed_as_expected(params, optimizer):
    columns = {column.header: list(column.cells) for column in optimizer.table.columns}
    for i, name in enumerate(columns["parameter"]):
        group, algorithm, found, decay = ROUTES[name]
        assert named(optimizer.groups)[name] == columns["group"][i] == group
        assert columns["algorithm"][i] == algorithm
        assert columns["matrices"][i] == found.replace("-", "")
        assert columns["peak lr"][i] == f"{LR[group]:g}"
        assert columns["decay"][i] == f"{WEIGHT_DECAY[group] * decay:g}"
    assert columns["parameter"] == list(ROUTES) == list(named(params))


def test_decay_alone_shrinks_only_what_the_rules_name(params, optimizer):
    zero = [jax.tree.map(np.zeros_like, params)]
    update = named(run(optimizer.transform, params, zero)[0])
    for name, x in named(params).items():
        lr, decay = rate(name)
        np.testing.assert_allclose(update[name], -lr * decay * x, rtol=1e-5, atol=1e-12)


def test_a_frozen_group_stays_and_has_no_state(params, updates):
    transform = optim.build(only("text"), params, 100).transform
    found = run(transform, params, gradients(params))
    for update, reference in zip(found, updates, strict=True):
        update, reference = named(update), named(reference)
        for name in ROUTES:
            wanted = reference[name] if name.startswith("text/") else 0 * reference[name]
            np.testing.assert_allclose(update[name], wanted, rtol=1e-4, atol=1e-7)
    moments = {"muon": 1, "adamw": 2}
    wanted = sum(
        moments[ROUTES[name][1]] * x.size
        for name, x in named(params).items()
        if name.startswith("text/")
    )
    sizes = [x.size for x in jax.tree.leaves(transform.init(params))]
    assert wanted < sum(sizes) < wanted + 12  # step counters and Newton-Schulz coefficients


def test_clipping_bounds_the_norm_of_what_is_trained(params):
    grads = gradients(params, 2)
    grads[1] = jax.tree.map(lambda g: 0.01 * g, grads[1])  # below the bound
    norm = math.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(grads[0]["text"])))
    clipped = optim.build(only("text") | {"clip_norm": norm / 7}, params, 100).transform
    plain = optim.build(only("text"), params, 100).transform
    by_hand = [jax.tree.map(lambda g: g / 7, grads[0]), grads[1]]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-7)
    jax.tree.map(close, run(clipped, params, grads), run(plain, params, by_hand))


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
    options = only("text", warmup_steps=4, weight_decay=0.0)
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
        optim.build(options, params, 100)


def test_a_missing_field_is_named(params):
    options = config()
    del options["groups"]["text"]["lr"]
    with pytest.raises(ConfigError, match=r"config\.optim\.groups\.text lacks lr"):
        optim.build(options, params, 100)
