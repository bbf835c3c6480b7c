"""Asks as requests of `mmtp.generate`, and its completions as what was told."""

import numpy as np

from mmtp.generate import Completion, Request, make_request
from rl.rollout.protocol import Ask, FinishReason, Told, random_words

REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "error": "error",
    "cancelled": "abort",
}


def as_request(ask: Ask, top: int = 0) -> Request:
    """The engine's words for an ask; `top` as its `top_logprobs`."""
    seed, number = random_words(ask)
    return make_request(
        number,
        ask.prompt,
        ask.max_new_tokens,
        temperature=ask.temperature,
        top_k=ask.top_k,
        top_p=ask.top_p,
        stop=ask.stop,
        seed=seed,
        done=None if ask.done is None else _as_completion(ask.done, top),
    )


def as_told(ask: Ask, completion: Completion) -> Told:
    """The protocol's words for a completion, which holds the tokens of earlier attempts too."""
    earlier = (0, 0, 0) if ask.done is None else ask.done.drafts
    _, drafted, accepted = completion.drafts.sum(axis=0).tolist()
    now = len(completion.drafts), drafted, accepted
    failed = completion.finish_reason == "error"
    return Told(
        sample=ask.sample,
        turn=ask.turn,
        attempt=ask.attempt,
        tokens=tuple(completion.tokens.tolist()),
        logprobs=tuple(completion.logprobs.tolist()),
        raw_logprobs=tuple(completion.raw_logprobs.tolist()),
        versions=tuple(completion.versions.tolist()),
        finish_reason=REASONS[completion.finish_reason],
        drafts=(earlier[0] + now[0], earlier[1] + now[1], earlier[2] + now[2]),
        error="the next token's logits are not finite" if failed else "",
    )


def _as_completion(told: Told, top: int) -> Completion:
    """What was drawn before; of top tokens and drafts it tells nothing."""
    shape = len(told.tokens), top
    tops = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    return Completion(
        np.asarray(told.tokens, np.int32),
        np.asarray(told.logprobs, np.float32),
        np.asarray(told.raw_logprobs, np.float32),
        *tops,
        np.zeros((0, 3), np.int32),
        np.asarray(told.versions, np.int32),
        "cancelled",
    )
