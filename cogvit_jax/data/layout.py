"""Where each image and caption of a batch goes: token budgets by batch and place, rows, groups.

Images are cut into groups, one per batch shard of the mesh and microbatch; a group's images and
rows stay on its devices, so that picking images out of packed rows needs no communication. Texts
form one group per batch shard. They need no alignment with images, since the loss matches pairs by
ids, so packed captions are dealt to groups of nearly equal tokens.

Nothing here imports JAX: loader workers unpickle it.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from cogvit_jax import settings
from cogvit_jax.data import packing, text_packing
from cogvit_jax.settings import ConfigError

# Captions are balanced over this many neighbouring groups (fewer where a host has fewer): enough
# for sums of tokens to be even, and few enough that any number of hosts with four or more devices
# each cuts the same captions.
BALANCED_GROUPS = 4


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """`config.data`.

    Attributes:
        train: sources with weights, `spec@weight,spec@weight`; see `data.sources.open_source`.
        heldout: sources to evaluate on, `spec,spec`.
        tokenizer: a SentencePiece `.model` or `tokenizers` `.json`; "" = the embedded one.
        text_length: most tokens per caption.
        text_layout: "padded" (one caption per row of text_length) or "packed" (many per row, which
            needs `config.text.attend_padding = False`).
        text_row_length: tokens per packed row of text; 0 = 4 text_length.
        text_budget: mean tokens per caption that packed rows are planned for, eos included; 0 =
            text_length. Where a batch has more, its longest captions are cut: `data/text_cut` in
            the log is the share of tokens lost, here and to text_length.
        global_batch: image-text pairs per step, over all hosts.
        lengths: token budgets per image. Padded: one is drawn for each batch. Packed: every group
            holds all of them in equal shares (name one several times for more of it).
        layout: "padded" (one image per row) or "packed" (many).
        row_length: tokens per packed row; 0 = the largest of `lengths`.
        stretch: most by which packed budgets may grow, as a share, to use up their rows.
        eval_length: token budget in evaluation; 0 = the largest of `lengths`.
        crop_scale: range of the share of a picture's area that a training crop keeps.
        flip: mirror half of the pictures, where their source allows it.
        num_workers, read_threads: worker processes (0 = none), and threads in each.
        prefetch: batches placed on the device ahead of the step.
        max_corrupt: different unusable records on this host after which the run stops.
    """

    train: str
    global_batch: int
    heldout: str = ""
    tokenizer: str = ""
    text_length: int = 64
    text_layout: str = "padded"
    text_row_length: int = 0
    text_budget: float = 0.0
    lengths: tuple[int, ...] = (256,)
    layout: str = "padded"
    row_length: int = 0
    stretch: float = 0.0
    eval_length: int = 0
    crop_scale: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    num_workers: int = 0
    read_threads: int = 4
    prefetch: int = 2
    max_corrupt: int = 1000


@dataclasses.dataclass(frozen=True)
class TextLayout:
    """How one host's captions of every batch are laid out.

    Attributes:
        packed: many captions per row, or one.
        length: most tokens per caption.
        row_length, num_rows: of packed rows, per group.
        groups: groups on this host.
    """

    packed: bool
    length: int
    row_length: int
    num_rows: int
    groups: int

    @classmethod
    def make(cls, config: DataSettings, groups: int, group_size: int) -> "TextLayout":
        """The layout that `config.data` describes; raises ConfigError."""
        packed = _is_packed(config.text_layout, "config.data.text_layout")
        row_length = config.text_row_length or 4 * config.text_length
        budget = config.text_budget or config.text_length
        if config.text_length < 1:
            raise ConfigError(
                f"config.data.text_length = {config.text_length} has no room for eos: set 1 or more"
            )
        if packed and row_length < config.text_length:
            raise ConfigError(
                f"config.data.text_row_length = {row_length} is less than "
                f"config.data.text_length = {config.text_length}: lengthen the rows."
            )
        if packed and not 1 <= budget <= config.text_length:
            raise ConfigError(
                f"config.data.text_budget = {budget} must lie between 1 and "
                f"config.data.text_length = {config.text_length} tokens per caption."
            )
        num_rows = math.ceil(group_size * budget / row_length)
        return cls(packed, config.text_length, row_length, num_rows, groups)

    def arrange(
        self, captions: Sequence[Sequence[int]], pad_id: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """This host's captions (token ids) as the model reads them, and the order they are in."""
        if not self.packed:
            return text_packing.pad_texts(captions, self.length, pad_id), np.arange(len(captions))
        block = math.gcd(self.groups, BALANCED_GROUPS)
        size = len(captions) * block // self.groups
        parts, orders = [], []
        for start in range(0, len(captions), size):
            some = captions[start : start + size]
            lengths = [len(c) for c in some]
            plan = text_packing.plan_texts(lengths, block, self.num_rows, self.row_length)
            part, order = text_packing.pack_texts(
                some, plan, self.num_rows, self.row_length, pad_id
            )
            parts.append(part)
            orders.append(start + order)
        batch = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        return batch, np.concatenate(orders)


