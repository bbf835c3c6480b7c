"""Writes naflex_sizes.npz: target sizes by the package transformers, for test_transforms.py.

Run in an environment with torch and transformers (made with 5.23.0):
    python tests/golden/make_naflex_sizes.py
"""

from pathlib import Path

import numpy as np
from transformers.models.siglip2.image_processing_pil_siglip2 import (
    get_image_size_for_max_num_patches,
)


def main() -> None:
    """Half ordinary pictures at released settings, half shapes of up to 1:4000."""
    rng = np.random.default_rng(0)
    ordinary = np.stack(
        [
            rng.integers(32, 2000, 500),
            rng.integers(32, 2000, 500),
            rng.choice([14, 16], 500),
            rng.choice([64, 128, 256, 576, 784, 1024], 500),
        ],
        axis=1,
    )
    extreme = np.stack(
        [
            np.exp(rng.uniform(0, np.log(4000), 500)).round(),
            np.exp(rng.uniform(0, np.log(4000), 500)).round(),
            rng.integers(3, 33, 500),
            rng.integers(1, 1025, 500),
        ],
        axis=1,
    ).astype(np.int64)
    extreme[:4] = [[1, 4000, 16, 256], [4000, 1, 16, 256], [1, 1, 16, 1024], [1, 4000, 14, 1]]
    cases = np.concatenate([ordinary, extreme])
    sizes = [
        get_image_size_for_max_num_patches(h, w, patch_size=p, max_num_patches=n)
        for h, w, p, n in cases.tolist()
    ]
    np.savez_compressed(
        Path(__file__).with_name("naflex_sizes.npz"),
        cases=cases.astype(np.int16),
        sizes=np.asarray(sizes, np.int32),
    )


if __name__ == "__main__":
    main()
