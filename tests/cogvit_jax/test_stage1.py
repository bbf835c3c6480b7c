"""Stage 1: no masked pixel leaks; exact on any mesh; statistics, caches and teachers as asked."""

import io
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from cogvit_jax import checkpoint, embed, run_dir, sharding, train_loop, train_step, tree
from cogvit_jax.cache_features import cache_features
from cogvit_jax.losses import target_statistics
from cogvit_jax.models.teachers import NORMALIZE
from cogvit_jax.programs import build, stage1, teachers
from cogvit_jax.programs.distill_loss import teacher_features
from cogvit_jax.settings import ConfigError
from configs import stage2
from configs.common import FSDP_ENCODER, REPLICATED
from configs.stage1 import get_config


@pytest.fixture(scope="module", autouse=True)
def fast_compilation():
    """Compiling is most of this file's time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def make_config(**sections):
    """The smoke variant without evaluators; `a__b=value` sets config.a.b."""
    config = get_config("smoke")
    with config.unlocked():
        config.data.heldout = ""
        config.data.train = "embedded:digits/train@0.75,embedded:photos/train@0.25"
        config.evals.probes = ()
        config.loss.tokens, config.mask.probability = "masked", 1.0
        for name, value in sections.items():
            *parents, last = name.split("__")
            node = config
            for parent in parents:
                node = node[parent]
            node[last] = value
    return config


def prepare(config, num_devices=1, rules=REPLICATED, **axes):
    """(program, frozen, calibrated state's params and statistics, one batch)."""
    axes = axes or {"data": num_devices}
    mesh = sharding.make_mesh(sharding.MeshSettings(**axes), jax.devices()[:num_devices])
    program = stage1.build(config, mesh)
    frozen = program.frozen()
    shapes = jax.eval_shape(program.init, jax.random.key(0))
    placed = sharding.param_shardings(mesh, rules, shapes)
    params = jax.jit(program.init, out_shardings=placed)(jax.random.key(0))
    statistics = sharding.replicate(mesh, program.statistics.calibrate(frozen))
    batches = program.batches(None)
    batch = next(batches)
    batches.close()
    return program, frozen, params, statistics, batch


def gradients(prepared, microbatches=1):
    program, frozen, params, statistics, batch = prepared

    def run(params, frozen, statistics, batch):
        with jax.sharding.use_abstract_mesh(program.mesh.abstract_mesh):
            key = jax.random.key(0)
            return train_step.gradients(
                program, params, frozen, batch, key, microbatches, statistics
            )

    return jax.jit(run)(params, frozen, statistics, batch)


@pytest.fixture(scope="module")
def reference():
    return gradients(prepare(make_config()))


MESHES = {
    "8 devices": (8, REPLICATED, {"data": 8}, 1),
    "8 devices, in parts": (8, REPLICATED, {"data": 8}, 2),
    "fsdp": (8, FSDP_ENCODER, {"data": 2, "fsdp": 4}, 1),
    "1 device, in parts": (1, REPLICATED, {"data": 1}, 4),
}


@pytest.mark.parametrize("name", MESHES)
def test_the_same_on_any_mesh_and_in_parts(reference, name):
    num_devices, rules, axes, microbatches = MESHES[name]
    loss, grads = gradients(prepare(make_config(), num_devices, rules, **axes), microbatches)
    want, want_grads = reference
    assert float(loss.weight) == float(want.weight) == 16 * 3  # 3 of 9 patches
    np.testing.assert_allclose(loss.total, want.total, rtol=1e-5)
    for (path, x), y in zip(tree.named_leaves(grads), jax.tree.leaves(want_grads), strict=True):
        y = np.asarray(y)
        np.testing.assert_allclose(x, y, atol=2e-5 * np.abs(y).max() + 1e-9, err_msg=path)
    for (path, x), y in zip(
        tree.named_leaves((loss.metrics, loss.sums)),
        jax.tree.leaves((want.metrics, want.sums)),
        strict=True,
    ):
        y = np.asarray(y)
        np.testing.assert_allclose(
            x, y, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(y).max()), err_msg=path
        )


def test_masked_pixels_change_nothing_and_seen_ones_do():
    program, _, params, _, batch = prepare(make_config())
    student = stage1.make_student(make_config(), teachers.read(make_config()), program.mesh)
    patches, masked = np.asarray(batch["patches"]), np.asarray(batch["masked"])
    noise = np.random.default_rng(0).integers(0, 256, patches.shape, np.uint8)

    def predict(pixels):
        return jax.jit(student.apply)({"params": params}, pixels, masked)

    same = predict(np.where(masked[..., None], noise, patches))
    other = predict(np.where(masked[..., None], patches, noise))
    for name, x in predict(patches).items():
        np.testing.assert_array_equal(x, same[name])
        assert np.abs(np.asarray(x) - np.asarray(other[name])).max() > 1e-3


