"""The filter command: what is kept, what is counted, and the report."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from cogvit_jax.data.array_records import open_array_record
from cogvit_jax.data.filter import NothingKept, filter_source, show
from cogvit_jax.data.quality import QualitySettings
from cogvit_jax.data.transforms import decode_image
from cogvit_jax.settings import ConfigError

SETTINGS = QualitySettings(
    min_side=32, max_aspect=4, min_sharpness=5, min_contrast=4, max_hash_distance=4
)


def _texture(seed, size=(64, 80)):
    """Coarse noise: sharp at block edges, with low frequencies that differ from seed to seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.NEAREST))


@pytest.fixture
def folder(tmp_path, write_lines):
    """One picture of every kind, two good ones, and classes."""
    smooth = np.linspace(0, 255, 80).astype(np.uint8)[None, :, None].repeat(64, 0).repeat(3, 2)
    pictures = {
        "flat": np.full((64, 64, 3), 80, np.uint8),  # first, so that places move
        "good": _texture(0),
        "other": _texture(1),
        "copy": np.clip(_texture(0).astype(int) + 5, 0, 255).astype(np.uint8),
        "small": _texture(2, (20, 80)),
        "narrow": _texture(3, (40, 200)),
        "blurred": smooth,
    }
    (tmp_path / "in").mkdir()
    for name, image in pictures.items():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        (tmp_path / f"in/{name}.png").write_bytes(file.getvalue())
    (tmp_path / "in/broken.png").write_bytes((tmp_path / "in/good.png").read_bytes()[:60])
    lines = [{"image": f"{n}.png", "captions": [n], "label": "a"} for n in (*pictures, "broken")]
    write_lines(tmp_path / "in", *lines)
    classes = {"classes": {"en": ["a", "b"]}, "templates": {"en": ["the {}"]}}
    (tmp_path / "in/classes.json").write_text(json.dumps(classes))
    return tmp_path


def test_keeps_the_good_ones_and_counts_the_others(folder):
    output, report = folder / "out/kept.array_record", folder / "report"
    summary = filter_source(f"folder:{folder / 'in'}", output, report, SETTINGS)
    names = ("copy", "small", "narrow", "flat", "blurred", "corrupt")
    assert summary["rejected"] == dict.fromkeys(names, 1)
    assert (summary["records"], summary["kept"]) == (8, 2)
    source = open_array_record(str(output))
    kept = {record.captions[0]: record for record in source.records}
    assert set(kept) == {"good", "other"}
    for seed, name in enumerate(("good", "other")):
        np.testing.assert_array_equal(decode_image(kept[name].image), _texture(seed))
        assert kept[name].label == 0
    assert source.classes == {"en": ("a", "b")}
    written = json.loads((report / "report.json").read_text("utf-8"))
    assert written == summary
    assert written["quantiles"]["min_side"][0] == 20
    (copy,) = written["examples"]["copy"]
    assert "copy.png" in copy["id"]
    assert "good.png" in copy["why"]
    picture = np.asarray(Image.open(report / "report.png").convert("RGB"))
    assert min(picture.shape[:2]) > 500
    assert picture.std() > 10


def test_no_threshold_keeps_all_but_the_corrupt_one(folder):
    output = folder / "all.array_record"
    summary = filter_source(f"folder:{folder / 'in'}", output, folder / "r", QualitySettings())
    assert summary["kept"] == 7
    assert summary["rejected"] == {"corrupt": 1}
    assert len(open_array_record(str(output)).records) == 7


def test_nothing_kept_is_an_error_with_a_report(folder):
    settings = QualitySettings(min_side=1000)
    output = folder / "none.array_record"
    with pytest.raises(NothingKept, match=r"none of its 8 records.*small 7, corrupt 1.*Loosen"):
        filter_source(f"folder:{folder / 'in'}", output, folder / "r", settings)
    assert not output.exists()
    assert json.loads((folder / "r/report.json").read_text())["kept"] == 0
    assert (folder / "r/report.png").exists()


def test_only_corrupt_records_still_make_a_report(tmp_path, write_lines):
    (tmp_path / "a.png").write_bytes(b"nothing")
    write_lines(tmp_path, {"image": "a.png", "captions": ["x"]})
    with pytest.raises(NothingKept, match="corrupt 1"):
        filter_source(f"folder:{tmp_path}", tmp_path / "o", tmp_path / "r", SETTINGS)
    assert (tmp_path / "r/report.png").exists()


def test_a_wrong_threshold_fails_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match="max_hash_distance = 40"):
        filter_source(
            "folder:/nowhere", tmp_path / "o", tmp_path / "r", QualitySettings(1, 2, 0, 0, 40)
        )
    assert not list(tmp_path.iterdir())


def test_the_table_shows_counts_and_shares():
    out = io.StringIO()
    summary = {"source": "x", "records": 8, "kept": 6, "rejected": {"copy": 2}}
    show(summary, Console(file=out, width=60))
    rows = [line.split("│")[1:-1] for line in out.getvalue().splitlines() if "%" in line]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert cells == [["kept", "6", "75.0%"], ["copy", "2", "25.0%"]]


def test_command_takes_thresholds_and_ends_with_one_line(folder):
    spec, output = f"--source=folder:{folder / 'in'}", f"--output={folder / 'k.array_record'}"
    command = [sys.executable, "-m", "cogvit_jax.data.filter", spec, output, "--min_side=1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error: source 'folder:")
    assert "small 7, corrupt 1" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    report = json.loads((folder / "k.array_record.report/report.json").read_text())
    # As given, and as by default.
    assert (report["settings"]["min_side"], report["settings"]["max_aspect"]) == (1000, 8)
