"""Layers for multi-token prediction equal those of transformers' GLM-OCR (golden arrays)."""

from pathlib import Path

import numpy as np

from tests.mmtp.models import mtp_transformers

GOLDEN = Path(__file__).parents[2] / "golden" / "mtp.npz"
SIZES = {  # as in tests/golden/make_mtp.py, which needs torch
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 48,
    "vocab_size": 64,
    "mrope_section": (2, 3, 3),
}


def test_two_layers_in_a_chain_with_a_picture():
    with np.load(GOLDEN) as file:
        arrays = dict(file)
    state = {k.removeprefix("state/"): v for k, v in arrays.items() if k.startswith("state/")}
    found = mtp_transformers.run(
        state,
        mtp_transformers.config_of(SIZES),
        2,
        arrays["tokens"],
        arrays["positions"],
        arrays["hidden"],
    )
    for k, got in enumerate(found, start=1):
        np.testing.assert_allclose(got, arrays[f"normed/{k}"], atol=5e-5, rtol=1e-5)