def test_loss_is_what_its_parts_say():
    program, frozen, params, statistics, batch = prepare(
        make_config(teachers__semantic__weight=2.0, teachers__texture__weight=0.5)
    )
    found, _ = gradients((program, frozen, params, statistics, batch))
    total = 2.0 * found.metrics["loss/semantic"][0] + 0.5 * found.metrics["loss/texture"][0]
    np.testing.assert_allclose(found.total, total, rtol=1e-6)
    by_source = [found.metrics[f"loss/source/{n}"] for n in ("digits_train", "photos_train")]
    np.testing.assert_allclose(sum(s for s, _ in by_source), found.total, rtol=1e-5)
    assert sum(float(n) for _, n in by_source) == float(found.weight)
    counts = np.bincount(np.asarray(batch["source"]), minlength=2)
    np.testing.assert_array_equal(found.sums["seen"], counts)
    assert float(found.metrics["data/share/digits_train"][0]) == counts[0]


@pytest.mark.parametrize("kind", [pytest.param("ema_std", marks=pytest.mark.slow), "phi_s"])
def test_calibrated_targets_have_unit_variance(kind):
    config = make_config(
        teachers__semantic__normalize=kind,
        teachers__texture__normalize=kind,
        data__global_batch=64,
        loss__calibration_batches=1,
    )
    _, frozen, _, statistics, batch = prepare(config)
    for one in teachers.read(config):
        features = teacher_features(one, 3, frozen, batch["teachers"])
        running = statistics["targets"][one.name]
        targets = np.asarray(target_statistics.normalize(kind, features, running))
        targets = targets.reshape(-1, targets.shape[-1])
        alive = np.asarray(features).reshape(targets.shape).std(0) > 1e-4
        np.testing.assert_allclose(targets.mean(0), 0, atol=1e-3)
        np.testing.assert_allclose(targets.std(0)[alive], 1, atol=2e-2)


@pytest.mark.slow
def test_a_rotation_stays_and_running_deviations_move(tmp_path):
    config = make_config(teachers__semantic__normalize="phi_s")
    run_dir.save_config(config, str(tmp_path), quiet())
    state = train_loop.run(build(config), config, str(tmp_path), quiet())
    program = build(config)
    first = program.statistics.calibrate(program.frozen())
    targets = state.statistics["targets"]
    jax.tree.map(np.testing.assert_array_equal, targets["semantic"], first["targets"]["semantic"])
    moved = np.asarray(targets["texture"]["variance"]) - first["targets"]["texture"]["variance"]
    assert np.abs(moved).max() > 0
    assert np.asarray(state.statistics["seen"])[1].sum() == 2 * 16
    # Stage 2 starts from the encoder; the mask token and the heads stay behind.
    later = stage2.get_config("smoke")
    with later.unlocked():
        later.train.init_from, later.train.eval_every = str(tmp_path), 0
    console = quiet()
    train_loop.run(build(later), later, str(tmp_path / "stage2"), console)
    said = " ".join(console.file.getvalue().split())
    assert f"Started from {tmp_path}, step 2" in said
    picture = tmp_path / "a.png"
    Image.new("RGB", (30, 50), "red").save(picture)
    found = embed.embed(str(tmp_path), [str(picture)], [])
    assert found["images"].shape == (1, 16)
    with pytest.raises(ConfigError, match="no text"):
        embed.embed(str(tmp_path), [str(picture)], ["red"])


def quiet():
    return Console(file=io.StringIO(), width=200)


def test_normalisers_of_configs_are_those_of_the_loss():
    assert set(NORMALIZE) == set(target_statistics.KINDS)


def test_counts_of_sources_do_not_overflow():
    program = build(make_config())
    taken = program.statistics.init()
    sums = gradients(prepare(make_config()))[0].sums
    taken["seen"] = np.array([[2, 0], [2**30 - 1, 0]], np.int32)
    new, metrics = program.statistics.update(taken, sums)
    count = int(new["seen"][0, 0]) * 2**30 + int(new["seen"][1, 0])
    assert count == 2 * 2**30 + 2**30 - 1 + int(sums["seen"][0])
    assert float(metrics["data/seen/digits_train"]) == pytest.approx(count, rel=1e-6)


@pytest.mark.slow
def test_cached_features_are_those_of_the_step(tmp_path):
    fields = {
        "data__crop_scale": (1.0, 1.0),
        "data__flip": False,
        "data__train": "embedded:photos/train",
        "teachers__semantic__cache": str(tmp_path / "semantic"),
        "teachers__texture__cache": str(tmp_path / "texture"),
    }
    plain = make_config(**{k: v for k, v in fields.items() if "cache" not in k})
    cached = make_config(**fields)
    counts = cache_features(cached, quiet())
    assert counts["semantic"] == counts["texture"] > 100
    want, _ = gradients(prepare(plain))
    found, _ = gradients(prepare(cached))
    np.testing.assert_allclose(found.total, want.total, rtol=5e-3)  # stored in bfloat16
    other = build(make_config(**{**fields, "data__train": "embedded:digits/train"}))
    with pytest.raises(ConfigError, match="train: cache embedded:photos/train, config"):
        other.batches(None)
    with pytest.raises(ConfigError, match="crop_scale"):
        build(make_config(**{**fields, "data__crop_scale": (0.5, 1.0)}))


