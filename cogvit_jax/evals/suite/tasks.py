"""The tasks of each suite: what a local copy is called, how many samples it has, what is measured.

`clip38` are the 38 sets of DataComp (arXiv:2304.14108, appendix N): names, sizes, numbers of
classes and main metrics as in `tasklist.yml` of github.com/mlfoundations/datacomp, in the order of
the columns of `docs/openclip_results.csv` of github.com/mlfoundations/open_clip. `chinese` are the
sets on which Chinese models are usually compared (arXiv:2211.01335; arXiv:2205.12522).
"""

import dataclasses
from collections.abc import Mapping

from cogvit_jax import settings


@dataclasses.dataclass(frozen=True)
class Task:
    """One data set and the figure that is reported for it.

    Attributes:
        name: column in the results.
        key: what DataComp or CLIP_benchmark calls the set; `--tasks` takes this or the name.
        metric: a name of `metrics.CLASSIFICATION`, or of `metrics.RETRIEVAL`, or "jaccard".
        num_samples: pictures of the whole set; instances for WinoGAViL.
        num_classes: 0 where it is no classification.
        aliases: further names under which folders are looked for.
        tfds: `name:split` in TensorFlow Datasets, where it has the same pictures and labels.
        group: for worst-group accuracy: (key in a sample's .json, column in its .npy).
        language: of the class names or captions.
    """

    name: str
    key: str
    metric: str
    num_samples: int
    num_classes: int = 0
    aliases: tuple[str, ...] = ()
    tfds: str = ""
    group: tuple[str, int] | None = None
    language: str = "en"

    @property
    def folders(self) -> tuple[str, ...]:
        """Folder names in the order in which they are tried below --data_dir.

        `wds_NAME_test` is what DataComp's download makes, `wds_NAME` CLIP_benchmark's.
        """
        # DataComp leaves these two words out of its folders.
        stem = self.key.removeprefix("fairness/").removeprefix("misc/")
        names: dict[str, None] = {}
        for each in (stem, *self.aliases):
            dashed = each.replace("/", "-")
            names |= dict.fromkeys((f"wds_{dashed}_test", f"wds_{dashed}", dashed))
        names[stem.rpartition("/")[2]] = None
        return tuple(names)


RECALL, ACC = "mean_per_class_recall", "acc1"

