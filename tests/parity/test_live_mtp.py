"""Multi-token-prediction layers against transformers' at the widths of the released GLM-OCR."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.golden import make_mtp
from tests.golden.torch_modules import state_arrays
from tests.mmtp.models import mtp_transformers

pytestmark = pytest.mark.parity
SIZES = {
    "hidden_size": 1536,
    "num_hidden_layers": 1,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 4608,
    "vocab_size": 512,
    "mrope_section": (16, 24, 24),
}


def test_two_layers_of_the_released_size():
    model, layers = make_mtp.make_layers(7, **SIZES)
    inputs = make_mtp.make_inputs(7, SIZES["hidden_size"], SIZES["vocab_size"])
    wanted = make_mtp.outputs(model, layers, inputs)
    state = state_arrays(model) | {f"mtp.{k}": v for k, v in state_arrays(layers).items()}
    config = mtp_transformers.config_of(SIZES)
    found = mtp_transformers.run(state, config, make_mtp.DEPTH, **inputs)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=5e-5, rtol=1e-5)
