"""Verification: the output's distribution is the target's, and a draft is kept at the rate known.

With 1e5 draws of v outcomes the expected total variation of a perfect sampler is below
sqrt(v / (2 pi 1e5)): 0.0036 for v = 8, and its deviation is smaller still. Twice that is the bound.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp.generation import sampling, speculative
from mmtp.generation.sampling import Options

DRAWS, VOCAB = 100_000, 8
BOUND = 0.0072


def total_variation(tokens, probs):
    return np.abs(np.bincount(tokens, minlength=len(probs)) / len(tokens) - probs).sum() / 2


def logprobs(rng, *shape, temperature=1.0, top_k=0, top_p=1.0):
    rows = jnp.asarray(rng.normal(size=(*shape, VOCAB)) * 1.5, jnp.float32).reshape(-1, VOCAB)
    b = rows.shape[0]
    options = Options(
        jnp.full(b, temperature), jnp.full(b, top_k, jnp.int32), jnp.full(b, top_p, jnp.float32)
    )
    return sampling.distribution(rows, options).reshape(*shape, VOCAB)


def request_keys(num):
    return sampling.base_keys(jnp.zeros((num, 2), jnp.uint32), jnp.arange(num).astype(jnp.uint32))


def run(target, proposal, drafts, num_drafts=None):
    """Verifies DRAWS requests that share their distributions; drafts [DRAWS, k]."""
    k = drafts.shape[1]
    return speculative.verify(
        jnp.broadcast_to(target[None], (DRAWS, k + 1, VOCAB)),
        jnp.broadcast_to(proposal[None], (DRAWS, k, VOCAB)),
        drafts,
        jnp.full(DRAWS, k if num_drafts is None else num_drafts, jnp.int32),
        request_keys(DRAWS),
        jnp.full(DRAWS, 3, jnp.int32),
    )


def draw_drafts(proposal):
    keys = request_keys(DRAWS)
    columns = [
        sampling.draw(
            sampling.token_keys(keys, jnp.full(DRAWS, 3 + i, jnp.int32), sampling.DRAFT),
            jnp.broadcast_to(q[None], (DRAWS, VOCAB)),
        )
        for i, q in enumerate(proposal)
    ]
    return jnp.stack(columns, axis=1)


@pytest.mark.parametrize(
    "filters", [{}, {"temperature": 0.6}, {"top_k": 3}, {"top_p": 0.7, "temperature": 1.4}]
)
def test_output_is_distributed_as_the_target(filters):
    rng = np.random.default_rng(1)
    target, proposal = logprobs(rng, 3, **filters), logprobs(rng, 2, **filters)
    drafts = draw_drafts(proposal)
    verdict = run(target, proposal, drafts)
    accepted, token = np.asarray(verdict.accepted), np.asarray(verdict.token)
    p, q = np.exp(target), np.exp(proposal)
    first = np.where(accepted > 0, drafts[:, 0], token)
    assert total_variation(first, p[0]) < BOUND
    second = np.where(accepted > 1, drafts[:, 1], token)[accepted > 0]
    assert total_variation(second, p[1]) < BOUND * (DRAWS / len(second)) ** 0.5
    bonus = token[accepted == 2]
    assert total_variation(bonus, p[2]) < BOUND * (DRAWS / len(bonus)) ** 0.5
    # Kept with probability sum min(p, q) = 1 - TV(p, q); five deviations of 1e5 coin tosses.
    rate = np.minimum(p[0], q[0]).sum()
    assert abs(np.mean(accepted > 0) - rate) < 0.008


def test_greedy_drafts_are_point_masses():
    target = logprobs(np.random.default_rng(2), 2)
    drafts = jnp.full((DRAWS, 1), 4, jnp.int32)
    verdict = run(target, sampling.point_mass(drafts[0], VOCAB), drafts)
    accepted, p = np.asarray(verdict.accepted), np.exp(target)
    assert abs(np.mean(accepted) - p[0, 4]) < 0.008
    first = np.where(accepted > 0, 4, verdict.token)
    assert total_variation(first, p[0]) < BOUND
    assert not np.any(np.asarray(verdict.token)[accepted == 0] == 4)


@pytest.mark.parametrize("num_drafts", [0, 1, 2])
def test_drafts_past_the_limit_are_not_looked_at(num_drafts):
    target = logprobs(np.random.default_rng(3), 4)
    drafts = jnp.full((DRAWS, 3), -1, jnp.int32)  # no token: any use of it would show
    proposal = jnp.full((3, VOCAB), jnp.nan)
    if num_drafts:
        likely = jnp.argmax(target[:3], axis=-1)
        drafts = drafts.at[:, :num_drafts].set(likely[None, :num_drafts])
        hot = sampling.point_mass(likely[:num_drafts], VOCAB)
        proposal = proposal.at[:num_drafts].set(hot)
    verdict = run(target, proposal, drafts, num_drafts)
    accepted = np.asarray(verdict.accepted)
    assert accepted.max() == num_drafts
    bonus = np.asarray(verdict.token)[accepted == num_drafts]
    expected = np.exp(target[num_drafts])
    assert total_variation(bonus, expected) < BOUND * (DRAWS / len(bonus)) ** 0.5


def test_greedy_targets_accept_while_the_draft_is_the_argmax():
    rng = np.random.default_rng(4)
    rows, k = 300, 3
    logits = rng.normal(size=(rows, k + 1, VOCAB)).astype(np.float32)
    best = logits.argmax(-1)
    drafts = np.where(rng.random((rows, k)) < 0.7, best[:, :k], rng.integers(0, VOCAB, (rows, k)))
    verdict = speculative.verify(
        sampling.point_mass(jnp.asarray(best), VOCAB),
        sampling.point_mass(jnp.asarray(drafts), VOCAB),
        jnp.asarray(drafts, jnp.int32),
        jnp.full(rows, k, jnp.int32),
        request_keys(rows),
        jnp.zeros(rows, jnp.int32),
    )
    for row in range(rows):
        same = 0
        while same < k and drafts[row, same] == best[row, same]:
            same += 1
        assert verdict.accepted[row] == same
        assert verdict.token[row] == best[row, same]


def test_a_residual_of_nothing_is_the_target():
    p = jax.nn.log_softmax(jnp.arange(4.0))[None]
    np.testing.assert_array_equal(speculative.residual(p, p), p)
