"""Tunix's `GRPOLearner` on the task of `rl_tunix_toy.py`; `rl_tunix_train.py` runs it.

What is done for it: a new seed for every batch (without one it draws the same noise each time),
our weights (its own MLPs begin at zero, and stay there), and top_p = 1 (None is greedy).
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType

from benchmarks import rl_tunix_toy as toy
from mmtp.data.tokenizer import Tokenizer
from mmtp.models.decoder import DecoderConfig
from rl.programs.rl_tasks import Tasks, task_of
from rl.prompts import Encoder
from rl.rollout import tunix_qwen3
from rl.rollout.tunix import Ids


class Words(Ids):
    """Prompts are ids, as `Ids` has them; replies become text by our vocabulary."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def decode(self, ids: Any) -> str:
        """A reply's text."""
        return self._tokenizer.decode(ids, skip_special=False)


def run(
    config: Any,
    decoder: DecoderConfig,
    encoder: Encoder,
    params: Any,
    judged: Callable[[np.ndarray], None],
    going: Callable[[], bool],
) -> None:
    """Trains until `going` says no, or `config.train.steps` are done.

    Args:
        config: of `rl_tunix_toy.config`.
        decoder: of the model.
        encoder: of prompts.
        params: to begin with, of `mmtp.models.vlm`.
        judged: told of every batch's rewards.
        going: asked before every batch.
    """
    from tunix.rl import rl_cluster  # type: ignore
    from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner  # type: ignore
    from tunix.rl.rollout.base_rollout import RolloutConfig  # type: ignore

    tokens, length = config.sampling.max_new_tokens, config.engine.buckets[0]
    rollout = RolloutConfig(
        max_tokens_to_generate=tokens,
        max_prompt_length=length,
        kv_cache_size=length + tokens,
        temperature=1.0,
        top_p=1.0,
    )
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), (AxisType.Auto,) * 2, devices=jax.devices()[:1])
    made = rl_cluster.RLCluster(
        actor=tunix_qwen3.make_model(params, decoder),
        tokenizer=Words(encoder.tokenizer),
        cluster_config=rl_cluster.ClusterConfig(
            role_to_mesh={role: mesh for role in rl_cluster.Role},
            training_config=rl_cluster.RLTrainingConfig(
                actor_optimizer=optimizer(config),
                eval_every_n_steps=10**9,
                max_steps=config.train.steps,
            ),
            rollout_config=rollout,
        ),
    )

    def reward(prompts: list[str], completions: list[str], digit: Any, **_: Any) -> list[float]:
        found = [
            toy.share(text, {"digit": str(wanted)}, tokens)
            for text, wanted in zip(completions, digit, strict=True)
        ]
        judged(np.asarray(found))
        return found

    algorithm = GRPOConfig(
        num_generations=config.rollout.group_size, num_iterations=1, beta=0.0, epsilon=0.2
    )
    GRPOLearner(made, algorithm, reward).train(batches(config, encoder, rollout, going))


def optimizer(config: Any) -> optax.GradientTransformation:
    """`config.optim` as optax has it."""
    optim = config.optim
    adamw = optax.adamw(
        optim.groups.language.lr,
        b1=optim.adam_b1,
        b2=optim.adam_b2,
        eps=optim.adam_eps,
        weight_decay=0.0,
    )
    return optax.chain(optax.clip_by_global_norm(optim.clip_norm), adamw)


def batches(
    config: Any, encoder: Encoder, rollout: Any, going: Callable[[], bool]
) -> Iterator[dict[str, np.ndarray]]:
    """The prompts that our program draws, batch by batch."""
    tasks = Tasks(config, None)
    number = 0
    while going():
        drawn = [task_of(pick) for pick in tasks.draw(config.rollout.batch_groups)]
        prompts = [Ids().decode(encoder.first(task).tokens.tolist()) for task in drawn]
        rollout.seed = jax.random.key_data(jax.random.key(1000 * config.seed + number))
        number += 1
        yield {
            "prompts": np.array(prompts),
            "digit": np.array([task.reference["digit"] for task in drawn]),
        }
