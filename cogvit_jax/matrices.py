"""One function on all matrices of many arrays, each matrix whole on one chip.

Arrays hold matrices among their dims (stacked layers, attention heads) and are split over the mesh.
Matrices of one size, from all arrays, form a stack of which each chip handles its share:

    blocks, split as the array is  --slice, all-to-all-->   whole matrices, one chip's share
    blocks, split as the array is  <--all-to-all, all-gather--  what the function made of them

Chips that hold copies of an array take different slices of the stack, at no cost; chips that hold
different blocks of a matrix exchange them. Rows, columns and their order do not matter to the
functions this is for, `f(P X Q) = P f(X) Q` for permutations and `f(X') = f(X)'`, so blocks are
joined in any order, and all matrices are turned to have no more rows than columns.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

# (input dims, output dims) of the matrices in an array; the other dims are a batch of matrices.
MatrixDims = tuple[tuple[int, ...], tuple[int, ...]]
_Mesh = Mesh | AbstractMesh | None
_Split = tuple[tuple[str, int], ...]
MatrixFn = Callable[[Float[Array, "n r c"]], Float[Array, "n r c"]]

# Slices of a pod are joined by a slow network: each slice repeats the work of the others instead.
SLICE_AXIS = "dcn"

_JOINED = {1: "k (s r) c", 2: "k r (s c)"}  # blocks of s chips, by rows and by columns


def map_matrices(
    fn: MatrixFn,
    arrays: Mapping[str, Array],
    dims: Mapping[str, MatrixDims],
    shardings: Mapping[str, NamedSharding] | None = None,
) -> dict[str, Array]:
    """Arrays like `arrays` whose matrices are `fn`'s of theirs.

    Args:
        fn: of n matrices, r <= c; zero matrices are among them.
        arrays: of one dtype, which is also that of what chips exchange.
        dims: which dims of each array are its matrices'.
        shardings: where each array lives; None = on one device.
    """
    if not arrays:
        return {}
    specs = {name: shardings[name].spec if shardings else PartitionSpec() for name in arrays}
    mesh = next(shardings[name].mesh for name in arrays) if shardings else None
    stacks: dict[Any, dict[Any, list[_Matrices]]] = {}
    for name, x in arrays.items():
        m = _describe(name, x.shape, dims[name], specs[name], mesh)
        owners = tuple(axis for axis, _ in m.split)
        parts = stacks.setdefault((m.size, m.copies, owners), {})
        parts.setdefault((m.split, m.swap), []).append(m)

    def local(blocks: dict[str, Array]) -> dict[str, Array]:
        out: dict[str, Array] = {}
        for parts in stacks.values():
            # Those that are split alike stand together, and are exchanged together.
            in_order = [parts[key] for key in sorted(parts)]
            out |= _map_stack(fn, in_order, blocks, mesh)
        return {name: out[name] for name in blocks}

    if mesh is not None:
        local = jax.shard_map(local, mesh=mesh, in_specs=(specs,), out_specs=specs, check_vma=False)
    return local(dict(arrays))


@dataclasses.dataclass(frozen=True)
class _Matrices:
    """How the matrices of one array lie on the mesh.

    Attributes:
        name: of the array.
        batch, rows, columns: its dims.
        swap: rows and columns change places before matrices are joined.
        size: (rows, columns) of a joined matrix.
        split: (mesh axis, 1 = rows or 2 = columns, of a joined matrix) for each axis that splits a
            matrix, in the order of the mesh; along these, whole matrices are dealt out.
        copies: mesh axes along which chips hold the same blocks.
    """

    name: str
    batch: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    swap: bool
    size: tuple[int, int]
    split: _Split
    copies: tuple[str, ...]


def _describe(
    name: str, shape: tuple[int, ...], dims: MatrixDims, spec: PartitionSpec, mesh: _Mesh
) -> _Matrices:
    sizes: Mapping[str, int] = {} if mesh is None else dict(mesh.shape)
    entries = [() if e is None else (e,) if isinstance(e, str) else tuple(e) for e in spec]
    dim_of = {axis: dim for dim, entry in enumerate(entries) for axis in entry}
    sides = [math.prod(shape[d] for d in side) for side in dims]
    split = [(a, 1 if dim_of[a] in dims[0] else 2) for a in sizes if dim_of.get(a) in sum(dims, ())]
    split = [(a, side) for a, side in split if sizes[a] > 1]
    # Square matrices are turned so that those split by columns join those split by rows.
    swap = sides[0] > sides[1] or (sides[0] == sides[1] and [side for _, side in split][:1] == [2])
    return _Matrices(
        name=name,
        batch=tuple(d for d in range(len(shape)) if d not in sum(dims, ())),
        rows=dims[0],
        columns=dims[1],
        swap=swap,
        size=(min(sides), max(sides)),
        split=tuple((a, 3 - side if swap else side) for a, side in split),
        copies=tuple(a for a, n in sizes.items() if n > 1 and a not in {*dim_of, SLICE_AXIS}),
    )


def _map_stack(
    fn: MatrixFn,
    parts: Sequence[Sequence[_Matrices]],
    blocks: Mapping[str, Array],
    mesh: _Mesh,
) -> dict[str, Array]:
    """`fn` of matrices of one size, on one chip of the mesh.

    Args:
        fn: see `map_matrices`.
        parts: arrays whose matrices are split alike; parts differ in how.
        blocks: this chip's blocks of the arrays.
        mesh: None = one device.
    """
    copies = parts[0][0].copies
    num_owners = _num_chips(mesh, [axis for axis, _ in parts[0][0].split])
    stacks = [jnp.concatenate([_stack(blocks[m.name], m) for m in part]) for part in parts]
    shares = [_turn(_share(x, copies, mesh), p[0]) for x, p in zip(stacks, parts, strict=True)]
    ends = list(itertools.accumulate(len(x) for x in shares))
    total = -(-ends[-1] // num_owners) * num_owners
    # Each kind of split is exchanged by itself, into places where the others have zeros.
    joined: Any = 0
    splits = [part[0].split for part in parts]
    for split in dict.fromkeys(splits):
        alike = jnp.concatenate([x for x, s in zip(shares, splits, strict=True) if s == split])
        start = ends[splits.index(split)] - len(shares[splits.index(split)])
        joined = joined + _join(_pad(alike, start, total), split, mesh)
    done = fn(joined)
    cut = {split: _cut(done, split, mesh) for split in dict.fromkeys(splits)}
    out: dict[str, Array] = {}
    for part, stack, share, end in zip(parts, stacks, shares, ends, strict=True):
        mine = _turn(cut[part[0].split][end - len(share) : end], part[0])
        whole = jax.lax.all_gather(mine, copies, tiled=True) if copies else mine
        out |= _unstack(whole[: len(stack)], part, blocks)
    return out


def _num_chips(mesh: _Mesh, axes: Sequence[str]) -> int:
    return math.prod(mesh.shape[a] for a in axes) if mesh is not None else 1


def _pad(x: Float[Array, "n r c"], before: int, total: int) -> Float[Array, "total r c"]:
    return jnp.pad(x, ((before, total - before - len(x)), (0, 0), (0, 0)))


def _share(x: Float[Array, "n r c"], copies: tuple[str, ...], mesh: _Mesh) -> Float[Array, "m r c"]:
    """This chip's slice of a stack that all chips along `copies` hold."""
    if not copies:
        return x
    num = _num_chips(mesh, copies)
    size = -(-len(x) // num)
    start = jax.lax.axis_index(copies) * size
    return jax.lax.dynamic_slice_in_dim(_pad(x, 0, size * num), start, size)


def _turn(x: Float[Array, "n r c"], m: _Matrices) -> Float[Array, "n r c"]:
    # Without the barriers the compiler turns whole arrays instead, momentum and parameters too.
    if not m.swap:
        return x
    return jax.lax.optimization_barrier(jax.lax.optimization_barrier(x).mT)


def _join(x: Float[Array, "n r c"], split: _Split, mesh: _Mesh) -> Float[Array, "k rows columns"]:
    """Blocks of n matrices -> this chip's share of whole matrices."""
    for axis, side in split:
        x = rearrange(x, "(s k) r c -> s k r c", s=_num_chips(mesh, [axis]))
        x = jax.lax.all_to_all(x, axis, split_axis=0, concat_axis=0, tiled=True)
        x = rearrange(x, f"s k r c -> {_JOINED[side]}")
    return x


def _cut(x: Float[Array, "k rows columns"], split: _Split, mesh: _Mesh) -> Float[Array, "n r c"]:
    """The inverse of `_join`."""
    for axis, side in reversed(split):
        x = rearrange(x, f"{_JOINED[side]} -> s k r c", s=_num_chips(mesh, [axis]))
        x = jax.lax.all_to_all(x, axis, split_axis=0, concat_axis=0, tiled=True)
        x = rearrange(x, "s k r c -> (s k) r c")
    return x


def _stack(x: Array, m: _Matrices) -> Float[Array, "n r c"]:
    sides = (math.prod(x.shape[d] for d in side) for side in (m.batch, m.rows, m.columns))
    return x.transpose(m.batch + m.rows + m.columns).reshape(tuple(sides))


def _unstack(
    stack: Float[Array, "n r c"], part: Sequence[_Matrices], blocks: Mapping[str, Array]
) -> dict[str, Array]:
    """The inverse of concatenating each `_stack`."""
    out: dict[str, Array] = {}
    start = 0
    for m in part:
        shape, order = blocks[m.name].shape, m.batch + m.rows + m.columns
        num = math.prod(shape[d] for d in m.batch)
        x = stack[start : start + num].reshape([shape[d] for d in order])
        out[m.name] = x.transpose(sorted(range(len(order)), key=order.__getitem__))
        start += num
    return out
