"""The gate in a run: an engine that draws blind is noticed from its log-probabilities."""

import functools

import jax
import pytest
from ml_collections import ConfigDict

from cogvit_jax import sharding
from mmtp.generate import Engine
from rl import batch_arrays, batching
from rl.counterfactual import blanked
from rl.fidelity import ImagesLost
from rl.programs.rl_batch import Built
from rl.programs.rl_fidelity import make_inspect
from rl.scoring import make_score
from tests.mmtp import tiny_vlm
from tests.rl import test_policy as tiny

CONFIG = ConfigDict(
    {"fidelity": {"every": 2, "patience": 2, "min_tokens": 8, "dependent": 0.05, "max_gap": 0.01}}
)


@functools.cache
def inspect():
    mesh = sharding.make_mesh(sharding.MeshSettings(data=1), jax.devices()[:1])
    return mesh, make_score(tiny.POLICY, lambda batch: batch["tokens"].shape[0], mesh)


def batch(change):
    """Replies drawn from changed prompts, laid out as if they were drawn from the prompts."""
    asked = tiny_vlm.requests(3, 24, 9, temperature=tiny.POLICY.temperature, seed=4)
    seen = [tiny.with_prompt(request, change(request.prompt)) for request in asked]
    told = Engine(tiny.MODEL, tiny.params(), tiny.SETTINGS).generate(seen)
    rows = [tiny.row(r, c, 1.0) for r, c in zip(asked, told, strict=True) if r.prompt.visuals]
    layout = batch_arrays.make_layout(
        tiny.PACKING,
        num_shards=1,
        patch_dim=tiny.MODEL.patch_dim,
        image_token=tiny.MODEL.image_token,
        depth=1,
    )
    arrays = batching.collate(rows, layout, 0)["arrays"]
    mesh, _ = inspect()
    return batch_arrays.put_batch(mesh, arrays), tuple(f"source/{i}#0" for i in range(len(rows)))


def test_a_healthy_engine_passes_and_a_blind_one_stops_the_run():
    score = inspect()[1]
    arrays, ids = batch(lambda prompt: prompt)
    healthy = make_inspect(CONFIG, score)
    assert healthy(Built(1, {}, ids, {}), tiny.params(), arrays) == {}  # not due
    for step in (0, 2, 4):
        figures = healthy(Built(step, {}, ids, {}), tiny.params(), arrays)
        assert figures["fidelity/blind_share"] < 0.5
        assert figures["fidelity/failing_sources"] == 0

    arrays, ids = batch(blanked)
    lost = make_inspect(CONFIG, score)
    figures = lost(Built(0, {}, ids, {}), tiny.params(), arrays)
    assert figures["fidelity/blind_share"] > 0.9
    assert figures["fidelity/failing_sources"] == 1
    with pytest.raises(ImagesLost, match="source 'source'"):
        lost(Built(2, {}, ids, {}), tiny.params(), arrays)