@dataclasses.dataclass(frozen=True)
class Layout:
    """One host's view of every batch; picklable.

    Attributes:
        packed: many images per row, or one.
        lengths: token budgets to draw from (padded).
        budgets: of each image of a group, as planned (packed).
        plan: rows of a group (packed).
        row_length: tokens per packed row.
        seed: of drawn budgets.
        groups: groups of images on this host.
        group_size: images per group.
        host_offset: this host's first place in the global batch.
        text: the captions' layout.
    """

    packed: bool
    lengths: tuple[int, ...]
    budgets: tuple[int, ...]
    plan: packing.RowPlan
    row_length: int
    seed: int
    groups: int
    group_size: int
    host_offset: int
    text: TextLayout

    @classmethod
    def make(
        cls,
        config: DataSettings,
        num_shards: int,
        seed: int,
        microbatches: int = 1,
        num_hosts: int = 1,
        host: int = 0,
    ) -> "Layout":
        """The layout that `config.data` describes on a mesh of `num_shards` batch shards.

        Raises:
            ConfigError: a field is out of range, or numbers do not divide.
        """
        check_batch(config.global_batch, num_shards, microbatches)
        shards = num_shards // num_hosts
        text = TextLayout.make(config, shards, config.global_batch // num_shards)
        group_size = config.global_batch // (num_shards * microbatches)
        packed, budgets, plan = _plan_images(config, group_size)
        return cls(
            packed=packed,
            lengths=config.lengths,
            budgets=budgets,
            plan=plan,
            row_length=config.row_length or max(config.lengths),
            seed=seed,
            groups=shards * microbatches,
            group_size=group_size,
            host_offset=host * shards * microbatches * group_size,
            text=text,
        )

    @property
    def host_batch(self) -> int:
        """Images per batch on this host."""
        return self.groups * self.group_size

    def budget(self, batch: int, place: int) -> int:
        """Most tokens of the image at `place` of the global batch number `batch`.

        Padded: one length, drawn for the whole batch. Packed: every group has the same budgets, so
        the rows can be planned before any image is decoded.
        """
        if not self.packed:
            drawn = np.random.default_rng((self.seed, batch)).integers(len(self.lengths))
            return self.lengths[drawn]
        return self.budgets[place % self.group_size]

    def arrange(
        self, patches: Sequence[np.ndarray], positions: Sequence[np.ndarray], budget: int
    ) -> dict[str, np.ndarray]:
        """This host's images, in order of place, as the model reads them.

        `budget` is that of the batch, to which padded rows are padded. Packed arrays are
        `[groups, rows, row_length, …]`, with `slots [groups, group_size]` as from `packing.pack`
        and `slot_mask [groups, rows, slots]`: which slots hold an image.
        """
        if not self.packed:
            return packing.pad(patches, positions, budget)
        parts = []
        for start in range(0, self.host_batch, self.group_size):
            images = slice(start, start + self.group_size)
            parts.append(
                packing.pack(
                    patches[images],
                    positions[images],
                    self.plan,
                    self.row_length,
                    self.plan.max_slots,
                )
            )
        batch = {name: np.stack([p[name] for p in parts]) for name in parts[0]}
        slots = np.arange(1, self.plan.max_slots + 1, dtype=np.int32)
        batch["slot_mask"] = np.any(batch["segments"][..., None] == slots, axis=2)
        return batch

    def by_image(self, values: np.ndarray) -> np.ndarray:
        """One number per image of this host, along the same first axis as the images' arrays."""
        return values.reshape(self.groups, self.group_size) if self.packed else values


def check_batch(global_batch: int, num_shards: int, microbatches: int = 1) -> None:
    """Raises ConfigError where a batch does not divide over batch shards and microbatches."""
    if global_batch % (num_shards * microbatches):
        raise ConfigError(
            f"config.data.global_batch = {global_batch} is not divisible by the mesh's "
            f"{num_shards} batch shards times config.train.microbatches = {microbatches}."
        )


def _plan_images(
    config: DataSettings, group_size: int
) -> tuple[bool, tuple[int, ...], packing.RowPlan]:
    """(whether packed, budget of each image of a group, rows); raises ConfigError."""
    if not _is_packed(config.layout, "config.data.layout"):
        return False, (), packing.plan_rows((), 1)
    row_length = config.row_length or max(config.lengths)
    if row_length < max(config.lengths):
        raise ConfigError(
            f"config.data.row_length = {row_length} is less than the longest budget "
            f"{max(config.lengths)} in config.data.lengths."
        )
    if config.stretch < 0:
        raise ConfigError(f"config.data.stretch = {config.stretch} must be 0 or more.")
    repeats = -(-group_size // len(config.lengths))
    budgets = (config.lengths * repeats)[:group_size]
    plan = packing.plan_rows(budgets, row_length)
    return True, packing.stretch(budgets, plan, row_length, config.stretch), plan


def _is_packed(layout: str, field: str) -> bool:
    return settings.choose({"packed": True, "padded": False}, layout, field)
