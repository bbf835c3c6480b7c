"""What a filter did, as JSON and as a picture."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch
from PIL import Image

from cogvit_jax.data.assets import FONT_PATH
from cogvit_jax.data.quality import QualitySettings
from cogvit_jax.data.records import Source
from cogvit_jax.data.transforms import decode_image

if TYPE_CHECKING:
    from cogvit_jax.data.filter import Verdict

MAX_EXAMPLES = 20  # in the JSON, per reason
COLUMNS = 6  # pictures per reason
_COLOURS = {"kept": "tab:blue", "rejected": "tab:red"}
# Title, attribute of Assessment, the threshold's field, whether the axis is logarithmic.
_HISTOGRAMS = (
    ("shorter side (px)", "min_side", "min_side", True),
    ("longer / shorter side", "aspect", "max_aspect", False),
    ("contrast (grey levels)", "contrast", "min_contrast", False),
    ("sharpness (Laplacian variance)", "sharpness", "min_sharpness", True),
)


def reason_name(reason: str) -> str:
    """The group of a reason: corrupt, small, narrow, flat, blurred or copy."""
    return reason.removeprefix("quality: ").partition(":")[0]


def summary(spec: str, settings: QualitySettings, verdicts: Sequence["Verdict"]) -> dict[str, Any]:
    """Counts, settings, quantiles of every measure and examples, ready for JSON.

    Returns:
        source; records; kept; rejected: reason -> count; settings; quantiles: measure -> values
        at 0, 5, 50, 95 and 100 %; examples: reason -> up to 20 of {id, why}.
    """
    counts = Counter(reason_name(v.reason) for v in verdicts if v.reason)
    examples: dict[str, list[dict[str, str]]] = defaultdict(list)
    for verdict in verdicts:
        group = examples[reason_name(verdict.reason)] if verdict.reason else []
        if len(group) < MAX_EXAMPLES:
            group.append({"id": verdict.id, "why": verdict.reason})
    measured = [v.assessment for v in verdicts if v.assessment]
    quantiles = {
        measure: np.percentile([getattr(a, measure) for a in measured], (0, 5, 50, 95, 100))
        .round(3)
        .tolist()
        for _, measure, _, _ in (_HISTOGRAMS if measured else ())
    }
    return {
        "source": spec,
        "records": len(verdicts),
        "kept": len(verdicts) - counts.total(),
        "rejected": dict(counts.most_common()),
        "settings": asdict(settings),
        "quantiles": quantiles,
        "examples": dict(examples),
    }


def write(
    folder: Path,
    content: dict[str, Any],
    verdicts: Sequence["Verdict"],
    source: Source,
    settings: QualitySettings,
) -> None:
    """Writes report.json and report.png."""
    text = json.dumps(content, ensure_ascii=False, indent=1)
    (folder / "report.json").write_text(text, "utf-8")
    groups = _examples(verdicts)
    figure = Figure(figsize=(13, 3 + 2.3 * len(groups)), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [3, *[2.3] * len(groups)]
    parts = figure.subfigures(1 + len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    _histograms(parts[0].subplots(1, len(_HISTOGRAMS)), verdicts, settings)
    font = FontProperties(fname=str(FONT_PATH), size=7)
    for part, (name, indices) in zip(parts[1:], groups.items(), strict=True):
        count = content["rejected"].get(name, content["kept"])
        part.suptitle(f"{name}: {count}", fontsize=10, x=0.01, ha="left")
        for ax, index in zip(part.subplots(1, COLUMNS), indices, strict=False):
            _thumbnail(ax, source, index, verdicts[index], font)
        for ax in part.axes:
            ax.set_axis_off()
    figure.savefig(folder / "report.png", dpi=90)


def _examples(verdicts: Sequence["Verdict"]) -> dict[str, list[int]]:
    """Reason, or "kept", -> indices of pictures to show, spread over the source."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, verdict in enumerate(verdicts):
        if verdict.assessment:
            groups[reason_name(verdict.reason) or "kept"].append(index)
    spread = {}
    for name in sorted(groups, key=lambda name: (name != "kept", -len(groups[name]))):
        places = np.linspace(0, len(groups[name]) - 1, min(COLUMNS, len(groups[name])))
        spread[name] = [groups[name][round(place)] for place in places.tolist()]
    return spread


def _histograms(axes: np.ndarray, verdicts: Sequence["Verdict"], settings: QualitySettings) -> None:
    measured = [v for v in verdicts if v.assessment]
    for ax, (title, measure, field, logarithmic) in zip(axes, _HISTOGRAMS, strict=True):
        ax.set_title(title, fontsize=9)
        ax.tick_params(labelsize=7)
        if not measured:
            continue
        values = np.array([getattr(v.assessment, measure) for v in measured], float)
        kept = np.array([not v.reason for v in measured])
        threshold = float(getattr(settings, field))
        if logarithmic:
            values, threshold = np.log10(values + 1), float(np.log10(threshold + 1))
            ax.set_xlabel("log10(1 + value)", fontsize=7)
        edges = np.histogram_bin_edges(values, 40)
        ax.hist([values[kept], values[~kept]], edges, stacked=True, color=list(_COLOURS.values()))
        if edges[0] - 1 <= threshold <= edges[-1] + 1:
            ax.axvline(threshold, color="black", linestyle="--", linewidth=1)
    axes[0].legend(handles=[Patch(color=c, label=n) for n, c in _COLOURS.items()], fontsize=7)


def _thumbnail(
    ax: Axes, source: Source, index: int, verdict: "Verdict", font: FontProperties
) -> None:
    picture = Image.fromarray(decode_image(source.records[index].image))
    picture.thumbnail((192, 192))
    ax.imshow(np.asarray(picture))
    detail = verdict.reason.removeprefix("quality: ").partition(": ")[2]
    # A dollar sign would begin a formula.
    lines = (text[-34:].replace("$", r"\$") for text in (verdict.id, detail))
    ax.set_title("\n".join(lines), fontproperties=font)
