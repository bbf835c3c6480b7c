"""Random samples, and rows that they are packed into in any order."""

import numpy as np

PER_TOKEN = ("logprobs", "rollout_logprobs", "old_logprobs", "ref_logprobs", "advantages", "mask")
VERSION = 7


def draw(lengths, seed=0, teachers=2, topk=3, spread=0.6):
    """One dict of arrays per sample; about a fifth of the tokens is not trained on."""
    rng = np.random.default_rng(seed)
    samples = []
    for n in lengths:
        rollout = -rng.gamma(2.0, 0.5, n) - 0.05
        near = {
            name: rollout + spread * rng.standard_normal(n)
            for name in ("logprobs", "old_logprobs", "ref_logprobs")
        }
        mask = (rng.random(n) < 0.8).astype(np.float64)
        mask[0] = 1
        mass = rng.random((2, n, topk))
        mass = np.log(mass / mass.sum(-1, keepdims=True) * rng.uniform(0.5, 0.95, (2, n, 1)))
        samples.append(
            near
            | {
                "rollout_logprobs": rollout,
                "advantages": np.full(n, rng.standard_normal()),
                "mask": mask,
                "versions": rng.integers(VERSION - 3, VERSION + 1, n),
                "teacher_logprobs": rollout + spread * rng.standard_normal((teachers, n)),
                "topk_logprobs": mass[0],
                "teacher_topk_logprobs": mass[1],
                "entropy": rng.random(n),
            }
        )
    return samples


def pack(samples, rows, width, numbers=None, dtype=np.float32, filling=np.nan):
    """Arrays of a batch, `logprobs`, `entropy` and `topk_logprobs` among them.

    Args:
        samples: as drawn.
        rows: lists of indices into samples, in the order in which they lie in the row, two tokens
            of padding after each.
        width: of a row.
        numbers: of the samples, from 1; None = in order.
        dtype: of the floats.
        filling: what padding holds.
    """
    numbers = range(1, len(samples) + 1) if numbers is None else numbers
    first = samples[0]
    batch = {name: np.full((len(rows), width), filling, dtype) for name in (*PER_TOKEN, "entropy")}
    batch |= {"mask": np.zeros((len(rows), width), dtype), "version": np.int32(VERSION)}
    batch |= {name: np.zeros((len(rows), width), np.int32) for name in ("sample", "versions")}
    teachers, topk = first["teacher_logprobs"].shape[0], first["topk_logprobs"].shape[1]
    batch["teacher_logprobs"] = np.full((len(rows), teachers, width), filling, dtype)
    for name in ("topk_logprobs", "teacher_topk_logprobs"):
        batch[name] = np.full((len(rows), width, topk), filling, dtype)
    for row, i, place in places(samples, rows):
        batch["sample"][row, place] = numbers[i]
        batch["teacher_logprobs"][row, :, place] = samples[i]["teacher_logprobs"].T
        for name in set(samples[i]) - {"teacher_logprobs"}:
            batch[name][row, place] = samples[i][name]
    return batch


def places(samples, rows):
    """(row, sample, indices of its tokens in the row) of every sample."""
    for row, members in enumerate(rows):
        start = 0
        for i in members:
            stop = start + len(samples[i]["mask"])
            yield row, i, np.arange(start, stop)
            start = stop + 2


def unpack(array, samples, rows):
    """What every sample's tokens have in an array of rows, in the samples' order."""
    found = {i: np.asarray(array)[row, place] for row, i, place in places(samples, rows)}
    return [found[i] for i in range(len(samples))]
