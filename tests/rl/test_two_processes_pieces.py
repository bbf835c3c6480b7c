"""Messages, batches, weights and residents of a trainer of two processes, without a model."""

import pytest

from tests.two_processes import run_both


@pytest.mark.slow  # two processes, 20 s
def test_the_pieces_of_a_trainer_of_two_processes(tmp_path):
    program = ("-m", "tests.rl.pieces_run", str(tmp_path / "weights"))
    outputs = run_both(*program, devices=2, limit_s=500)
    assert "at last IndexError" in outputs[0]
    assert "at last LeadFailed process 0 of 2 stopped the run: IndexError" in outputs[1]
