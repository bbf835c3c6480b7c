"""Episodes played and judged outside of training, such as held-out ones: all of them at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from mmtp.data.encoded import Encoded
from rl.envs.category import Category
from rl.prompts import Encoder
from rl.rollout.asking import ask_of, reason_of, tokens_of
from rl.rollout.episodes import Episode
from rl.rollout.protocol import RolloutEngine
from rl.rollout.sampling import SamplingSettings
from rl.rollout.tokens import Tokens
from rl.types import Rollout, Task, Verdict


async def play_all(
    tasks: Sequence[tuple[Category, Task]],
    encoder: Encoder,
    engine: RolloutEngine,
    sampling: SamplingSettings,
    judge: Callable[[Rollout], Awaitable[Verdict]],
    seed: int,
    change: Callable[[Encoded], Encoded] = lambda prompt: prompt,
) -> list[tuple[Rollout, Verdict]]:
    """Plays each task once; one that the engine cannot answer is not judged.

    Args:
        tasks: with their categories.
        encoder: of prompts.
        engine: that draws the replies.
        sampling: how.
        judge: gives verdicts.
        seed: of the draws, with the task's place.
        change: what the policy sees instead of the prompt, such as one with blank pictures.
    """

    async def play(number: int, category: Category, task: Task) -> tuple[Rollout, Verdict]:
        prompt = change(await asyncio.to_thread(encoder.first, task))
        episode = Episode(category, task, prompt, encoder, sampling.max_length)
        done, turn = False, 0
        while not done:
            name = f"{task.id}@{number}"
            told = await engine.generate(
                ask_of(sampling, seed, name, str(number), turn, 1, episode.prompt, Tokens())
            )
            if reason_of(told) == "error":
                problem = told.error or "a log-probability is not finite"
                return episode.rollout, Verdict.error("engine", problem)
            done = await episode.take(tokens_of(told), told.finish_reason)
            turn += 1
        return episode.rollout, await judge(episode.rollout)

    return list(await asyncio.gather(*(play(n, c, t) for n, (c, t) in enumerate(tasks))))
