"""Writes siglip_loss.npz: the sigmoid loss and its gradients by torch autograd, in float64.

Run in an environment with torch (made with 2.13.0):
    python tests/golden/make_siglip_loss.py
"""

from pathlib import Path

import numpy as np
import torch

N, D = 12, 8


def unit(generator: torch.Generator) -> torch.Tensor:
    """N random unit vectors, rounded to float32 so that both sides start from equal numbers."""
    x = torch.randn(N, D, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=-1).float().double().requires_grad_()


def main() -> None:
    """SigLIP on one device, with every pair distinct."""
    generator = torch.Generator().manual_seed(0)
    image, text = unit(generator), unit(generator)
    log_scale = torch.tensor(np.float32(1.5)).double().requires_grad_()
    bias = torch.tensor(np.float32(-2.5)).double().requires_grad_()
    logits = log_scale.exp() * image @ text.T + bias
    signs = 2 * torch.eye(N, dtype=torch.float64) - 1
    loss = -torch.nn.functional.logsigmoid(signs * logits).sum() / N
    loss.backward()
    leaves = {"image": image, "text": text, "log_scale": log_scale, "bias": bias}
    values = {name: leaf.detach().numpy() for name, leaf in leaves.items()}
    grads = {f"d_{name}": leaf.grad.numpy() for name, leaf in leaves.items()}
    path = Path(__file__).with_name("siglip_loss.npz")
    np.savez(path, loss=loss.detach().numpy(), **values, **grads)


if __name__ == "__main__":
    main()
