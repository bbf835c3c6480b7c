"""Writes distill.npz: distances of tokens and their gradients by torch, in float64.

Run in an environment with torch (made with 2.13.0):
    python tests/golden/make_distill.py
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

DISTANCES = {
    "cosine": lambda x, y: 1 - functional.cosine_similarity(x, y, dim=-1),
    "smooth_l1": lambda x, y: functional.smooth_l1_loss(x, y, reduction="none").mean(-1),
    "mse": lambda x, y: functional.mse_loss(x, y, reduction="none").mean(-1),
}
SHAPE = (3, 5, 12)


def main() -> None:
    """Errors on both sides of smooth L1's corner; a token's gradient is that of the masked sum."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(SHAPE, generator=generator).half().double()
    prediction = (target + torch.randn(SHAPE, generator=generator)).half().double().requires_grad_()
    masked = torch.rand(SHAPE[:2], generator=generator) < 0.5
    arrays = {"prediction": prediction, "target": target, "masked": masked}
    arrays["layer_norm"] = functional.layer_norm(target, SHAPE[-1:])
    for name, distance in DISTANCES.items():
        arrays[name] = distance(prediction, target)
        (arrays[f"d_{name}"],) = torch.autograd.grad(arrays[name][masked].sum(), prediction)
    path = Path(__file__).with_name("distill.npz")
    np.savez(path, **{name: x.detach().numpy() for name, x in arrays.items()})


if __name__ == "__main__":
    main()