WRONG = {
    "all weights 0": (
        {"teachers__semantic__weight": 0.0, "teachers__texture__weight": 0.0},
        "every weight is 0",
    ),
    "negative weight": ({"teachers__semantic__weight": -1.0}, r"semantic\.weight = -1\.0"),
    "kind": ({"teachers__texture__kind": "hogg"}, r"teachers\.texture\.kind = 'hogg'.*'hog'"),
    "head": ({"teachers__texture__head": "mpl"}, r"texture\.head = 'mpl'.*'mlp'"),
    "normaliser": ({"teachers__texture__normalize": "phis"}, "'phi_s'"),
    "tokens": ({"loss__tokens": "msaked"}, "config.loss.tokens = 'msaked'"),
    "distance": ({"loss__terms": (("cosin", 1.0),)}, "'cosine'"),
    "mask": ({"mask__ratio": 0.01}, "masks 0 of 9"),
    "picture": ({"data__image_size": 40}, "not a whole number of patches"),
    "teacher's picture": ({"teachers__texture__image_size": 80}, "not a multiple of patch_size"),
    "tower's patches": ({"teachers__semantic__patch_size": 7}, "patches of 14 pixels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_configs_are_errors_that_name_the_field(name):
    fields, words = WRONG[name]
    config = make_config(**fields)
    with pytest.raises(ConfigError, match=words):
        trace(config)


def trace(config):
    """What `main` does before the first step: builds, and traces the loss."""
    program = build(config)
    batch = {**program.batch_shapes()[0], "statistics": jax.eval_shape(program.statistics.init)}
    params = jax.eval_shape(program.init, jax.random.key(0))
    jax.eval_shape(program.loss, params, program.frozen_shapes(), batch, jax.random.key(0))


@pytest.mark.parametrize("name", ["semantic", "texture"])
def test_full_run_without_weights_ends_at_the_start_with_the_remedy(name, tmp_path):
    config = get_config()
    with config.unlocked():
        config.mesh.fsdp = 8
        config.mesh.rules = FSDP_ENCODER
        config.teachers[{"semantic": "texture", "texture": "semantic"}[name]].weight = 0.0
    program = build(config)
    with pytest.raises(FileNotFoundError, match=rf"teachers\.{name}\.path is empty.*hf download"):
        program.frozen()
    config.teachers[name].path = str(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"nowhere' does not exist.*weight=0"):
        build(config).frozen()


def test_a_tower_that_is_not_there_is_not_replaced_by_another(tmp_path):
    config = make_config(teachers__semantic__path=str(tmp_path / "lost"))
    with pytest.raises(FileNotFoundError, match="give the workdir of a stage 2 run, or ''"):
        build(config).frozen()


def test_one_teacher_alone_is_all_there_is():
    config = make_config(teachers__semantic__weight=0.0)
    program = build(config)
    params = jax.eval_shape(program.init, jax.random.key(0))
    assert set(params) == {"vision", "head_texture"}
    assert program.frozen() == {"texture": {}}


def test_the_tower_is_built_once():
    config = make_config()
    program = build(config)
    program.frozen()
    one = teachers.read(config)[0]
    workdir = teachers.tower_workdir(one.config, config)
    _, step = checkpoint.read_params(workdir)
    assert step == config.tower.train.steps
    console = quiet()
    teachers.load((one,), config, program.mesh, console)
    assert "Training" not in console.file.getvalue()


def test_of_two_runs_that_build_the_tower_the_first_is_kept(tmp_path, monkeypatch):
    """The other one's copy appears as this one's is put in its place. Other errors are errors."""
    config = make_config()
    program = build(config)
    expected = program.frozen()["semantic"]
    one, rename = teachers.read(config)[0], Path.rename
    whole = teachers.tower_workdir(one.config, config)

    def train(program, recipe, workdir, console):
        (Path(workdir) / "checkpoints").mkdir(exist_ok=True)

    def refuse(path, target):
        raise OSError("read-only")

    def rename_late(path, target):
        shutil.copytree(whole, target)
        return rename(path, target)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(train_loop, "run", train)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="read-only"):
        teachers.load((one,), config, program.mesh, quiet())
    monkeypatch.setattr(Path, "rename", rename_late)
    found = teachers.load((one,), config, program.mesh, quiet())["semantic"]
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert [p.name for p in (tmp_path / "cogvit_jax").iterdir()] == [Path(whole).name]
