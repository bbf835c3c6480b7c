"""WebDataset shards, whole and damaged."""

import io
import json
import os
import pickle
import tarfile

import pytest

from cogvit_jax.data import webdataset
from cogvit_jax.data.records import CorruptRecord, Record
from cogvit_jax.data.sources import open_source


def write_tar(path, members, cut=0):
    """A tar of name -> bytes, without its last `cut` bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    data = file.getvalue()
    path.write_bytes(data[: len(data) - cut])


@pytest.fixture
def log(monkeypatch):
    """The warnings that are logged."""
    lines = []
    monkeypatch.setattr(webdataset.logging, "warning", lambda text, *a: lines.append(text % a))
    return lines


def test_expand_braces():
    assert webdataset.expand_braces("a/{008..011}.tar") == [
        f"a/0{n}.tar" for n in ("08", "09", 10, 11)
    ]
    assert webdataset.expand_braces("{a,b}{1..2}") == ["a1", "a2", "b1", "b2"]
    assert webdataset.expand_braces("plain-*.tar") == ["plain-*.tar"]


def test_webdataset(tmp_path, log, jpeg):
    label = {"captions": ["a hat"], "label": "hat", "concept": "c"}
    write_tar(
        tmp_path / "s-000.tar",
        {
            "0001.jpg": jpeg(1),
            "0001.txt": b"a dress\n\xe8\xa3\x99\xe5\xad\x90\n",
            "d/2.x.JPG": b"?",
        },
    )
    write_tar(
        tmp_path / "s-001.tar",
        {"b/1.json": json.dumps(label).encode(), "b/1.PNG": jpeg(2), "b/1.txt": b"unused"},
    )
    (tmp_path / "classes.json").write_text('{"classes": {"en": ["coat", "hat"]}}')
    by_braces = open_source(f"webdataset:{tmp_path}/s-{{000..001}}.tar")
    by_glob = open_source(f"webdataset:{tmp_path}/*.tar")
    records = list(pickle.loads(pickle.dumps(by_braces.records)))
    assert records == list(by_glob.records)
    assert records == [
        Record(f"{tmp_path}/s-000.tar/0001", jpeg(1), ("a dress", "裙子"), "", -1),
        Record(f"{tmp_path}/s-001.tar/b/1", jpeg(2), ("a hat",), "c", 1),
    ]
    assert "1 samples lack a picture or a caption" in log[0]


@pytest.mark.parametrize("broken", ["in data", "in header", "between members"])
def test_truncated_tar_keeps_its_complete_samples(tmp_path, log, broken, jpeg):
    members = {}
    for i in range(3):
        members |= {f"{i}.jpg": jpeg(i), f"{i}.txt": b"caption"}
    write_tar(path := tmp_path / "0.tar", members)
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-2]  # 2.jpg: sample 2 is lost in every case
    keep = {"in data": last.offset_data + 50, "in header": last.offset + 50}
    path.write_bytes(path.read_bytes()[: keep.get(broken, last.offset)])
    source = open_source(f"webdataset:{path}")
    assert [r.image for r in source.records] == [jpeg(0), jpeg(1)]
    assert log == [f"{path} is truncated: using its 2 complete samples"]


def test_whole_tar_gives_no_warning(tmp_path, log, jpeg):
    write_tar(tmp_path / "0.tar", {"1.jpg": jpeg(), "1.txt": b"x"})
    open_source(f"webdataset:{tmp_path}/0.tar")
    assert not log


def test_webdataset_records_that_are_corrupt(tmp_path, jpeg):
    write_tar(
        tmp_path / "0.tar",
        {
            **{f"{i}.jpg": jpeg() for i in range(3)},
            "0.txt": b" \n\n",
            "1.json": b"{broken",
            "2.json": b'{"caption": "x", "label": "hat"}',
        },
    )
    records = open_source(f"webdataset:{tmp_path}/0.tar").records
    for index, message in enumerate([r"0.tar/0: no caption", r"0.tar/1.json: JSONDecodeError"]):
        with pytest.raises(CorruptRecord, match=message):
            records[index]
    # Every record would fail alike: not to be skipped as corrupt.
    with pytest.raises(ValueError, match=r"0.tar/2: label 'hat' .*classes.json") as caught:
        records[2]
    assert not isinstance(caught.value, CorruptRecord)
    os.truncate(tmp_path / "0.tar", 600)  # damaged after it was opened
    with pytest.raises(CorruptRecord, match="the shard ends within"):
        records[0]


@pytest.mark.parametrize("data", [b"", b"not a tar" * 100, b"\x1f\x8b" + bytes(600)])
def test_not_a_tar(tmp_path, data):
    (tmp_path / "0.tar").write_bytes(data)
    with pytest.raises(ValueError, match=r"0.tar is not an uncompressed tar"):
        open_source(f"webdataset:{tmp_path}/0.tar")
