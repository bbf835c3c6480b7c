"""`evaluate` and `embed` on a run that `main` has trained."""

import io
import json

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from cogvit_jax import embed, evaluate, run_dir, train_loop
from cogvit_jax.checkpoint import CheckpointError
from cogvit_jax.programs import build
from configs import stage2


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of two steps; compiled without optimizations, which is most of the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    folder = tmp_path_factory.mktemp("run")
    config = stage2.get_config("smoke")
    with config.unlocked():
        config.train.eval_every = 0
    run_dir.save_config(config, str(folder), quiet())
    train_loop.run(build(config), config, str(folder), quiet())
    yield folder
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in (("wide", (20, 60)), ("tall", (60, 20))):
        pixels = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    return tmp_path


def quiet() -> Console:
    return Console(file=io.StringIO(), width=120)


def test_evaluate_writes_figures_and_pictures(workdir):
    console = quiet()
    found = evaluate.evaluate(str(workdir), None, console)
    written = json.loads((workdir / "evaluation.json").read_text())
    assert written.pop("step") == 2
    assert written.pop("heldout") == "embedded:photos/heldout"
    assert written == found
    assert 0 <= found["zero_shot/photos_heldout/en"] <= 1
    assert list((workdir / "plots").glob("evaluation_gallery_*.png"))
    assert "zero_shot/photos_heldout" in console.file.getvalue()


def test_evaluate_on_other_pictures(workdir, pictures):
    lines = [{"image": f"{n}.png", "captions": [f"{n} noise"]} for n in ("wide", "tall")]
    (pictures / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = evaluate.evaluate(str(workdir), f"folder:{pictures}", quiet())
    assert any(k.endswith("i2t_r10") and v == 1 for k, v in found.items())


def test_embed_gives_unit_vectors_and_the_models_probabilities(workdir, pictures):
    files = embed.find_files([str(pictures / "*.png")])
    result = embed.embed(str(workdir), files, ["a face", "一张脸"])
    assert [f.rpartition("/")[2] for f in result["files"]] == ["tall.png", "wide.png"]
    for rows in (result["images"], result["texts"]):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=-1), 1, atol=1e-5)
    logits = result["scale"] * result["images"] @ result["texts"].T + result["bias"]
    np.testing.assert_allclose(embed.probabilities(result), 1 / (1 + np.exp(-logits)), rtol=1e-6)
    console = quiet()
    embed.show(result, console)
    assert "一张脸" in console.file.getvalue()


def test_a_picture_embeds_alike_alone_and_in_company(workdir, pictures):
    both = embed.embed(str(workdir), [str(pictures / "tall.png"), str(pictures / "wide.png")], [])
    alone = embed.embed(str(workdir), [str(pictures / "wide.png")], [])
    np.testing.assert_allclose(both["images"][1], alone["images"][0], atol=1e-6)


def test_missing_files_and_runs_are_named(workdir, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\*\.jpg names no file"):
        embed.find_files([str(tmp_path / "no*.jpg")])
    with pytest.raises(FileNotFoundError, match=r"config\.json does not exist.*cogvit_jax\.main"):
        evaluate.evaluate(str(tmp_path), None, quiet())
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    with pytest.raises(CheckpointError, match="holds no complete checkpoint"):
        evaluate.evaluate(str(tmp_path), None, quiet())
