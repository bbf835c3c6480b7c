"""Multi-token prediction: every convention and arm against NumPy, packed, detached and cached."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.settings import ConfigError
from mmtp.losses.cross_entropy import head_losses
from mmtp.losses.mtp import total_loss
from mmtp.models import decoder, mtp, mtp_settings
from mmtp.models.mtp import MTPSettings
from tests.mmtp.models import mtp_oracle
from tests.mmtp.models.mtp_cases import (
    CONFIG,
    IMAGE,
    documents,
    inputs_of,
    make_batch,
    random_params,
    states,
)

DEPTH = 3
# What tells the arms apart.
slow = partial(pytest.param, marks=pytest.mark.slow)
ARMS = {
    "visual": {"visual_input": "visual"},
    "zeros": {"visual_input": "masked", "masked": "zeros"},
    "keys": {"visual_input": "masked", "masked": "keys"},
    "image_token": {"visual_input": "image_token"},
    "image_token_frozen": {"visual_input": "image_token_frozen"},
}
FAST_COMPILE = {"compiler_options": {"xla_backend_optimization_level": 0}}
FLIPPED = {"concat": "hidden_first", "hidden": "pre", "chain": "post", "zero_first": True}


def make_params(settings):
    init = jax.eval_shape(lambda: mtp.init(jax.random.key(0), settings, CONFIG))
    return random_params(init), decoder_params()


def decoder_params():
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), CONFIG))
    return random_params(shapes, seed=1)


def run(settings, params, decoder_params, batch, hidden, x):
    with jax.default_matmul_precision("highest"):
        return jax.jit(
            lambda params, decoder_params, hidden, x: mtp.run(
                params, decoder_params, settings, CONFIG, hidden, x, batch, inputs_of(batch), IMAGE
            ),
            **FAST_COMPILE,
        )(params, decoder_params, hidden, x)


def oracle(settings, arm, params, decoder_params, batch, hidden, x):
    """(row, start, list of [n - k, d] by depth) of each document."""
    params, decoder_params, batch = jax.tree.map(
        lambda a: np.asarray(a, np.float64 if a.dtype == np.float32 else None),
        (params, decoder_params, batch),
    )
    chosen = dataclasses.asdict(mtp_settings.conventions(settings)) | {
        "arm": arm,
        "table": decoder_params["embedding"]["table"],
        "image": params.get("image"),
    }
    layers = [
        jax.tree.map(lambda leaf, n=n: leaf[n], params["blocks"])
        for n in range(settings.num_layers)
    ]
    arrays = batch | {"hidden": np.asarray(hidden, np.float64), "x": np.asarray(x, np.float64)}
    names = ("tokens", "visual", "positions", "hidden", "x")
    for row, start, stop in documents(batch):
        document = {name: arrays[name][row, start:stop] for name in names}
        found = mtp_oracle.run(
            document, layers, decoder_params["norm"], CONFIG, settings.depth, chosen
        )
        yield row, start, found


CASES = [
    *((arm, {"conventions": "glm", "shared": True}) for arm in ARMS),
    *(("image_token", {"conventions": name}) for name in mtp_settings.PRESETS if name != "glm"),
    ("image_token", {"image_embed": "own", "conventions": "hf", "shared": True}),
    ("visual", FLIPPED),
    ("keys", {"conventions": "hf"}),
]


@pytest.mark.parametrize(
    ("arm", "fields"), CASES, ids=[f"{arm}-{i}" for i, (arm, _) in enumerate(CASES)]
)
def test_packed_rows_equal_documents_alone_in_float64(arm, fields):
    settings = MTPSettings(depth=DEPTH, **({"shared": False} | ARMS[arm] | fields))
    params, trunk = make_params(settings)
    batch = make_batch(DEPTH)
    hidden, x = states(batch)
    found = run(settings, params, trunk, batch, hidden, x)
    num_compared = 0
    for row, start, wanted in oracle(settings, arm, params, trunk, batch, hidden, x):
        for k, want in enumerate(wanted, start=1):
            got = found[k - 1][row, start : start + len(want)]
            np.testing.assert_allclose(got, want, atol=5e-5, rtol=1e-5)
            num_compared += len(want)
    assert num_compared == int(batch["mtp_valid"].sum())  # and all that is valid was compared


@pytest.mark.parametrize(
    "fields", [{}, pytest.param({"conventions": "maxtext"}, marks=pytest.mark.slow)]
)
def test_loss_at_every_depth_is_that_of_documents_alone(fields):
    """No document gives another an input or a target, at any depth; no place is a target that is
    visual; what is written into labels where there are none plays no part.
    """
    settings = MTPSettings(depth=DEPTH, shared=False, **fields)
    params, trunk = make_params(settings)
    batch = make_batch(DEPTH)
    hidden, x = states(batch)
    matrix = np.asarray(trunk["head"]["kernel"], np.float64)
    sums = np.zeros(DEPTH)
    tokens, visual = np.asarray(batch["tokens"]), np.asarray(batch["visual"])
    for row, start, wanted in oracle(settings, "image_token", params, trunk, batch, hidden, x):
        for k, normed in enumerate(wanted, start=1):
            for i in range(len(normed) - 1):  # the last has no token i + k + 1
                target = start + i + k + 1
                if not visual[row, target]:
                    logits = normed[i] @ matrix
                    sums[k - 1] += np.log(np.exp(logits).sum()) - logits[tokens[row, target]]

    def per_head(labels):
        found = run(settings, params, trunk, batch, hidden, x)
        with jax.default_matmul_precision("highest"):
            losses = head_losses(
                jnp.stack(found, axis=1), trunk["head"]["kernel"], labels[:, 1:], block=16
            )
        return jnp.sum(batch["weights"][:, 1:] * losses.nll, axis=(0, 2))

    np.testing.assert_allclose(per_head(batch["labels"]), sums, rtol=1e-5)
    for fill in (-100, 3, 10**6):
        filled = jnp.where(batch["weights"] > 0, batch["labels"], fill)
        np.testing.assert_allclose(per_head(filled), sums, rtol=1e-5)


def objective(settings, batch):
    """(mtp parameters, decoder's, x) -> the depths' loss; hidden states depend on x and layers."""

    def total(params, trunk, x):
        hidden = x * jnp.mean(trunk["blocks"]["norm1"]["scale"])  # stands for the decoder
        main = decoder.final_norm(trunk, CONFIG, hidden)
        ahead = mtp.run(params, trunk, settings, CONFIG, hidden, x, batch, inputs_of(batch), IMAGE)
        found = head_losses(
            jnp.stack([main, *ahead], axis=1),
            decoder.output_matrix(trunk, CONFIG),
            batch["labels"],
            block=16,
            num_training=mtp.num_training_heads(settings),
        )
        weights = batch["weights"].at[:, 0].set(0)  # the depths' losses only
        return total_loss(found, weights, 0.3)[0]

    return total


def gradients(settings):
    batch = make_batch(settings.depth)
    params, trunk = make_params(settings)
    _, x = states(batch)
    grad_fn = jax.grad(objective(settings, batch), argnums=(0, 1, 2))
    return batch, jax.jit(grad_fn, **FAST_COMPILE)(params, trunk, x)


@pytest.mark.parametrize(
    ("arm", "image_embed"),
    [
        *((arm, "table") if arm == "image_token" else slow(arm, "table") for arm in ARMS),
        slow("image_token", "own"),
        ("image_token_frozen", "own"),
    ],
)
def test_only_the_trained_arm_trains_the_image_embedding(arm, image_embed):
    settings = MTPSettings(depth=1, image_embed=image_embed, **ARMS[arm])
    _, (own, trunk, _) = gradients(settings)
    row = np.asarray(trunk["embedding"]["table"][IMAGE])
    vector = np.asarray(own["image"]) if image_embed == "own" else np.zeros(1)
    chosen, other = (vector, row) if image_embed == "own" else (row, vector)
    assert np.any(chosen != 0) == (arm == "image_token")
    assert not np.any(other)
    table = np.delete(np.asarray(trunk["embedding"]["table"]), IMAGE, axis=0)
    assert np.any(table)  # text is fed in all arms


def nonzero(tree):
    return {
        "/".join(key.key for key in path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if np.any(np.asarray(leaf))
    }


@pytest.mark.parametrize("detach", ["none", "trunk", "heads"])
@pytest.mark.parametrize("own_norm", [pytest.param(True, marks=pytest.mark.slow), False])
def test_detach_stops_gradients_where_it_says(detach, own_norm):
    settings = MTPSettings(
        depth=2, shared=False, detach=detach, visual_input="visual", own_norm=own_norm
    )
    batch, (own, trunk, x) = gradients(settings)
    norm = {"norm/scale"} if detach == "none" or (detach == "trunk" and not own_norm) else set()
    expected = {
        "none": {"embedding/table", "head/kernel"},
        "trunk": {"embedding/table", "head/kernel"},
        "heads": set(),
    }[detach] | norm
    trained = nonzero(trunk)
    assert {name for name in trained if not name.startswith("blocks/")} == expected
    assert any(name.startswith("blocks/") for name in trained) == (detach == "none")
    visual = np.asarray(batch["visual"]) > 0
    assert np.any(np.asarray(x)[visual]) == (detach != "heads")
    assert np.any(np.asarray(x)[~visual]) == (detach == "none")  # by way of hidden states only
    for name, leaf in jax.tree_util.tree_leaves_with_path(own):
        assert all(np.any(leaf[n]) for n in range(2)), name  # both depths


def test_later_depths_train_earlier_ones():
    """Only the last depth has a loss, and its gradient reaches the first depth's layer."""
    settings = MTPSettings(depth=2, shared=False, detach="heads")
    batch = make_batch(2)
    params, trunk = make_params(settings)
    batch["weights"] = batch["weights"].at[:, 1].set(0)
    _, x = states(batch)
    grads = jax.jit(jax.grad(objective(settings, batch)), **FAST_COMPILE)(params, trunk, x)
    assert np.any(grads["blocks"]["proj"]["kernel"][0])


@pytest.mark.parametrize("image_embed", ["table", pytest.param("own", marks=pytest.mark.slow)])
def test_arms_have_equal_parameters_and_products(image_embed):
    batch = make_batch(2)
    _, x = states(batch)
    trees, products = set(), set()
    for fields in ARMS.values():
        settings = MTPSettings(depth=2, image_embed=image_embed, **fields)
        params, trunk = make_params(settings)
        shapes = jax.tree.map(jnp.shape, params)
        trees.add(str(jax.tree_util.tree_leaves_with_path(shapes)))
        jaxpr = jax.make_jaxpr(jax.grad(objective(settings, batch)))(params, trunk, x)
        products.add(tuple(sorted(dots(jaxpr.jaxpr))))
    assert len(trees) == 1
    assert len(products) == 1


def dots(jaxpr):
    """Shapes of every matrix product, in inner functions too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            shapes = [v.aval.shape for v in equation.invars]
            yield str((shapes, equation.params["dimension_numbers"]))
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            if hasattr(inner, "eqns"):
                yield from dots(inner)
            elif hasattr(inner, "jaxpr"):
                yield from dots(inner.jaxpr)


@pytest.mark.parametrize(("arm", "steps"), [("keys", (5, 1, 1, 1)), ("visual", (3, 4, 1))])
def test_cached_layer_equals_whole_rows(arm, steps):
    """Documents alone in rows: prefill and steps of any size give what a whole row does."""
    settings = MTPSettings(depth=2, shared=False, conventions="vllm", **ARMS[arm])
    params, trunk = make_params(settings)
    rng = np.random.default_rng(3)
    b, t = 2, sum(steps)
    tokens = jnp.asarray(rng.integers(8, 40, (b, t)), jnp.int32).at[0, 2:4].set(IMAGE)
    positions = jnp.asarray(rng.integers(0, 9, (b, t, 3)), jnp.int32)
    h, seen = (
        jnp.asarray(rng.standard_normal((b, t, CONFIG.width)), jnp.float32) for _ in range(2)
    )
    order = jnp.broadcast_to(jnp.arange(t, dtype=jnp.int32), (b, t))
    known = params, trunk, settings, CONFIG

    arrays = tokens, positions, h, seen, order

    @partial(jax.jit, **FAST_COMPILE)
    def call(arrays, cache):
        tokens, positions, h, seen, order = arrays
        e, usable = mtp.input_embeddings(*known, tokens, tokens == IMAGE, seen, order == 0)
        segments = jnp.ones_like(tokens)
        inputs = decoder.make_inputs(CONFIG, positions, segments, order, usable)
        out, cache = mtp.layer(params, settings, CONFIG, 2, h, e, inputs, cache)
        return mtp.norm(*known, 2, out), cache

    with jax.default_matmul_precision("highest"):
        whole, _ = call(arrays, None)
        cache, stops = mtp.init_cache(CONFIG, b, t + 3), itertools.accumulate(steps)
        parts = []
        for size, stop in zip(steps, stops, strict=True):
            found, cache = call([x[:, stop - size : stop] for x in arrays], cache)
            parts.append(found)
    for want, got in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_allclose(jnp.concatenate(got, axis=1), want, atol=5e-5, rtol=1e-5)


def test_position_of_the_next_token_matters_after_pictures_only():
    batch = make_batch(1)
    batch["visual"] = jnp.zeros_like(batch["visual"])
    hidden, x = states(batch)
    both = [MTPSettings(conventions="glm", position=name) for name in ("hidden", "next")]
    params, trunk = make_params(both[0])
    at = (np.asarray(batch["weights"][:, 1]) > 0).nonzero()

    def difference(batch):
        a, b = (run(s, params, trunk, batch, hidden, x)[0] for s in both)
        return np.abs(np.asarray(a - b)[at]).max()

    assert difference(batch) > 0.01  # positions that are not one apart
    place = np.asarray(batch["positions"][..., :1])
    plain = jnp.broadcast_to(jnp.asarray(place), batch["positions"].shape)
    text = batch | {"positions": plain, "mtp_positions": plain[:, None] + 1}
    assert difference(text) < 5e-5  # rotary position is relative


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"conventions": "glmm"}, "config.mmtp.conventions = 'glmm'.*'glm'"),
        ({"chain": "later"}, "config.mmtp.chain = 'later'.*post, pre"),
        ({"visual_input": "image"}, "config.mmtp.visual_input = 'image'.*image_token"),
        ({"detach": "all"}, "config.mmtp.detach = 'all'"),
        ({"depth": -1}, "config.mmtp.depth = -1"),
    ],
)
def test_wrong_settings_are_named(fields, text):
    with pytest.raises(ConfigError, match=text):
        mtp.init(jax.random.key(0), MTPSettings(**fields), CONFIG)
