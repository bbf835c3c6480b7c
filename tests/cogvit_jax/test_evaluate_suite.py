"""`evaluate --suite` on a small run, end to end on copies made of embedded pictures."""

import csv
import io
import json
import shutil

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from ml_collections import ConfigDict
from rich.console import Console

from cogvit_jax import evaluate, run_dir, train_loop
from cogvit_jax.data.embedded import open_embedded
from cogvit_jax.evals.suite import results, tasks
from cogvit_jax.evals.zero_shot import zero_shot
from cogvit_jax.evaluate_suite import evaluate_suite
from cogvit_jax.programs import build, stage2
from cogvit_jax.settings import ConfigError
from configs import stage2 as stage2_config
from tests.suite_copies import array_bytes, encode, labelled, picture, write_copy, write_tar

NUMBER = "a photo of the number {c}"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of two steps; compiled without optimizations, which is most of the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    folder = tmp_path_factory.mktemp("runs") / "small"
    folder.mkdir()
    config = stage2_config.get_config("smoke")
    with config.unlocked():
        config.train.eval_every = 0
    run_dir.save_config(config, str(folder), quiet())
    train_loop.run(build(config), config, str(folder), quiet())
    yield folder
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def run(workdir, tmp_path):
    """A copy of the run without a suite's files."""
    shutil.copytree(workdir, tmp_path / "small")
    return tmp_path / "small"


@pytest.fixture(scope="module")
def digits():
    """Held-out digits, labels included."""
    records = open_embedded("digits/heldout").records
    return [records[i] for i in range(60)]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, digits):
    """MNIST and Flickr made of digits, and GeoDE of grey squares."""
    folder = tmp_path_factory.mktemp("data")
    samples = [{"png": encode(np.asarray(r.image)), "cls": str(r.label).encode()} for r in digits]
    write_copy(folder / "wds_mnist_test", samples, list("0123456789"), [NUMBER])
    pairs = [
        {"png": sample["png"], "txt": f"digit {record.label}\nnumber {i}".encode()}
        for i, (sample, record) in enumerate(zip(samples, digits, strict=True))
    ]
    write_copy(folder / "wds_flickr30k", pairs[:12])
    regions = [array_bytes(i % 3, i) for i in range(9)]
    grey = labelled(list(range(9)), npy=regions)
    write_copy(folder / "geode", grey, [f"thing {i}" for i in range(40)])
    return folder


def quiet() -> Console:
    return Console(file=io.StringIO(), width=120)


def read_row(path) -> dict[str, str]:
    (row,) = csv.DictReader(io.StringIO(path.read_text()))
    return row


def suite(run, data_dir, names=None, output=None, name="clip38"):
    console = quiet()
    outcome = evaluate_suite(str(run), name, str(data_dir), names, output, console)
    return outcome, console.file.getvalue()


def test_figures_are_those_of_the_evaluators(run, data_dir, digits):
    outcome, said = suite(run, data_dir)
    found = outcome.results
    assert list(found) == ["MNIST", "Flickr", "GeoDE"]
    config = run_dir.load_config(str(run))
    program = build(config)
    params, step = run_dir.load_params(program, config, str(run))
    embedder = stage2.make_embedder(config, program.mesh)
    names = tuple("0123456789")
    # Shards take turns, so records are compared as sets: accuracy does not know an order.
    source = type(open_embedded("digits/heldout"))(
        "x", digits, {"en": names}, {"en": (NUMBER.replace("{c}", "{}"),)}
    )
    assert found["MNIST"].value == pytest.approx(zero_shot(embedder, source, params)["en"])
    assert found["MNIST"].num_samples == 60
    assert found["GeoDE"].value == found["GeoDE"].figures["worst_group_acc1"]
    row = read_row(run / "clip38.csv")
    assert list(row) == results.header(tasks.CLIP38)
    assert (row["name"], row["pretrained"]) == ("small", f"step_{step}")
    num_params = sum(p.size for p in jax.tree.leaves(params))
    assert row["params (M)"] == f"{num_params / 1e6:.2f}"
    for name, result in found.items():
        assert row[name] == f"{result.value:.4f}"
    assert row["CIFAR-10"] == row["Average perf. on 38 datasets"] == ""
    mean = np.mean([r.value for r in found.values()])
    assert row["Average perf. on datasets run"] == f"{mean:.4f}"
    assert row["Datasets run"] == "3"
    assert f"mean over 3 of 38 datasets: {mean:.4f}" in said
    assert f"no data for CIFAR-10: looked for {data_dir}/wds_cifar10_test" in said
    assert "60 of 10,000" in said
    assert len(outcome.missing) == 35
    assert json.loads((run / "clip38.json").read_text())["mean over 3 of 38 datasets"] == mean


