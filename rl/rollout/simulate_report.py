"""Ways to run rollouts, and what a simulated run of each comes to."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rl.rollout.length_audit import binned, ks_distance
from rl.rollout.schedule_checks import metrics
from rl.rollout.schedule_settings import RolloutSettings
from rl.rollout.simulate import Simulation
from rl.rollout.simulate_engine import EngineModel
from rl.rollout.simulate_model import Model

MEAN_LENGTH = 3800.0  # tokens, of a lognormal with the median and cut of `Model`
ROWS = 128  # of an engine


@dataclass(frozen=True)
class Cluster:
    """Accelerators, one engine each while they roll out.

    Attributes:
        accelerators: in all.
        groups: per trainer step.
        group_size: samples of each.
        train_all: seconds of a trainer step on all of them, what else a synchronous step needs
            there (such as log-probabilities of the old policy) included.
        train_half: seconds of a trainer step on half of them.
        abort_seconds: where a wave is cut by time.
    """

    accelerators: int = 128
    groups: int = 512
    group_size: int = 16
    train_all: float = 168.0
    train_half: float = 113.0
    abort_seconds: float = 100.0

    def scaled(self, factor: float) -> "Cluster":
        """Accelerators and groups times `factor`: the same seconds."""
        return Cluster(
            round(self.accelerators * factor),
            round(self.groups * factor),
            self.group_size,
            self.train_all,
            self.train_half,
            self.abort_seconds,
        )


# Stage times that verl's documentation gives for Qwen2.5-Math-7B on 128 H20 (fully_async.md:
# 512 prompts of 16 samples, up to 28K tokens): old log-probabilities 53.9 s and update 113.8 s on
# all of them, update 113.2 s on 64. Lengths, engines and all else here are assumptions.
VERL_7B = Cluster()
# Generation is 5/6 of a synchronous step, and a trainer on half of the accelerators takes twice as
# long: nothing is gained but overlap.
GENERATION_BOUND = Cluster(train_all=40.0, train_half=80.0)

# name -> what differs from the default settings and engines; those that are colocated use all
# accelerators by turns, others half of them for rollouts.
MODES: Mapping[str, Mapping[str, object]] = {
    "synchronous": {"colocated": True, "max_staleness": 0},
    "one step off": {"max_staleness": 1, "running": "finish"},
    "abort by count": {"colocated": True, "abort_count": -1},
    "abort by time": {"colocated": True, "abort_seconds": -1.0},
    "both aborts": {"colocated": True, "abort_count": -1, "abort_seconds": -1.0},
    "asynchronous, η = 1": {"max_staleness": 1},
    "asynchronous, η = 2": {"max_staleness": 2},
    "asynchronous, η = 4": {"max_staleness": 4},
}


def mode(name: str, cluster: Cluster, num_steps: int) -> tuple[RolloutSettings, Model]:
    """One of MODES on a cluster."""
    differs = dict(MODES[name])
    engines = cluster.accelerators if differs.get("colocated") else cluster.accelerators // 2
    seconds = cluster.train_all if differs.get("colocated") else cluster.train_half
    for field, value in (("abort_count", cluster.groups), ("abort_seconds", cluster.abort_seconds)):
        if field in differs:
            differs[field] = value
    running = str(differs.pop("running", EngineModel.running))
    settings = RolloutSettings(
        group_size=cluster.group_size,
        batch_groups=cluster.groups,
        concurrency=engines * ROWS,
        num_steps=num_steps,
        **differs,  # type: ignore[arg-type]
    )
    tokens = cluster.groups * cluster.group_size * MEAN_LENGTH
    return settings, Model(EngineModel(engines, running=running), train_tokens=tokens / seconds)


def report(run: Simulation) -> dict[str, float]:
    """Figures of a run that has ended.

    samples_per_second and tokens_per_second: trained, from the end of the first quarter of the
    steps to the end of the last. ks: between the lengths that all admitted prompts had in store and
    those that were trained. ks_midway: likewise for what was admitted and trained when half of the
    steps were, when long ones are still under way.
    """
    ends = [end for _, end in run.timeline.steps]
    begin = len(ends) // 4
    counted = run.timeline.batches[begin + 1 :]
    lengths = {group: run.prompts[group].lengths for group in run.prompts}
    trained = [lengths[group] for groups, _ in counted for group in groups]
    seconds = ends[-1] - ends[begin]
    figures = metrics(run.settings, run.state)
    half = run.timeline.batches[: len(ends) // 2]
    return {
        "seconds_per_step": seconds / len(counted),
        "samples_per_second": sum(map(len, trained)) / seconds,
        "tokens_per_second": sum(map(sum, trained)) / seconds,
        "trainer_idle": figures["trainer_idle"],
        "engine_idle": figures["engine_idle"],
        "occupancy": figures["occupancy"],
        "wasted": figures["wasted"],
        "staleness": figures["staleness/mean"],
        "max_staleness": figures["staleness/max"],
        "continued": figures.get("count/continued", 0.0),
        "ks": ks_distance(_histogram(lengths.values()), _trained(run)),
        "ks_midway": ks_distance(
            _histogram(lengths[group] for group in range(half[-1][1])),
            _histogram(lengths[group] for groups, _ in half for group in groups),
        ),
    }


def _trained(run: Simulation) -> Counter[int]:
    trained = Counter[int]()
    for kinds in run.state.audit.values():
        trained.update(kinds["trained"])
    return trained


def _histogram(groups: Iterable[tuple[int, ...]]) -> Counter[int]:
    return Counter(binned(length) for lengths in groups for length in lengths)
