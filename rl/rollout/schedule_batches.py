"""Which groups make the next batch, and how many prompts may be admitted.

A group admitted when the engine had the weights of version a must be in a batch of a version
v ≤ a + η, η = max_staleness. Number the groups that are in no batch yet by their admission,
i = 0, 1, …, and let f be the version that the next batch is trained at. Invariant:

    a_i + η ≥ f + ⌊i / B⌋                                                                (1)

which says: if batches were taken strictly in order of admission, each group would be in time.

- *Admission* keeps (1): a prompt is drawn under version p only while i < (p + η + 1 − f) · B for
  the place i that it will have. With f batches of B formed this is the capacity
  (η + p + 1) · B − (f · B + groups at work) of AReaL's staleness manager.
- *A batch* is formed of the ready groups admitted first, if those that remain satisfy (1) with
  f + 1. Otherwise it waits. If any choice of ready groups satisfies it, then this one does:
  exchanging a chosen group for one that was admitted earlier only moves the others down.
- *It never waits for ever*: when the first B groups are ready, those that remain move down by B
  places, so (1) holds with f + 1.
- *Drops* only move others down.

By (1) with i = 0 … B − 1, and since a group that is chosen instead of an earlier one has a later
deadline, every group in the batch of version f has f − a ≤ η. For η ≤ 1 the rule only holds back
batches while a group of version f − η is not ready; for η ≥ 2 that alone would not do, since more
than B groups can fall due at once.
"""

import math
from collections.abc import Sequence

from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.schedule_state import State

NextBatch = tuple[tuple[int, ...], tuple[int, ...]]


def next_batch(settings: RolloutSettings, state: State) -> NextBatch | None:
    """(new groups, groups used before) of the batch that can be formed now, or None."""
    new = tuple(state.ready[: settings.batch_groups])
    missing = settings.batch_groups - len(new)
    if missing and len(new) < math.ceil(settings.batch_groups / (1 + settings.reuse)):
        return None
    reused = tuple(state.spent[:missing])
    if len(reused) < missing:
        return None
    chosen = frozenset(new)
    left = [group for group in state.others if group not in chosen]
    versions = [state.groups[group].version for group in left]
    versions += [state.published] * state.admitting
    return (new, reused) if in_time(settings, versions, state.formed + 1) else None


def in_time(settings: RolloutSettings, versions: Sequence[int], formed: int) -> bool:
    """Invariant (1) for groups of these versions, in order of admission."""
    late = formed - settings.max_staleness
    return all(
        version >= late + place // settings.batch_groups for place, version in enumerate(versions)
    )


def capacity(settings: RolloutSettings, state: State) -> int:
    """Prompts that may be admitted now without breaking (1), or outlasting the run; below 0: none.

    A prompt that was asked for and not drawn yet counts.
    """
    steps = state.published + settings.max_staleness + 1 - state.formed
    if settings.num_steps:
        steps = min(steps, settings.num_steps - state.formed)
    return steps * settings.batch_groups - len(state.others) - state.admitting


def may_join(settings: RolloutSettings, state: State, version: int) -> bool:
    """Whether a prompt that was drawn under this version satisfies (1) as the last one."""
    due = state.formed + len(state.others) // settings.batch_groups
    return version + settings.max_staleness >= due


def expired(settings: RolloutSettings, state: State) -> list[int]:
    """Groups that were trained on and are too old for the next batch."""
    oldest = state.formed - settings.max_staleness
    return [group for group in state.spent if state.groups[group].version < oldest]
