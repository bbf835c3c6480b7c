"""The convert command: files to a workdir and back, and errors in one line."""

import dataclasses
import io
import json

import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from rich.console import Console
from safetensors.numpy import load_file

import cogvit_jax.data.convert  # noqa: F401  It has flags of the same names.
from cogvit_jax import checkpoint, convert, tree
from cogvit_jax.interop.cogvit import load_cogvit, save_cogvit
from cogvit_jax.interop.files import WeightsError
from cogvit_jax.models import vit
from cogvit_jax.settings import ConfigError
from tests.parity import glm_ocr


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A GLM-OCR checkpoint, as a whole model names its tower."""
    golden = glm_ocr.load_golden("glm_ocr_small")
    return glm_ocr.write_golden(tmp_path_factory.mktemp("model") / "tower", golden, "model.visual.")


def test_there_and_back(theirs, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    converted = convert.convert(f"glm_ocr:{theirs}", f"cogvit:{run}", merger=True, temporal=True)
    assert converted.unread == ()
    convert.convert(f"cogvit:{run}", f"glm_ocr:{out}")
    before, after = (load_file(folder / "model.safetensors") for folder in (theirs, out))
    assert before.keys() == {f"model.visual.{name}" for name in after}
    for name, x in after.items():
        np.testing.assert_array_equal(x, before[f"model.visual.{name}"])


def test_a_workdir_holds_the_tower_and_its_settings(theirs, tmp_path):
    converted = convert.convert(f"glm_ocr:{theirs}", f"cogvit:{tmp_path / 'run'}")
    params, step = checkpoint.read_params(str(tmp_path / "run"))
    expected, fields = load_cogvit(theirs)
    assert step == 0
    assert params.keys() == {"vision"}
    jax.tree.map(np.testing.assert_array_equal, params["vision"], expected)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config == {"vision": json.loads(json.dumps(fields))}
    console = Console(file=io.StringIO(), width=100)
    convert.show(converted, console)
    shown = console.file.getvalue()
    total = sum(x.size for x in jax.tree.leaves(expected))
    assert f"{total:,}" in shown
    assert "left unread: model.visual.merger.gate_proj.weight" in shown


def test_a_run_is_exported_without_what_is_no_encoder(theirs, tmp_path):
    vision, fields = load_cogvit(theirs)
    params = {"vision": vision | {"mask_token": np.ones((1, 1, 32))}, "heads": {"bias": np.ones(3)}}
    checkpoint.save_params(str(tmp_path / "run"), params)
    # A run's config names every field.
    section = dataclasses.asdict(vit.VisionSettings(**fields))
    (tmp_path / "run" / "config.json").write_text(json.dumps({"vision": section, "seed": 0}))
    spec = f"cogvit:{tmp_path / 'run'}"
    found = convert.convert(spec, f"glm_ocr:{tmp_path / 'out'}", dtype="bfloat16")
    assert sorted(found.unread) == ["heads/bias", "vision/mask_token"]
    save_cogvit(tmp_path / "expected", vision, fields, dtype="bfloat16")
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    assert len(tree.named_leaves(found.params)) == len(tree.named_leaves(vision))


def test_the_command_shows_what_it_wrote_and_ends_with_one_line_where_it_cannot(
    theirs, tmp_path, capsys
):
    run = f"cogvit:{tmp_path / 'run'}"
    with flagsaver.flagsaver(**{"from": f"glm_ocr:{theirs}", "to": run}):
        convert.main([])
    shown = capsys.readouterr().out
    assert "vision/blocks" in shown
    assert "left unread: model.visual.downsample.bias" in shown
    assert f"wrote {run}" in " ".join(shown.split())
    with (
        flagsaver.flagsaver(**{"from": run, "to": f"glm5_next:{tmp_path / 'out'}"}),
        pytest.raises(SystemExit, match=r"^error: .* is a glm_ocr .*--to=glm_ocr:PATH\.$"),
    ):
        convert.main([])


def test_errors_say_what_to_give(theirs, tmp_path):
    run, new = tmp_path / "run", tmp_path / "new"
    convert.convert(f"glm_ocr:{theirs}", f"cogvit:{run}")
    (tmp_path / "text").mkdir()
    checkpoint.save_params(str(tmp_path / "text"), {"text": {"bias": np.ones(2)}})
    (tmp_path / "text" / "config.json").write_text("{}")
    for source, target, kind, message in (
        (f"glm_oct:{run}", f"cogvit:{new}", ConfigError, r"--from = 'glm_oct'.*mean 'glm_ocr'"),
        (str(run), f"cogvit:{new}", ConfigError, r"--from='.*' must be KIND:PATH"),
        (f"cogvit:{run}", f"cogvit:{new}", ConfigError, r"one of them must be cogvit:"),
        (f"glm_ocr:{new}", f"cogvit:{run}", FileExistsError, r"run is not an empty folder"),
        (f"glm_ocr:{new}", f"cogvit:{new}2", FileNotFoundError, r"new does not exist"),
        (f"cogvit:{new}", f"glm_ocr:{new}2", FileNotFoundError, r"new/config\.json does not exist"),
        (f"glm5_next:{theirs}", f"cogvit:{new}", WeightsError, r"is a glm_ocr .*--from=glm_ocr"),
        (f"cogvit:{run}", f"glm5_next:{new}", WeightsError, r"is a glm_ocr .*--to=glm_ocr"),
        (
            f"cogvit:{tmp_path / 'text'}",
            f"glm_ocr:{new}",
            WeightsError,
            r"are text",
        ),
    ):
        with pytest.raises(kind, match=message):
            convert.convert(source, target)
    assert not new.exists()
    with pytest.raises(ConfigError, match=r"dtype = 'half' is not known"):
        convert.convert(f"cogvit:{run}", f"glm_ocr:{new}", dtype="half")
