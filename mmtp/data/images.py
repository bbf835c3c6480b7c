"""Pictures and videos to patches, at the sizes that GLM's image processors choose."""

import dataclasses
import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pillow

from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.data.transforms import decode_image
from cogvit_jax.settings import ConfigError
from mmtp.data.encoded import MERGE
from mmtp.data.records import Image, Video

MAX_ASPECT = 200  # longer side / shorter side; GLM's processors refuse more


@dataclasses.dataclass(frozen=True)
class ImageSettings:
    """Section `config.images`.

    GLM-4.1V's own, in these units: 14, 2, 32, 30000, 120000.

    Attributes:
        patch_size: side of a patch in pixels.
        frames_per_patch: 1; or 2 as in GLM's towers, where a patch spans two frames of a video, and
            a picture is its own second frame.
        min_patches: a smaller picture, or video (all frames together), is enlarged.
        max_patches: a larger picture or frame is reduced; four patches become one token.
        max_video_patches: bound on all frames of a video together.
    """

    patch_size: int = 14
    frames_per_patch: int = 1
    min_patches: int = 16
    max_patches: int = 1024
    max_video_patches: int = 4096


@dataclasses.dataclass(frozen=True)
class Patches:
    """The patches of one picture, frame or pair of frames, as in `encoded.Visual`."""

    patches: UInt8[np.ndarray, "n p"]
    grid: tuple[int, int]
    second: float = 0.0


def check(settings: ImageSettings) -> None:
    """Raises ConfigError where a field is out of range."""
    for name in ("patch_size", "min_patches"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"config.images.{name} = {getattr(settings, name)} must be positive.")
    if settings.frames_per_patch not in (1, 2):
        raise ConfigError(
            f"config.images.frames_per_patch = {settings.frames_per_patch} must be 1 or 2."
        )
    least = max(MERGE**2, settings.min_patches)
    for name in ("max_patches", "max_video_patches"):
        if (value := getattr(settings, name)) < least:
            raise ConfigError(
                f"config.images.{name} = {value} must be at least min_patches and {MERGE**2}, "
                f"that is {least}."
            )


def cut_image(image: Image, settings: ImageSettings) -> Patches:
    """Decodes, resizes and cuts a picture.

    Raises:
        CorruptRecord: undecodable, or longer than MAX_ASPECT times its shorter side.
    """
    pixels = decode_image(image.data)
    height, width, _ = pixels.shape
    frame = _resize(pixels, fit_size(height, width, settings))
    return _cut([frame] * settings.frames_per_patch, settings.patch_size)


def cut_video(video: Video, settings: ImageSettings) -> list[Patches]:
    """Decodes, resizes and cuts a video: one for each frame or pair of frames.

    Two frames of a patch are consecutive; an odd last one is its own second. A pair is shown at its
    first frame's second.

    Raises:
        CorruptRecord: no frame, frames of several sizes, another number of seconds than of frames,
            or as in `cut_image`.
    """
    if not video.frames or len(video.frames) != len(video.seconds):
        raise CorruptRecord(
            f"a video has {len(video.frames)} frames and {len(video.seconds)} seconds; "
            "give one second for each frame"
        )
    frames = [decode_image(frame) for frame in video.frames]
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) > 1:
        raise CorruptRecord(f"a video has frames of several sizes: {sorted(sizes)}")
    height, width, _ = frames[0].shape
    step = settings.frames_per_patch
    size = fit_size(height, width, settings, -(-len(frames) // step))
    frames = [_resize(frame, size) for frame in frames]
    frames += frames[-1:] * (-len(frames) % step)
    return [
        dataclasses.replace(
            _cut(frames[i : i + step], settings.patch_size), second=video.seconds[i]
        )
        for i in range(0, len(frames), step)
    ]


def fit_size(
    height: int, width: int, settings: ImageSettings, num_visuals: int = 1
) -> tuple[int, int]:
    """The (height, width) in pixels to which a picture is resized: whole blocks of 2 x 2 patches.

    The rule of GLM-4V's processors (transformers, glm4v: smart_resize): the nearest whole number of
    blocks on each side, and if that is outside of the budget, the sides scaled by one factor to the
    budget and rounded inwards. Their budget counts pixels of every frame of a patch; this one
    patches. Beyond their rule, a side is cut where a long thin picture would exceed the budget.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        settings: budgets.
        num_visuals: frames (pairs of frames) that share the budget of a video.

    Raises:
        CorruptRecord: longer than MAX_ASPECT times its shorter side.
    """
    block, area = settings.patch_size * MERGE, settings.patch_size**2
    most = settings.max_patches * num_visuals
    most = min(most, settings.max_video_patches) if num_visuals > 1 else most
    if min(height, width) < block:
        scale = max(block / height, block / width)
        height, width = int(height * scale), int(width * scale)
    if max(height, width) / min(height, width) > MAX_ASPECT:
        raise CorruptRecord(
            f"a picture of {height} x {width} is longer than {MAX_ASPECT} times its shorter side"
        )
    rows, columns = round(height / block), round(width / block)
    if num_visuals * rows * columns * MERGE**2 > most:
        beta = math.sqrt(num_visuals * height * width / (most * area))
        rows = max(1, math.floor(height / beta / block))
        columns = max(1, math.floor(width / beta / block))
    elif num_visuals * rows * columns * MERGE**2 < settings.min_patches:
        beta = math.sqrt(settings.min_patches * area / (num_visuals * height * width))
        rows, columns = math.ceil(height * beta / block), math.ceil(width * beta / block)
    blocks = max(1, most // (MERGE**2 * num_visuals))
    rows = min(rows, blocks)
    columns = min(columns, blocks // rows)
    return rows * block, columns * block


def _resize(pixels: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> np.ndarray:
    """Bicubic and antialiased, as GLM's processors do."""
    if pixels.shape[:2] == size:
        return pixels
    height, width = size
    return np.asarray(Pillow.fromarray(pixels).resize((width, height), Pillow.Resampling.BICUBIC))


def _cut(frames: list[np.ndarray], patch_size: int) -> Patches:
    """One or two frames [h, w, 3] to patches, in the order of `encoded.Visual`."""
    stack = np.stack(frames)
    count, height, width, _ = stack.shape
    rows, columns = height // patch_size, width // patch_size
    blocks = stack.reshape(
        count, rows // MERGE, MERGE, patch_size, columns // MERGE, MERGE, patch_size, 3
    )
    patches = blocks.transpose(1, 4, 2, 5, 0, 3, 6, 7).reshape(rows * columns, -1)
    return Patches(patches, (rows, columns))
