"""What the generators that use torch share: random modules, and arrays for .npz files."""

import numpy as np
import torch


def randomize(module: torch.nn.Module, seed: int, small: tuple[str, ...]) -> None:
    """Draws every parameter, so that no gain is 1, no bias 0 and all parts of the output matter.

    Names that start with one of `small` are 100 times smaller: the norms that follow then get
    inputs so small that their epsilon shows. Values are exact in float16, so that a file of half
    the size loses nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                value = 0.2 * noise
            elif parameter.ndim == 1:  # gains of norms
                value = 1 + 0.3 * noise
            elif "embedding" in name or name == "probe":
                value = noise
            else:
                value = noise / parameter[0].numel() ** 0.5
            parameter.copy_((0.01 * value if name.startswith(small) else value).half().float())


def state_arrays(module: torch.nn.Module, skip: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The state dict as float32 arrays, without the parts named in `skip`."""
    state = module.state_dict()
    return {name: x.float().numpy() for name, x in state.items() if name.split(".")[0] not in skip}


def as_half(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Float16 copies under `state/` names; raises if that loses anything."""
    half = {f"state/{name}": x.astype(np.float16) for name, x in state.items()}
    if any(np.any(half[f"state/{name}"] != x) for name, x in state.items()):
        raise ValueError("a parameter is not exact in float16: draw it with randomize()")
    return half
