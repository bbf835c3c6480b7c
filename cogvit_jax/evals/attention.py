"""The largest attention logit of each tower: what QK-Norm bounds (arXiv:2010.04245)."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cogvit_jax import sharding, tree


def max_logits(
    diagnose: Callable[..., Any], sample: Callable[[], tuple[Any, ...]], params: Any
) -> dict[str, float]:
    """`<tower>/max_logit` over a sample, all layers and heads.

    Args:
        diagnose: (params, *sample) -> the model's "diagnostics" collection, by tower.
        sample: () -> the model's inputs.
        params: of the model.
    """
    found = diagnose(params, *sample())
    worst: dict[str, float] = {}
    for name, value in tree.named_leaves(found):
        if "max_logit" in name:
            key = f"{name.split('/')[0]}/max_logit"
            worst[key] = max(worst.get(key, -np.inf), float(np.max(sharding.to_host(value))))
    return worst


def make_diagnose(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Jitted `diagnose` for a model's `apply`."""

    def diagnose(params: Any, *inputs: Any) -> Any:
        _, found = apply({"params": params}, *inputs, mutable=["diagnostics"])
        return found["diagnostics"]

    return jax.jit(diagnose)
