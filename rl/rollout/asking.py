"""What an engine is asked for a sample's turn, and what of its answer the schedule keeps."""

import math

from mmtp.data.encoded import Encoded
from rl.rollout.events import SampleId
from rl.rollout.protocol import Ask, Told
from rl.rollout.sampling import SamplingSettings
from rl.rollout.tokens import Tokens


def ask_of(
    sampling: SamplingSettings,
    seed: int,
    name: str,
    group: str,
    turn: int,
    attempt: int,
    prompt: Encoded,
    partial: Tokens,
) -> Ask:
    """What an engine is asked; it goes on from `partial` where that is not empty."""
    done = None
    if partial.num:
        versions = partial.token_versions
        words = (partial.ids, partial.logprobs, partial.raw_logprobs, versions)
        done = Told(name, turn, attempt - 1, *words, finish_reason="abort")
    room = sampling.max_length - len(prompt.tokens)
    return Ask(
        sample=name,
        turn=turn,
        attempt=attempt,
        prompt=prompt,
        group=group,
        max_new_tokens=max(1, min(sampling.max_new_tokens, room)),
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        stop=sampling.stop,
        seed=seed,
        done=done,
    )


def ending(ask: Ask) -> str:
    """Why nothing is left to ask: an engine broke off behind the last word. "" = there is."""
    if ask.done is None:
        return ""
    if ask.done.tokens[-1] in ask.stop:
        return "stop"
    return "length" if len(ask.done.tokens) >= ask.max_new_tokens else ""


def name_of(sample: SampleId) -> str:
    """What engines call a sample."""
    return f"{sample[0]}#{sample[1]}"


def tokens_of(told: Told) -> Tokens:
    """What was said, as the schedule keeps it; nothing where a number is not finite."""
    if not is_finite(told):
        return Tokens()
    return Tokens.of(told.tokens, told.logprobs, told.versions, told.raw_logprobs)


def is_finite(told: Told) -> bool:
    """Whether every log-probability is a number, which an engine of others may fail to give."""
    return all(map(math.isfinite, (*told.logprobs, *told.raw_logprobs)))


def reason_of(told: Told) -> str:
    """What the answer ended for; "error" where a number is not finite."""
    return told.finish_reason if is_finite(told) else "error"
