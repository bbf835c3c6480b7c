"""Judged samples -> the arrays of a training step, in as few micro-batches as hold them.

    sizes -> pack (fewest micro-batches, rl.packing) -> the next number of the ladder
          -> spread (equal cost, rl.balance) -> arrange (equal cost of ranks) -> arrays

A plan reads sizes only and is the same on every host; arrays are written by whoever has the
samples (`collate`), or are sent to those who train them (`rl.delivery`).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from cogvit_jax.settings import ConfigError
from mmtp.data import layout as layouts
from mmtp.data import packing as mmtp_packing
from mmtp.data.encoded import Encoded
from mmtp.data.layout import Layout
from mmtp.data.planner import Place, Size
from mmtp.data.reorder import reorder, zigzag
from rl import balance, packing
from rl.balance import TOKENS, Cost
from rl.batch_arrays import LADDER, enlarge, step_up, token_arrays
from rl.batch_figures import figures_of


@dataclasses.dataclass(frozen=True)
class Packed:
    """A judged sample; per-token arrays are aligned with its tokens: the value of token j is at j.

    Attributes:
        document: tokens and pictures; its `supervised` is not read.
        trained: whether the policy drew the token and it is trained; never the first.
        logprobs: of each trained token, when it was drawn.
        advantages: of each trained token.
        versions: of the policy that drew it.
        extra: more per-token numbers by name, such as a teacher's log-probabilities.
    """

    document: Encoded
    trained: Bool[np.ndarray, " n"]
    logprobs: Float32[np.ndarray, " n"]
    advantages: Float32[np.ndarray, " n"]
    versions: Int32[np.ndarray, " n"]
    extra: Mapping[str, Float[np.ndarray, " n"]] = dataclasses.field(default_factory=dict)

    @property
    def size(self) -> Size:
        """What packing needs to know."""
        return mmtp_packing.size_of(self.document)


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """Where every sample of a batch goes.

    Attributes:
        places: of every sample; groups are numbered as in the arrays, over all hosts.
        layout: of all its micro-batches.
        num_microbatches: per batch shard.
        figures: for the log.
    """

    places: tuple[Place, ...]
    layout: Layout
    num_microbatches: int
    figures: dict[str, float]


def plan_rows(
    sizes: Sequence[Size],
    layout: Layout,
    num_microbatches: int = 0,
    *,
    cost: Cost = TOKENS,
    ladder: tuple[int, ...] = LADDER,
    names: Sequence[str] = (),
) -> BatchPlan:
    """The plan of a batch: a pure function of sizes, equal on all hosts.

    Args:
        sizes: of all samples of all hosts.
        layout: of one micro-batch on all batch shards, from `batch_arrays.make_layout`.
        num_microbatches: per step; 0 = the fewest of the ladder that hold the samples.
        cost: what is balanced.
        ladder: numbers of micro-batches that may be used.
        names: of samples, for errors.

    Raises:
        ConfigError: a sample is larger than a micro-batch, or the samples are more than
            `num_microbatches` hold; nothing is ever left out.
    """
    shards = layout.global_groups
    room = mmtp_packing.room_of(layout)
    packed = packing.pack(sizes, room, names)
    needed = max(1, -(-packed.num_groups // shards))
    if num_microbatches and needed > num_microbatches:
        raise ConfigError(
            f"config.packing.microbatches = {num_microbatches} on {shards} batch shards hold "
            f"{num_microbatches * shards} groups of {layout.rows} x {layout.seq_len} tokens and "
            f"{layout.vision_rows} x {layout.vision_row_length} patches, but the {len(sizes)} "
            f"samples need {packed.num_groups} (at least {packed.lower}): raise it, set it to 0, "
            "or raise config.packing.rows or config.packing.vision_rows."
        )
    turns = num_microbatches or step_up(needed, ladder)
    spread = balance.spread(sizes, packed, room, shards * turns, cost)
    costs = balance.group_costs(sizes, spread, cost)
    order = balance.arrange(costs, shards)  # [shards, turns] -> group of the packing
    where = np.argsort(order.reshape(-1))
    places = tuple(dataclasses.replace(p, group=int(where[p.group])) for p in spread.places)
    whole = enlarge(layout, turns)
    figures = figures_of(sizes, whole, shards, packed, costs[order])
    return BatchPlan(places, whole, turns, figures)


def plan_samples(
    samples: Sequence[Packed],
    layout: Layout,
    num_microbatches: int = 0,
    *,
    cost: Cost = TOKENS,
    ladder: tuple[int, ...] = LADDER,
) -> BatchPlan:
    """`plan_rows` of samples, which are checked first.

    Raises:
        ConfigError: as in `plan_rows`.
        ValueError: a sample's arrays do not match its tokens; see `check`.
    """
    names = [f"sample {i} ({s.document.id})" for i, s in enumerate(samples)]
    for name, sample in zip(names, samples, strict=True):
        check(sample, name)
    sizes = [s.size for s in samples]
    return plan_rows(sizes, layout, num_microbatches, cost=cost, ladder=ladder, names=names)


def collate(
    samples: Sequence[Packed],
    layout: Layout,
    num_microbatches: int = 0,
    *,
    cost: Cost = TOKENS,
    ladder: tuple[int, ...] = LADDER,
) -> dict[str, Any]:
    """All samples of a batch, on one host, as arrays and figures.

    Args:
        samples, layout, num_microbatches, cost, ladder: as in `plan_rows`.

    Returns:
        {"arrays": those of `mmtp.data.layout.ARRAYS` and `batch_arrays.RL_ARRAYS`, nested and laid
        out for `layout.context`, `[groups, ...]`; "figures": for the log; "num_microbatches": per
        batch shard}.

    Raises:
        ConfigError: as in `plan_rows`.
        ValueError: a sample's arrays do not match its tokens; see `check`.
    """
    plan = plan_samples(samples, layout, num_microbatches, cost=cost, ladder=ladder)
    arrays = write(samples, plan)
    figures = plan.figures | {
        "packing/bytes": float(sum(x.nbytes for x in layouts.flatten(arrays).values()))
    }
    return {"arrays": arrays, "figures": figures, "num_microbatches": plan.num_microbatches}


def write(
    samples: Sequence[Packed], plan: BatchPlan, groups: range | None = None
) -> dict[str, Any]:
    """The arrays of a plan, nested, laid out for `plan.layout.context`.

    Args:
        samples: all of the batch.
        plan: of them.
        groups: which to write, such as a host's share; None = all.
    """
    groups = range(plan.layout.global_groups) if groups is None else groups
    layout = dataclasses.replace(plan.layout, groups=len(groups))
    here = [i for i, p in enumerate(plan.places) if p.group in groups]
    places = [
        dataclasses.replace(plan.places[i], group=plan.places[i].group - groups.start) for i in here
    ]
    documents = [labelled(samples[i]) for i in here]
    batch = reorder(layouts.nest(mmtp_packing.write(documents, places, layout)), layout.context)
    shape = (layout.groups, layout.rows, layout.seq_len)
    dtypes = token_arrays(extra_names(samples))
    added = {name: np.zeros(shape, dtype) for name, dtype in dtypes.items()}
    for index, place in zip(here, places, strict=True):
        for name, value in token_values(samples[index], index).items():
            stop = place.text.start + len(value)
            added[name][place.group, place.text.row, place.text.start : stop] = value
    order = zigzag(layout.seq_len, layout.context)
    return batch | {name: np.take(x, order, axis=2) for name, x in added.items()}


def token_values(sample: Packed, index: int) -> dict[str, np.ndarray]:
    """A sample's `batch_arrays.RL_ARRAYS`, `[n]`: the value of token j at j - 1, 0 at the last.

    Args:
        sample: number `index` of the batch, from 0; `sample` is one more.
    """
    mask = sample.trained.astype(np.float32)
    moved = {
        "mask": mask,
        "rollout_logprobs": sample.logprobs * mask,
        "advantages": sample.advantages * mask,
        "versions": sample.versions * sample.trained,
    } | {name: np.asarray(x) * mask for name, x in sample.extra.items()}
    ahead = {name: np.append(value[1:], value.dtype.type(0)) for name, value in moved.items()}
    return ahead | {"sample": np.full(len(mask), index + 1, np.int32)}


def extra_names(samples: Sequence[Packed]) -> tuple[str, ...]:
    """Names of further arrays, the same of all samples.

    Raises:
        ValueError: a sample has others.
    """
    names = {tuple(sorted(s.extra)) for s in samples}
    if len(names) > 1:
        raise ValueError(f"samples have different further arrays: {sorted(names)}")
    return names.pop() if names else ()


def check(sample: Packed, name: str) -> None:
    """Raises ValueError where a sample's arrays do not match its tokens, or cannot be trained."""
    num = len(sample.document.tokens)
    values = {
        "trained": sample.trained,
        "logprobs": sample.logprobs,
        "advantages": sample.advantages,
        "versions": sample.versions,
    } | dict(sample.extra)
    for key, value in values.items():
        if np.shape(value) != (num,):
            raise ValueError(f"{name}: {key} has shape {np.shape(value)}, its tokens ({num},)")
        if not np.isfinite(value).all():
            raise ValueError(f"{name}: {key} is not finite")
    if num and sample.trained[0]:
        raise ValueError(f"{name}: its first token is trained, and nothing predicts it")
    for visual in sample.document.visuals:
        if sample.trained[visual.start : visual.start + visual.num_tokens].any():
            raise ValueError(f"{name}: a placeholder of a picture is trained")


def labelled(sample: Packed) -> Encoded:
    """The document with labels at the trained tokens."""
    return dataclasses.replace(sample.document, supervised=sample.trained)
