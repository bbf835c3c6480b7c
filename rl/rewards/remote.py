"""Rewards judged in other processes, in turn; one that dies takes no verdict with it."""

from collections.abc import Awaitable, Callable

from rl.executors.actors import Actor, ActorDied
from rl.executors.keep import PATIENCE, Keeper, Patience
from rl.types import Rollout, Verdict

ATTEMPTS = 3  # of a rollout, before it is taken for what they die of


class RemoteRewards:
    """Scores rollouts as `rl.rewards.system.RewardSystem` does; make and use it on one event loop.

    Args:
        num: of processes.
        start: number -> the actor of a `RewardSystem`.
        patience: with those that die without a verdict.
    """

    def __init__(
        self,
        num: int,
        start: Callable[[int], Awaitable[Actor]],
        patience: Patience = PATIENCE,
    ) -> None:
        self._keeper = Keeper("reward process", num, start, _close, patience)
        self._next = 0

    async def score(self, rollout: Rollout) -> Verdict:
        """The verdict of one process, or of another, should it die; an error after ATTEMPTS deaths.

        Raises:
            GivenUp: too many died in a row.
            ConfigError: the rollout's tag has no recipe, or none can be started.
        """
        problem = ""
        for _ in range(ATTEMPTS):
            await self._keeper.wait()
            number = self._turn()
            actor = self._keeper.ready[number]
            try:
                verdict = await actor.call("score", rollout)
            except ActorDied as died:
                problem = str(died)
                self._keeper.died(number, actor, died)
            else:
                self._keeper.answered(number)
                return verdict
        return Verdict.error("rewards", f"{ATTEMPTS} processes died judging this: {problem}")

    async def close(self) -> None:
        """Ends the processes."""
        await self._keeper.close()

    def _turn(self) -> int:
        """The next number, round and round, of those that work."""
        working = sorted(self._keeper.ready)
        number = next((n for n in working if n >= self._next), working[0])
        self._next = number + 1
        return number


async def _close(actor: Actor) -> None:
    await actor.close()
