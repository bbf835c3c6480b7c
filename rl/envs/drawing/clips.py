"""Short clips of coloured shapes: frames from what is seen in each, and their seconds."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cogvit_jax.data.rendering.canvas import Colour
from mmtp.data.records import Video
from mmtp.data.tasks import scenes
from mmtp.data.tasks.scenes import Shape


def clip(frames: Sequence[Sequence[Shape]], side: int, ground: Colour, step: float = 1.0) -> Video:
    """A clip of square pictures, one every `step` seconds from 0 on; later shapes are in front."""
    pictures = tuple(scenes.draw(shapes, (side, side), ground) for shapes in frames)
    return Video(pictures, tuple(step * i for i in range(len(pictures))))


def moved(shape: Shape, middle: tuple[float, float]) -> Shape:
    """The shape elsewhere."""
    return replace(shape, middle=middle)


def apart(rng: np.random.Generator, count: int, total: int) -> list[int]:
    """`count` different numbers from 1 to total - 1 of which no two are neighbours, in order."""
    places = np.sort(rng.choice(total - count, count, replace=False))
    return [int(place) + i + 1 for i, place in enumerate(places)]
