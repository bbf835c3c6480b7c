"""Checkpoints with Orbax: parameters, the rest of the train state, data state, metadata.

Layout of a step: `params/` and, where the program has any, `statistics/` (items of their own, so
that evaluation reads nothing else), `rest/` (optimizer state, step, rng, skip counter), `data/` and
`meta/` (JSON). Saves are asynchronous and
appear by an atomic rename: a process killed at any moment leaves the previous step intact.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy as keep

from cogvit_jax import tree
from cogvit_jax.program import TrainState
from cogvit_jax.settings import ConfigError


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, damaged or of another shape; says what to do."""


class Checkpointer:
    """Saves to and restores from `workdir/checkpoints`."""

    def __init__(self, workdir: str, keep_last: int = 2, keep_every: int = 0):
        self.directory = epath.Path(workdir) / "checkpoints"
        policies: list[Any] = [keep.LatestN(keep_last)]
        if keep_every:
            policies.append(keep.EveryNSteps(keep_every))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=keep.AnyPreservationPolicy(policies),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        self._manager = ocp.CheckpointManager(_absolute(self.directory), options=options)

    @property
    def latest_step(self) -> int | None:
        """Newest complete checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, data: dict[str, Any]) -> None:
        """Starts saving; returns when the arrays are copied to the host."""
        if step == self.latest_step:
            return
        items = {
            "params": ocp.args.StandardSave(state.params),
            "rest": ocp.args.StandardSave(_rest(state)),
            "data": ocp.args.JsonSave(data),
            "meta": ocp.args.JsonSave({"parameters": _shapes(state.params)}),
        }
        if state.statistics is not None:
            items["statistics"] = ocp.args.StandardSave(state.statistics)
        self._manager.save(step, args=ocp.args.Composite(**items), force=True)

    def restore(self, shapes: TrainState, shardings: TrainState) -> tuple[TrainState, dict]:
        """(state placed as `shardings` says, data state) of the newest checkpoint.

        Raises:
            CheckpointError: no checkpoint, other parameters than `shapes`, or unreadable files.
        """
        step = self._require_step()
        self._check_shapes(step, shapes.params)
        abstract = jax.tree.map(_abstract, shapes, shardings)
        items = {
            "params": ocp.args.StandardRestore(abstract.params),
            "rest": ocp.args.StandardRestore(_rest(abstract)),
            "data": ocp.args.JsonRestore(),
        }
        if shapes.statistics is not None:
            items["statistics"] = ocp.args.StandardRestore(abstract.statistics)
        found = self._read(step, ocp.args.Composite(**items))
        statistics = found.get("statistics")
        return TrainState(params=found.params, statistics=statistics, **found.rest), found.data

    def restore_params(
        self, shapes: Any, shardings: Any, statistics: Any = None
    ) -> tuple[Any, Any, int]:
        """(parameters, statistics, step) of the newest checkpoint, and nothing else.

        `statistics` are shapes with shardings, or None where the program has none.
        """
        step = self._require_step()
        self._check_shapes(step, shapes)
        abstract = jax.tree.map(_abstract, shapes, shardings)
        items = {"params": ocp.args.StandardRestore(abstract)}
        if statistics is not None:
            items["statistics"] = ocp.args.StandardRestore(statistics)
        found = self._read(step, ocp.args.Composite(**items))
        return found.params, found.get("statistics"), step

    def save_params(self, params: Any) -> None:
        """Writes parameters alone, as step 0: a start for other runs, not a run to go on with."""
        args = ocp.args.Composite(
            params=ocp.args.StandardSave(params),
            meta=ocp.args.JsonSave({"parameters": _shapes(params)}),
        )
        self._manager.save(0, args=args, force=True)

    def read_params(self) -> tuple[dict[str, np.ndarray], int]:
        """(path -> array on this host, step) of the newest checkpoint, whatever its model is."""
        step = self._require_step()
        meta = self._read(step, ocp.args.Composite(meta=ocp.args.JsonRestore())).meta
        empty = {name: np.empty(shape, np.float32) for name, shape in meta["parameters"].items()}
        args = ocp.args.Composite(params=ocp.args.StandardRestore(tree.unflatten(empty)))
        return dict(tree.named_leaves(self._read(step, args).params)), step

    def read_statistics(self, like: Any) -> Any:
        """Statistics of the newest checkpoint, as arrays on this host; None where it has none.

        `like` is a tree of such arrays.
        """
        step = self._require_step()
        if not (self.directory / str(step) / "statistics").exists():
            return None
        args = ocp.args.Composite(statistics=ocp.args.StandardRestore(like))
        return self._read(step, args).statistics

    def wait(self) -> None:
        """Returns when all saves are on disk; raises what went wrong in them."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and ends the background thread."""
        self._manager.close()

    def _require_step(self) -> int:
        step = self.latest_step
        if step is None:
            raise CheckpointError(
                f"{self.directory} holds no complete checkpoint: check --workdir, or train first "
                "with python -m cogvit_jax.main."
            )
        return step

    def _check_shapes(self, step: int, params: Any) -> None:
        meta = self._read(step, ocp.args.Composite(meta=ocp.args.JsonRestore())).meta
        saved, wanted = meta["parameters"], _shapes(params)
        differ = [n for n in sorted(saved | wanted) if saved.get(n) != wanted.get(n)]
        if differ:
            lines = [
                f"  {n}: checkpoint {saved.get(n, 'lacks it')}, config {wanted.get(n, 'lacks it')}"
                for n in differ[:8]
            ]
            raise CheckpointError(
                f"{self.directory}/{step} was written by another model "
                f"({len(differ)} parameters differ):\n" + "\n".join(lines) + "\nUse the config "
                "that is saved in the workdir, or another --workdir."
            )

    def _read(self, step: int, args: Any) -> Any:
        try:
            return self._manager.restore(step, args=args)
        except (ValueError, OSError, KeyError) as error:
            raise CheckpointError(
                f"{self.directory}/{step} cannot be read: {error}\nRemove that folder to fall back "
                f"to an older checkpoint (there are: {self._manager.all_steps()})."
            ) from error


