"""What a batch of documents consists of: its settings, its arrays and their shapes.

Documents are packed into rows of tokens, their pictures into rows of patches. Rows form groups, a
whole number per batch shard of the mesh and microbatch; a document's pictures are in its own group,
so that putting visual features among the tokens needs no communication between batch shards.

Nothing here imports JAX: loader workers unpickle it.
"""

import dataclasses
from typing import Any

import numpy as np

from cogvit_jax import settings
from cogvit_jax.settings import ConfigError
from mmtp.data.encoded import MERGE

BLOCK = MERGE**2  # patches that become one token

# Every array of a batch: type, and its dims after the groups, by name (see `Layout.sizes`) or size.
# "tokens" and "patches" are the dims that context parallelism splits. Where nothing is, or nothing
# is valid, all arrays are 0.
ARRAYS: dict[str, tuple[Any, tuple[str | int, ...]]] = {
    "tokens": (np.int32, ("rows", "tokens")),
    # (time, height, width) of each token, from 0 in each document.
    "positions": (np.int32, ("rows", "tokens", 3)),
    # k = the k-th document of the row, 0 = padding.
    "segments": (np.int32, ("rows", "tokens")),
    # Place in the row before any reordering, of padding too.
    "order": (np.int32, ("rows", "tokens")),
    # 0 = text, else 1 + index into the group's merged tokens, row after row.
    "visual": (np.int32, ("rows", "tokens")),
    # Head k's target at token i is token i + k + 1 where its weight is 1: it is text, is to be
    # predicted, and is of the same document.
    "labels": (np.int32, ("rows", "heads", "tokens")),
    "weights": (np.float32, ("rows", "heads", "tokens")),
    # What depth k = 1 … D is fed at token i: token i + k, its position, and where in the row (as
    # laid out) it is; valid where it is of the same document.
    "mtp_tokens": (np.int32, ("rows", "depths", "tokens")),
    "mtp_valid": (np.bool_, ("rows", "depths", "tokens")),
    "mtp_sources": (np.int32, ("rows", "depths", "tokens")),
    "mtp_positions": (np.int32, ("rows", "depths", "tokens", 3)),
    # Whether tokens i + 1 … i + k are all text of the same document.
    "path": (np.bool_, ("rows", "depths", "tokens")),
    # Index into `records.CATEGORIES`.
    "category": (np.int32, ("rows", "tokens")),
    # As in `encoded.Visual`: each picture's patches follow each other in one row.
    "image/patches": (np.uint8, ("vision_rows", "patches", "patch_dim")),
    # (row, column) in the picture.
    "image/positions": (np.int32, ("vision_rows", "patches", 2)),
    # k = the k-th picture of the row, 0 = padding.
    "image/segments": (np.int32, ("vision_rows", "patches")),
}


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """`config.data`.

    Attributes:
        train: sources with weights, `spec@weight,spec@weight`.
        heldout: sources to evaluate on, `spec,spec`.
        documents: drawn per step, over all hosts; those for which no room is left are dropped, the
            small ones first: `data/dropped_documents` and `data/dropped_tokens` in the log.
        seq_len: tokens per row; the longest document that can be used.
        rows: rows of tokens per step, over all hosts.
        vision_row_length: patches per row of pictures; the largest picture that can be used.
        vision_rows: rows of patches per step, over all hosts.
        layout: "packed" (many documents and pictures per row) or "padded" (one).
        groups: groups of rows, over all hosts; 0 = one per batch shard and microbatch. A number
            that they divide gives the same batches on meshes of different size.
        planned_groups: neighbouring groups over which documents are balanced; 0 = all of a host.
            A divisor of every host's groups gives the same batches on any number of hosts.
        vision_cost: what a patch costs in the vision tower, as a multiple of what a token costs in
            the decoder: groups are balanced by the sum.
        num_workers, read_threads: worker processes (0 = none), and threads in each.
        prefetch: batches placed on the device ahead of the step.
        max_corrupt: different unusable records on this host after which the run stops.
    """

    train: str
    documents: int
    seq_len: int
    rows: int
    vision_row_length: int
    vision_rows: int
    heldout: str = ""
    layout: str = "packed"
    groups: int = 0
    planned_groups: int = 0
    vision_cost: float = 1.0
    num_workers: int = 0
    read_threads: int = 4
    prefetch: int = 2
    max_corrupt: int = 1000

    @property
    def global_batch(self) -> int:
        """What `cogvit_jax.data.pipeline` calls the number of examples per step."""
        return self.documents


