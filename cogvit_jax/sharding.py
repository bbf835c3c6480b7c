"""The device mesh, and where parameters and batches live on it.

Axes: `dcn` (slices, joined by the data centre's network), `data` and `fsdp` split the batch; `fsdp`
and `tensor` may split parameters, as `config.mesh.rules` says, an ordered table (regex, axis name,
tuple of names or None per array dim, from the last). A language model may split its layers over
`stage` (`mmtp.models.pipeline`) and the tokens of a row over `context` (`mmtp.models.context`).
Axes are Auto: the compiler places collectives, except where a loss uses `shard_map`.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cogvit_jax import tree
from cogvit_jax.settings import ConfigError

BATCH_AXES = ("dcn", "data", "fsdp")
AXES = ("dcn", "stage", "data", "fsdp", "context", "tensor")


@dataclasses.dataclass(frozen=True)
class MeshSettings:
    """`config.mesh`.

    Attributes:
        dcn: slices; 1 = a single slice, or hosts that are not told apart.
        stage, data, fsdp, context, tensor: devices of a slice along each axis; one may be -1 = all
            that remain.
        rules: ordered (regex, spec): spec names a mesh axis, a tuple of axes or None for the
            trailing dims of every matching parameter; () replicates it.
    """

    dcn: int = 1
    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    stage: int = 1
    context: int = 1
    rules: tuple[Any, ...] = ((".*", ()),)


def make_mesh(config: MeshSettings, devices: Sequence[Any] | None = None) -> Mesh:
    """Mesh over all devices (of all processes), axes laid along the torus of each slice.

    Raises:
        ConfigError: the axes do not multiply to the number of devices, or the slices differ.
    """
    devices = list(devices or jax.devices())
    sizes = [getattr(config, axis) for axis in AXES]
    known = math.prod(s for s in sizes if s != -1)
    if sizes.count(-1) == 1 and known and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if math.prod(sizes) != len(devices) or min(sizes) < 1:
        given = ", ".join(f"{a}={s}" for a, s in zip(AXES, sizes, strict=True))
        raise ConfigError(
            f"config.mesh ({given}) must multiply to the {len(devices)} devices there are: "
            "set one axis to -1 and the others to divisors of that, or start more devices."
        )
    placed = np.stack([_place(part, sizes[1:]) for part in _slices(devices, sizes[0])])
    return Mesh(placed, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def data_parallel() -> dict[str, int]:
    """`config.mesh` for whatever devices are here, whatever a run was trained on."""
    ones = dict.fromkeys(AXES, 1)
    return ones | {"dcn": len(slice_indices(jax.devices())), "data": -1}


def slice_indices(devices: Sequence[Any]) -> list[int]:
    """Numbers of the slices that devices belong to; one where the platform knows none."""
    return sorted({getattr(d, "slice_index", None) or 0 for d in devices})


def _slices(devices: list[Any], num: int) -> list[list[Any]]:
    """The devices of each slice; where the platform knows none, consecutive devices."""
    found = slice_indices(devices)
    if len(found) == 1:
        return np.array_split(np.asarray(devices, object), num)  # type: ignore[return-value]
    if len(found) != num:
        raise ConfigError(
            f"config.mesh.dcn = {num}, but the devices belong to {len(found)} slices: set it to "
            f"{len(found)}."
        )
    return [[d for d in devices if d.slice_index == index] for index in found]


def _place(devices: Sequence[Any], shape: Sequence[int]) -> np.ndarray:
    """Devices of one slice as an array whose axes follow the interconnect where they can."""
    return mesh_utils.create_device_mesh(
        shape, list(devices), allow_split_physical_axes=True, contiguous_submeshes=False
    )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Arrays split along their first dim over the batch axes."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def keep_rows(x: jax.Array) -> jax.Array:
    """Keeps an activation split by its first dim, as its batch is, while a training step is traced.

    Without it the compiler may follow a parameter that is split over `fsdp` and split activations
    by features, which turns FSDP's gathers of weights into much larger moves of activations.
    """
    others = (PartitionSpec.UNCONSTRAINED,) * (x.ndim - 1)  # may be split over `tensor`
    return _constrain(x, PartitionSpec(BATCH_AXES, *others))


def keep_tokens(x: jax.Array) -> jax.Array:
    """`keep_rows` for `[rows, tokens, …]` whose tokens are split over `context`."""
    others = (PartitionSpec.UNCONSTRAINED,) * (x.ndim - 2)
    return _constrain(x, PartitionSpec(BATCH_AXES, "context", *others))


def keep_whole(x: jax.Array) -> jax.Array:
    """Gathers a split parameter for its use, while a training step is traced."""
    return _constrain(x, PartitionSpec())


def auto_axes() -> set[str]:
    """Axes of the mesh in context that are not yet split by hand."""
    mesh = jax.sharding.get_abstract_mesh()
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True) if not mesh.empty else ()
    return {name for name, kind in kinds if kind == AxisType.Auto}


def _constrain(x: jax.Array, spec: PartitionSpec) -> jax.Array:
    here = auto_axes()

    def keep(entry: Any) -> Any:
        if entry is None or entry is PartitionSpec.UNCONSTRAINED:
            return entry
        return tuple(a for a in (entry if isinstance(entry, tuple) else (entry,)) if a in here)

    if not here:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*map(keep, spec)))


def num_batch_shards(mesh: Mesh) -> int:
    """How many pieces a batch is split into."""
    return math.prod(mesh.shape[a] for a in BATCH_AXES)


def param_shardings(
    mesh: Mesh, rules: tree.Rules, params: Any, field: str = "config.mesh.rules"
) -> Any:
    """A sharding per parameter, by the first matching rule of the config's `field`.

    Raises:
        ConfigError: no rule matches, an axis is unknown, or it does not divide the dim.
    """

    def sharding(name: str, x: Any) -> NamedSharding:
        spec = tuple(tree.match(rules, name, field))[-x.ndim :] if x.ndim else ()
        padded = (None,) * (x.ndim - len(spec)) + spec
        for dim, axis in enumerate(padded):
            axes = axis if isinstance(axis, tuple) else (axis,) if axis else ()
            if not set(axes) <= set(mesh.shape):
                raise ConfigError(f"{field}: {axis!r} is no mesh axis; axes: {AXES}.")
            num = math.prod(mesh.shape[a] for a in axes)
            if x.shape[dim] % num:
                raise ConfigError(
                    f"{field} puts {axis!r} ({num} devices) on dim {dim} of "
                    f"{name} {x.shape}, which it does not divide: change the rule or the mesh."
                )
        return NamedSharding(mesh, PartitionSpec(*padded))

    tree.check_rules(rules, [n for n, _ in tree.named_leaves(params)], field)
    return tree.map_named(sharding, params)


def like_params(mesh: Mesh, params: Any, shardings: Any, others: Any) -> Any:
    """Shardings for a tree such as the optimizer's state: leaves that stand for a parameter (their
    path ends in its path and the shapes agree) are placed like it, the rest is replicated.
    """
    known = {
        name: (x.shape, s)
        for (name, x), s in zip(tree.named_leaves(params), jax.tree.leaves(shardings), strict=True)
    }

    def place(name: str, x: Any) -> NamedSharding:
        parts = name.split("/")
        for start in range(len(parts)):
            shape, sharding = known.get("/".join(parts[start:]), (None, None))
            if shape == x.shape and sharding is not None:
                return sharding
        return NamedSharding(mesh, PartitionSpec())

    return tree.map_named(place, others)


def put_batch(mesh: Mesh, batch: Any) -> Any:
    """Host arrays (this process's share) -> global arrays split along the first dim."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def replicate(mesh: Mesh, tree_of_arrays: Any) -> Any:
    """Host arrays, the same on every process -> global arrays that every device holds whole."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    return place(tree_of_arrays, jax.tree.map(lambda _: everywhere, tree_of_arrays))


def place(tree_of_arrays: Any, shardings: Any) -> Any:
    """Host arrays, the same on every process -> global arrays where the shardings say."""

    def put(x: Any, sharding: NamedSharding) -> jax.Array:
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree_of_arrays, shardings)


def wait_for_all(name: str) -> None:
    """Returns when every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def to_host(x: Any) -> Any:
    """Global arrays, sharded or not, as numpy arrays on every process."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, x)
    return multihost_utils.process_allgather(x, tiled=True)


def split_microbatches(batch: Any, num: int) -> Any:
    """`[n, …] -> [num, n / num, …]` with every microbatch spread over all devices.

    The straightforward `reshape(num, -1)` would gather a sharded batch; taking every num-th row
    keeps each row where it is.

    Raises:
        ConfigError: `num` does not divide n.
    """

    def split(x: jax.Array) -> jax.Array:
        if x.shape[0] % num:
            raise ConfigError(
                f"config.train.microbatches = {num} does not divide a batch of {x.shape[0]} rows: "
                "choose a divisor."
            )
        return x.reshape(-1, num, *x.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(split, batch)
