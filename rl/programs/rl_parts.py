"""What the driver of a run works with, put together from its config."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from cogvit_jax.warm_start import warm_start
from mmtp.data.encoded import Encoded
from mmtp.data.layout import Layout
from rl import batch_arrays
from rl.balance import Cost
from rl.envs import CATEGORIES
from rl.programs.rl_batch import make_build
from rl.programs.rl_engines import Engines
from rl.programs.rl_fidelity import make_inspect
from rl.programs.rl_keep import Kept
from rl.programs.rl_run import Plan
from rl.programs.rl_settings import Read
from rl.programs.rl_tasks import Tasks, task_of
from rl.resident import Resident, keep
from rl.rollout.driver import Parts
from rl.rollout.episodes import Episode
from rl.rollout.event_log import EventLog, truncate
from rl.rollout.schedule_state import Group
from rl.scoring import Score
from rl.spans import FILE as SPANS
from rl.spans import Spans
from rl.types import Task

FOLDER = "rollouts"  # of the workdir: the event log, samples, spans


def make_plan(found: Read, layout: Layout, cost: Cost, score: Score) -> Plan:
    """A run of this process: its engine, rewards, curriculum and files."""
    folder = Path(found.workdir) / FOLDER
    spans = Spans()
    kept = Kept(folder)
    engines = Engines(found)

    def figures() -> dict[str, float]:
        spans.save(folder / SPANS)
        return kept.figures() | engines.figures()

    return Plan(
        settings=found.rollout,
        sampling=found.sampling,
        seed=found.config.seed,
        parts=partial(make_parts, found, layout, cost, kept, engines),
        log=partial(open_log, folder / "events.jsonl"),
        put=partial(batch_arrays.put_batch, found.mesh),
        score=score,
        recompute=found.algorithm.proximal == "old",
        residents=partial(make_residents, found),
        inspect=make_inspect(found.config, score),
        publish=engines.publish,
        spans=spans,
        figures=figures,
    )


def open_log(path: Path, num_events: int) -> EventLog:
    """The event log as it was when a checkpoint was written; what came later is done again."""
    if num_events or path.exists():
        truncate(path, num_events)
    return EventLog.open(path)


def make_parts(
    found: Read, layout: Layout, cost: Cost, kept: Kept, engines: Engines, saved: Any
) -> tuple[Parts, Callable[[], Any]]:
    """What the driver works with, and the curriculum to save."""
    tasks = Tasks(found.config, saved)
    engines.open(tasks.state["levels"])

    def open_task(pick: Any) -> tuple[Task, Encoded]:
        task = task_of(pick)
        return task, found.encoder.first(task)

    def episode(task: Task, prompt: Encoded) -> Episode:
        category = CATEGORIES[task.category]
        return Episode(category, task, prompt, found.encoder, found.sampling.max_length)

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
        build=make_build(found.algorithm, found.packing, layout, cost, kept.keep),
        announce=lambda step: None,
        settled=settled,
        record=lambda event: None,
    )
    return parts, lambda: tasks.state


def make_residents(found: Read, params: Any) -> dict[str, Sequence[Resident]]:
    """The reference and the teachers, in host memory.

    The reference is what `config.train.init_from` holds, also in a run that was resumed.
    """
    residents: dict[str, Sequence[Resident]] = {}
    source = found.config.train.init_from
    if found.algorithm.kl_weight:
        residents["ref_logprobs"] = [keep(load(found, params, source))]
    if found.algorithm.distill_weights:
        residents["teacher_logprobs"] = [
            keep(load(found, params, teacher)) for teacher in found.config.teachers
        ]
    return residents


def load(found: Read, params: Any, workdir: str) -> Any:
    """Another run's parameters, placed as these are; "" = these."""
    if not workdir:
        return params
    rules = ((".*", r"\g<0>"),)
    return warm_start(params, workdir, rules, found.config, Console(quiet=True))
