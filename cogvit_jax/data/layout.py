"""Where each image of a batch goes: token budgets by batch and place, rows, shares of hosts.

A batch is cut into groups, one per batch shard of the mesh; a group's images and rows stay on its
devices, so that picking images out of packed rows needs no communication.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cogvit_jax import settings, sharding
from cogvit_jax.data import packing
from cogvit_jax.settings import ConfigError


@dataclasses.dataclass(frozen=True)
class Layout:
    """One host's view of every batch; picklable.

    Attributes:
        packed: many images per row, or one.
        lengths: token budgets.
        row_length: tokens per packed row.
        seed: of budgets.
        groups: groups on this host.
        group_size: images per group.
        host_offset: this host's first place in the global batch.
    """

    packed: bool
    lengths: tuple[int, ...]
    row_length: int
    seed: int
    groups: int
    group_size: int
    host_offset: int

    @classmethod
    def make(cls, config: Any, mesh: Mesh, seed: int) -> "Layout":
        """The layout that `config.data` describes on a mesh; raises ConfigError."""
        shards = sharding.num_batch_shards(mesh)
        if config.global_batch % shards:
            raise ConfigError(
                f"config.data.global_batch = {config.global_batch} is not divisible by the mesh's "
                f"{shards} batch shards (data × fsdp)."
            )
        packed = settings.choose(
            {"packed": True, "padded": False}, config.layout, "config.data.layout"
        )
        row_length = config.row_length or max(config.lengths)
        if packed and row_length < max(config.lengths):
            raise ConfigError(
                f"config.data.row_length = {row_length} is less than the longest budget "
                f"{max(config.lengths)} in config.data.lengths."
            )
        groups = shards // jax.process_count()
        group_size = config.global_batch // shards
        offset = jax.process_index() * groups * group_size
        return cls(packed, config.lengths, row_length, seed, groups, group_size, offset)

    @property
    def host_batch(self) -> int:
        """Images per batch on this host."""
        return self.groups * self.group_size

    def budget(self, batch: int, place: int) -> int:
        """Most tokens of the image at `place` of the global batch number `batch`.

        Padded: one length, drawn for the whole batch. Packed: the batch's groups each hold the
        lengths in equal shares, so the rows can be planned before any image is decoded.
        """
        if not self.packed:
            drawn = np.random.default_rng((self.seed, batch)).integers(len(self.lengths))
            return self.lengths[drawn]
        return self._budgets()[place % self.group_size]

    def arrange(
        self, patches: Sequence[np.ndarray], positions: Sequence[np.ndarray], budget: int
    ) -> dict[str, np.ndarray]:
        """This host's images, in order of place, as the model reads them.

        `budget` is that of the batch, to which padded rows are padded.
        """
        if not self.packed:
            return packing.pad(patches, positions, budget)
        plan = packing.plan_rows(self._budgets(), self.row_length)
        parts = []
        for group in range(self.groups):
            images = slice(group * self.group_size, (group + 1) * self.group_size)
            parts.append(
                packing.pack(
                    patches[images], positions[images], plan, self.row_length, plan.max_slots
                )
            )
        batch = {k: np.concatenate([p[k] for p in parts]) for k in parts[0] if k != "slots"}
        batch["slots"] = np.stack([p["slots"] for p in parts])
        slots = np.arange(1, plan.max_slots + 1, dtype=np.int32)
        batch["slot_mask"] = np.any(batch["segments"][:, :, None] == slots, axis=1)
        return batch

    def _budgets(self) -> tuple[int, ...]:
        repeats = -(-self.group_size // len(self.lengths))
        return (self.lengths * repeats)[: self.group_size]
