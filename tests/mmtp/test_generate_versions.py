"""Parameters that change while requests are in progress, and what is told of every token."""

import dataclasses

import jax
import numpy as np
import pytest

from mmtp.generate import Engine
from mmtp.generation import completions, packing, sampling
from mmtp.generation.state import Emitted, Prefixes, emit, new_state
from tests.mmtp import test_generate as plain
from tests.mmtp import tiny_vlm
from tests.mmtp.test_generate_resumed import ATOL, SAMPLED, same

SETTINGS = plain.speculating(2)


def first():
    return tiny_vlm.init(plain.SEPARATE, 0)


def second():
    return tiny_vlm.init(plain.SEPARATE, 1)


def begun(asked, steps=2) -> Engine:
    """An engine a few steps into its first three requests."""
    used = Engine(plain.SEPARATE, first(), SETTINGS)
    for request in asked:
        used.add(request)
    used.advance(max_steps=steps)
    return used


def finish(used, asked) -> list:
    done = {}
    while used.busy:
        done |= {r.id: c for r, c in used.advance(max_steps=1, partial=False)}
    return [done[r.id] for r in asked]


def numbers(versions) -> list[int]:
    assert np.all(np.diff(versions) >= 0)
    return sorted(set(versions.tolist()))


def test_requests_go_on_with_new_parameters_and_say_so():
    asked = tiny_vlm.requests(0, 5, **SAMPLED)
    old = Engine(plain.SEPARATE, first(), SETTINGS).generate(asked)
    used = begun(asked)
    used.set_params(first(), 7)
    for found, wanted in zip(finish(used, asked), old, strict=True):
        same(found, wanted)
    used = begun(asked)
    used.set_params(second(), 7)
    new = Engine(plain.SEPARATE, second(), SETTINGS, version=7).generate(asked)
    completions = finish(used, asked)
    for found, wanted in zip(completions[:3], old, strict=False):
        assert numbers(found.versions) == [0, 7]
        before = int(np.sum(found.versions == 0))
        np.testing.assert_array_equal(found.tokens[:before], wanted.tokens[:before])
        assert not np.allclose(found.raw_logprobs[before:], wanted.raw_logprobs[before:], atol=0.01)
    for found, wanted in zip(completions[3:], new[3:], strict=True):
        assert numbers(found.versions) == [7]
        same(found, wanted)


def test_recomputed_rows_are_as_if_they_had_been_read_by_the_new_parameters():
    """Greedy: with drafts, where steps begin decides which random number draws a token."""
    asked = tiny_vlm.requests(0, 5)
    used = begun(asked)
    partial = {r.id: c for r, c in used.advance(max_steps=1)}
    used.set_params(second(), 1, running="recompute")
    found = finish(used, asked)
    fresh = Engine(plain.SEPARATE, second(), SETTINGS, version=1)
    again = [dataclasses.replace(r, done=partial.get(r.id)) for r in asked]
    for request, ours, theirs in zip(asked, found, fresh.generate(again), strict=True):
        same(ours, theirs)
        np.testing.assert_array_equal(ours.versions, theirs.versions)
        assert numbers(ours.versions) == ([0, 1] if request.id < 3 else [1])


def test_rows_may_end_with_the_parameters_they_began_with():
    asked = tiny_vlm.requests(0, 7, **SAMPLED)
    wanted = {
        version: Engine(plain.SEPARATE, params, SETTINGS).generate(asked)
        for version, params in ((0, first()), (1, second()), (2, first()))
    }
    # Long and short, so that rows of all three versions are in progress at once.
    limits = [12, 6, 12, 12, 12, 12, 12]
    asked = [dataclasses.replace(r, max_new_tokens=n) for r, n in zip(asked, limits, strict=True)]
    used = begun(asked, steps=1)
    done = {}
    used.set_params(second(), 1, running="finish")
    while 1 not in done:
        done |= {r.id: c for r, c in used.advance(max_steps=1, partial=False)}
    done |= {r.id: c for r, c in used.advance(max_steps=1, partial=False)}
    used.set_params(first(), 2, running="finish")
    assert used.num_held == 3
    while used.busy:
        done |= {r.id: c for r, c in used.advance(max_steps=1, partial=False)}
    assert used.num_held == 1
    versions = {r.id: numbers(done[r.id].versions) for r in asked}
    assert versions == {0: [0], 1: [0], 2: [0], 3: [1], 4: [2], 5: [2], 6: [2]}
    for request in asked:
        expected = wanted[versions[request.id][0]][request.id]
        found = done[request.id]
        np.testing.assert_array_equal(found.tokens, expected.tokens[: request.max_new_tokens])


