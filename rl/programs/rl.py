"""Reinforcement learning of the vision-language model over many categories of tasks at once."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cogvit_jax import settings
from cogvit_jax.program import Program
from mmtp.data.layout import Layout
from mmtp.models import vlm
from mmtp.models.projector import check_memory
from mmtp.programs import vlm_loss
from mmtp.programs.vlm_flops import step_flops
from mmtp.programs.vlm_statistics import make_statistics
from rl import batch_arrays
from rl.lead import Lead, make_lead
from rl.losses.settings import AlgorithmSettings
from rl.programs.rl_batch import EXTRA
from rl.programs.rl_evals import make_evaluators
from rl.programs.rl_loss import make_loss
from rl.programs.rl_parts import make_plan
from rl.programs.rl_run import Run
from rl.programs.rl_settings import Read, read
from rl.programs.rl_tasks import sources


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
    lead = make_lead()
    run = Run(make_plan(found, layout, lead)) if workdir else None
    return make_program(found, layout, lead, run)


def make_program(found: Read, layout: Layout, lead: Lead, run: Run | None) -> Program:
    """What trains on the batches of a run; None = only shapes are wanted."""
    config = found.config
    loss = settings.read(vlm_loss.LossSettings, config.loss, "config.loss")
    return Program(
        init=partial(vlm.init, found.model),
        loss=make_loss(found.policy, found.algorithm, found.max_samples, sources(config)),
        batches=run.batches if run else _no_batches,
        begin=run.begin if run else _no_batches,
        interrupt=run.interrupt if run else lambda: None,
        hooks=(run.hook,) if run else (),
        mesh=found.mesh,
        statistics=make_statistics(
            found.model,
            loss.router_bias_rate,
            config.train.init_from,
            config.train.init_rules,
        ),
        evaluators=make_evaluators(found, lead),
        step_flops=partial(step_flops, config, found.model),
        num_examples=lambda batch: batch["tokens"].size,
        batch_shapes=partial(shapes, found, layout),
        num_microbatches=found.num_microbatches,
        may_stop=lambda step: step % found.algorithm.updates == 0,
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
    )


def scored_arrays(config: AlgorithmSettings, num_teachers: int) -> dict[str, tuple[Any, Any]]:
    """Arrays that `Run` adds to a batch: name -> (what follows groups, rows and tokens; type)."""
    arrays: dict[str, tuple[Any, Any]] = {}
    if config.proximal == "old":
        arrays["old_logprobs"] = ((), np.float32)
    if config.kl_weight:
        arrays["ref_logprobs"] = ((), np.float32)
    if num_teachers:
        arrays["teacher_logprobs"] = ((num_teachers,), np.float32)
    if config.topk_distill_weight:
        arrays["teacher_topk_logprobs"] = ((config.topk_distill,), np.float32)
        arrays["teacher_topk_ids"] = ((config.topk_distill,), np.int32)
    return arrays


def shapes(found: Read, layout: Layout) -> Sequence[dict[str, Any]]:
    """Of every batch, longest first."""
    ladder = (found.packing.microbatches,) if found.packing.microbatches else found.packing.ladder
    scored = scored_arrays(found.algorithm, len(found.config.teachers))

    def batch(number: int) -> dict[str, Any]:
        arrays = batch_arrays.batch_shapes(layout, number, found.mesh, EXTRA)
        like = arrays["mask"]
        return arrays | {
            name: jax.ShapeDtypeStruct((*like.shape, *more), dtype, sharding=like.sharding)
            for name, (more, dtype) in scored.items()
        }

    return tuple(batch(number) for number in sorted(ladder, reverse=True))


def _no_batches(_: Any) -> Any:
    raise RuntimeError("a program that was built without a workdir has no rollouts")
