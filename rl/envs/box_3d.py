"""The box around a thing in space, from one picture through a known camera."""

import math

import numpy as np

from cogvit_jax.data.rendering.canvas import pick_some
from mmtp.data.records import Image, Text
from rl.answers.places3d import AXES, Box3D, box_of, write_box_3d
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing.draw_world import draw
from rl.envs.drawing.world import COLOURS, Camera, Solid, stand
from rl.rewards.rules import boxes3d
from rl.types import Task

SIZES = ((224, 168), (224, 168), (280, 224), (336, 252), (448, 336))
ASK = {
    "en": (
        "A pinhole camera took this picture of {width} × {height} pixels: fx = fy = {f}, "
        "cx = {cx}, cy = {cy}. It is {h} m above the floor and {tilt}{tiles}. In the camera's "
        "frame (x right, y down, z forward, metres), give the 3D box of the {name} as "
        '{{"bbox_3d": [x,y,z,w,h,l,roll,pitch,yaw], "label": "{name}"}}: its middle, its extents '
        "along its own x, y, z, and turns in radians about the camera's fixed axes, first roll "
        "about z, then pitch about x, then yaw about y."
    ),
    "zh": (
        "这张{width}×{height}像素的图由针孔相机拍摄：fx = fy = {f}，cx = {cx}，cy = {cy}。"
        "相机离地面{h}米，{tilt}{tiles}。请在相机坐标系（x向右，y向下，z向前，单位米）中给出{name}的"
        '三维框：{{"bbox_3d": [x,y,z,w,h,l,roll,pitch,yaw], "label": "{name}"}}，即中心、'
        "沿自身x、y、z轴的尺寸，以及绕相机固定坐标轴的转角（弧度）：先绕z轴roll，再绕x轴pitch，"
        "最后绕y轴yaw。"
    ),
}
TILT = {
    "en": ("looks straight ahead", "looks down by {} degrees"),
    "zh": ("水平向前看", "向下俯视{}度"),
}
TILES = {"en": "; tiles are 1 m wide", "zh": "；地砖边长1米"}


def draw_task(context: Draw) -> Drawn:
    """Boxes on a floor; the camera looks straight ahead, or (harder) down."""
    rng, difficulty, language = context
    width, height = SIZES[difficulty]
    degrees = int(rng.integers(12, 26)) if difficulty >= 3 else 0
    camera = Camera(
        size=(width, height),
        focal=round(width * float(rng.uniform(0.9, 1.1))),
        centre=(width / 2, round(height * (0.5 if degrees else 0.25))),
        height=int(rng.integers(150, 211)) / 100,
        tilt=math.radians(degrees),
    )
    colours = pick_some(rng, COLOURS, 1 + difficulty)
    depths = (3.0, 4.5 + 0.7 * difficulty)
    pairs = [("box", colour) for colour in colours]
    solids = stand(rng, camera, pairs, [depths] * len(pairs), difficulty >= 2)
    found = [in_camera(camera, solid, language) for solid in solids]
    ahead, down = TILT[language]
    question = ASK[language].format(
        width=width,
        height=height,
        f=camera.focal,
        cx=camera.centre[0],
        cy=camera.centre[1],
        h=camera.height,
        tilt=down.format(degrees) if degrees else ahead,
        tiles=TILES[language] if difficulty < 4 else "",
        name=found[0].label,
    )
    reference = {
        "bbox_3d": found[0].numbers,
        "axes": AXES,
        "label": found[0].label,
        "gate": boxes3d.GATE,
        "others": [box.numbers for box in found[1:]],
        "names": [box.label for box in found[1:]],
        "depths": list(depths),
    }
    picture = draw(camera, solids, tile=1.0 if difficulty < 4 else 0.0)
    return Drawn((Image(picture), Text(question)), reference)


def in_camera(camera: Camera, solid: Solid, language: str) -> Box3D:
    """A box of the floor in the frame of a camera that stands at the origin, rounded.

    Turned by yaw about the floor's normal, then by the camera's tilt: R = R_x(tilt) R_y(yaw), taken
    apart into R_y(c) R_x(b) R_z(a).
    """
    middle = np.array([[solid.at[0], -solid.size[1] / 2, solid.at[1]]])
    x, y, z = (round(float(v), 3) for v in camera.seen(middle)[0])
    turn = boxes3d.rotation((camera.tilt, 0, 0), "xyz") @ boxes3d.rotation((0, solid.yaw, 0), "xyz")
    roll = math.atan2(turn[1, 0], turn[1, 1])
    pitch, yaw = -math.asin(turn[1, 2]), math.atan2(turn[0, 2], turn[2, 2])
    angles = round(roll, 4) + 0.0, round(pitch, 4) + 0.0, round(yaw, 4) + 0.0
    return Box3D((x, y, z), solid.size, angles, solid.name(language))


def oracle(task: Task) -> Replies:
    """The box."""
    return (boxed(write_box_3d(_gold(task))),)


def distractors(task: Task) -> list[Replies]:
    """Other boxes, others' names, the box moved or much too large or small, and broken numbers."""
    gold, label = _gold(task), task.reference["label"]
    x, y, z, w, h, length, *angles = gold.numbers
    wrong = [
        *task.reference["others"],
        [x + max(w, length), y, z, w, h, length, *angles],
        [x, y + h, z, w, h, length, *angles],
        [x * 1.6, y * 1.6, z * 1.6, w * 1.6, h * 1.6, length * 1.6, *angles],
        [x, y, z, 2 * w, 2 * h, 2 * length, *angles],
        [x, y, z, w / 2, h / 2, length / 2, *angles],
        [x, y, z, 100, 100, 100, *angles],
        [x, y, z, 0, 0, 0, *angles],
        [x, y, z, -w, -h, length, *angles],
        [x, y, z, w, h, length],
        [0, 0, 0, 1, 1, 1, 0, 0, 0],
        [math.nan] * 9,
        [x, y, z, math.inf, math.inf, math.inf, 0, 0, 0],
    ]
    texts = [_text(numbers, label) for numbers in wrong]
    texts += [_text(gold.numbers, name) for name in (*task.reference["names"], "", "box")]
    texts += ["", "{}", "[]", str(gold.numbers), f"The box: {write_box_3d(gold)}"]
    texts.append(f"[{write_box_3d(gold)}, {write_box_3d(gold)}]")
    return [(boxed(text),) for text in texts]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A box of a likely size on the floor somewhere before the camera."""
    z = float(rng.uniform(*task.reference["depths"]))
    x = float(rng.uniform(-z / 2, z / 2))
    numbers = [round(x, 2), 1.4, round(z, 2), 0.7, 0.7, 0.7, 0, 0, 0]
    return (boxed(_text(numbers, task.reference["label"])),)


def _gold(task: Task) -> Box3D:
    box = box_of(task.reference["bbox_3d"], task.reference["label"], task.reference["axes"])
    assert box is not None
    return box


def _text(numbers: list[float], label: str) -> str:
    listed = ", ".join(f"{number:.4f}" for number in numbers)
    return f'{{"bbox_3d": [{listed}], "label": "{label}"}}'


CATEGORY = Category(
    name="box_3d",
    group="grounding_3d",
    level="grounding",
    benchmark="SUN RGB-D",
    scale="boxes 1 … 5; turned from 2 on; a camera that looks down from 3 on; no tiles at 4",
    draw=draw_task,
    score=by_answer(boxes3d.box_3d),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
