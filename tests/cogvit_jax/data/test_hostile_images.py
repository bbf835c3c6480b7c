"""Pictures as they come from the wild: odd formats decode, broken ones raise CorruptRecord."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.data.transforms import decode_image, naflex_size, patchify, resize

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def smooth(height=60, width=80, mode="RGB"):
    return Image.linear_gradient("L").resize((width, height)).convert(mode)


def noise(height=60, width=80):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def assert_close(decoded, expected, tolerance=6):
    assert decoded.dtype == np.uint8
    assert decoded.shape == np.asarray(expected).shape
    assert np.abs(decoded.astype(int) - np.asarray(expected).astype(int)).max() <= tolerance


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, data):
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


JPEG, PNG = encoded(noise(), "JPEG"), encoded(noise(), "PNG")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="zero bytes"),
        pytest.param(b"this is not a picture", id="text named jpg"),
        pytest.param(JPEG[: len(JPEG) // 2], id="truncated jpeg"),
        pytest.param(JPEG[:20], id="jpeg header only"),
        pytest.param(PNG[: len(PNG) // 2], id="truncated png"),
        pytest.param(PNG[:60] + bytes([PNG[60] ^ 255]) + PNG[61:], id="flipped byte in png"),
        pytest.param(encoded(noise(), "GIF")[:200], id="truncated gif"),
        pytest.param(encoded(noise(), "WEBP")[:200], id="truncated webp"),
        pytest.param(encoded(noise(), "TIFF")[:200], id="truncated tiff"),
        pytest.param(png(0, 5, zlib.compress(b"")), id="zero size"),
        pytest.param(png(50_000, 50_000, zlib.compress(bytes(1000))), id="bomb"),
        pytest.param(encoded(smooth().convert("F"), "TIFF"), id="floating point"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="svg"),
    ],
)
def test_broken_pictures_are_corrupt_records(data):
    with pytest.raises(CorruptRecord, match=r"picture|pixels"):
        decode_image(data)


def test_bomb_limit_is_named(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(CorruptRecord, match="DecompressionBombError"):
        decode_image(PNG)
    # Up to twice the limit Pillow only warns, and so the picture is used.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert decode_image(PNG).shape == (60, 80, 3)
    assert not caught


def test_random_damage_never_escapes():
    rng = np.random.default_rng(0)
    files = [encoded(smooth(), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")]
    outcomes = []
    for trial in range(300):
        data = bytearray(files[trial % len(files)])
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(256)
        try:
            decoded = decode_image(bytes(data), min_side=8)
            assert decoded.dtype == np.uint8
            assert decoded.ndim == 3
            outcomes.append(True)
        except CorruptRecord:
            outcomes.append(False)
    assert 30 < sum(outcomes) < 270


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_modes(mode):
    data = encoded(smooth(mode=mode), "JPEG", quality=95)
    assert_close(decode_image(data), smooth().convert(mode).convert("RGB"))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "YCbCr", "LAB"])
def test_lossless_modes(mode):
    image = smooth().convert(mode)
    data = encoded(image, "PNG" if mode in ("RGB", "L", "P", "1") else "TIFF")
    assert_close(decode_image(data), image.convert("RGB"), tolerance=2)


@pytest.mark.parametrize(("kind", "order"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind, order):
    deep = np.linspace(0, 65535, 60 * 80).astype(order).reshape(60, 80)
    mode = "I;16B" if order == ">u2" else "I;16"
    image = Image.frombytes(mode, (80, 60), deep.tobytes())
    decoded = decode_image(encoded(image, kind))
    np.testing.assert_array_equal(decoded[..., 1], deep >> 8)


def test_transparency_is_over_white():
    image = Image.new("RGBA", (4, 2), (*RED, 0))
    image.putpixel((0, 0), (*RED, 255))
    image.putpixel((1, 0), (*RED, 128))
    for kind in ("PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        decoded = decode_image(encoded(image, kind, **options))
        assert decoded[0, 0].tolist() == [255, 0, 0]
        assert_close(decoded[0, 1], (255, 127, 127), tolerance=1)
        assert decoded[1].tolist() == [[255, 255, 255]] * 4
    grey = decode_image(encoded(Image.new("LA", (2, 2), (0, 0)), "PNG"))
    assert (grey == 255).all()


def test_palette_transparency_given_in_bytes():
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    decoded = decode_image(encoded(image, "PNG", transparency=bytes([0, 255])))
    assert decoded.tolist() == [[[255, 255, 255], [0, 0, 255]]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame(kind):
    frames = [Image.new("RGB", (8, 6), colour) for colour in (RED, BLUE)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    decoded = decode_image(data)
    assert decoded.shape == (6, 8, 3)
    assert_close(decoded[0, 0], RED, tolerance=3)


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_undone(kind, orientation):
    upright = np.zeros((6, 9), np.uint8)
    upright[:3, :3], upright[:3, 6:] = 255, 128  # tells all eight orientations apart
    upright = np.kron(upright, np.ones((8, 8), np.uint8))
    undo = {
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.T,
        6: lambda x: np.rot90(x, 1),
        7: lambda x: x.T[::-1, ::-1],
        8: lambda x: np.rot90(x, -1),
    }
    stored = undo.get(orientation, lambda x: x)(upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif)
    assert_close(decode_image(data)[..., 0], upright, tolerance=12)


def test_broken_exif_does_not_lose_the_picture():
    data = encoded(smooth(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff garbage")
    assert decode_image(data).shape == (60, 80, 3)


def test_one_by_four_thousand():
    image = decode_image(encoded(smooth(1, 4000), "PNG"), min_side=224)
    assert image.shape == (1, 4000, 3)
    patches, positions = patchify(resize(image, naflex_size(1, 4000, 16, 256)), 16)
    assert len(patches) <= 256
    assert positions[:, 0].max() == 0


def test_min_side_decodes_large_jpegs_at_reduced_scale():
    full = smooth(640, 960)
    data = encoded(full, "JPEG", quality=95)
    assert decode_image(data).shape == (640, 960, 3)
    assert decode_image(data, min_side=321).shape == (640, 960, 3)
    assert decode_image(data, min_side=320).shape == (320, 480, 3)
    small = decode_image(data, min_side=50)
    assert small.shape == (80, 120, 3)  # an eighth, the smallest that JPEG offers
    assert_close(small, full.resize((120, 80), Image.Resampling.BOX))
    assert decode_image(encoded(full, "PNG"), min_side=50).shape == (640, 960, 3)
