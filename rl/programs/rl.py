"""Reinforcement learning of the vision-language model over many categories of tasks at once."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh

from cogvit_jax import settings
from cogvit_jax.models import vit
from cogvit_jax.program import Program
from mmtp.data.layout import Layout
from mmtp.models import vlm
from mmtp.models.projector import check_memory
from mmtp.programs import vlm_loss
from mmtp.programs.vlm_flops import step_flops
from rl import batch_arrays
from rl.costs import cost_of
from rl.losses.settings import AlgorithmSettings
from rl.programs.rl_evals import make_evaluators
from rl.programs.rl_loss import make_loss
from rl.programs.rl_parts import make_plan
from rl.programs.rl_run import Run
from rl.programs.rl_settings import Read, read
from rl.scoring import make_score


def build(config: Any, mesh: Mesh | None = None, workdir: str = "") -> Program:
    """The program that `configs/rl.py` describes.

    Args:
        config: a whole config.
        mesh: devices; None = what `config.mesh` says.
        workdir: where the event log, samples and spans are written; "" = only shapes are wanted.

    Raises:
        ConfigError: a field is unknown or out of range.
    """
    found = read(config, mesh, workdir)
    layout = make_layout(found)
    check_memory(found.model.memory, found.packing.vision_rows)
    score = make_score(found.policy, found.num_microbatches, found.mesh)
    vision = settings.read(vit.VisionSettings, config.vision, "config.vision")
    cost = cost_of(vision, found.model)
    run = Run(make_plan(found, layout, cost, score)) if workdir else None
    loss_settings = settings.read(vlm_loss.LossSettings, config.loss, "config.loss")
    return Program(
        init=partial(vlm.init, found.model),
        loss=make_loss(
            found.policy, found.algorithm, config.algorithm_mtp_weight, found.max_samples
        ),
        batches=run.batches if run else _no_batches,
        begin=run.begin if run else _no_batches,
        hooks=(run.hook,) if run else (),
        mesh=found.mesh,
        statistics=vlm_loss.make_statistics(found.model, loss_settings),
        evaluators=make_evaluators(found),
        step_flops=partial(step_flops, config, found.model),
        num_examples=lambda batch: batch["tokens"].size,
        batch_shapes=partial(shapes, found, layout),
        num_microbatches=found.num_microbatches,
    )


def make_layout(found: Read) -> Layout:
    """Of one micro-batch on all batch shards."""
    return batch_arrays.make_layout(
        found.packing,
        num_shards=found.num_shards,
        patch_dim=found.model.patch_dim,
        image_token=found.model.image_token,
        depth=found.model.mtp.depth,
        context=found.mesh.shape["context"],
        num_hosts=jax.process_count(),
    )


def scored_arrays(config: AlgorithmSettings) -> tuple[str, ...]:
    """Arrays of a batch that parameters beside the policy's give."""
    names = ("old_logprobs",) if config.proximal == "old" else ()
    return (*names, "ref_logprobs") if config.kl_weight else names


def shapes(found: Read, layout: Layout) -> Sequence[dict[str, Any]]:
    """Of every batch, longest first."""
    ladder = (found.packing.microbatches,) if found.packing.microbatches else found.packing.ladder
    extra = scored_arrays(found.algorithm)
    return tuple(
        batch_arrays.batch_shapes(layout, number, found.mesh, extra)
        for number in sorted(ladder, reverse=True)
    )


def _no_batches(_: Any) -> Any:
    raise RuntimeError("a program that was built without a workdir has no rollouts")
