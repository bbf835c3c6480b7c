"""What stage 1 shows of itself: probes of frozen features, feature maps, reconstructions."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cogvit_jax import settings, sharding
from cogvit_jax.data import masking, pictures
from cogvit_jax.data.mixture import open_mixture, short_names
from cogvit_jax.data.records import Source
from cogvit_jax.data.sources import open_source
from cogvit_jax.data.transforms import decode_image, resize
from cogvit_jax.evals import attention, correspondence, dense, feature_maps, probes, reconstruction
from cogvit_jax.evals.embed import Embedder, usable_records
from cogvit_jax.evals.masked import MaskedSource, open_masked_folder
from cogvit_jax.evals.scenes import make_scenes
from cogvit_jax.losses import target_statistics
from cogvit_jax.models import vit
from cogvit_jax.models.student import Student
from cogvit_jax.program import Evaluator
from cogvit_jax.programs.distill_loss import teacher_features
from cogvit_jax.programs.teachers import Taught


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """`config.evals` of stage 1.

    Attributes:
        batch_size: pictures per call.
        probes: (name, train source, held-out source) of labelled pictures.
        knn, linear_probe: which probes run on them, on frozen features averaged over patches.
        baselines: also probe pixels and the encoder with random weights, once.
        pixel_sides: sides of the pictures whose pixels are probed.
        segmentation: (name, train set, held-out set) for a linear classifier of patches, see
            `evals.dense`; sets are "folder:/path" with images/ and masks/, or "scenes:200", which
            draws so many scenes of embedded pictures.
        correspondence: sources whose patches are matched between views, see
            `evals.correspondence`.
        feature_maps: held-out pictures shown beside their features' principal components; 0 = none.
        reconstruction: held-out pictures shown with mask, targets and predictions; 0 = none.
        attention: the largest attention logit, which QK-Norm is there to bound.
    """

    batch_size: int = 256
    probes: tuple[tuple[str, str, str], ...] = ()
    knn: bool = True
    linear_probe: bool = True
    baselines: bool = True
    pixel_sides: tuple[int, ...] = (32,)
    segmentation: tuple[tuple[str, str, str], ...] = ()
    correspondence: tuple[str, ...] = ()
    feature_maps: int = 0
    reconstruction: int = 0
    attention: bool = True


@dataclasses.dataclass(frozen=True)
class Shown:
    """What evaluators need of a run.

    Attributes:
        student, teachers, example: of the run.
        init: key -> the student's parameters.
        frozen: () -> the teachers' parameters.
    """

    student: Student
    teachers: tuple[Taught, ...]
    example: pictures.PictureExample
    init: Callable[[jax.Array], Any]
    frozen: Callable[[], Any]


def make_evaluators(
    config: Any, embedder: Embedder, shown: Shown, mesh: Mesh
) -> dict[str, Evaluator]:
    """What `config.evals` asks for; opens the sources."""
    options = settings.read(EvalSettings, config.evals, "config.evals")
    side = shown.example.student.image_size
    evaluators = _probes(config, options, embedder, shown) | _dense(options, embedder, side)
    if not config.data.heldout:
        return evaluators
    sources, _ = open_mixture(config.data.heldout, "config.data.heldout")
    for source in sources:
        name = source.name.rpartition(":")[2].strip("/").replace("/", "_")
        if options.feature_maps:
            evaluators[f"feature_maps/{name}"] = partial(
                feature_maps.feature_maps, embedder, source, options.feature_maps
            )
        if options.reconstruction and not any(t.cache for t in shown.teachers):
            evaluators[f"reconstruction/{name}"] = make_panel(
                shown, source, options.reconstruction, config.seed, mesh
            )
    if options.attention:
        evaluators["attention"] = partial(
            attention.max_logits,
            attention.make_diagnose(_vision_only(shown.student)),
            partial(embedder.sample, sources[0]),
        )
    return evaluators


def _probes(
    config: Any, options: EvalSettings, embedder: Embedder, shown: Shown
) -> dict[str, Evaluator]:
    sets = {
        name: (open_source(train), open_source(heldout)) for name, train, heldout in options.probes
    }
    if not sets:
        return {}

    def untrained() -> Any:
        return jax.jit(shown.init)(jax.random.key(config.seed + 1))

    baselines = {"random_params": untrained, "pixel_sides": options.pixel_sides}
    compared = baselines if options.baselines else {}
    kinds = {"knn": probes.knn_accuracy, "linear_probe": probes.linear_accuracy}
    return {
        kind: probes.with_baselines(accuracy, embedder, sets, **compared)
        for kind, accuracy in kinds.items()
        if getattr(options, kind)
    }


def _dense(options: EvalSettings, embedder: Embedder, side: int) -> dict[str, Evaluator]:
    """Segmentation, a measure of objects, and correspondence, a measure of texture."""
    found: dict[str, Evaluator] = {}
    for name, train, heldout in options.segmentation:
        sets = _masked_source(train, "train", side), _masked_source(heldout, "heldout", side)
        found[f"dense/{name}"] = partial(dense.segmentation, embedder, *sets)
    for spec in options.correspondence:
        name = f"dense/correspondence_{short_names(spec)[0]}"
        found[name] = partial(correspondence.correspondence, embedder, open_source(spec))
    return found


def _masked_source(spec: str, split: str, side: int) -> MaskedSource:
    scheme, _, rest = spec.partition(":")
    if scheme == "scenes" and rest.isdigit() and int(rest) > 0:
        return make_scenes(split, int(rest), side)
    if scheme == "folder":
        return open_masked_folder(rest)
    raise settings.ConfigError(
        f"config.evals.segmentation: {spec!r} is neither 'folder:/path' nor 'scenes:COUNT'."
    )


def _vision_only(student: Student) -> Callable[..., Any]:
    """`apply` of the encoder alone, on a picture batch, nothing masked."""
    encoder = vit.build(student.vision_settings)

    def apply(variables: Any, image: Any, **options: Any) -> Any:
        inputs = (image["patches"], image["positions"], image["segments"])
        features, found = encoder.apply(
            {"params": variables["params"]["vision"]}, *inputs, **options
        )
        return features, {"diagnostics": {"vision": found["diagnostics"]}}

    return apply


def make_panel(shown: Shown, source: Source, num: int, seed: int, mesh: Mesh) -> Evaluator:
    """{"panel": picture} of `num` pictures evenly spread over a source, see `reconstruction.panel`.

    Targets and predictions are in the normalised space in which the loss compares them.
    """
    example, side = shown.example, shown.student.side

    @jax.jit
    def both(params: Any, frozen: Any, batch: Any) -> tuple[Any, Any]:
        predicted = shown.student.apply({"params": params}, batch["patches"], batch["masked"])
        running = params["statistics"]["targets"]
        targets = {}
        for one in shown.teachers:
            features = teacher_features(one, side, frozen, batch["teachers"])
            kind = one.config.normalize
            targets[one.name] = target_statistics.normalize(kind, features, running[one.name])
        return targets, predicted

    def evaluate(params: Any) -> dict[str, np.ndarray]:
        records = usable_records(source)
        spread = np.linspace(0, len(records) - 1, min(num, len(records))).astype(int)
        size = (example.student.image_size, example.student.image_size)
        crops = [decode_image(records[i].image) for i in spread]
        rng = np.random.default_rng(seed)
        batch = {
            "patches": np.stack([pictures.look(c, example.student) for c in crops]),
            "masked": np.stack([masking.draw(example.mask, rng, side, side) for _ in crops]),
            "teachers": {
                v.name: np.stack([pictures.look(c, v) for c in crops]) for v in example.teachers
            },
        }
        found = both(params, shown.frozen(), sharding.replicate(mesh, batch))
        targets, predicted = jax.tree.map(lambda x: np.asarray(x, np.float32), found)
        seen = [resize(c, size) for c in crops]
        scale = max(1, 128 // side)
        picture = reconstruction.panel(seen, batch["masked"], targets, predicted, scale * side)
        return {"panel": picture}

    return evaluate
