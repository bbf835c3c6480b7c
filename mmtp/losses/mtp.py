"""The loss of a model with multi-token prediction: from losses per token to sums and metrics.

Head 0 is the main one, head k = 1 … D predicts k tokens further. With weights w_ki that are 1 where
the token that head k predicts at place i is supervised and of the same document,

    total  = sum_i w_0i nll_0i  +  lambda / D  sum_k sum_i w_ki nll_ki        weight = sum_i w_0i

so the loss is `total / weight`: DeepSeek-V3's (arXiv:2412.19437, eq. 24 and 25), but with every
depth divided by the number of the main head's tokens. The last k tokens of a document have no label
at depth k, so sum_i w_ki is at most `weight`, and the difference is k tokens per document.
Implementations differ here: Megatron-LM divides each depth by its own number of tokens, MaxText all
depths together by the sum of theirs, NeMo AutoModel by the main head's, as here. Only a common
weight makes microbatches, devices and ragged documents add up exactly without a second pass over
the batch, and no document's short tail is weighted up because others are short.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from mmtp.losses.cross_entropy import TokenLosses

Metrics = dict[str, tuple[Array, Array]]


def scheduled_weight(
    step: Int[Array, ""] | int, start: float, end: float, num_steps: int
) -> Float32[Array, ""]:
    """lambda: `start` in the first `num_steps` steps, then `end`.

    DeepSeek-V3 trains with 0.3 for 10T of its 14.8T tokens and then with 0.1 (section 4.2).
    """
    return jnp.where(jnp.asarray(step) < num_steps, jnp.float32(start), jnp.float32(end))


def total_loss(
    found: TokenLosses,
    weights: Float[Array, "b h t"],
    mtp_weight: Float[Array, ""] | float,
) -> tuple[Float32[Array, ""], Float32[Array, ""]]:
    """(total, weight) of the formula above, with the penalty of z_loss beside each nll.

    Args:
        found: losses of all 1 + D heads, `[b, 1 + D, t]`.
        weights: w, 0 or 1.
        mtp_weight: lambda; 0 trains the main head only.
    """
    per_head = jnp.sum(weights * (found.nll + found.penalty), axis=(0, 2))
    num_depths = weights.shape[1] - 1
    total = per_head[0]
    if num_depths:
        total = total + mtp_weight / num_depths * jnp.sum(per_head[1:])
    return total, jnp.sum(weights[:, 0])


def mask_paths(weights: Float[Array, "b h t"], path: Bool[Array, "b d t"]) -> Float[Array, "b h t"]:
    """Weights without the pairs whose tokens i+1 … i+k are not all text.

    Depth k is fed those tokens: without visual embeddings a placeholder among them tells it less
    than the main model knew. Depth 0 is fed none.
    """
    return jnp.concatenate([weights[:, :1], weights[:, 1:] * path], axis=1)


def metrics(
    found: TokenLosses,
    weights: Float[Array, "b h t"],
    *,
    categories: Int32[Array, "b t"],
    names: Sequence[str],
    sources: Int32[Array, "b d t"],
    path: Bool[Array, "b d t"],
    gather_rows: Callable[[Array], Array] = lambda x: x,
) -> Metrics:
    """name -> (sum, count), which add up over microbatches; none has a gradient.

    `loss/main`, `accuracy/main`, and for each depth k from 1

        loss/mtp_k, accuracy/mtp_k     against the labels
        acceptance/mtp_k               its token is the main head's at the place i + k, which would
                                       verify it (teacher-forced: the tokens before are the data's)
        acceptance/prefix_k            that and all depths before, where all have a label
        path/mtp_k, loss/mtp_k/path    share of pairs whose tokens i+1 … i+k are all text, and
                                       their loss
        loss/<category>, loss/<category>/mtp_k

    and `acceptance/length` = 1 + mean number of drafted tokens accepted in a row, where all depths
    have a label: the teacher-forced proxy of vLLM's mean acceptance length.

    Args:
        found, weights: as in `total_loss`.
        categories: index into `names` of each token's document.
        names: of the categories.
        sources: place in the row of token i + k, as the planner says.
        path: tokens i+1 … i+k are all text.
        gather_rows: whole rows `[b, s]` of arrays `[b, t]`, where devices share rows.
    """
    found = jax.tree.map(jax.lax.stop_gradient, found)
    heads = ["main", *(f"mtp_{k}" for k in range(1, weights.shape[1]))]
    result: Metrics = {}
    for k, head in enumerate(heads):
        weight = weights[:, k]
        result[f"loss/{head}"] = _weighted(found.nll[:, k], weight)
        result[f"accuracy/{head}"] = _weighted(found.correct[:, k], weight)
        if k:
            result[f"path/{head}"] = _weighted(path[:, k - 1], weight)
            result[f"loss/{head}/path"] = _weighted(found.nll[:, k], weight * path[:, k - 1])
    result |= _per_category(found.nll, weights, categories, names, heads)
    return result | _acceptance(found.predicted, weights, sources, gather_rows)


def _weighted(values: Array, weights: Array) -> tuple[Array, Array]:
    return jnp.sum(weights * values), jnp.sum(weights)


def _per_category(nll, weights, categories, names: Sequence[str], heads: list[str]) -> Metrics:
    is_in = jax.nn.one_hot(categories, len(names), dtype=jnp.float32)
    sums = jnp.einsum("bht,btc->ch", weights * nll, is_in, precision="highest")
    counts = jnp.einsum("bht,btc->ch", weights, is_in, precision="highest")
    return {
        f"loss/{name}" + (f"/{head}" if k else ""): (sums[c, k], counts[c, k])
        for c, name in enumerate(names)
        for k, head in enumerate(heads)
    }


def _acceptance(predicted, weights, sources, gather_rows) -> Metrics:
    result: Metrics = {}
    main = gather_rows(predicted[:, 0])
    both = weights[:, 0]
    accepted = length = jnp.ones_like(both)
    for k in range(1, weights.shape[1]):
        verified = jnp.take_along_axis(main, sources[:, k - 1], axis=1)
        same = (predicted[:, k] == verified).astype(jnp.float32)
        both, accepted = both * weights[:, k], accepted * same
        length = length + accepted
        result[f"acceptance/mtp_{k}"] = _weighted(same, weights[:, k])
        result[f"acceptance/prefix_{k}"] = _weighted(accepted, both)
    return result | {"acceptance/length": _weighted(length, both)} if result else result
