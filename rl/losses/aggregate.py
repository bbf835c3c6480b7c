"""From losses of tokens to the sum and weight of a batch, whatever row a sample is packed into.

Every aggregation gives tokens weights w, and the batch one number W:

    total = sum_t w_t loss_t        weight = W        loss of the batch = total / weight

    token_mean               w = 1        W = trained tokens      (DAPO, arXiv:2503.14476)
    seq_mean_token_mean      w = 1 / n    W = samples             (GRPO, arXiv:2402.03300)
    seq_mean_token_sum       w = 1        W = samples
    seq_mean_token_sum_norm  w = 1 / T    W = samples             (Dr. GRPO, arXiv:2503.20783)

n being the trained tokens of the token's sample and T a constant, the longest reply there may be:
the last one divides by B T. (Some implementations leave out its 1 / B.) Totals and weights add up
over microbatches and devices, since no sample is ever split.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Layout(NamedTuple):
    """Which tokens are trained, and whose they are.

    Attributes:
        mask: 1 where the token is trained, else 0.
        sample: 0 or the number of its sample, from 1 to `max_samples`; a sample may lie anywhere
            in the rows. A number beyond that makes what is summed by sample NaN.
        max_samples: static.
    """

    mask: Float[Array, "r t"]
    sample: Int[Array, "r t"]
    max_samples: int


def masked_sum(values: Float[Array, "r t"], layout: Layout) -> Float[Array, ""]:
    """Sum over the trained tokens; what others hold, even NaN, has no effect."""
    return jnp.sum(jnp.where(layout.mask > 0, values, 0))


def sample_sums(values: Float[Array, "r t"], layout: Layout) -> Float[Array, " s"]:
    """Sum over the trained tokens of each sample; entry 0 is of no sample's tokens."""
    chosen = jnp.where(layout.mask > 0, values, 0)
    return jax.ops.segment_sum(chosen.ravel(), layout.sample.ravel(), layout.max_samples + 1)


def spread(of_samples: Float[Array, " s"], layout: Layout) -> Float[Array, "r t"]:
    """What each token's sample has."""
    return of_samples.at[layout.sample].get(mode="fill", fill_value=jnp.nan)


def sample_means(values: Float[Array, "r t"], layout: Layout) -> Float[Array, "r t"]:
    """Mean over the trained tokens of a sample, at each of its tokens."""
    counts = sample_sums(jnp.ones_like(values), layout)
    return spread(sample_sums(values, layout) / jnp.maximum(counts, 1), layout)


def aggregate(
    name: str, losses: Float[Array, "r t"], layout: Layout, max_tokens: int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(total, weight) of an aggregation of `AGGREGATIONS`; `max_tokens` is T of the last one."""
    weights, weight = AGGREGATIONS[name](layout, max_tokens)
    return masked_sum(weights * losses, layout), weight


def token_mean(layout: Layout, max_tokens: int) -> tuple[Array, Array]:
    """Every token counts the same."""
    return layout.mask, jnp.sum(layout.mask)


def seq_mean_token_mean(layout: Layout, max_tokens: int) -> tuple[Array, Array]:
    """Every sample counts the same, and within it every token."""
    counts = sample_sums(layout.mask, layout)
    return layout.mask / jnp.maximum(spread(counts, layout), 1), _num_samples(layout)


def seq_mean_token_sum(layout: Layout, max_tokens: int) -> tuple[Array, Array]:
    """Sums of samples, averaged over samples."""
    return layout.mask, _num_samples(layout)


def seq_mean_token_sum_norm(layout: Layout, max_tokens: int) -> tuple[Array, Array]:
    """The same over a constant, so that a sample's length has no effect on a token's weight."""
    return layout.mask / max_tokens, _num_samples(layout)


AGGREGATIONS: Mapping[str, Callable[[Layout, int], tuple[Array, Array]]] = {
    "token_mean": token_mean,
    "seq_mean_token_mean": seq_mean_token_mean,
    "seq_mean_token_sum": seq_mean_token_sum,
    "seq_mean_token_sum_norm": seq_mean_token_sum_norm,
}


def _num_samples(layout: Layout) -> Array:
    """Samples with at least one trained token."""
    counts = sample_sums(layout.mask, layout)
    return jnp.sum(counts > 0, dtype=layout.mask.dtype)
