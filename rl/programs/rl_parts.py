"""What the driver of a run works with, put together from its config."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

from cogvit_jax import settings
from cogvit_jax.models import vit
from cogvit_jax.sharding import place
from cogvit_jax.tree import named_leaves
from cogvit_jax.warm_start import warm_start
from mmtp.data.encoded import Encoded
from mmtp.data.layout import Layout
from mmtp.data.packing import room_of, size_of
from mmtp.data.planner import fits_alone
from mmtp.models import vlm
from mmtp.programs.vlm_statistics import ROUTER_BIAS, saved_router_bias, with_router_bias
from rl import delivery
from rl.costs import cost_of
from rl.delivery import Pack
from rl.envs import CATEGORIES
from rl.lead import ALONE, Lead
from rl.programs.rl_batch import make_build
from rl.programs.rl_engines import Engines
from rl.programs.rl_fidelity import make_inspect
from rl.programs.rl_keep import Keep, make_keep
from rl.programs.rl_run import Plan
from rl.programs.rl_settings import Read
from rl.programs.rl_tasks import Tasks, sources, task_of
from rl.resident import Resident, Visits, keep
from rl.rollout.episodes import Episode
from rl.rollout.event_log import EventLog, truncate
from rl.rollout.parts import Parts
from rl.rollout.schedule_state import Group
from rl.scoring import Score, make_score, make_score_best
from rl.spans import FILE as SPANS
from rl.spans import Spans
from rl.store import FOLDER
from rl.types import Task


def make_plan(found: Read, layout: Layout, lead: Lead = ALONE) -> Plan:
    """What a run works with in this process.

    Engine, rewards, curriculum and files are made by process 0 alone.
    """
    folder = Path(found.workdir) / FOLDER
    spans = Spans()
    keep_batch = make_keep(folder)
    score = make_score(found.policy, found.num_microbatches, found.mesh)
    vision = settings.read(vit.VisionSettings, found.config.vision, "config.vision")
    cost = cost_of(vision, found.model)
    engines = Engines(found, lead)
    deliver = delivery.between if lead.several else delivery.within
    way = deliver(found.mesh, layout, found.packing, cost)

    return Plan(
        settings=found.rollout,
        sampling=found.sampling,
        seed=found.config.seed,
        parts=partial(make_parts, found, layout, way.pack, keep_batch, engines),
        log=partial(open_log, folder / "events.jsonl"),
        put=way.put,
        score=score,
        recompute=found.algorithm.proximal == "old",
        residents=partial(make_visits, found, score),
        inspect=make_inspect(found.config, score, lead),
        publish=engines.publish,
        leave=engines.leave,
        spans=spans,
        save_spans=partial(spans.save, folder / SPANS),
        lead=lead,
        updates=found.algorithm.updates,
        weights=lambda state: with_router_bias(state.params, state.statistics),
    )


def open_log(path: Path, num_events: int) -> EventLog:
    """The event log as it was when a checkpoint was written; what came later is done again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return EventLog(path, num_events, truncate(path, num_events))


def make_parts(
    found: Read, layout: Layout, pack: Pack, keep_batch: Keep, engines: Engines, saved: Any
) -> tuple[Parts, Callable[[], Any]]:
    """What the driver works with, and the curriculum to save."""
    tasks, room = Tasks(found.config, saved), room_of(layout)
    engines.open(tasks.state["levels"])

    def open_task(pick: Any) -> tuple[Task, Encoded]:
        task = task_of(pick)
        return task, found.encoder.first(task)

    def fits(prompt: Encoded) -> bool:
        return fits_alone(size_of(prompt), room)

    def episode(task: Task, prompt: Encoded) -> Episode:
        category = CATEGORIES[task.category]
        length = found.sampling.max_length
        return Episode(category, task, prompt, found.encoder, length, fits)

    def settled(group: Group) -> None:
        values = [s.reward for s in group.samples if s.reward is not None]
        tasks.observe(group.pick, values)

    parts = Parts(
        draw=tasks.draw,
        open=open_task,
        episode=episode,
        engine=engines.pool,
        close=engines.close,
        judge=engines.score,
        build=make_build(found.algorithm, pack, keep_batch, sources(found.config)),
        announce=lambda step: None,
        settled=settled,
        record=lambda event: None,
    )
    return parts, lambda: tasks.state


def make_visits(found: Read, score: Score, params: Any) -> dict[str, Visits]:
    """The reference and the teachers, in host memory.

    The reference is what the run began with, also where it is resumed: `config.train.init_from`.
    """
    visits: dict[str, Visits] = {}
    if found.algorithm.kl_weight:
        reference = keep(load(found, params, found.config.train.init_from))
        visits["ref_logprobs"] = Visits([reference], score, lambda said: {"ref_logprobs": said[0]})
    if found.config.teachers:
        teachers = [keep(load(found, params, workdir)) for workdir in found.config.teachers]
        visits["teacher_logprobs"] = _teachers(found, score, teachers)
    return visits


def _teachers(found: Read, score: Score, teachers: Sequence[Resident]) -> Visits:
    if not found.algorithm.topk_distill_weight:
        return Visits(teachers, score, lambda said: {"teacher_logprobs": jnp.stack(said, axis=-1)})
    number = found.algorithm.topk_distill
    score_best = make_score_best(found.policy, found.num_microbatches, found.mesh, number)

    def arrays(said: list[Any]) -> dict[str, Any]:
        ((logprobs, best),) = said
        return {
            "teacher_logprobs": logprobs[..., None],
            "teacher_topk_logprobs": best.logprobs,
            "teacher_topk_ids": best.ids,
        }

    return Visits(teachers, score_best, arrays)


def load(found: Read, params: Any, workdir: str) -> Any:
    """Another run's parameters, placed as these are; "" = those of a model that is not trained."""
    if not workdir:
        key, _ = jax.random.split(jax.random.key(found.config.seed))  # as the engine begins
        placed = jax.tree.map(lambda x: x.sharding, params)
        return jax.jit(partial(vlm.init, found.model), out_shardings=placed)(key)
    rules = ((".*", r"\g<0>"),)
    taken = warm_start(params, workdir, rules, found.config, Console(quiet=True))
    if not found.model.decoder.moe:
        return taken
    bias = saved_router_bias(found.model, workdir)
    placed = dict(named_leaves(params))[ROUTER_BIAS].sharding
    return with_router_bias(taken, {"router_bias": place(bias, placed)})
