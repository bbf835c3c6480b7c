"""Which method of the sigmoid loss suits a pod: a table of figures and a rule that reads it."""

import dataclasses
from collections.abc import Mapping

# The loss may take this share of a chip's memory; the towers' activations want the rest.
MEMORY_SHARE = 0.05
BATCH, DIM = 65536, 1152  # to which the figures belong


@dataclasses.dataclass(frozen=True)
class Figures:
    """Loss and all gradients of a global batch of `BATCH` pairs, `DIM` wide, bfloat16, per chip.

    Attributes:
        temp_mb: temporaries in main memory (compiled).
        compute_ms: the compiler's cycles over the clock.
        ici_ms: estimated from bytes, link bandwidth and 1 us per hop.
        overlaps: permutes are asynchronous with matrix products in their windows, so that the
            longer of the two times counts; otherwise their sum.
    """

    temp_mb: float
    compute_ms: float
    ici_ms: float
    overlaps: bool = False


@dataclasses.dataclass(frozen=True)
class Pod:
    """Figures of one topology; gathers go along mesh axes which are axes of the torus."""

    topology: str
    num_devices: int
    hbm_gib: float
    methods: Mapping[str, Figures]


# libtpu 0.0.42.1, `python -m benchmarks.siglip_loss`; no chip ran. By `device_kind`. With this
# compiler v5e's permutes are synchronous at 32 chips and more, and nothing overlaps them.
AUTO = {
    "TPU v5 lite": Pod(
        "v5e:16x16",
        256,
        15.75,
        {
            "dual_gather": Figures(302.0, 1.17, 3.52),
            "all_gather": Figures(453.0, 1.01, 5.19),
            "ring": Figures(0.48, 1.65, 12.33),
            "bidirectional": Figures(0.71, 1.79, 12.78),
        },
    ),
    "TPU v6 lite": Pod(
        "v6e:16x16",
        256,
        31.25,
        {
            "dual_gather": Figures(151.0, 0.51, 1.85),
            "all_gather": Figures(302.0, 0.46, 2.68),
            "ring": Figures(0.82, 0.96, 7.00, overlaps=True),
            "bidirectional": Figures(1.43, 1.00, 3.81, overlaps=True),
        },
    ),
    "TPU v5": Pod(
        "v5p:8x8x8",
        512,
        95.74,
        {
            "dual_gather": Figures(228.0, 0.50, 1.81),
            "all_gather": Figures(340.0, 0.42, 2.65),
            "ring": Figures(5.04, 4.13, 10.43, overlaps=True),
            "bidirectional": Figures(10.4, 4.20, 5.34, overlaps=True),
        },
    ),
}


def choose_method(num_devices: int, device_kind: str, batch: int, dim: int) -> tuple[str, str]:
    """The method predicted to be fastest among those that fit, and why.

    From the recorded figures, compute time grows with batch^2 dim / num_devices and the
    interconnect's with batch dim. A gather fits if its temporaries, grown like embeddings or
    logits (without a chunk_size), whichever grow more, stay below `MEMORY_SHARE` of the chip's
    memory; rings always fit.

    Args:
        num_devices: devices that share the batch.
        device_kind: `jax.Device.device_kind`.
        batch: pairs in the global batch; dim: width of the embeddings.

    Raises:
        ValueError: a number below 1.
    """
    for name, value in (("num_devices", num_devices), ("batch", batch), ("dim", dim)):
        if value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")
    if num_devices == 1:
        return "bidirectional", "on one device all methods compute alike"
    if device_kind not in AUTO:
        return "bidirectional", f"least memory; there are no figures for {device_kind!r}"
    pod = AUTO[device_kind]
    embeddings = batch * dim / (BATCH * DIM)
    matmuls = embeddings * batch / BATCH * pod.num_devices / num_devices
    logits = matmuls * DIM / dim
    room = MEMORY_SHARE * pod.hbm_gib * 2**30 / 1e6
    predicted = {}
    for method, row in pod.methods.items():
        gathers = method.endswith("gather")
        if not gathers or row.temp_mb * max(embeddings, logits) <= room:
            parts = row.compute_ms * matmuls, row.ici_ms * embeddings
            predicted[method] = max(parts) if row.overlaps else sum(parts)
    method = min(predicted, key=predicted.__getitem__)
    listed = ", ".join(f"{name} {ms:.2g} ms" for name, ms in sorted(predicted.items()))
    return method, (
        f"predicted from {pod.topology}: {listed}; gathers may take {room:.0f} MB per device"
    )
