"""Do multi-token prediction and the main head pull the model the same way?"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cogvit_jax import tree

TRUNK = ("vision", "projector", "decoder")  # what both losses train


def make_interference(
    main_loss: Callable[..., Any], both_losses: Callable[..., Any], batch: Any
) -> Callable[[Any], dict[str, float]]:
    """An evaluator: parameters -> cosines of the two gradients on each part of the trunk.

    Args:
        main_loss: the program's loss with lambda = 0.
        both_losses: with lambda = 1; the gradient of multi-token prediction is the difference.
        batch: on the devices.

    The evaluator returns `cosine/<part>` and `norm_ratio/<part>`, the norm of multi-token
    prediction's gradient at lambda = 1 over that of the main head's.
    """

    @jax.jit
    def gradients(params: Any, batch: Any) -> tuple[Any, Any]:
        statistics = params.get("statistics", {"step": jnp.zeros((), jnp.int32)})
        weights = {k: v for k, v in params.items() if k != "statistics"}

        def total(loss: Callable[..., Any]) -> Callable[[Any], jax.Array]:
            def of(params: Any) -> jax.Array:
                found = loss(params, None, {**batch, "statistics": statistics}, jax.random.key(0))
                return found.total / jnp.maximum(found.weight, 1)

            return of

        main = jax.grad(total(main_loss))(weights)
        both = jax.grad(total(both_losses))(weights)
        return main, jax.tree.map(jnp.subtract, both, main)

    def evaluate(params: Any) -> dict[str, float]:
        main, drafts = gradients(params, batch)
        return {
            f"{measure}/{part}": float(value)
            for part in TRUNK
            for measure, value in compare(main[part], drafts[part]).items()
        }

    return evaluate


def compare(main: Any, other: Any) -> dict[str, jax.Array]:
    """`cosine` of two trees of gradients, and `norm_ratio`, other over main; 0 if either is 0."""
    pairs = list(zip(tree.named_leaves(main), tree.named_leaves(other), strict=True))
    dot = sum(jnp.vdot(a, b) for (_, a), (_, b) in pairs)
    norms = [jnp.sqrt(sum(jnp.vdot(x, x) for x in jax.tree.leaves(t))) for t in (main, other)]
    safe = jnp.maximum(norms[0] * norms[1], 1e-30)
    return {"cosine": dot / safe, "norm_ratio": norms[1] / jnp.maximum(norms[0], 1e-30)}
