"""Pictures of solids that stand on a floor.

Solids stand in circles that do not touch: drawing them by falling d² - r² (d: distance of the
circle's middle from the camera, r: its radius) never draws what is behind over what is in front.
For of two such circles that a ray meets, the one that it meets first has the smaller power with
respect to the ray's start.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Colour, Sheet, mix, new_sheet
from mmtp.data.tasks.example import Pixels
from mmtp.data.tasks.scenes import PALETTE
from rl.envs.drawing.world import NEAR, Camera, Solid

_LIGHT = np.array([-0.45, -0.8, -0.4]) / np.linalg.norm([-0.45, -0.8, -0.4])  # towards it


def draw(
    camera: Camera,
    solids: Sequence[Solid],
    floor: Colour = (226, 222, 214),
    tile: float = 1.0,
    scale: int = 2,
) -> Pixels:
    """The picture.

    Args:
        camera: what looks on.
        solids: in circles that do not touch.
        floor: its colour.
        tile: side of the floor's tiles in metres; 0 draws none.
        scale: times finer while drawing.
    """
    sheet = new_sheet(camera.size, floor, scale)
    horizon = camera.centre[1] - camera.focal * np.tan(camera.tilt)
    if horizon > 0:
        sheet.box((0, 0, camera.size[0], float(horizon)), (206, 224, 240))
    if tile:
        _tiles(sheet, camera, mix(floor, BLACK, 0.2), tile)
    for solid in solids:
        _shadow(sheet, camera, solid, mix(floor, BLACK, 0.28))
    eye = np.array(camera.place)

    def power(solid: Solid) -> float:
        return float(((np.array(solid.at) - eye) ** 2).sum()) - solid.reach**2

    for solid in sorted(solids, key=power, reverse=True):
        (_ball if solid.kind == "ball" else _prism)(sheet, camera, solid)
    return sheet.pixels()


def _tiles(sheet: Sheet, camera: Camera, fill: Colour, tile: float) -> None:
    """Lines of the floor, whole multiples of `tile` of the world, as far as 12 tiles around."""
    steps, far = np.arange(-12, 13), np.array([-12, 12])
    across, along = np.round(np.array(camera.place) / tile)
    ends = np.zeros((2, 2, len(steps), 3))  # lines along z and along x; both ends of each
    ends[0, :, :, 0], ends[0, :, :, 2] = across + steps, along + far[:, None]
    ends[1, :, :, 2], ends[1, :, :, 0] = along + steps, across + far[:, None]
    seen = camera.seen(ends.reshape(-1, 3) * tile).reshape(2, 2, -1, 3).swapaxes(0, 1)
    one, other = seen.reshape(2, -1, 3)
    flip = one[:, 2] > other[:, 2]
    near, distant = np.where(flip[:, None], other, one), np.where(flip[:, None], one, other)
    shown = distant[:, 2] > NEAR
    near, distant = near[shown], distant[shown]
    depth = np.maximum(distant[:, 2] - near[:, 2], 1e-9)
    share = np.clip((NEAR - near[:, 2]) / depth, 0, 1)[:, None]
    near = near + share * (distant - near)
    scale = sheet.scale
    for (x1, y1), (x2, y2) in zip(camera.picture(near), camera.picture(distant), strict=True):
        sheet.pen.line((x1 * scale, y1 * scale, x2 * scale, y2 * scale), fill, 1)


def _shadow(sheet: Sheet, camera: Camera, solid: Solid, fill: Colour) -> None:
    """What the solid darkens of the floor: its base, and its top along the light."""
    drop = -_LIGHT * solid.size[1] * 0.4 / abs(_LIGHT[1])
    base = solid.ring(0)
    top = solid.ring(0, {"cone": 0.05, "ball": 0.6}.get(solid.kind, 1.0))
    top = top + np.array([drop[0], 0, drop[2]])
    seen = camera.seen(np.concatenate([base, top]))
    if seen[:, 2].min() > NEAR:
        sheet.polygon(_hull(camera.picture(seen)), fill)


def _prism(sheet: Sheet, camera: Camera, solid: Solid) -> None:
    """A box, cylinder or cone: its sides that face the camera, then its top."""
    fill = PALETTE[solid.colour][1]
    base, top = solid.ring(0), solid.ring(solid.size[1], 0.0 if solid.kind == "cone" else 1.0)
    before = np.roll(base, 1, 0)
    normals = np.cross(base - before, top - base)
    outward = ((base + before) / 2 - base.mean(0) - [0, solid.size[1] / 2, 0]) * normals
    normals *= np.sign(outward.sum(1))[:, None]
    shown = ((camera.eye - base) * normals).sum(1) > 0
    below, above = camera.project(base), camera.project(top)
    for i in np.flatnonzero(shown):
        sheet.polygon([below[i - 1], below[i], above[i], above[i - 1]], _lit(fill, normals[i]))
    if camera.height > solid.size[1] and solid.kind != "cone":
        sheet.polygon(above, _lit(fill, np.array([0.0, -1.0, 0.0])))


def _ball(sheet: Sheet, camera: Camera, solid: Solid) -> None:
    """A ball: the circle in which lines of sight touch it, lighter towards the light."""
    fill, radius = PALETTE[solid.colour][1], solid.size[1] / 2
    middle = camera.seen(np.array([[solid.at[0], -radius, solid.at[1]]]))[0]
    far = float(np.linalg.norm(middle))
    first = np.cross(middle, [0.0, 1.0, 0.0])
    first /= np.linalg.norm(first)
    second = np.cross(middle, first) / far
    angles = np.arange(36)[:, None] * np.pi / 18
    circle = np.cos(angles) * first + np.sin(angles) * second
    inner = middle * (1 - (radius / far) ** 2)
    reach = radius * np.sqrt(1 - (radius / far) ** 2)
    for share, shift, tone in ((1, 0, -0.22), (0.8, 0.16, 0.0), (0.42, 0.36, 0.3)):
        lit = inner + np.array([-0.6, -0.75, -0.2]) * shift * radius
        points = camera.picture(lit + circle * reach * share)
        sheet.polygon(points, mix(fill, WHITE if tone > 0 else BLACK, abs(tone)))


def _lit(fill: Colour, normal: Float[np.ndarray, "3"]) -> Colour:
    light = float(normal @ _LIGHT / np.linalg.norm(normal))
    return mix(fill, WHITE, 0.25 * light) if light > 0.5 else mix(fill, BLACK, 0.3 - 0.3 * light)


def _hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The convex hull (monotone chain)."""

    def chain(ordered: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for x, y in ordered:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                kept.pop()
            kept.append((x, y))
        return kept[:-1]

    ordered = sorted(set(points))
    return [*chain(ordered), *chain(ordered[::-1])]
