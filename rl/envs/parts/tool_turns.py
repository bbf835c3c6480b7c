"""What the simulators of tools share: a turn is calls of tools, or the answer."""

from collections.abc import Callable, Mapping, Sequence

from mmtp.data.records import Part, Text
from rl.answers.calls import Call, has_calls, parse_calls
from rl.answers.reply import answer_of
from rl.envs.category import Step
from rl.rewards.rules.tool_calls import valid
from rl.types import Json, Observation, Rollout

State = Mapping[str, Json]
Use = Callable[[State, Call], tuple[State, tuple[Part, ...]]]  # the new state, what is returned

MAX_CALLS = 4  # in one reply


def final_answer(rollout: Rollout) -> str | None:
    """The answer of the last reply; None where it still calls tools."""
    return None if has_calls(rollout.reply) else answer_of(rollout.reply)


def turn(state: State, reply: str, tools: Sequence[Mapping[str, Json]], use: Use) -> Step:
    """One turn: a reply without calls ends the episode, each call of another is answered.

    Args:
        state: before it.
        reply: of the policy.
        tools: their schemas.
        use: (state, valid call) -> (state, parts); raises ValueError with words for the policy
            where the arguments make no sense.
    """
    if not has_calls(reply):
        return Step(state, Observation(()), True)
    calls = parse_calls(reply, tools)
    if calls is None or len(calls) > MAX_CALLS:
        return _told(state, f"Error: these are no calls (at most {MAX_CALLS} at once).")
    parts: list[Part] = []
    for call in calls:
        if not valid(call, tools):
            parts.append(Text(f"Error: {call.name} does not exist or takes other arguments."))
            continue
        try:
            state, returned = use(state, call)
            parts.extend(returned)
        except ValueError as problem:
            parts.append(Text(f"Error: {problem}"))
    return Step(state, Observation(tuple(parts), "observation"), False)


def _told(state: State, message: str) -> Step:
    return Step(state, Observation((Text(message),), "observation"), False)
