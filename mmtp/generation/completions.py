"""Completions read off the device, taken apart and joined."""

import dataclasses

import numpy as np

from mmtp.generation.requests import Completion
from mmtp.generation.state import Record

# Fields that have one entry for each token.
PER_TOKEN = ("tokens", "logprobs", "raw_logprobs", "top_tokens", "top_logprobs", "versions")


def read(record: Record, row: int, num_done: int) -> Completion:
    """What was drawn for one row, behind `num_done` tokens, from a record on the host."""
    first, stop = int(record.prompt[row]) + num_done, int(record.place[row]) + 1
    span = slice(first, stop)
    begun = np.flatnonzero(record.drafted[row, span])
    steps_ = [begun, record.drafted[row, span][begun], record.accepted[row, span][begun]]
    ended = "error" if record.failed[row] else "stop" if record.stopped[row] else "length"
    return Completion(
        # Copies: a view would keep the whole record.
        tokens=np.array(record.tokens[row, span]),
        logprobs=np.array(record.logprobs[row, span]),
        raw_logprobs=np.array(record.raw_logprobs[row, span]),
        top_tokens=np.array(record.top_tokens[row, span]),
        top_logprobs=np.array(record.top_logprobs[row, span]),
        drafts=np.stack(steps_, axis=1).astype(np.int32),
        versions=np.array(record.versions[row, span]),
        finish_reason="" if record.active[row] else ended,
    )


def join(before: Completion | None, after: Completion) -> Completion:
    """A completion from its beginning: what a request had, and what was drawn for it since."""
    if before is None:
        return after
    moved = after.drafts + np.array([len(before.tokens), 0, 0], np.int32)
    joined = {
        name: np.concatenate([getattr(before, name), getattr(after, name)]) for name in PER_TOKEN
    }
    return Completion(
        drafts=np.concatenate([before.drafts, moved]), finish_reason=after.finish_reason, **joined
    )


def nothing(top: int) -> Completion:
    """A completion of no tokens, with `top` alternatives for each."""
    ints, floats = np.zeros(0, np.int32), np.zeros(0, np.float32)
    tops = np.zeros((0, top), np.int32), np.zeros((0, top), np.float32)
    return Completion(ints, floats, floats, *tops, np.zeros((0, 3), np.int32), ints, "")


def without_last(completion: Completion) -> Completion:
    """The completion before its newest token was drawn; drafts are left out."""
    shorter = {name: getattr(completion, name)[:-1] for name in PER_TOKEN}
    return dataclasses.replace(completion, drafts=completion.drafts[:0], **shorter)