def test_a_later_call_goes_on(run, data_dir, tmp_path):
    first, _ = suite(run, data_dir, "mnist")
    assert list(first.results) == ["MNIST"]
    # A figure that the model does not have shows that MNIST is not computed again.
    figures = run / "clip38.json"
    content = json.loads(figures.read_text())
    content["tasks"]["MNIST"]["value"] = 0.25
    figures.write_text(json.dumps(content))
    second, said = suite(run, data_dir, output=str(tmp_path / "all.csv"))
    assert "MNIST: 0.2500 (from an earlier call)" in said
    assert second.results["MNIST"].value == 0.25
    assert read_row(tmp_path / "all.csv")["Datasets run"] == "3"
    assert read_row(run / "clip38.csv")["Datasets run"] == "1"
    # Of another step, or with the data elsewhere, it is computed.
    content["step"] = 1
    figures.write_text(json.dumps(content))
    assert suite(run, data_dir, "mnist")[0].results["MNIST"].value == first.results["MNIST"].value
    shutil.copytree(data_dir, tmp_path / "moved")
    _, said = suite(run, tmp_path / "moved", "mnist")
    assert "earlier call" not in said


def test_rows_of_other_models_stay_and_other_files_are_refused(run, data_dir, tmp_path):
    output = tmp_path / "out/table.csv"
    suite(run, data_dir, "geode", str(output))
    lines = output.read_text().splitlines()
    lines[1] = lines[1].replace("small", "other", 1)
    output.write_text("\n".join(lines) + "\n")
    for _ in range(2):
        suite(run, data_dir, "geode", str(output))
        names = [row["name"] for row in csv.DictReader(io.StringIO(output.read_text()))]
        assert names == ["other", "small"]
    output.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"table\.csv has other columns"):
        suite(run, data_dir, "geode", str(output))
    assert output.read_text() == "a,b\n1,2\n"


def test_one_bad_copy_does_not_stop_the_others(run, tmp_path):
    write_copy(tmp_path / "mnist", labelled([1, 2, 12]), shards=1)
    write_copy(tmp_path / "svhn", labelled([1, 2]))
    (tmp_path / "svhn/test/1.tar").write_bytes(b"x" * 2000)
    write_copy(tmp_path / "imagenet1k", labelled([1]))
    write_copy(tmp_path / "stl10", [{"png": b"no picture", "cls": b"0"}], shards=1)
    broken = [*labelled([0, 1]), {"png": b"no picture", "cls": b"2"}]
    write_copy(tmp_path / "cifar10", broken, shards=1)
    outcome, said = suite(run, tmp_path)
    assert list(outcome.results) == ["CIFAR-10"]
    assert outcome.results["CIFAR-10"].num_unreadable == 1
    assert set(outcome.failed) == {"MNIST", "SVHN", "ImageNet 1k", "STL-10"}
    assert "label '12' is not among 0 … 9" in outcome.failed["MNIST"]
    assert "none of the 1 pictures can be read" in outcome.failed["STL-10"]
    assert "failed: SVHN: " in said
    assert "1.tar is not a whole, uncompressed tar file" in said


