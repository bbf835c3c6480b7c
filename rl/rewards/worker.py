"""A reward system in a process of its own."""

from typing import Any

from rl.rewards.system import RewardSystem, build


async def make(section: Any) -> RewardSystem:
    """What works there (`rl.executors.actors`), from the section `config.rewards`."""
    return build(section)
