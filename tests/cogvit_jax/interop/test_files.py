"""Safetensors files: every array comes back, and every fault says what, where and what to do."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from cogvit_jax.interop import files
from cogvit_jax.interop.files import WeightsError, open_weights, write_weights

RNG = np.random.default_rng(0)
ARRAYS = {
    "encoder.weight": RNG.standard_normal((5, 7)).astype(np.float32),
    "encoder.bias": RNG.standard_normal(5).astype(np.float16),
    "head.weight": RNG.standard_normal((3, 5)).astype(ml_dtypes.bfloat16),
    "scale": np.asarray(1.5, np.float32),
}


@pytest.fixture
def folder(tmp_path):
    write_weights(tmp_path / "whole", ARRAYS, {"model_type": "ours"})
    return tmp_path / "whole"


@pytest.fixture
def sharded(tmp_path):
    write_weights(tmp_path / "shards", ARRAYS, {}, max_shard_bytes=100)
    return tmp_path / "shards"


def assert_holds(weights, arrays=ARRAYS):
    assert weights.names() == tuple(sorted(arrays))
    for name, x in arrays.items():
        taken = weights.take(name, x.shape)
        assert taken.dtype == np.float32
        np.testing.assert_array_equal(taken, x.astype(np.float32))


def test_a_folder_a_file_and_an_only_file_hold_what_was_written(folder, tmp_path):
    assert_holds(open_weights(folder))
    assert_holds(open_weights(str(folder / "model.safetensors")))
    other = tmp_path / "other"
    other.mkdir()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "whole"]  # no temporary folder
    (folder / "model.safetensors").rename(other / "towers.safetensors")
    assert_holds(open_weights(other))


def test_shards_hold_what_was_written(sharded):
    names = sorted(p.name for p in sharded.glob("*.safetensors"))
    assert names == [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    assert_holds(open_weights(sharded))
    assert_holds(open_weights(sharded / "model.safetensors.index.json"))
    total = json.loads((sharded / files.INDEX).read_text())["metadata"]["total_size"]
    assert total == 5 * 7 * 4 + 5 * 2 + 3 * 5 * 2 + 4


@pytest.mark.parametrize(("limit", "expected"), [(1e9, 1), (140, 2), (30, 4), (1, 4)])
def test_shards_are_full_and_arrays_whole(limit, expected):
    sizes = {name: x.nbytes for name, x in ARRAYS.items()}  # 140, 10, 30, 4
    shards = files._plan_shards(sizes, limit)
    assert [name for shard in shards for name in shard] == list(ARRAYS)
    assert len(shards) == expected
    for shard in shards:
        assert len(shard) == 1 or sum(sizes[name] for name in shard) <= limit


def test_arrays_may_lie_in_any_order(tmp_path):
    arrays = {"t": np.arange(6, dtype=np.float32).reshape(2, 3).T, "s": np.arange(8.0)[::2]}
    arrays["s"] = arrays["s"].astype(np.float32)
    write_weights(tmp_path / "x", arrays, {})
    assert_holds(open_weights(tmp_path / "x"), arrays)


def test_the_config_beside_the_arrays(folder, sharded, tmp_path):
    assert open_weights(folder).config == {"model_type": "ours"}
    assert open_weights(folder / "model.safetensors").config == {"model_type": "ours"}
    (folder / "config.json").unlink()
    assert open_weights(folder).config == {}
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json is not readable as JSON"):
        open_weights(folder)


def test_weights_may_be_read_by_those_who_may_read_the_config(folder, sharded):
    for where in (folder, sharded):
        assert len({file.stat().st_mode for file in where.iterdir()}) == 1


def test_renamed_and_unused(folder):
    weights = open_weights(folder)
    part = weights.renamed(lambda n: n.removeprefix("encoder.") if n.startswith("enc") else None)
    assert part.names() == ("bias", "weight")
    part.take("weight", (5, 7))
    assert part.unused() == ("bias",)
    assert weights.unused() == ("encoder.bias", "head.weight", "scale")
    with pytest.raises(WeightsError, match=r"'encoder\.bias' and 'encoder\.weight' both stand"):
        weights.renamed(lambda n: n.split(".")[0])


def test_a_missing_key_names_the_nearest_with_its_shape(folder):
    message = r"no key 'encoder\.weights' \(5, 7\) among 4; the nearest is 'encoder\.weight' \(5, 7"
    with pytest.raises(WeightsError, match=message) as error:
        open_weights(folder).take("encoder.weights", (5, 7))
    assert str(folder) in str(error.value)
    with pytest.raises(WeightsError, match="none resembles it"):
        open_weights(folder).shape("zzz")


def test_another_shape_names_file_key_expected_and_found(folder):
    message = r"model\.safetensors: 'encoder\.weight' has shape \(5, 7\), expected \(7, 5\)"
    with pytest.raises(WeightsError, match=message):
        open_weights(folder).take("encoder.weight", (7, 5))


def test_a_quantised_array_is_refused(tmp_path):
    save_file({"x": np.zeros(3, np.int8)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="'x' is I8, expected one of F32, F16, BF16"):
        open_weights(tmp_path).take("x", (3,))


@pytest.mark.parametrize("path", ["", "nowhere", "nowhere/model.safetensors"])
def test_nothing_there(tmp_path, path):
    with pytest.raises(FileNotFoundError, match=r"does not exist|is empty"):
        open_weights(tmp_path / path if path else "")


def test_a_folder_without_safetensors_says_what_it_holds(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match=r"but pytorch_model\.bin"):
        open_weights(tmp_path)


def test_several_files_without_an_index(tmp_path):
    for name in ("a", "b"):
        save_file({name: np.zeros(3, np.float32)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsError, match=r"a\.safetensors, b\.safetensors: give the path of one"):
        open_weights(tmp_path)


@pytest.mark.parametrize("keep", [-1, 100, 20])
def test_truncated_anywhere(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"model\.safetensors \(\d+ bytes\) is truncated"):
        open_weights(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"PK\x03\x04" + bytes(200), "PyTorch pickle"),
        (b"\x80\x02}q\x00." + bytes(200), "PyTorch pickle"),
        (bytes(200), "is no safetensors file"),
    ],
)
def test_another_format(tmp_path, content, message):
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(WeightsError, match=message) as error:
        open_weights(tmp_path / "pytorch_model.bin")
    assert "pytorch_model.bin" in str(error.value)


def test_an_index_that_names_a_missing_shard(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    message = r"index\.json names 1 of 2 shards that are not there: model-00002-of-00002"
    with pytest.raises(WeightsError, match=message):
        open_weights(sharded)


def test_an_index_whose_shard_lacks_a_key(sharded):
    index = json.loads((sharded / files.INDEX).read_text())
    index["weight_map"]["extra"] = "model-00001-of-00002.safetensors"
    (sharded / files.INDEX).write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=r"places 'extra' in model-00001-of-00002"):
        open_weights(sharded)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_index(sharded, content):
    (sharded / files.INDEX).write_text(content)
    with pytest.raises(WeightsError, match=r"index\.json"):
        open_weights(sharded)


def test_a_folder_in_use_stays_as_it_was(folder):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_weights(folder, ARRAYS, {})
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def fail_at_the_second(arrays, path, metadata):
        calls.append(path)
        if len(calls) == 2:
            raise OSError("no space left on device")
        save_file(arrays, path, metadata)

    monkeypatch.setattr(files, "save_file", fail_at_the_second)
    with pytest.raises(OSError, match="no space"):
        write_weights(tmp_path / "x", ARRAYS, {}, max_shard_bytes=100)
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == []
