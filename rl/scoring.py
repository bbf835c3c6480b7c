"""Log-probabilities of a whole batch under parameters that are not trained.

The reference, teachers and the policy before its first update all say how likely the batch's
tokens are; micro-batches go through one after the other, so that no more is in memory than in a
training step.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from cogvit_jax import sharding
from mmtp.data.layout import ARRAYS
from rl import policy as policies
from rl.policy import Policy

Score = Callable[[Any, dict[str, Any]], jax.Array]
NAMES = frozenset(ARRAYS) | {"image"}  # what a forward pass reads of a batch


def make_score(
    policy: Policy, num_microbatches: Callable[[dict[str, Any]], int], mesh: Mesh
) -> Score:
    """(parameters, batch) -> log-probabilities `[groups, rows, tokens]`, aligned as `labels` are.

    Args:
        policy: whose parameters they are, in shape.
        num_microbatches: of a batch.
        mesh: devices.
    """

    def score(params: Any, batch: dict[str, Any]) -> jax.Array:
        batch = {name: value for name, value in batch.items() if name in NAMES}
        shape = batch["tokens"].shape
        parts = num_microbatches(batch)

        def one(part: dict[str, Any]) -> jax.Array:
            found, _ = policies.logprobs(policy, params, part)
            return found.reshape(shape[0] // parts, *shape[1:])

        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            if parts == 1:
                return one(batch)
            found = jax.lax.map(one, sharding.split_microbatches(batch, parts))
        return found.swapaxes(0, 1).reshape(shape)  # undoes the split

    return jax.jit(score)
