"""TPU topologies that nobody has to own: devices for compiling ahead of time, and chips' figures.

`devices("v5e:16x16")` are 256 devices of the real compiler (libtpu), on a host without a TPU:
`pip install -e '.[tpu]'`. Nothing can be run on them, but everything can be compiled for them.
"""

import dataclasses
import os
import re
from typing import Any

import jax

from cogvit_jax.settings import ConfigError

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """Figures of one JAX device, which is a chip except on TPU7x (two devices per chip).

    Attributes:
        name: as in a topology's name.
        peak_flops: dense bf16, FLOP/s.
        hbm_bytes: what the compiler lets a program use.
        hbm_bandwidth: bytes/s.
        ici_bandwidth: bytes/s of one link in one direction.
        torus_dims: axes of the interconnect, each with a link both ways.
        clock: Hz of the compiler's cycles.
        dcn_bandwidth: bytes/s per device between slices.
    """

    name: str
    peak_flops: float
    hbm_bytes: int
    hbm_bandwidth: float
    ici_bandwidth: float
    torus_dims: int
    clock: float
    dcn_bandwidth: float


# By `device_kind`. Peak FLOP/s, HBM and ICI bandwidth: the vendor's system pages and "How to Scale
# Your Model" (jax-ml.github.io/scaling-book, table of TPU specs). Usable HBM: the limit that libtpu
# 0.0.42's out-of-memory message names. Clock: v5e follows from its peak (4 MXUs of 128 x 128);
# those of v4 and v5p from theirs. Assumed: the clocks of v6e and TPU7x, TPU7x's links, and a
# network of 200 Gbit/s per host of 8 (v5e, v6e) or 4 chips between slices.
CHIPS = {
    "TPU v4": Chip("v4", 275e12, int(30.75 * GIB), 1228e9, 45e9, 3, 1.05e9, 6.25e9),
    "TPU v5 lite": Chip("v5e", 197e12, int(15.75 * GIB), 819e9, 45e9, 2, 1.5e9, 3.125e9),
    "TPU v5": Chip("v5p", 459e12, int(95.74 * GIB), 2765e9, 90e9, 3, 1.75e9, 6.25e9),
    "TPU v6 lite": Chip("v6e", 918e12, int(31.25 * GIB), 1640e9, 90e9, 2, 1.75e9, 3.125e9),
    "TPU7x": Chip("TPU7x", 1153.5e12, int(94.75 * GIB), 3690e9, 90e9, 3, 1.75e9, 3.125e9),
}
# Peaks of GPUs, for MFU only: dense bf16 from the vendor's data sheets.
GPU_PEAK_FLOPS = {
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}
NAMES = tuple(chip.name for chip in CHIPS.values())
# v4's two cores act as one device, as they do for JAX on a real v4 pod.
_CHIP_CONFIG = {"v4": {"chip_config_name": "megacore"}}


def peak_flops(device_kind: str) -> float | None:
    """Dense bf16 FLOP/s of a device, or None where it is not known."""
    if device_kind in CHIPS:
        return CHIPS[device_kind].peak_flops
    return GPU_PEAK_FLOPS.get(device_kind)


def devices(name: str) -> list[Any]:
    """Devices to compile for.

    Args:
        name: `v5e:16x16`, `v5p:8x8x8`; with `*2` behind it, two such slices joined by the data
            centre's network. "" = the devices of this machine.

    Raises:
        ConfigError: no such chip or shape, or libtpu is not installed.
    """
    if not name:
        return jax.devices()
    match = re.fullmatch(r"([A-Za-z0-9]+):(\d+(?:x\d+){1,2})(?:\*(\d+))?", name)
    if not match or match[1] not in NAMES:
        raise ConfigError(
            f"--topology={name!r}: write CHIP:SHAPE such as v5e:16x16 or v5p:8x8x8, and *2 behind "
            f"it for two slices; chips: {', '.join(NAMES)}."
        )
    chip, shape, slices = match.groups()
    options: dict[str, Any] = dict(_CHIP_CONFIG.get(chip, {}))
    if slices:
        options["num_slices"] = int(slices)
    return _describe(f"{chip}:{shape}", options)


def _describe(name: str, options: dict[str, Any]) -> list[Any]:
    # Compiling touches no hardware, so several processes may load libtpu, and none needs to
    # ask a metadata server which machine it is on.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(name, "tpu", **options).devices)
    except Exception as error:  # jaxlib raises several kinds
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"--topology={name}: the TPU compiler gives no such topology ({reason}). Install it "
            "with pip install -e '.[tpu]', or change the shape."
        ) from error


def chip(device: Any) -> Chip | None:
    """Figures of a device, None where they are not known (CPU, GPU)."""
    return CHIPS.get(device.device_kind)


def compiler_version() -> str:
    """`libtpu 0.0.42.1`, or jaxlib's where libtpu is not installed."""
    from importlib import metadata

    for name in ("libtpu", "jaxlib"):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "unknown"
