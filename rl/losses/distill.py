"""On-policy distillation: the policy samples, teachers say how likely they find it.

The reverse KL of a token, KL(pi || pi_T) = E_pi[log pi - log pi_T], has the policy gradient of the
reward log pi_T - log pi. So with the token that was sampled it is a term of the advantage,

    A <- A - sum_k lambda_k sg(log pi - log pi_Tk)

which mixes with rewards and needs one number per token and teacher. Where a teacher's k likeliest
tokens are known, the divergence is a term of the loss, in which all others count as one (the tail):
by the data-processing inequality this is a lower bound of it that is 0 only where the tails agree
too. Without the tail, mass that moves out of the k tokens costs nothing and training is unstable.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

TINY = 1e-6  # least mass of a tail: f32's sums of k probabilities are no closer to 1 than this


def advantage_term(
    logprobs: Float[Array, "r t"],
    teacher_logprobs: Float[Array, "r k t"],
    weights: Sequence[float],
) -> Float[Array, "r t"]:
    """What is subtracted from the advantage, without a gradient.

    Args:
        logprobs: of the policy.
        teacher_logprobs: of each teacher; one that is not finite was not asked about this token,
            and has no term there.
        weights: lambda of each teacher.
    """
    asked = jnp.isfinite(teacher_logprobs)
    gaps = logprobs[:, None] - jnp.where(asked, teacher_logprobs, 0)
    terms = jnp.asarray(weights, logprobs.dtype)[None, :, None] * jnp.where(asked, gaps, 0)
    return jax.lax.stop_gradient(jnp.sum(terms, axis=1))


def topk_reverse_kl(
    logprobs: Float[Array, "*n k"], teacher_logprobs: Float[Array, "*n k"]
) -> Float[Array, "*n"]:
    """KL(pi || pi_T) with all but k tokens as one, whose mass is what is left of 1.

    Args:
        logprobs: of the policy, at the same k tokens.
        teacher_logprobs: of the teacher, at its k likeliest; one that is not finite joins the
            others, so that a place where none is finite has the divergence 0.
    """
    given = jnp.isfinite(teacher_logprobs)
    theirs = jnp.where(given, teacher_logprobs, 0)
    named = jnp.where(given, jnp.exp(logprobs) * (logprobs - theirs), 0)
    our_rest, their_rest = (
        jnp.maximum(1 - jnp.sum(jnp.where(given, jnp.exp(x), 0), axis=-1), TINY)
        for x in (logprobs, theirs)
    )
    return jnp.sum(named, axis=-1) + our_rest * (jnp.log(our_rest) - jnp.log(their_rest))
