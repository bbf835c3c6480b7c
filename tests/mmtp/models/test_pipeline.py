"""A pipeline, with rows and tokens split too, gives one device's sums and gradients."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cogvit_jax.settings import ConfigError
from cogvit_jax.sharding import BATCH_AXES
from mmtp import ledger
from mmtp.losses.cross_entropy import token_losses
from mmtp.models import attend, context, decoder, mtp, pipeline
from mmtp.models.mtp import MTPSettings
from mmtp.models.pipeline import Stages
from mmtp.models.pipeline_schedule import PipelineSettings, resolve

ROWS, TOKENS, WIDTH, VOCAB, IMAGE, FEATURES = 8, 16, 16, 40, 39, 6
CONFIG = dataclasses.replace(
    decoder.resolve(decoder.DecoderSettings(size="tiny")),
    **{"width": WIDTH, "depth": 4, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8},
    **{"mlp_dim": 24, "vocab_size": VOCAB, "rotary_dim": 8, "mrope_sections": (2, 1, 1)},
)
MTP = MTPSettings(depth=1, shared=True)


def make_params():
    keys = jax.random.split(jax.random.key(0), 3)
    return {
        "decoder": decoder.init(keys[0], CONFIG),
        "mtp": mtp.init(keys[1], MTP, CONFIG),
        "projector": jax.random.normal(keys[2], (FEATURES, WIDTH)),
    }


def make_batch(depth=1, context_size=1):
    """Two documents and padding per row, pictures in the first; zig-zag over the devices."""
    rng = np.random.default_rng(0)
    order = np.tile(np.arange(TOKENS), (ROWS, 1))
    segments = np.where(order < 7, 1, np.where(order < 14, 2, 0))
    visual = (order >= 2) & (order < 5)
    tokens = np.where(visual, IMAGE, rng.integers(0, IMAGE, order.shape))
    batch = {"tokens": tokens, "visual": visual, "segments": segments, "order": order}
    batch["features"] = rng.normal(size=(ROWS, TOKENS, FEATURES)).astype(np.float32)
    batch["positions"] = np.repeat(order[..., None], 3, -1)
    chunks = order[0].reshape(2 * context_size, -1)
    index = chunks[np.array([(i, -1 - i) for i in range(context_size)]).reshape(-1)].reshape(-1)
    places = np.argsort(index)

    def shifted(x, k):
        return np.roll(x, -k, axis=1)

    def same(k):
        inside = (order + k < TOKENS) & (segments > 0)
        return inside & (shifted(segments, k) == segments)

    depths, heads = range(1, depth + 1), range(depth + 1)
    batch |= {
        "labels": np.stack([shifted(tokens, k + 1) for k in heads], -1),
        "weights": np.stack([same(k + 1) & ~shifted(visual, k + 1) for k in heads], -1),
        "mtp_tokens": np.stack([shifted(tokens, k) for k in depths], -1),
        "mtp_valid": np.stack([same(k) for k in depths], -1),
        "mtp_sources": np.stack(
            [np.where(same(k), places[shifted(order, k)], 0) for k in depths], -1
        ),
        "mtp_positions": np.stack([shifted(batch["positions"], k) for k in depths], -1),
    }
    return {name: jnp.asarray(x[:, index]) for name, x in batch.items()}


def rows_first(batch):
    """Depths and heads on dim 1, as the batches of training have them."""
    return {
        name: jnp.moveaxis(x, -1, 1) if name[:3] in ("mtp", "lab", "wei") else x
        for name, x in batch.items()
    }


def make_stages(settings, in_blocks, at_the_ends, whole_rows=lambda x: x):
    def inputs(batch):
        return decoder.make_inputs(CONFIG, batch["positions"], batch["segments"], batch["order"])

    def first(params, batch):
        x = decoder.embed(params["decoder"], CONFIG, batch["tokens"])
        x = jnp.where(batch["visual"][..., None], batch["features"] @ params["projector"], x)
        return {"hidden": x} | ({"x": x} if settings.visual_input == "visual" else {})

    def block(layer, state, batch):
        variables = {"params": layer}
        run = decoder.Block(CONFIG, in_blocks).apply
        return state | {"hidden": run(variables, state["hidden"], inputs(batch))[0]}

    def last(params, state, batch):
        hidden, batch = state["hidden"], rows_first(batch)
        x = whole_rows(state["x"]) if settings.visual_input == "visual" else hidden
        heads = [decoder.final_norm(params["decoder"], CONFIG, hidden)]
        heads += mtp.run(
            *(params["mtp"], params["decoder"], settings, CONFIG, hidden, x, batch),
            *(inputs(batch), IMAGE, at_the_ends),
        )
        found = token_losses(
            jnp.stack(heads, 1).reshape(-1, WIDTH),
            decoder.output_matrix(params["decoder"], CONFIG),
            batch["labels"].reshape(-1),
            block=16,
        )
        nll = found.nll.reshape(batch["weights"].shape) * batch["weights"]
        return {"per_head": nll.sum((0, 2)), "weight": batch["weights"].sum().astype(jnp.float32)}

    return Stages(first, block, last)


def straight(settings, params, batch):
    """Without a pipeline: one device, the whole batch."""
    stages = make_stages(settings, attend.xla, attend.xla)
    state = stages.first(params, batch)
    for i in range(CONFIG.depth):
        layer = jax.tree.map(lambda x, i=i: x[i], params["decoder"]["blocks"])
        state = stages.block(layer, state, batch)
    return objective(stages.last(params, state, batch))


def objective(sums):
    return sums["per_head"].sum() / sums["weight"]


def piped(settings, schedule, mesh, params, batch, *, ends="branch", in_blocks=context.gathered):
    stages = make_stages(settings, in_blocks, context.gathered, context.whole_rows)
    text = {name: x for name, x in params["decoder"].items() if name != "blocks"}
    rest = params | {"decoder": text}
    blocks = params["decoder"]["blocks"]
    spec = PartitionSpec(BATCH_AXES, "context")
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # as train_step does
        return objective(pipeline.run(stages, schedule, blocks, rest, batch, spec, ends=ends))


def place(mesh, schedule, params, batch):
    """Parameters on all devices; microbatches split by rows and tokens."""
    batch = jax.tree.map(lambda x: x.reshape(schedule.microbatches, -1, *x.shape[1:]), batch)
    spec = PartitionSpec(None, BATCH_AXES, "context")
    return jax.device_put(
        (params, batch), (NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, spec))
    )


def check(mesh, arm, repeats, microbatches, *, depth=1, in_blocks=context.gathered, **options):
    """Equal to one device; an iteration sends what the arm needs on, and back its gradient."""
    settings = dataclasses.replace(MTP, depth=depth, visual_input=arm)
    stages, ranks = mesh.shape["stage"], mesh.shape["context"]
    schedule = resolve(PipelineSettings(microbatches, repeats), stages, CONFIG.depth)
    params = make_params()
    step = partial(piped, settings, schedule, mesh, in_blocks=in_blocks, **options)
    with jax.default_matmul_precision("highest"):
        batch = make_batch(depth)
        expected = jax.jit(jax.value_and_grad(partial(straight, settings)))(params, batch)
        arguments = place(mesh, schedule, params, make_batch(depth, ranks))
        compiled = jax.jit(jax.value_and_grad(step)).lower(*arguments).compile()
    for x, y in zip(jax.tree.leaves(compiled(*arguments)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=5e-5)
    rows = ROWS // microbatches // mesh.shape["data"]
    size = 4 * rows * (TOKENS // ranks) * WIDTH  # f32
    travelling = 2 if arm == "visual" else 1
    hops = ledger.hops(ledger.count(compiled.as_text(), mesh), "stage")
    assert hops["sent"] == 2 * schedule.iterations * travelling * size


@pytest.mark.slow  # `test_vlm_pipeline` has the whole model in the default suite
@pytest.mark.parametrize(
    ("stages", "repeats", "microbatches", "arm", "options"),
    [
        (2, 2, 4, "image_token", {}),
        (2, 2, 4, "visual", {"depth": 2, "in_blocks": context.ring}),
        (2, 2, 2, "masked", {"ends": "select"}),
        (4, 1, 8, "visual", {}),
        (4, 1, 2, "image_token_frozen", {"depth": 2, "in_blocks": context.ring}),
    ],
)
def test_pipeline_equals_one_device(make_mesh, stages, repeats, microbatches, arm, options):
    mesh = make_mesh(8, stage=stages, context=2, data=4 // stages)
    check(mesh, arm, repeats, microbatches, **options)


@pytest.mark.parametrize(
    ("axes", "microbatches", "message"),
    [
        ({"stage": 4, "data": 2}, 4, "the schedule has 2 stages"),
        ({"stage": 2, "tensor": 2, "data": 2}, 4, "config.mesh.tensor = 2"),
        ({"stage": 2, "data": 4}, 2, "the batch holds 4 microbatches, the schedule 2"),
    ],
)
def test_what_does_not_fit(make_mesh, axes, microbatches, message):
    mesh, schedule = make_mesh(8, **axes), resolve(PipelineSettings(microbatches), 2, 4)
    batch = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), make_batch())
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(partial(piped, MTP, schedule, mesh), jax.eval_shape(make_params), batch)