CLIP38 = (
    Task("ImageNet 1k", "imagenet1k", ACC, 50_000, 1000, tfds="imagenet2012:validation"),
    Task("Caltech-101", "vtab/caltech101", RECALL, 6_085, 102, tfds="caltech101:test"),
    Task("CIFAR-10", "cifar10", ACC, 10_000, 10, ("vtab/cifar10",), "cifar10:test"),
    Task("CIFAR-100", "vtab/cifar100", ACC, 10_000, 100, tfds="cifar100:test"),
    Task("CLEVR Counts", "vtab/clevr_count_all", ACC, 15_000, 8),
    Task("CLEVR Distance", "vtab/clevr_closest_object_distance", ACC, 15_000, 6),
    Task("Country211", "country211", ACC, 21_100, 211),
    Task("Describable Textures", "vtab/dtd", ACC, 1_880, 47, tfds="dtd:test"),
    Task("EuroSAT", "vtab/eurosat", ACC, 5_400, 10, tfds="eurosat/rgb:train[80%:]"),
    Task("FGVC Aircraft", "fgvc_aircraft", RECALL, 3_333, 100),
    Task("Food-101", "food101", ACC, 25_250, 101, tfds="food101:validation"),
    Task("GTSRB", "gtsrb", ACC, 12_630, 43),
    Task("ImageNet Sketch", "imagenet_sketch", ACC, 50_889, 1000, tfds="imagenet_sketch:test"),
    Task("ImageNet v2", "imagenetv2", ACC, 10_000, 1000, tfds="imagenet_v2/matched-frequency:test"),
    Task("ImageNet-A", "imagenet-a", ACC, 7_500, 200),
    Task("ImageNet-O", "imagenet-o", ACC, 2_000, 200),
    Task("ImageNet-R", "imagenet-r", ACC, 30_000, 200),
    Task("KITTI Vehicle Distance", "vtab/kitti_closest_vehicle_distance", ACC, 711, 4),
    Task("MNIST", "mnist", ACC, 10_000, 10, tfds="mnist:test"),
    Task("ObjectNet", "objectnet", ACC, 18_574, 113),
    Task("Oxford Flowers-102", "vtab/flowers", RECALL, 6_149, 102, tfds="oxford_flowers102:test"),
    Task("Oxford-IIIT Pet", "vtab/pets", RECALL, 3_669, 37, tfds="oxford_iiit_pet:test"),
    Task("Pascal VOC 2007", "voc2007", ACC, 14_976, 20),
    Task("PatchCamelyon", "vtab/pcam", ACC, 32_768, 2, tfds="patch_camelyon:test"),
    Task("Rendered SST2", "renderedsst2", ACC, 1_821, 2),
    Task("RESISC45", "vtab/resisc45", ACC, 6_300, 45, tfds="resisc45:train[80%:]"),
    Task("Stanford Cars", "cars", ACC, 8_041, 196, tfds="cars196:test"),
    Task("STL-10", "stl10", ACC, 8_000, 10, tfds="stl10:test"),
    Task("SUN397", "sun397", ACC, 108_754, 397),
    Task("SVHN", "vtab/svhn", ACC, 26_032, 10, tfds="svhn_cropped:test"),
    # Karpathy's test splits. DataComp takes them from elsewhere, CLIP_benchmark has WebDatasets.
    Task("Flickr", "flickr30k", "mean_recall_1", 1_000),
    Task("MSCOCO", "mscoco_captions", "mean_recall_1", 5_000),
    Task("WinoGAViL", "misc/winogavil", "jaccard", 3_563),
    Task("iWildCam", "wilds/iwildcam", "macro_f1", 42_791, 182),
    Task("Camelyon17", "wilds/camelyon17", ACC, 85_054, 2),
    Task("FMoW", "wilds/fmow", "worst_group_acc1", 22_108, 62, group=("region", 0)),
    Task(
        "Dollar Street",
        "fairness/dollar_street",
        "worst_group_acc5",
        3_503,
        58,
        group=("income_ds", 0),
    ),
    Task("GeoDE", "fairness/geode", "worst_group_acc1", 12_488, 40, group=("region", 0)),
)

# ImageNet-CN: the pictures of ImageNet 1k with Chinese class names. MUGE: the validation set, since
# its test set has no public answers; text to image only, the mean of R@1, R@5 and R@10, as there.
CHINESE = (
    Task("ImageNet-CN", "imagenet_cn", ACC, 50_000, 1000, ("imagenet1k",), language="zh"),
    Task(
        "Flickr30k-CN", "flickr30k_cn", "mean_recall_1", 1_000, aliases=("Flickr30k-CN",),
        language="zh",
    ),
    Task("COCO-CN", "coco_cn", "mean_recall_1", 1_000, aliases=("COCO-CN",), language="zh"),
    Task("MUGE", "muge", "t2i_mean_recall", 29_806, aliases=("MUGE",), language="zh"),
    Task("XM3600 zh", "xm3600", "mean_recall_1", 3_600, aliases=("crossmodal3600",), language="zh"),
)  # fmt: skip

SUITES: Mapping[str, tuple[Task, ...]] = {"clip38": CLIP38, "chinese": CHINESE}


def choose(suite: str, names: str | None) -> tuple[Task, ...]:
    """The tasks of a suite that a comma-separated list names; all of them for None.

    Raises:
        ConfigError: an unknown suite or task; names the nearest.
    """
    tasks = settings.choose(SUITES, suite, "--suite")
    if names is None:
        return tasks
    short = {task.key.rpartition("/")[2]: task for task in tasks}
    by_name = {_plain(name): task for name, task in short.items()}
    by_name |= {_plain(name): task for task in tasks for name in (task.name, task.key)}
    wanted = set()
    for name in filter(None, (part.strip() for part in names.split(","))):
        if _plain(name) not in by_name:
            what = f"--tasks: {name!r} of suite {suite!r}"
            raise settings.ConfigError(settings.unknown(what, name.lower(), short))
        wanted.add(by_name[_plain(name)].name)
    if not wanted:
        raise settings.ConfigError("--tasks names no task; leave it out for the whole suite.")
    return tuple(t for t in tasks if t.name in wanted)


def _plain(name: str) -> str:
    return name.lower().replace(" ", "").replace("-", "").replace("_", "")