def test_chinese_suite(run, tmp_path):
    names = [f"数字{i}" for i in range(1000)]
    folder = write_copy(tmp_path / "wds_imagenet1k_test", labelled([1, 2, 3]), ["x"] * 1000)
    (folder / "label_cn.txt").write_text("\n".join(names), "utf-8")
    samples = [{"png": picture(i), "txt": f"灰色 {i}".encode()} for i in range(3)]
    write_tar(tmp_path / "MUGE/0.tar", samples)
    outcome, _ = suite(run, tmp_path, name="chinese")
    assert list(outcome.results) == ["ImageNet-CN", "MUGE"]
    muge = outcome.results["MUGE"].figures
    assert outcome.results["MUGE"].value == muge["t2i_mean_recall"] >= 2 / 3  # of 3 pictures
    row = read_row(run / "chinese.csv")
    assert row["Average perf. on 5 datasets"] == ""
    assert row["Datasets run"] == "2"


def test_the_average_stands_where_every_task_ran():
    every = {t.name: results.Result(0.01 * i, {}, 1, 0, "") for i, t in enumerate(tasks.CLIP38)}
    model = results.Model("m", "step_1", 151_277_313, 14.78e9)
    line = dict(
        zip(results.header(tasks.CLIP38), results.row(model, tasks.CLIP38, every), strict=True)
    )
    assert line["Average perf. on 38 datasets"] == line["Average perf. on datasets run"] == "0.1850"
    assert (line["params (M)"], line["FLOPs (B)"]) == ("151.28", "14.78")
    assert line["GeoDE"] == "0.3700"
    every.pop("MNIST")
    line = dict(
        zip(results.header(tasks.CLIP38), results.row(model, tasks.CLIP38, every), strict=True)
    )
    assert line["Average perf. on 38 datasets"] == line["MNIST"] == ""


def call_main(**values):
    with flagsaver.flagsaver(**values):
        evaluate.main([])


def test_command_ends_with_one_line_where_nothing_can_be_done(run, tmp_path, data_dir):
    flags.FLAGS.mark_as_parsed()
    clip38 = {"workdir": str(run), "suite": "clip38"}
    for values, message in (
        (clip38, "error: --data_dir=None is no folder"),
        ({**clip38, "data_dir": str(tmp_path / "x")}, "error: --data_dir=.*/x is no folder"),
        ({**clip38, "data_dir": str(tmp_path)}, "error: .* holds no data of clip38: none of 38"),
        ({**clip38, "data_dir": str(data_dir), "tasks": "cifar"}, "Did you mean 'cifar10'"),
        ({"workdir": str(run), "suite": "clip39"}, "error: --suite = 'clip39'.*'clip38'"),
        ({"workdir": str(run), "tasks": "mnist"}, "error: --tasks needs --suite: clip38, chinese"),
    ):
        with pytest.raises(SystemExit, match=message):
            call_main(**values)
    assert not (run / "clip38.csv").exists()


def test_command_ends_with_an_error_after_failed_tasks(run, tmp_path, capsys):
    write_copy(tmp_path / "mnist", labelled([12]), shards=1)
    write_copy(tmp_path / "svhn", labelled([1]), shards=1)
    with pytest.raises(SystemExit, match="error: wrong data of 1: MNIST"):
        call_main(workdir=str(run), suite="clip38", data_dir=str(tmp_path))
    assert "SVHN: acc1" in capsys.readouterr().out
    assert read_row(run / "clip38.csv")["Datasets run"] == "1"


def test_a_run_without_a_text_tower_is_refused(tmp_path):
    config = ConfigDict({"program": "stage1"})
    run_dir.save_config(config, str(tmp_path), quiet())
    with pytest.raises(ConfigError, match="is a run of 'stage1', without a text tower"):
        suite(tmp_path, tmp_path)
