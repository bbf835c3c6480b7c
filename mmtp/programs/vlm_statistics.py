"""What follows the data in a vision-language model without a gradient: steps, and routers' biases.

The biases keep experts equally busy. They are parameters of the model, where a converted checkpoint
has them, and statistics while it is trained, which then stand for the parameters.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cogvit_jax import checkpoint, tree
from cogvit_jax.program import Statistics
from cogvit_jax.warm_start import source_name
from mmtp.models import moe
from mmtp.models.vlm import VLM

ROUTER_BIAS = "decoder/blocks/moe/router/bias"


def make_statistics(
    model: VLM, rate: float, init_from: str = "", rules: tree.Rules = ()
) -> Statistics:
    """The step's number, and the biases that keep experts equally busy.

    Args:
        model: of the program.
        rate: `config.loss.router_bias_rate`.
        init_from, rules: of `config.train`; a fresh run that takes another one's routers takes
            their biases too.
    """

    def init() -> dict[str, Any]:
        values: dict[str, Any] = {"step": jnp.zeros((), jnp.int32)}
        if model.decoder.moe:
            values["router_bias"] = jnp.zeros(_shape(model))
        return values

    def calibrate(_: Any) -> dict[str, Any]:
        values, source = init(), source_name(rules, ROUTER_BIAS)
        if model.decoder.moe and init_from and source:
            values["router_bias"] = saved_router_bias(model, init_from, source)
        return values

    def update(values: Any, sums: Any) -> tuple[Any, dict[str, jax.Array]]:
        new, metrics = {"step": values["step"] + 1}, {}
        if "router_bias" in values:
            loads = sums["loads"]
            new["router_bias"] = moe.update_bias(values["router_bias"], loads, rate)
            share = jnp.max(loads, axis=1) / jnp.maximum(jnp.mean(loads, axis=1), 1)
            metrics["experts/busiest"] = jnp.max(share)
        return new, metrics

    return Statistics(init=init, calibrate=calibrate, update=update)


def with_router_bias(params: Any, statistics: Any) -> Any:
    """Parameters with the routers' biases, which are statistics while a model is trained."""
    if not statistics or "router_bias" not in statistics:
        return params
    leaves = dict(tree.named_leaves(params))
    return tree.unflatten({**leaves, ROUTER_BIAS: statistics["router_bias"]})


def saved_router_bias(model: VLM, workdir: str, name: str = ROUTER_BIAS) -> np.ndarray:
    """`[l, e]` of a workdir's newest checkpoint: trained ones, or else the parameters'.

    Args:
        model: with as many layers and experts.
        workdir: of a run of `mmtp` or `rl`, or of `mmtp.convert`.
        name: of the parameter there.

    Raises:
        CheckpointError: it cannot be read, or has no such parameter.
    """
    like = {"step": np.zeros((), np.int32), "router_bias": np.zeros(_shape(model), np.float32)}
    statistics = checkpoint.read_statistics(workdir, like)
    if statistics is not None:
        return statistics["router_bias"]
    found = dict(tree.named_leaves(checkpoint.read_params(workdir)[0]))
    if name not in found:
        raise checkpoint.CheckpointError(f"{workdir!r} has no parameter {name!r}.")
    return found[name]


def _shape(model: VLM) -> tuple[int, int]:
    """Layers with experts, and experts."""
    assert model.decoder.moe is not None
    return model.decoder.depth - model.decoder.num_dense_layers, model.decoder.moe.num_experts
