"""Code of pictures, judged by what it draws: SVG by its pixels, pages by their blocks.

UniSVG compares pixels, so that an empty picture is nearly right where most of it is ground; here
what the best plain picture would get is taken off. Design2Code asks a browser and CLIP; here the
layout is our own, and what is there too much costs as much as what is missing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mmtp.data.tasks.example import Pixels
from rl.answers.html_page import parse_page
from rl.answers.svg import parse_svg
from rl.rewards.rules.boxes import gated, iou
from rl.rewards.rules.rasters import render
from rl.rewards.rules.web_pages import Block, layout
from rl.types import Json

SAME_TEXT, SAME_PLACE = 0.5, 0.5  # similarity of texts, IoU of boxes: below, they are no pair
PAGE_GATE, SVG_GATE = 0.3, 0.1  # less is nothing: a page of all words, shapes that hit by chance
FAR_COLOUR = 50.0  # CIEDE2000


def svg(answer: str, reference: Mapping[str, Json]) -> float:
    """How like the picture is to that of reference["code"], at reference["size"]; 1 if equal.

    (likeness - plain) / (1 - plain), at least 0; likeness = half SSIM, half 1 - mean difference of
    the pixels; plain = the likeness of the best of several one-coloured pictures. Less than 0.1 is
    0. So a blank picture, of whatever colour, has exactly 0.
    """
    said, wanted = parse_svg(answer), parse_svg(reference["code"])
    if said is None or wanted is None or not said.shapes:
        return 0.0
    size = (reference["size"][0], reference["size"][1])
    target, picture = render(wanted, size), render(said, size)
    if np.array_equal(target, picture):
        return 1.0
    if (picture == picture[0, 0]).all():
        return 0.0
    plain = max(likeness(blank, target) for blank in plain_pictures(target))
    if plain >= 1:
        return 0.0
    return gated(max(0.0, (likeness(picture, target) - plain) / (1 - plain)), SVG_GATE)


def likeness(one: Pixels, other: Pixels) -> float:
    """Half the structural similarity, half one minus the mean absolute difference of pixels."""
    difference = np.abs(one.astype(np.int16) - other.astype(np.int16)).mean() / 255
    return 0.5 * max(0.0, ssim(one, other)) + 0.5 * (1 - float(difference))


def ssim(one: Pixels, other: Pixels) -> float:
    """Structural similarity (Wang et al. 2004), windows of 7 x 7, mean over colours; 1 if equal."""
    from skimage.metrics import structural_similarity

    found = structural_similarity(one, other, channel_axis=2, data_range=255)
    return float(np.mean(np.asarray(found)))


def plain_pictures(target: Pixels) -> list[Pixels]:
    """One-coloured pictures: white, the target's commonest colour, its mean and its median."""
    colours = target.reshape(-1, 3)
    kinds, counts = np.unique(colours, axis=0, return_counts=True)
    found = [np.array([255] * 3), kinds[counts.argmax()], colours.mean(0), np.median(colours, 0)]
    return [np.broadcast_to(c.astype(np.uint8), target.shape).copy() for c in found]


def page(answer: str, reference: Mapping[str, Json]) -> float:
    """How like a page is to that of reference["code"], laid out reference["width"] pixels wide.

    matched x mean(content, place, colour). Texts are paired with texts and boxes with boxes so
    that the sum of their similarities is greatest (Jonker and Volgenant); pairs below 0.5 are none.
    Matched: the weight of what has a partner, on both pages, over the weight of all; the weight of
    a block is the root of its area. Content: similarity of texts, IoU of boxes. Place: distance of
    the middles. Colour: 1 - CIEDE2000 / 50. Less than 0.3, and a page without a right text, is 0.
    """
    said, wanted = parse_page(answer), parse_page(reference["code"])
    if said is None or wanted is None:
        return 0.0
    width = reference["width"]
    (ours, low), (theirs, high) = layout(said, width), layout(wanted, width)
    return gated(page_likeness(ours, theirs, (width, max(low, high))), PAGE_GATE)


def page_likeness(
    ours: Sequence[Block], theirs: Sequence[Block], size: tuple[float, float]
) -> float:
    """See `page`, without its gate."""
    texts = pairs(ours, theirs, "text")
    both = texts + pairs(ours, theirs, "fill")
    if not both or (not texts and any(block.kind == "text" for block in theirs)):
        return 0.0
    matched = sum(weight(one) + weight(other) for one, other, _ in both)
    whole = sum(weight(block) for block in (*ours, *theirs))
    content = sum(value for _, _, value in both) / len(both)
    place = sum(closeness(one, other, size) for one, other, _ in both) / len(both)
    colour = float(likeness_of_colours([(one.colour, other.colour) for one, other, _ in both]))
    return matched / whole * (content + place + colour) / 3


def pairs(
    ours: Sequence[Block], theirs: Sequence[Block], kind: str
) -> list[tuple[Block, Block, float]]:
    """Blocks of one kind that belong together, and how similar they are."""
    from scipy.optimize import linear_sum_assignment

    one, other = ([b for b in blocks if b.kind == kind] for blocks in (ours, theirs))
    if not one or not other:
        return []
    values = np.array([[similarity(a, b) for b in other] for a in one])
    # Of equal texts, those that are nearer to each other are partners.
    near = np.array([[iou(a.box, b.box) for b in other] for a in one])
    rows, columns = linear_sum_assignment(values + 0.01 * near, maximize=True)
    gate = SAME_TEXT if kind == "text" else SAME_PLACE
    chosen = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(one[i], other[j], float(values[i, j])) for i, j in chosen if values[i, j] >= gate]


def similarity(one: Block, other: Block) -> float:
    """Of texts, 1 - edit distance over the longer length; of boxes, IoU."""
    from rapidfuzz.distance import Levenshtein

    if one.kind == "text":
        return Levenshtein.normalized_similarity(one.text[:500], other.text[:500])
    return iou(one.box, other.box)


def weight(block: Block) -> int:
    """The root of its area, a whole number so that sums are exact."""
    left, top, right, bottom = block.box
    return 1 + round((max(0.0, right - left) * max(0.0, bottom - top)) ** 0.5)


def closeness(one: Block, other: Block, size: tuple[float, float]) -> float:
    """1 - the larger of the distances across and down, as shares of the page."""
    a, b = one.box, other.box
    across = abs(a[0] + a[2] - b[0] - b[2]) / 2 / size[0]
    down = abs(a[1] + a[3] - b[1] - b[3]) / 2 / size[1]
    return max(0.0, 1 - max(across, down))


def likeness_of_colours(both: Sequence[tuple[Sequence[int], Sequence[int]]]) -> float:
    """Mean over pairs of colours of 1 - CIEDE2000 / 50, none below 0."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    colours = np.array(both, np.float64) / 255  # [pair, side, 3]
    differences = deltaE_ciede2000(rgb2lab(colours[:, 0]), rgb2lab(colours[:, 1]))
    return float(np.clip(1 - differences / FAR_COLOUR, 0, 1).mean())
