"""The automatic choice follows memory, number of chips and what is known of them."""

import pytest

from cogvit_jax.losses.auto import AUTO, choose_method
from cogvit_jax.losses.siglip import METHODS

RINGS = ("ring", "bidirectional")


@pytest.mark.parametrize("kind", AUTO)
def test_gathers_are_chosen_until_memory_ends(kind):
    num = AUTO[kind].num_devices
    assert choose_method(num, kind, 65536, 1152)[0] == "dual_gather"
    # Embeddings alone of 4M texts need 9.7 GB twice, more than a twentieth of any chip here.
    assert choose_method(num, kind, 2**22, 1152)[0] in RINGS


@pytest.mark.parametrize(
    ("kind", "batch"), [("TPU v5 lite", 6144), ("TPU v6 lite", 10240), ("TPU v5", 6144)]
)
def test_two_chips_have_more_to_compute_than_to_send(kind, batch):
    """A fourth matrix product then costs more than gradients on the wire."""
    assert choose_method(2, kind, batch, 1152)[0] == "all_gather"


@pytest.mark.parametrize("kind", AUTO)
def test_logits_count_as_memory_too(kind):
    """Narrow embeddings are small, but 1M x 1M logits on 8 chips are not."""
    assert choose_method(8, kind, 2**20, 16)[0] in RINGS


def test_without_figures_the_method_with_least_memory_is_taken():
    method, reason = choose_method(8, "NVIDIA H200", 65536, 1152)
    assert method == "bidirectional"
    assert "NVIDIA H200" in reason


def test_one_device_needs_no_figures():
    assert choose_method(1, "cpu", 8, 8)[0] == "bidirectional"


def test_reason_names_every_method_that_fits_with_its_time():
    _, reason = choose_method(256, "TPU v5 lite", 65536, 1152)
    assert "v5e:16x16" in reason
    assert all(f"{method} " in reason for method in AUTO["TPU v5 lite"].methods)


def test_the_table_has_methods_that_exist():
    assert all(set(pod.methods) < set(METHODS) for pod in AUTO.values())


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match="batch is 0"):
        choose_method(8, "cpu", 0, 8)
