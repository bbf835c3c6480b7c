import itertools
import subprocess
import sys

import pytest

from cogvit_jax.data.records import CorruptRecord
from mmtp.data import convert as command
from mmtp.data.convert import convert
from mmtp.data.images import ImageSettings, cut_image
from mmtp.data.jsonl import write_jsonl
from mmtp.data.records import Document, Image, Message, Text
from mmtp.data.sources import open_source


def documents(count):
    turns = [(Message("user", (Text(str(i)), Image(bytes([i + 1]) * 9))),) for i in range(count)]
    return [Document(f"n/{i}", "text", messages) for i, messages in enumerate(turns)]


@pytest.fixture
def lines(tmp_path):
    write_jsonl(tmp_path / "in.jsonl", documents(7))
    return f"jsonl:{tmp_path}/in.jsonl"


def read(spec):
    records = open_source(spec).records
    return [records[i] for i in range(len(records))]


def test_through_every_format_and_back(lines, tmp_path):
    specs = [
        lines,
        f"array_record:{tmp_path}/sub/b.array_record",
        f"webdataset:{tmp_path}/c-{{0..2}}.tar",
        f"jsonl:{tmp_path}/d.jsonl",
    ]
    for before, after in itertools.pairwise(specs):
        assert convert(before, after) == (7, 0)
        assert read(after) == documents(7)
    assert len(list(tmp_path.glob("c-*.tar"))) == 3
    assert (tmp_path / "d.jsonl").read_text().replace("d_pic", "in_pic") == (
        tmp_path / "in.jsonl"
    ).read_text()


def test_corrupt_records_are_left_out_and_counted(lines, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(path.read_text().replace('"id": "n/3"', '"id: "n/3"'))
    assert convert(lines, f"webdataset:{tmp_path}/o.tar") == (6, 1)
    assert [d.id for d in read(f"webdataset:{tmp_path}/o.tar")] == [
        f"n/{i}" for i in (0, 1, 2, 4, 5, 6)
    ]


def test_a_crash_leaves_no_file_and_resume_writes_the_rest(lines, tmp_path, monkeypatch):
    out = f"webdataset:{tmp_path}/o-{{0..2}}.tar"
    straight = f"webdataset:{tmp_path}/s-{{0..2}}.tar"
    convert(lines, straight)

    def breaks(document):
        if document.id == "n/3":
            raise RuntimeError("power failure")

    with monkeypatch.context() as patch:
        patch.setattr(command, "check_writable", breaks)
        with pytest.raises(RuntimeError, match="power"):
            convert(lines, out)
    assert [p.name for p in sorted(tmp_path.glob("o-*.tar"))] == ["o-0.tar"]
    with pytest.raises(FileExistsError, match="--overwrite or --resume"):
        convert(lines, out)
    assert convert(lines, out, resume=True) == (5, 0)
    for i in range(3):
        assert (tmp_path / f"o-{i}.tar").read_bytes() == (tmp_path / f"s-{i}.tar").read_bytes()
    assert convert(lines, out, overwrite=True) == (7, 0)


def test_unknown_format(lines):
    with pytest.raises(ValueError, match=r"format 'json' is not known. Did you mean 'jsonl'"):
        convert(lines, "json:/tmp/x")


def test_pictures_are_not_decoded(lines, tmp_path):
    """They are no pictures; that shows when they are used."""
    convert(lines, f"array_record:{tmp_path}/o.array_record")
    assert read(f"array_record:{tmp_path}/o.array_record") == documents(7)
    with pytest.raises(CorruptRecord):
        cut_image(documents(1)[0].messages[0].parts[1], ImageSettings())


def run(*arguments):
    command = [sys.executable, "-m", "mmtp.data.convert", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_command(lines, tmp_path):
    out = f"array_record:{tmp_path}/o.array_record"
    done = run(lines, out)
    assert done.returncode == 0, done.stderr
    assert "7 documents written, 0 skipped" in done.stdout
    again = run(lines, out)
    assert again.returncode == 1
    assert again.stderr.strip().endswith("is there already; give --overwrite or --resume")


def test_help():
    done = run("--help")
    assert done.returncode == 0
    assert "--overwrite" in done.stdout
