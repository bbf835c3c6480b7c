"""Class names and prompts of the tasks with at most twenty classes.

They are those of github.com/LAION-AI/CLIP_benchmark (which has them from CLIP and VTAB), so that
figures compare with published ones. Longer lists, ImageNet's among them, are not included: the
published WebDatasets carry theirs in `classnames.txt` and `zeroshot_classification_templates.txt`.
"""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Keys are those of the tasks.
CLASSES = {
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
    "stl10": (
        "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
    ),
    "mnist": tuple("0123456789"),
    "vtab/svhn": DIGITS,
    "vtab/clevr_count_all": (*DIGITS[3:], "ten"),
    # The fourth has no adverb: its prompt is " shapes."
    "vtab/clevr_closest_object_distance": (
        "very nearby", "nearby", "near", "", "distant", "very distant",
    ),
    "vtab/eurosat": (
        "annual crop land",
        "forest",
        "brushland or shrubland",
        "highway or road",
        "industrial buildings or commercial buildings",
        "pasture land",
        "permanent crop land",
        "residential buildings or homes or apartments",
        "river",
        "lake or sea",
    ),
    "vtab/kitti_closest_vehicle_distance": (
        "a photo i took of a car on my left or right side.",
        "a photo i took with a car nearby.",
        "a photo i took with a car in the distance.",
        "a photo i took with no car.",
    ),
    "vtab/pcam": ("lymph node", "lymph node containing metastatic tumor tissue"),
    "renderedsst2": ("negative", "positive"),
    "voc2007": (
        "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
        "train", "tvmonitor",
    ),
}  # fmt: skip

_KINDS = ("", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ")
CIFAR = tuple(
    prompt
    for article in ("a", "the")
    for prompt in (
        *(f"a {kind}photo of {article} {{}}." for kind in _KINDS),
        *(f"a photo of {article} {size} {{}}." for size in ("small", "big")),
    )
)

TEMPLATES = {
    "cifar10": CIFAR,
    "vtab/cifar100": CIFAR,
    "stl10": ("a photo of a {}.", "a photo of the {}."),
    "mnist": ('a photo of the number: "{}".',),
    "vtab/svhn": (
        "a photo of the number {} written on a sign",
        "an outdoor house number {}",
        "the number {} in the center of the image",
        "an outdoor number {} writte on a sign",  # so in VTAB's prompts
        "an outdoor number {}",
        "a centered image of the number {}",
    ),
    "vtab/clevr_count_all": ("a picture of {} objects",),
    "vtab/clevr_closest_object_distance": ("{} shapes.",),
    "vtab/eurosat": tuple(f"a centered satellite photo of {a}{{}}." for a in ("", "a ", "the ")),
    "vtab/kitti_closest_vehicle_distance": ("{}",),
    "vtab/pcam": ("a histopathology slide showing {}", "histopathology image of {}"),
    "renderedsst2": ("a {} review of a movie.",),
}

# Where neither the copy nor the table has prompts.
DEFAULT = {"en": ("a photo of a {}.",), "zh": ("{}的照片。", "一张{}的照片。")}