@dataclasses.dataclass(frozen=True)
class Layout:
    """One host's view of every batch; picklable.

    Attributes:
        groups: on this host.
        planned_groups: of these, balanced together.
        global_groups: over all hosts.
        rows, seq_len: rows of tokens per group, and tokens in each.
        vision_rows, vision_row_length: rows of patches per group, and patches in each.
        depth: MTP depths.
        patch_dim: uint8 numbers per patch.
        image_token: the placeholder's id.
        padded: one document, or picture, per row.
        vision_cost: of a patch, relative to a token.
        context: devices that share the tokens of a row.
        host_batch, host_offset: documents per batch on this host, and the first one's place.
    """

    groups: int
    planned_groups: int
    global_groups: int
    rows: int
    seq_len: int
    vision_rows: int
    vision_row_length: int
    depth: int
    patch_dim: int
    image_token: int
    padded: bool
    vision_cost: float
    context: int
    host_batch: int
    host_offset: int

    @classmethod
    def make(
        cls,
        config: DataSettings,
        *,
        num_shards: int,
        depth: int,
        patch_dim: int,
        image_token: int,
        microbatches: int = 1,
        context: int = 1,
        num_hosts: int = 1,
        host: int = 0,
    ) -> "Layout":
        """The layout that `config.data` describes on a mesh of `num_shards` batch shards.

        Raises:
            ConfigError: a field is out of range, or numbers do not divide.
        """
        padded = settings.choose(
            {"packed": False, "padded": True}, config.layout, "config.data.layout"
        )
        for name in ("documents", "seq_len", "rows", "vision_row_length", "vision_rows"):
            if getattr(config, name) < 1:
                raise ConfigError(
                    f"config.data.{name} = {getattr(config, name)} must be 1 or more."
                )
        if config.vision_cost < 0:
            raise ConfigError(f"config.data.vision_cost = {config.vision_cost} must be 0 or more.")
        groups = _count_groups(config, num_shards, microbatches)
        planned = config.planned_groups or groups // num_hosts
        _check_divides(config, groups, planned, num_hosts)
        check_context(config.seq_len, config.vision_row_length, context)
        return cls(
            groups=groups // num_hosts,
            planned_groups=planned,
            global_groups=groups,
            rows=config.rows // groups,
            seq_len=config.seq_len,
            vision_rows=config.vision_rows // groups,
            vision_row_length=config.vision_row_length,
            depth=depth,
            patch_dim=patch_dim,
            image_token=image_token,
            padded=padded,
            vision_cost=config.vision_cost,
            context=context,
            host_batch=config.documents // num_hosts,
            host_offset=host * (config.documents // num_hosts),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Of the dims that `ARRAYS` names."""
        return {
            "rows": self.rows,
            "tokens": self.seq_len,
            "heads": 1 + self.depth,
            "depths": self.depth,
            "vision_rows": self.vision_rows,
            "patches": self.vision_row_length,
            "patch_dim": self.patch_dim,
        }


def batch_shapes(layout: Layout, groups: int | None = None) -> dict[str, Any]:
    """Name -> (shape, type) of every array of a batch, nested as the batch is.

    Args:
        layout: of any host.
        groups: leading dim; None = of the global batch.
    """
    groups = layout.global_groups if groups is None else groups
    shapes = {}
    for name, (dtype, dims) in ARRAYS.items():
        shape = tuple(layout.sizes[d] if isinstance(d, str) else d for d in dims)
        shapes[name] = ((groups, *shape), np.dtype(dtype))
    return nest(shapes)


def nest(arrays: dict[str, Any]) -> dict[str, Any]:
    """{"tokens": x, "image/patches": y} -> {"tokens": x, "image": {"patches": y}}."""
    nested: dict[str, Any] = {"image": {}}
    for name, value in arrays.items():
        folder, _, leaf = name.rpartition("/")
        (nested[folder] if folder else nested)[leaf] = value
    return nested


def flatten(batch: dict[str, Any]) -> dict[str, Any]:
    """Undoes `nest`."""
    text = {name: value for name, value in batch.items() if name != "image"}
    return text | {f"image/{name}": value for name, value in batch["image"].items()}


def check_context(seq_len: int, vision_row_length: int, context: int) -> None:
    """Raises ConfigError where rows cannot be shared by `context` devices.

    Rows of tokens are cut into two chunks per device (see `reorder`), rows of patches into one
    whole number of 2 x 2 blocks per device, so that no block is on two devices.
    """
    if seq_len % (2 * context) and context > 1:
        raise ConfigError(
            f"config.data.seq_len = {seq_len} must be a multiple of {2 * context}, two chunks per "
            f"device of config.mesh.context = {context}: change one of them."
        )
    if vision_row_length % (BLOCK * context):
        raise ConfigError(
            f"config.data.vision_row_length = {vision_row_length} must be a multiple of "
            f"{BLOCK * context}, {BLOCK} patches per token on each device of config.mesh.context = "
            f"{context}: change one of them."
        )


def _count_groups(config: DataSettings, num_shards: int, microbatches: int) -> int:
    least = num_shards * microbatches
    if config.groups < 0 or config.groups % least:
        raise ConfigError(
            f"config.data.groups = {config.groups} must be a multiple of the mesh's {num_shards} "
            f"batch shards times {microbatches} (config.train.microbatches times those of "
            f"config.pipeline), or 0 for {least}."
        )
    return config.groups or least


def _check_divides(config: DataSettings, groups: int, planned: int, num_hosts: int) -> None:
    for name in ("rows", "vision_rows"):
        if getattr(config, name) % groups:
            raise ConfigError(
                f"config.data.{name} = {getattr(config, name)} must be a multiple of the {groups} "
                "groups of a batch (config.data.groups, or batch shards times microbatches)."
            )
    if planned < 1 or (groups // num_hosts) % planned:
        raise ConfigError(
            f"config.data.planned_groups = {planned} must divide the {groups // num_hosts} groups "
            "of a host; 0 balances all of them."
        )
    if config.documents % (groups // planned):
        raise ConfigError(
            f"config.data.documents = {config.documents} must be a multiple of {groups // planned}"
            f", the sets of {planned} groups that are balanced apart."
        )
