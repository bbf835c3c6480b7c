"""What is served changes how many drafts are kept, never the text."""

import dataclasses

import jax
import numpy as np
import pytest

from mmtp.evals import mismatch
from mmtp.generate import EngineSettings, make_request
from mmtp.models.mtp_settings import VISUAL_INPUTS, check
from tests.mmtp import tiny_vlm

ENGINE = EngineSettings(rows=4, max_length=48, buckets=(24,), vision_length=16, num_draft=2)


def test_every_arm_that_makes_a_difference_can_be_served():
    inputs = {fields["visual_input"] for fields in mismatch.SERVED.values()}
    assert inputs | {"image_token_frozen"} == set(VISUAL_INPUTS)
    assert {f["masked"] for f in mismatch.SERVED.values() if "masked" in f} == {"keys", "zeros"}


def test_models_of_all_arms_are_served_by_one_compiled_engine():
    trained = [
        tiny_vlm.model(depth=2, visual_input=v, masked=m)
        for v in VISUAL_INPUTS
        for m in ("keys", "zeros")
    ]
    for arm, fields in mismatch.SERVED.items():
        found = {mismatch.served(model, arm) for model in trained}
        assert len(found) == 1
        (model,) = found
        check(model.mtp)
        assert fields.items() <= dataclasses.asdict(model.mtp).items()


@pytest.mark.slow
def test_texts_are_the_same_whatever_is_served():
    model = tiny_vlm.model(depth=2, shared=False)
    params = tiny_vlm.init(model)
    # A table row that no other embedding resembles, so that what is fed matters.
    table = params["decoder"]["embedding"]["table"]
    params["decoder"]["embedding"]["table"] = table.at[model.image_token].mul(50)
    rng = np.random.default_rng(0)
    requests = [make_request(i, tiny_vlm.prompt(rng, 6, ((4, 4),)), 24) for i in range(12)]
    arms = ("visual", "masked_keys", "image_token")
    with jax.default_matmul_precision("highest"):
        found = mismatch.serve(model, params, requests, ENGINE, arms)
    assert list(found) == list(arms)
    for steps, completions in found.values():
        assert mismatch.equal_share(found["visual"][1], completions) == 1.0
        drafted = [len(c.drafts) for c in completions]
        assert sum(drafted) == len(steps.drafted)
        assert np.all(steps.accepted <= steps.drafted)
    accepted = {arm: steps.accepted.tolist() for arm, (steps, _) in found.items()}
    assert len({str(a) for a in accepted.values()}) == len(arms)


def test_equal_share_counts_whole_completions():
    one = [dataclasses.make_dataclass("C", ["tokens"])(np.array(t)) for t in ([1, 2], [3], [4, 5])]
    other = [type(one[0])(np.array(t)) for t in ([1, 2], [3, 0], [4, 6])]
    assert mismatch.equal_share(one, other) == pytest.approx(1 / 3)


@pytest.mark.parametrize("fields", [{"visual_input": "visual"}, {"num_draft": 0}])
def test_an_engine_that_would_ignore_the_arms_is_an_error(fields):
    model = tiny_vlm.model(depth=1)
    sizes = dataclasses.replace(ENGINE, **fields)
    with pytest.raises(ValueError, match="leave the first to the arms"):
        mismatch.serve(model, None, [], sizes)
