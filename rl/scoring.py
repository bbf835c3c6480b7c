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
from mmtp.losses.likelihood import Likeliest
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

    def one(params: Any, part: dict[str, Any]) -> jax.Array:
        passed = policies.forward(policy, params, part)
        return policies.said(policy, params, passed).logprobs[..., 0]

    return _in_microbatches(one, num_microbatches, mesh)


def make_score_best(
    policy: Policy, num_microbatches: Callable[[dict[str, Any]], int], mesh: Mesh, k: int
) -> Callable[[Any, dict[str, Any]], tuple[jax.Array, Likeliest]]:
    """The same, and the k likeliest tokens of every place, `[groups, rows, tokens, k]`."""

    def one(params: Any, part: dict[str, Any]) -> tuple[jax.Array, Likeliest]:
        passed = policies.forward(policy, params, part)
        logprobs = policies.said(policy, params, passed).logprobs[..., 0]
        return logprobs, policies.best(policy, params, passed, k)

    return _in_microbatches(one, num_microbatches, mesh)


def _in_microbatches(
    one: Callable[[Any, dict[str, Any]], Any],
    num_microbatches: Callable[[dict[str, Any]], int],
    mesh: Mesh,
) -> Callable[[Any, dict[str, Any]], Any]:
    """(parameters, batch) -> what `one` gives for rows, `[groups, rows, …]`; jitted."""

    def score(params: Any, batch: dict[str, Any]) -> Any:
        batch = {name: value for name, value in batch.items() if name in NAMES}
        groups, rows = batch["tokens"].shape[:2]
        parts = num_microbatches(batch)

        def grouped(part: dict[str, Any]) -> Any:
            found = one(params, part)
            return jax.tree.map(lambda x: x.reshape(groups // parts, rows, *x.shape[1:]), found)

        def joined(x: jax.Array) -> jax.Array:
            return x.swapaxes(0, 1).reshape(groups, *x.shape[2:])  # undoes the split

        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            if parts == 1:
                return grouped(batch)
            found = jax.lax.map(grouped, sharding.split_microbatches(batch, parts))
        return jax.tree.map(joined, found)

    return jax.jit(score)
