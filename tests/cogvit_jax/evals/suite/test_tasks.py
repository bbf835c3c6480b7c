"""The tables of tasks, against the columns and sizes that were published."""

import pytest

from cogvit_jax.evals.suite import metrics, names
from cogvit_jax.evals.suite.results import MODEL_COLUMNS, RUN_COLUMNS, header
from cogvit_jax.evals.suite.tasks import CHINESE, CLIP38, SUITES, choose
from cogvit_jax.settings import ConfigError

# First line of docs/openclip_results.csv of github.com/mlfoundations/open_clip, commit 89fb801.
OPENCLIP_HEADER = (
    "name,pretrained,params (M),FLOPs (B),Average perf. on 38 datasets,ImageNet 1k,Caltech-101,"
    "CIFAR-10,CIFAR-100,CLEVR Counts,CLEVR Distance,Country211,Describable Textures,EuroSAT,"
    "FGVC Aircraft,Food-101,GTSRB,ImageNet Sketch,ImageNet v2,ImageNet-A,ImageNet-O,ImageNet-R,"
    "KITTI Vehicle Distance,MNIST,ObjectNet,Oxford Flowers-102,Oxford-IIIT Pet,Pascal VOC 2007,"
    "PatchCamelyon,Rendered SST2,RESISC45,Stanford Cars,STL-10,SUN397,SVHN,Flickr,MSCOCO,WinoGAViL,"
    "iWildCam,Camelyon17,FMoW,Dollar Street,GeoDE"
)
# tasklist.yml of github.com/mlfoundations/datacomp, commit 4a8df19: tasks whose main metric is not
# acc1, by what it is called there.
OTHER_METRICS = {
    "mean_per_class_recall": "Caltech-101 FGVC_Aircraft Oxford_Flowers-102 Oxford-IIIT_Pet",
    "mean_recall_1": "Flickr MSCOCO",
    "jaccard": "WinoGAViL",
    "macro_f1": "iWildCam",
    "worst_group_acc1": "FMoW GeoDE",
    "worst_group_acc5": "Dollar_Street",
}
# Its sizes and numbers of classes, in the order of the columns.
SIZES = (
    "50000/1000 6085/102 10000/10 10000/100 15000/8 15000/6 21100/211 1880/47 5400/10 "
    "3333/100 25250/101 12630/43 50889/1000 10000/1000 7500/200 2000/200 30000/200 711/4 "
    "10000/10 18574/113 6149/102 3669/37 14976/20 32768/2 1821/2 6300/45 8041/196 8000/10 "
    "108754/397 26032/10 1000/0 5000/0 3563/0 42791/182 85054/2 22108/62 3503/58 12488/40"
)


def test_the_first_columns_are_those_of_open_clip():
    assert ",".join(header(CLIP38)[: -len(RUN_COLUMNS)]) == OPENCLIP_HEADER
    assert tuple(header(CLIP38)[:4]) == MODEL_COLUMNS
    assert len(CLIP38) == 38


def test_metrics_are_those_of_datacomp():
    expected = {
        name.replace("_", " "): metric
        for metric, listed in OTHER_METRICS.items()
        for name in listed.split()
    }
    found = {task.name: task.metric for task in CLIP38 if task.metric != "acc1"}
    assert found == expected


def test_sizes_are_datacomps():
    found = " ".join(f"{task.num_samples}/{task.num_classes}" for task in CLIP38)
    assert found == SIZES


@pytest.mark.parametrize("suite", list(SUITES))
def test_names_keys_and_folders_tell_tasks_apart(suite):
    tasks = SUITES[suite]
    assert len({t.name for t in tasks}) == len({t.key for t in tasks}) == len(tasks)
    folders = [folder for task in tasks for folder in task.folders]
    assert len(set(folders)) == len(folders)


def test_folders_are_those_that_are_published():
    folders = {task.name: task.folders for task in CLIP38}
    assert folders["Caltech-101"][:2] == ("wds_vtab-caltech101_test", "wds_vtab-caltech101")
    assert "wds_cifar10_test" in folders["CIFAR-10"]
    assert "wds_vtab-cifar10" in folders["CIFAR-10"]
    assert folders["iWildCam"][0] == "wds_wilds-iwildcam_test"
    assert folders["GeoDE"][0] == "wds_geode_test"
    assert "wds_flickr30k" in folders["Flickr"]
    assert "wds_mscoco_captions" in folders["MSCOCO"]
    assert "winogavil" in folders["WinoGAViL"]


def test_the_tables_names_fit_their_tasks():
    by_key = {task.key: task for task in CLIP38}
    for key, listed in names.CLASSES.items():
        assert len(set(listed)) == by_key[key].num_classes <= 20
    for key, prompts in names.TEMPLATES.items():
        assert by_key[key].num_classes
        assert all(prompt.count("{}") == 1 for prompt in prompts)
    assert len(set(names.CIFAR)) == 18
    assert set(names.DEFAULT) == {task.language for task in (*CLIP38, *CHINESE)}


def test_every_metric_is_one_that_is_computed():
    known = {*metrics.CLASSIFICATION, "worst_group_acc1", "worst_group_acc5"}
    for task in (*CLIP38, *CHINESE):
        if task.num_classes:
            assert task.metric in known
        assert task.metric.startswith("worst_group") == (task.group is not None)


def test_tasks_are_chosen_by_name_or_key_in_the_suites_order():
    chosen = choose("clip38", "MSCOCO, mnist,vtab/svhn,CIFAR-10,dtd")
    found = [task.name for task in chosen]
    assert found == ["CIFAR-10", "Describable Textures", "MNIST", "SVHN", "MSCOCO"]
    assert choose("clip38", None) == CLIP38


def test_unknown_suites_and_tasks_name_the_nearest():
    with pytest.raises(
        ConfigError, match=r"--suite = 'clip83' is not known. Did you mean 'clip38'"
    ):
        choose("clip83", None)
    with pytest.raises(ConfigError, match=r"'CIFAR-11' of suite 'clip38'.*Did you mean 'cifar10"):
        choose("clip38", "mnist,CIFAR-11")
    with pytest.raises(ConfigError, match="names no task"):
        choose("clip38", " , ")