def save_params(workdir: str, params: Any) -> None:
    """Writes parameters alone into a workdir, for `read_params` and `config.train.init_from`."""
    saved = Checkpointer(workdir)
    try:
        saved.save_params(params)
        saved.wait()
    finally:
        saved.close()


def read_params(workdir: str) -> tuple[dict[str, Any], int]:
    """(tree of numpy arrays, step) of a workdir's newest checkpoint.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    saved = Checkpointer(workdir)
    try:
        arrays, step = saved.read_params()
    finally:
        saved.close()
    return tree.unflatten(arrays), step


def read_statistics(workdir: str, like: Any) -> Any:
    """Statistics of a workdir's newest checkpoint as numpy arrays, like `like`; None = none.

    Raises:
        CheckpointError: there is no checkpoint, or it cannot be read.
    """
    saved = Checkpointer(workdir)
    try:
        return saved.read_statistics(like)
    finally:
        saved.close()


def require_writable(workdir: str) -> None:
    """Raises PermissionError or ConfigError with a remedy, before any work is done."""
    try:
        path = epath.Path(workdir)
    except KeyError as error:
        raise ConfigError(
            f"--workdir={workdir}: no store is known by {error}. Choose a local folder, gs:// or "
            "s3://."
        ) from error
    probe = path / f".probe-{jax.process_index()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise PermissionError(
            f"--workdir={workdir} is not writable ({error.strerror or error}): "
            "choose a folder you own, or change its permissions."
        ) from error
    except ImportError as error:
        raise ConfigError(
            f"--workdir={workdir}: {error} Remote folders need the package of their store: "
            "pip install gcsfs for gs://, s3fs for s3://."
        ) from error


def _rest(state: TrainState) -> dict[str, Any]:
    return {
        "step": state.step,
        "opt_state": state.opt_state,
        "key": state.key,
        "skipped": state.skipped,
    }


def _abstract(x: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _shapes(params: Any) -> dict[str, list[int]]:
    return {name: list(x.shape) for name, x in tree.named_leaves(params)}


def _absolute(path: epath.Path) -> epath.Path:
    """Orbax wants absolute paths; gs:// and the like already are."""
    return path if "://" in str(path) else epath.Path(Path(path).absolute())
