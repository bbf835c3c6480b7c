"""The teachers of a stage 1 run: what `config.teachers` names, their weights, the offline one."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from cogvit_jax import checkpoint, hadamard, run_dir, settings, sharding, train_loop
from cogvit_jax.data.feature_cache import FeatureCache
from cogvit_jax.data.pictures import View
from cogvit_jax.interop import dinov3, siglip2
from cogvit_jax.models import teachers, vit
from cogvit_jax.models.teachers import Teacher, TeacherSettings
from cogvit_jax.programs import stage2
from cogvit_jax.settings import ConfigError

# What is no teacher in `config.teachers`.
RULES = "rules"


@dataclasses.dataclass(frozen=True)
class Taught:
    """One teacher of a run.

    Attributes:
        name: its section in `config.teachers`.
        config: that section.
        model: its functions.
        view: how it sees a picture.
        cache: its features, where they were computed before; then it has no weights here.
    """

    name: str
    config: TeacherSettings
    model: Teacher
    view: View
    cache: FeatureCache | None

    @property
    def section(self) -> str:
        """The config section's name in errors."""
        return f"config.teachers.{self.name}"

    @property
    def array(self) -> str:
        """What it reads in a batch's "teachers"."""
        return self.name if self.cache else self.view.name


def read(config: Any) -> tuple[Taught, ...]:
    """The teachers with a weight, in the config's order; reads no weights.

    Raises:
        ConfigError: a field is wrong, or no teacher has a weight.
    """
    found = []
    for name, section in config.teachers.items():
        if name == RULES:
            continue
        field = f"config.teachers.{name}"
        one = settings.read(TeacherSettings, section, field)
        if one.weight < 0:
            raise ConfigError(f"{field}.weight = {one.weight} must be 0 (left out) or more.")
        if one.weight == 0:
            continue
        model = teachers.build(one, _tower_vision(one, config), field)
        if one.normalize == "phi_s":
            hadamard.factor(model.dim)  # an error now, not after the first batches
        cache = FeatureCache(one.cache, (model.grid**2, model.dim)) if one.cache else None
        found.append(Taught(name, one, model, View(one.image_size, one.patch_size), cache))
    if not found:
        raise ConfigError("config.teachers: every weight is 0; give at least one teacher a weight.")
    return tuple(found)


def shapes(taught: tuple[Taught, ...], rules: Any, mesh: Mesh) -> dict[str, Any]:
    """{teacher: parameters as shapes with shardings} of those that run in the step."""
    found = {t.name: t.model.shapes() for t in taught if not t.cache}
    if not jax.tree.leaves(found):
        return found
    placed = sharding.param_shardings(mesh, rules, found, "config.teachers.rules")
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), found, placed
    )


def load(
    taught: tuple[Taught, ...], config: Any, mesh: Mesh, console: Console | None = None
) -> dict[str, Any]:
    """{teacher: parameters on the devices} of those that run in the step.

    Raises:
        FileNotFoundError: weights that are not there; names the field and how to get them.
        ConfigError, WeightsError: weights that do not fit the config.
    """
    placed = shapes(taught, config.teachers.rules, mesh)
    found = {}
    for one in taught:
        if not one.cache:
            arrays = LOADERS[one.config.kind](one, config, console or Console(quiet=True))
            places = jax.tree.map(lambda x: x.sharding, placed[one.name])
            found[one.name] = sharding.place(arrays, places)
    return found


def _released(read_file: Callable[..., Any], repository: str) -> Callable[..., Any]:
    """Loads weights that others released, from files the user has."""

    def load_one(one: Taught, config: Any, console: Console) -> Any:
        del config, console
        path = one.config.path
        if not path or not Path(path).expanduser().exists():
            where = f"{path!r} does not exist" if path else "is empty"
            raise FileNotFoundError(
                f"{one.section}.path {where}: set it to the folder of the checkpoint "
                f"(hf download {repository} --local-dir=DIR), or leave this teacher out with "
                f"--{one.section}.weight=0."
            )
        return read_file(Path(path).expanduser(), one.config, one.section)

    return load_one


def _tower(one: Taught, config: Any, console: Console) -> Any:
    """The encoder of a stage 2 run, which is trained here where it does not exist."""
    workdir = tower_workdir(one.config, config)
    if not _is_trained(workdir):
        if one.config.path:
            raise FileNotFoundError(
                f"{one.section}.path = {workdir!r} holds no checkpoint: give the workdir of a "
                "stage 2 run, or '' to train a small tower on the embedded pictures."
            )
        _train_tower(workdir, config.tower, console)
    params, _ = checkpoint.read_params(workdir)
    vision = {name: x for name, x in params["vision"].items() if name != "mask_token"}
    return jax.tree.map(lambda x: np.asarray(x, jax.numpy.dtype(one.config.dtype)), vision)


def _train_tower(workdir: str, recipe: Any, console: Console) -> None:
    """Runs stage 2 with `config.tower`; the workdir appears once the run is whole."""
    console.print(
        f"Training the semantic teacher, a stage 2 tower of {recipe.train.steps} steps, into "
        f"{workdir} (once; later runs find it there)."
    )
    # Several runs on one machine may build it at the same time: the first to finish is kept.
    building = f"{workdir}.building" + (f"-{os.getpid()}" if jax.process_count() == 1 else "")
    checkpoint.require_writable(building)
    run_dir.save_config(recipe, building, console)
    train_loop.run(stage2.build(recipe), recipe, building, console)
    if jax.process_index() == 0:
        _put_in_place(building, workdir)
    sharding.wait_for_all("tower")


def _put_in_place(building: str, workdir: str) -> None:
    """Renames a whole run's workdir, or removes it where another process was the first."""
    try:
        Path(building).rename(workdir)
    except OSError:
        if not _is_trained(workdir):
            raise
        shutil.rmtree(building)


def tower_workdir(one: TeacherSettings, config: Any) -> str:
    """Where the tower's run is: `path`, or a folder of the user's cache named by the recipe."""
    if one.path:
        return str(Path(one.path).expanduser())
    recipe = json.dumps(config.tower.to_dict(), sort_keys=True)
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    name = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    return str(Path(caches).expanduser() / "cogvit_jax" / f"tower-{name}")


def _is_trained(workdir: str) -> bool:
    return (Path(workdir) / "checkpoints").is_dir()


def _tower_vision(one: TeacherSettings, config: Any) -> vit.VisionSettings | None:
    """`config.vision` of a tower's run; None for the other kinds."""
    if one.kind != "tower":
        return None
    workdir = tower_workdir(one, config)
    trained = _is_trained(workdir)
    section = (run_dir.load_config(workdir) if trained else config.tower).vision
    return settings.read(vit.VisionSettings, section, "the tower's config.vision")


LOADERS: Mapping[str, Callable[[Taught, Any, Console], Any]] = {
    "siglip2": _released(siglip2.load, "google/siglip2-so400m-patch16-256"),
    "siglip2_naflex": _released(siglip2.load, "google/siglip2-so400m-patch16-naflex"),
    "dinov3": _released(dinov3.load, "facebook/dinov3-vitl16-pretrain-lvd1689m"),
    "hog": lambda one, config, console: {},
    "tower": _tower,
}