def test_versions_only_grow():
    used = Engine(plain.SEPARATE, first(), SETTINGS, version=3)
    with pytest.raises(ValueError, match="version 3 must be above 3"):
        used.set_params(second(), 3)
    with pytest.raises(ValueError, match="running = 'stop'"):
        used.set_params(second(), 4, running="stop")


def test_log_probabilities_are_the_targets_own_where_drafts_were_accepted():
    """Against one pass over the whole sequence without a cache."""
    asked = tiny_vlm.requests(1, 6, max_new_tokens=14, **SAMPLED)
    used = Engine(plain.SEPARATE, first(), SETTINGS)
    completions = used.generate(asked)
    assert sum(c.drafts[:, 2].sum() for c in completions) > 5
    for request, completion in zip(asked, completions, strict=True):
        logits, _ = plain.foretell(plain.SEPARATE, first(), request, completion)
        begin, num = len(request.prompt.tokens), len(completion.tokens)
        logits = logits[begin - 1 : begin - 1 + num]
        options = sampling.Options(
            *(np.full(num, SAMPLED[n]) for n in ("temperature", "top_k", "top_p"))
        )
        for found, table in (
            (completion.raw_logprobs, jax.nn.log_softmax(logits, axis=-1)),
            (completion.logprobs, sampling.distribution(logits, options)),
        ):
            picked = np.asarray(table)[np.arange(num), completion.tokens]
            np.testing.assert_allclose(found, picked, atol=ATOL)


def test_a_row_without_finite_logits_ends_and_harms_no_other():
    """Here: all that look at a picture, through a tower that is not finite."""
    asked = tiny_vlm.requests(0, 5, **SAMPLED)
    params = tiny_vlm.init(plain.PLAIN)
    whole = Engine(plain.PLAIN, params, plain.SETTINGS).generate(asked)
    broken = params | {"vision": jax.tree.map(lambda x: np.full_like(x, np.nan), params["vision"])}
    used = Engine(plain.PLAIN, broken, plain.SETTINGS)
    reasons = []
    for request, ours, theirs in zip(asked, used.generate(asked), whole, strict=True):
        reasons.append(ours.finish_reason)
        if request.prompt.visuals:
            assert (ours.finish_reason, len(ours.tokens)) == ("error", 0)
        else:
            same(ours, theirs)
    assert set(reasons) == {"error", "length"}
    # What was not finite is gone from all caches once there are sound parameters.
    used.set_params(params, 1)
    for ours, theirs in zip(used.generate(asked), whole, strict=True):
        same(ours, theirs)


def test_a_step_ends_at_what_comes_first():
    """Stop token, limit or logits that are not finite, against a loop over a step's tokens."""
    rng = np.random.default_rng(0)
    rows, slots, num_tokens = 200, 8, 3
    prompts = packing.pack([], rows, slots, 4)._replace(length=np.full(rows, 2, np.int32))
    part = Prefixes(prompts.tokens, (), None, (), prompts.length, prompts.length - 1, ())
    wishes = packing.wishes([], rows, 1)
    limit = rng.integers(0, 5, rows).astype(np.int32)
    wishes = wishes._replace(limit=limit, stops=np.full((rows, 1), 7, np.int32))
    record = new_state(part, wishes, plain.SETTINGS).record
    tokens = rng.integers(6, 9, (rows, num_tokens)).astype(np.int32)
    raw = np.where(rng.random(tokens.shape) < 0.3, np.nan, -1.0).astype(np.float32)
    given = rng.integers(1, num_tokens + 1, rows).astype(np.int32)
    none = np.zeros((rows, num_tokens, 0), np.int32)
    emitted = Emitted(tokens, given, np.zeros_like(raw), raw, none, none.astype(np.float32))
    found, num = jax.jit(emit)(record, emitted, limit, wishes.stops, np.int32(9))
    record = jax.device_get(found)
    for row in range(rows):
        said, reason = 0, "" if limit[row] else "length"
        while not reason and said < given[row]:
            if np.isnan(raw[row, said]):
                reason = "error"
                break
            said += 1
            if tokens[row, said - 1] == 7:
                reason = "stop"
            elif said == limit[row]:
                reason = "length"
        completion = completions.read(record, row, 0)
        assert (completion.finish_reason, num[row]) == (reason, said)
        np.testing.assert_array_equal(completion.tokens, tokens[row, :said])
        np.testing.assert_array_equal(completion.versions, 9)
