"""What servers want to be asked, and how they answer: vLLM and SGLang.

Both take token ids, so that nothing is written out and read in again between turns, and both tell
one log probability for each token. By default vLLM tells the model's own (`--logprobs-mode`,
raw_logprobs), and SGLang those after temperature. When a reply has ended, both say which weights,
by the label that they were published with, drew which of its tokens.

    vLLM    POST /v1/completions  prompt: ids, return_token_ids, stream; events hold new tokens
            (vllm/entrypoints/openai/completion/protocol.py and rl/online/api_router.py)
    SGLang  POST /generate        input_ids, image_data, return_logprob, stream; events hold all
            tokens so far, unless the server has --incremental-streaming-output
            (sglang/srt/managers/io_struct.py, tokenizer_manager.py, entrypoints/http_server.py)

Requests, events and updates were compared with the sources of vLLM 0.33.0 and SGLang 0.5.23; no
server was run. SGLang leaves ids beside pictures as they are where SGLANG_MM_AVOID_RETOKENIZE is
on, which is its default.
"""

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from mmtp.data.encoded import Visual, block_positions
from rl.rollout.protocol import Ask, random_words

Json = Any


@dataclass
class Heard:
    """What a stream has said so far.

    Attributes:
        tokens, logprobs: new ones of this ask.
        finish_reason: of the server; "" = not finished.
        prompt_tokens: how many the server says it read; None = it did not say.
        spans: (label of weights, first, stop): which drew the tokens from first to stop.
        problem: what the server says has gone wrong, and its HTTP status; None = nothing.
    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str = ""
    prompt_tokens: int | None = None
    spans: list[tuple[str, int, int]] = field(default_factory=list)
    problem: tuple[int, str] | None = None


@dataclass(frozen=True)
class Dialect:
    """How to speak to a kind of server.

    Attributes:
        path: of generation.
        body: (ask, model's name, number of the attempt at the server) -> JSON.
        hear: (what was said so far, an event's JSON) -> None; adds to what was said.
        abort: (name of the request) -> (path, JSON) that ends it at once; None = closing the
            connection does.
        logprobs: which of a token's two the server tells by default: "raw" or "sampled".
        pictures: whether prompts may have some.
        update: (where the weights lie, version) -> [(path, JSON), …] to load them; the first call
            holds requests up and the last one lets them go on.
    """

    path: str
    body: Callable[[Ask, str, str], Json]
    hear: Callable[[Heard, Json], None]
    abort: Callable[[str], tuple[str, Json]] | None
    logprobs: str
    pictures: bool
    update: Callable[[str, int], tuple[tuple[str, Json], ...]]


def seed_of(ask: Ask) -> int:
    """A seed of 31 bits for what is left to draw.

    Servers begin a request's random numbers anew, so that of a request that goes on must differ
    from the first one's: the numbers that drew its tokens would be used again.
    """
    done = 0 if ask.done is None else len(ask.done.tokens)
    return (random_words(ask)[0] + done * 0x9E3779B97F4A7C15) % 2**31


def left(ask: Ask) -> int:
    """Tokens that may still be drawn."""
    return ask.max_new_tokens - (0 if ask.done is None else len(ask.done.tokens))


def read_ids(ask: Ask) -> list[int]:
    """Ids of the prompt and of the reply so far."""
    done = () if ask.done is None else ask.done.tokens
    return [*ask.prompt.tokens.tolist(), *done]


def _vllm_body(ask: Ask, model: str, name: str) -> Json:
    body = {
        "prompt": read_ids(ask),
        "max_tokens": left(ask),
        "temperature": ask.temperature,
        "top_k": ask.top_k,
        "top_p": ask.top_p,
        "min_p": 0.0,  # these four may be set in a model's generation_config.json
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": seed_of(ask),
        "stop_token_ids": list(ask.stop),
        "ignore_eos": True,  # only the ask's own stop tokens end a reply
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
        "logprobs": 0,
        "return_token_ids": True,
        "return_weight_versions": True,
        "stream": True,
        "request_id": name,
    }
    return body | ({"model": model} if model else {})


def _vllm_hear(heard: Heard, event: Json) -> None:
    _hear_error(heard, event)
    for choice in event.get("choices", ()):
        if choice.get("prompt_token_ids") is not None:
            heard.prompt_tokens = len(choice["prompt_token_ids"])
        tokens = choice.get("token_ids") or []
        told = choice.get("logprobs") or {}
        heard.tokens += tokens
        heard.logprobs += told.get("token_logprobs") or []
        heard.finish_reason = choice.get("finish_reason") or heard.finish_reason
        _hear_versions(heard, choice)


def _sglang_body(ask: Ask, model: str, name: str) -> Json:
    sampling = {
        "max_new_tokens": left(ask),
        "temperature": ask.temperature,
        "top_k": ask.top_k or -1,
        "top_p": ask.top_p,
        "stop_token_ids": list(ask.stop),
        "ignore_eos": True,
        "no_stop_trim": True,
        "skip_special_tokens": False,
        "sampling_seed": seed_of(ask),
    }
    body = {
        "input_ids": folded(ask),
        "sampling_params": sampling,
        "return_logprob": True,
        "logprob_start_len": -1,
        "stream": True,
        "rid": name,
    }
    pictures = [data_url(visual) for visual in ask.prompt.visuals]
    return body | ({"image_data": pictures} if pictures else {})


def _sglang_hear(heard: Heard, event: Json) -> None:
    _hear_error(heard, event)
    meta = event.get("meta_info", {})
    pairs = meta.get("output_token_logprobs") or []
    # All so far, or the new ones alone: the count of tokens tells which.
    new = pairs[len(heard.tokens) :] if len(pairs) >= meta.get("completion_tokens", 0) else pairs
    heard.tokens += [int(pair[1]) for pair in new]
    heard.logprobs += [float(pair[0]) for pair in new]
    heard.prompt_tokens = meta.get("prompt_tokens", heard.prompt_tokens)
    _hear_versions(heard, meta)
    reason = meta.get("finish_reason") or {}
    heard.finish_reason = reason.get("type") or heard.finish_reason
    if reason.get("status_code"):  # the server gave the request up, and nobody had asked it to
        heard.problem = int(reason["status_code"]), str(reason.get("message"))


def _hear_error(heard: Heard, event: Json) -> None:
    """Errors that come within a stream whose status was 200."""
    error = event.get("error")
    if error:
        told = error if isinstance(error, dict) else {"message": error}
        heard.finish_reason = "error"
        heard.problem = int(told.get("code") or 500), str(told.get("message"))


def _hear_versions(heard: Heard, found: Json) -> None:
    spans = found.get("weight_versions")
    if spans:
        heard.spans = [(str(s["version"]), int(s["start"]), int(s["end"])) for s in spans]


def folded(ask: Ask) -> list[int]:
    """Ids with one placeholder for each picture, which the server unfolds."""
    ids = read_ids(ask)
    for visual in reversed(ask.prompt.visuals):
        ids[visual.start : visual.start + visual.num_tokens] = [ids[visual.start]]
    return ids


def data_url(visual: Visual) -> str:
    """A picture as a PNG in a URL, put together from its patches.

    Its sides are whole numbers of blocks already, so that a server of the same model cuts it into
    the same patches.
    """
    rows, columns = visual.grid
    side = round((visual.patches.shape[1] / 3) ** 0.5)
    pixels = np.zeros((rows, side, columns, side, 3), np.uint8)
    places = block_positions(visual.grid)
    pixels[places[:, 0], :, places[:, 1]] = visual.patches.reshape(-1, side, side, 3)
    file = io.BytesIO()
    Image.fromarray(pixels.reshape(rows * side, columns * side, 3)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _sglang_update(path: str, version: int) -> tuple[tuple[str, Json], ...]:
    # Requests in progress go back to the queue, and their keys are computed anew.
    load = {"model_path": path, "weight_version": str(version), "flush_cache": True}
    return (
        ("/pause_generation", {"mode": "retract"}),
        ("/update_weights_from_disk", load),
        ("/continue_generation", {}),
    )


def _vllm_update(path: str, version: int) -> tuple[tuple[str, Json], ...]:
    # Of a server with VLLM_SERVER_DEV_MODE=1; requests wait meanwhile, and their keys are computed
    # anew: a pause that keeps requests clears no cache.
    load = {"method": "reload_weights", "kwargs": {"weights_path": path}}
    return (
        ("/pause?mode=keep", {}),
        ("/collective_rpc", load),
        ("/reset_prefix_cache?reset_running_requests=true&reset_external=true", {}),
        ("/update_weight_version", {"new_version": str(version)}),
        ("/resume", {}),
    )


DIALECTS: Mapping[str, Dialect] = {
    "vllm": Dialect(
        path="/v1/completions",
        body=_vllm_body,
        hear=_vllm_hear,
        abort=None,
        logprobs="raw",
        pictures=False,
        update=_vllm_update,
    ),
    "sglang": Dialect(
        path="/generate",
        body=_sglang_body,
        hear=_sglang_hear,
        abort=lambda name: ("/abort_request", {"rid": name}),
        logprobs="sampled",
        pictures=True,
        update=_sglang_update,
    ),
}
