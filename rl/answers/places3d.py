"""Boxes in space: `{"bbox_3d": [x,y,z, w,h,l, roll,pitch,yaw], "label": "…"}`.

Metres and radians, in the frame of the camera: x right, y down, z forward. (w, h, l) are the box's
extents along its own x, y and z. What the three angles turn about, and in which order, has been
written down in different ways; here it is always said: `axes` = "zxy" means that the first angle
turns about the camera's z axis, the second one then about its x axis, and the third one about its y
axis, so R = R_y(yaw) · R_x(pitch) · R_z(roll).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rl.answers.json_answer import parse_json
from rl.types import Json

AXES = "zxy"  # roll, pitch, yaw
MAX_BOXES = 50  # in one answer
MAX_CHARACTERS = 200 * MAX_BOXES
FARTHEST = 10_000.0  # metres
LARGEST_ANGLE = 7.0  # radians; a little more than a turn

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Box3D:
    """A box in space.

    Attributes:
        middle: x, y, z in metres.
        size: along its own x, y, z; above 0.
        angles: in radians, of the turns about `axes`, in this order.
        label: what it is; "" = not said.
        axes: three letters; see above.
    """

    middle: Triple
    size: Triple
    angles: Triple
    label: str = ""
    axes: str = AXES

    @property
    def numbers(self) -> list[float]:
        """The nine numbers, as they are written."""
        return [*self.middle, *self.size, *self.angles]


def parse_box_3d(answer: str, axes: str = AXES) -> Box3D | None:
    """The only box of an answer: an object, or a list of one."""
    boxes = parse_boxes_3d(answer, axes)
    return boxes[0] if boxes and len(boxes) == 1 else None


def parse_boxes_3d(answer: str, axes: str = AXES) -> list[Box3D] | None:
    """The boxes of an answer: an object or a list of them; None where it is anything else.

    Args:
        answer: JSON, and nothing beside it; no NaN, no Infinity.
        axes: what the angles of this question turn about.
    """
    value = parse_json(answer, MAX_CHARACTERS, max_depth=3)
    entries = [value] if isinstance(value, dict) else value
    if not isinstance(entries, list) or len(entries) > MAX_BOXES:
        return None
    boxes = []
    for entry in entries:
        box = read_box_3d(entry, axes)
        if box is None:
            return None
        boxes.append(box)
    return boxes


def read_box_3d(entry: Json, axes: str = AXES) -> Box3D | None:
    """A box of a JSON object with "bbox_3d", perhaps "label", and no other key; else None."""
    if not isinstance(entry, dict) or not {"bbox_3d"} <= set(entry) <= {"bbox_3d", "label"}:
        return None
    label, numbers = entry.get("label", ""), entry["bbox_3d"]
    if not isinstance(label, str) or not isinstance(numbers, list):
        return None
    return box_of(numbers, label, axes)


def box_of(numbers: Sequence[Json], label: str = "", axes: str = AXES) -> Box3D | None:
    """A box of nine numbers; None where they are no such box."""
    if len(numbers) != 9 or any(type(number) not in (int, float) for number in numbers):
        return None
    if any(not abs(number) <= FARTHEST for number in numbers):  # NaN too
        return None
    x, y, z, w, h, length, first, second, third = map(float, numbers)
    angles = (first, second, third)
    if min(w, h, length) <= 0 or any(abs(angle) > LARGEST_ANGLE for angle in angles):
        return None
    return Box3D((x, y, z), (w, h, length), angles, label, axes)


def write_box_3d(box: Box3D) -> str:
    """A box as models write it."""
    return json.dumps({"bbox_3d": box.numbers, "label": box.label}, ensure_ascii=False)
