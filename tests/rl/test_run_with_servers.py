"""`rl.main` with rollouts by servers that speak as SGLang does, and weights in their format."""

import dataclasses
import io
import json
import os
import signal
import threading
import time

import numpy as np
import pytest
from rich.console import Console

from cogvit_jax import metrics, run_dir, train_loop
from cogvit_jax.checkpoint import read_params
from cogvit_jax.settings import ConfigError
from configs import rl as configs
from mmtp.interop.glm import load_glm
from rl import programs, store
from rl.types import TrainingSample
from tests.rl.rollout.fake_servers import Fake
from tests.rl.rollout.fake_servers import logprob as told
from tests.rl.rollout.test_server import served


def small(*urls, **changes):
    config = configs.get_config("smoke").unlock()
    config.update_from_flattened_dict(
        {
            "executor.kind": "servers",
            "executor.servers": urls,
            "tasks.categories": ("counting",),
            "evals.tasks": 0,
            "train.eval_every": 0,
            "fidelity.every": 0,  # what these servers say has nothing to do with the model
            "sampling.max_length": 64,
            # The first step changes the weights, and no batch is drawn before servers have them.
            "rollout.max_staleness": 0,
            **{f"optim.groups.{n}.warmup_steps": 0 for n in ("vision", "projector", "language")},
        }
        | changes
    )
    return config


@pytest.mark.slow
def test_a_run_trains_on_what_servers_said_and_gives_them_its_weights(tmp_path):
    loaded = {}

    def load(folder):
        """What a server reads at the moment that it is told to."""
        _, params = load_glm(folder)
        loaded[folder] = np.asarray(params["decoder"]["embedding"]["table"])

    fakes = [Fake(on_update=load), Fake(on_update=load)]
    with served(fakes[0]) as first, served(fakes[1]) as second:
        config = small(first, second)
        program = programs.build(config, workdir=str(tmp_path))
        run_dir.save_config(config, str(tmp_path), Console(file=io.StringIO()))
        train_loop.run(program, config, str(tmp_path), Console(file=io.StringIO()))
    lines = [line for line in metrics.read_jsonl(tmp_path / "metrics.jsonl") if "loss" in line]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(np.isfinite(line["loss"]) for line in lines)
    for step in range(2):
        for item in store.read(tmp_path / "rollouts" / f"step_{step:06d}.jsonl"):
            if isinstance(item, TrainingSample):
                drawn = np.flatnonzero(item.trained)
                said = [told(item.tokens[place]) for place in drawn]
                np.testing.assert_allclose(np.asarray(item.logprobs)[drawn], said, rtol=1e-6)
    asked = [json.dumps(body) for fake in fakes for path, body in fake.calls if path == "/generate"]
    assert all("data:image/png;base64," in body for body in asked)
    assert all(any(path == "/generate" for path, _ in fake.calls) for fake in fakes)
    # The last weights that servers were given are those that the last batch was drawn with.
    folders = sorted(loaded)
    assert len(folders) >= 2
    params, _ = read_params(str(tmp_path))
    tables = [loaded[folder] for folder in folders]
    assert not np.array_equal(tables[0], tables[-1])
    assert tables[0].shape == params["decoder"]["embedding"]["table"].shape
    assert not list((tmp_path / "rollouts" / "weights").iterdir())


@pytest.mark.slow
def test_a_run_that_waits_for_servers_stops_when_it_is_asked_to(tmp_path):
    """They never end a reply; SIGTERM does not wait for them, and the same command goes on."""
    quiet = Console(file=io.StringIO(), width=200)
    with served(Fake(holds=True)) as held:
        config = small(held)
        program = programs.build(config, workdir=str(tmp_path))
        asked = threading.Timer(20, os.kill, (os.getpid(), signal.SIGTERM))
        hooked = dataclasses.replace(program, begin=lambda s: (program.begin(s), asked.start()))
        started = time.monotonic()
        try:
            state = train_loop.run(hooked, config, str(tmp_path), quiet)
        finally:
            asked.cancel()
    assert int(state.step) == 0
    assert "Stopped at step 0; run the same command to go on." in quiet.file.getvalue()
    assert time.monotonic() - started < 120
    with served(Fake()) as answering:
        config = small(answering)
        program = programs.build(config, workdir=str(tmp_path))
        assert int(train_loop.run(program, config, str(tmp_path), quiet).step) == 2
    lines = [line for line in metrics.read_jsonl(tmp_path / "metrics.jsonl") if "loss" in line]
    assert [line["step"] for line in lines] == [1, 2]


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (r"config.executor.servers = \(\) with kind 'servers'", {"executor.servers": ()}),
        ("with kind 'inprocess': give the URLs", {"executor.kind": "inprocess"}),
        ("config.executor.url = 'host:1' must begin", {"executor.servers": ("host:1",)}),
        ("config.executor.dialect = 'tgi' must be one of", {"executor.dialect": "tgi"}),
        ("'vllm': such servers take no pictures .* counting", {"executor.dialect": "vllm"}),
        (
            "'sglang': such servers take no clips .* temporal_grounding",
            {"tasks.categories": ("counting", "temporal_grounding")},
        ),
        ("config.executor.kind = 'servers': .*qk_norm", {"decoder.qk_norm": True}),
    ],
)
def test_what_servers_cannot_do_is_refused_before_training(words, changes, tmp_path):
    config = small("http://127.0.0.1:9", **changes)
    with pytest.raises(ConfigError, match=words):
        programs.build(config, workdir=str(tmp_path)).batches(None)
