"""ArrayRecord files keep every field, report damage, and can be made of any source."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from cogvit_jax.data.array_records import write_array_record
from cogvit_jax.data.convert import convert
from cogvit_jax.data.records import CorruptRecord, Record
from cogvit_jax.data.sources import open_source
from cogvit_jax.data.transforms import decode_image


def test_array_record_keeps_records(tmp_path, jpeg):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    deep = (np.arange(8, dtype=np.uint16) << 8).reshape(2, 4)
    first = Record("x/1", jpeg(), ("a", "裙子"), "concept", 3)
    write_array_record(tmp_path / "1.array_record", [first, Record("x/2", pixels, ("b",))])
    write_array_record(tmp_path / "2.array_record", [Record("", deep, ("c",))])
    source = open_source(f"array_record:{tmp_path}/*.array_record")
    records = list(pickle.loads(pickle.dumps(source.records)))
    assert records[0] == first
    np.testing.assert_array_equal(decode_image(records[1].image), pixels)
    np.testing.assert_array_equal(decode_image(records[2].image), decode_image(deep))
    assert records[2].id == f"array_record:{tmp_path}/*.array_record[2]"
    assert (records[2].captions, records[2].concept, records[2].label) == (("c",), "", -1)
    assert sorted(os.listdir(tmp_path)) == ["1.array_record", "2.array_record"]


def test_array_record_damage(tmp_path, jpeg):
    path = tmp_path / "1.array_record"
    write_array_record(path, [Record(str(i), jpeg(i), ("x",)) for i in range(8)])
    whole = path.read_bytes()
    place = whole.index(jpeg(3)[-60:-20])
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    records = open_source(f"array_record:{path}").records
    assert records[2].id == "2"
    with pytest.raises(CorruptRecord, match=r"array_record\[3\]"):
        records[3]
    for damaged in (whole[: len(whole) // 2], b"text", b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{path} is not a whole ArrayRecord"):
            open_source(f"array_record:{path}")


def test_array_record_without_captions(tmp_path, jpeg):
    path = tmp_path / "1.array_record"
    write_array_record(path, [Record("blank", jpeg(), ("  ",))])
    with pytest.raises(CorruptRecord, match="blank: no caption"):
        open_source(f"array_record:{path}").records[0]


def test_convert_copies_what_can_be_read(pictures, tmp_path, write_lines):
    lines = [{"image": f"a/{i}.jpg", "caption": f"c{i}", "label": "hat"} for i in (0, 9, 2)]
    write_lines(pictures, *lines)
    path = tmp_path / "out" / "all.array_record"
    assert convert(f"folder:{pictures}", path) == (2, 1)
    before, after = open_source(f"folder:{pictures}"), open_source(f"array_record:{path}")
    assert list(after.records) == [before.records[0], before.records[2]]
    assert (after.classes, after.templates) == (before.classes, before.templates)
    write_lines(pictures, {"image": "a/0.jpg", "caption": "x", "label": "coat"})
    with pytest.raises(ValueError, match=r"classes.json holds other classes"):
        convert(f"folder:{pictures}", path.with_name("more.array_record"))


def test_convert_command(pictures, tmp_path, write_lines):
    write_lines(pictures, {"image": "a/0.jpg", "caption": "x"})
    to = tmp_path / "x.array_record"
    command = [sys.executable, "-m", "cogvit_jax.data.convert"]
    flags = [f"--from=folder:{pictures}", f"--to={to}"]
    result = subprocess.run([*command, *flags], capture_output=True, text=True, check=True)
    assert result.stdout == f"{to}: 1 records written, 0 skipped as corrupt\n"
