"""Servers that speak as vLLM and SGLang do, with a model that is one line.

They take what `rl.rollout.dialects` sends, refuse fields that they do not know, and stream two
tokens at a time. The next token is a function of all before it, so that a reply which goes on from
a part is the one without a break.
"""

import asyncio
import base64
import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request as Http
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MAX_LENGTH = 64
VLLM = {
    *("prompt", "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty"),
    *("presence_penalty", "frequency_penalty", "return_weight_versions"),
    *("seed", "stop_token_ids", "ignore_eos", "include_stop_str_in_output", "skip_special_tokens"),
    *("logprobs", "return_token_ids", "stream", "request_id", "model"),
}
SGLANG = {
    *("input_ids", "sampling_params", "return_logprob", "logprob_start_len", "stream", "rid"),
    "image_data",
}


@dataclass
class Fake:
    """What a fake server does, and what it was asked.

    Attributes:
        busy: how many calls get 503 before one is answered.
        breaks_after: events after which the connection breaks; 0 = never.
        pause: seconds between events.
        holds: streams stop after their first event until this is False.
        incremental: SGLang's events hold new tokens alone.
        gives_up: (status, words) with which a stream ends after its first event, as servers end
            what they cannot go on with.
        spans: (label, first, stop) of weights, told at the end of a reply.
        one_by_one: streams wait for each other.
        cell: pixels of a side of what is one token of a picture.
        on_update: called with the folder of new weights.
        calls: (path, JSON) of all calls.
    """

    busy: int = 0
    breaks_after: int = 0
    pause: float = 0.0
    holds: bool = False
    incremental: bool = False
    gives_up: tuple[int, str] | None = None
    spans: tuple[tuple[str, int, int], ...] = ()
    one_by_one: bool = False
    cell: int = 28
    on_update: Callable[[str], None] = lambda folder: None
    calls: list[tuple[str, Any]] = field(default_factory=list)
    version: str = "default"
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))


def app(fake: Fake) -> Starlette:
    """The ASGI application of both dialects."""

    async def control(http: Http) -> Response:
        body = json.loads(await http.body() or b"{}")
        fake.calls.append((http.url.path, body))
        if body.get("model_path") == "/lost":
            return JSONResponse({"success": False, "message": "no such folder"}, 400)
        if "model_path" in body:
            fake.on_update(body["model_path"])
        fake.version = body.get("weight_version", fake.version)
        return JSONResponse({"success": True, "message": "done"})

    async def vllm(http: Http) -> Response:
        body = json.loads(await http.body())
        assert body.keys() <= VLLM
        fake.calls.append((http.url.path, body))
        known = body["max_tokens"], body["stop_token_ids"]
        return _answer(fake, body["prompt"], *known, _vllm_event)

    async def sglang(http: Http) -> Response:
        body = json.loads(await http.body())
        assert body.keys() <= SGLANG
        fake.calls.append((http.url.path, body))
        sampling = body["sampling_params"]
        known = sampling["max_new_tokens"], sampling["stop_token_ids"]
        cells = sum(_cells(fake, url) - 1 for url in body.get("image_data", []))
        return _answer(fake, [0] * cells + body["input_ids"], *known, _sglang_event)

    routes = [
        Route("/v1/completions", vllm, methods=["POST"]),
        Route("/generate", sglang, methods=["POST"]),
        *(
            Route(path, control, methods=["POST"])
            for path in (
                *("/pause", "/resume", "/collective_rpc", "/pause_generation"),
                *("/reset_prefix_cache", "/update_weight_version"),
                *("/update_weights_from_disk", "/continue_generation", "/abort_request"),
            )
        ),
    ]
    return Starlette(routes=routes)


def reply(ids: list[int], limit: int, stop: list[int]) -> list[int]:
    """What follows the ids."""
    said: list[int] = []
    while len(said) < limit and not (said and said[-1] in stop):
        said.append(3 + 7 * sum([*ids, *said]) % 9)
    return said


def logprob(token: int) -> float:
    """What is told of a token."""
    return -(1 + token) / 10


def _cells(fake: Fake, url: str) -> int:
    """Tokens that a picture's placeholder stands for."""
    width, height = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).size
    return (width // fake.cell) * (height // fake.cell)


def _answer(fake: Fake, ids, limit, stop, event) -> Response:
    if fake.busy:
        fake.busy -= 1
        return JSONResponse({"error": "overloaded"}, 503)
    if len(ids) + limit > MAX_LENGTH:
        return JSONResponse({"error": {"message": f"more than {MAX_LENGTH} tokens"}}, 400)
    tokens = reply(ids, limit, stop)
    reason = "stop" if tokens[-1] in stop else "length"

    return StreamingResponse(
        _in_turn(fake, _events(fake, tokens, len(ids), reason, event)),
        media_type="text/event-stream",
    )


async def _in_turn(fake: Fake, lines):
    async with fake.turn if fake.one_by_one else contextlib.nullcontext():
        async for line in lines:
            yield line


async def _events(fake: Fake, tokens: list[int], num_prompt: int, reason: str, event):
    for number, start in enumerate(range(0, len(tokens), 2)):
        if fake.breaks_after and number == fake.breaks_after:
            raise ConnectionError("the machine is gone")
        ends = reason if start + 2 >= len(tokens) else None
        said = event(fake, tokens[: start + 2], start, num_prompt, ends)
        if fake.gives_up and number:
            said = _given_up(fake, said)
        yield f"data: {json.dumps(said)}\n\n"
        if fake.gives_up and number:
            break
        await asyncio.sleep(fake.pause)
        while fake.holds:
            await asyncio.sleep(0.01)
    yield "data: [DONE]\n\n"


def _given_up(fake: Fake, said: Any) -> Any:
    """An error in vLLM's stream; in SGLang's the reason why a request was aborted."""
    assert fake.gives_up is not None
    status, words = fake.gives_up
    if "meta_info" not in said:
        return {"error": {"message": words, "type": "error", "param": None, "code": status}}
    reason = {"type": "abort", "status_code": status, "message": words, "err_type": None}
    return said | {"meta_info": said["meta_info"] | {"finish_reason": reason}}


def _spans(fake: Fake, reason: str | None) -> Any:
    found = [{"version": v, "start": start, "end": end} for v, start, end in fake.spans]
    return {"weight_versions": found} if reason and found else {}


def _vllm_event(fake, tokens, start, num_prompt, reason) -> Any:
    new = tokens[start:]
    choice = {
        "index": 0,
        "text": "",
        "token_ids": new,
        "logprobs": {"token_logprobs": [logprob(t) for t in new]},
        "finish_reason": reason,
        "prompt_token_ids": [0] * num_prompt if not start else None,
        **_spans(fake, reason),
    }
    return {"id": "cmpl-0", "object": "text_completion", "choices": [choice]}


def _sglang_event(fake, tokens, start, num_prompt, reason) -> Any:
    told = tokens[start:] if fake.incremental else tokens
    meta = {
        "id": "0",
        "prompt_tokens": num_prompt,
        "completion_tokens": len(tokens),
        "output_token_logprobs": [[logprob(t), t, None] for t in told],
        "weight_version": fake.version,
        "finish_reason": None if reason is None else {"type": reason},
        **_spans(fake, reason),
    }
    return {"text": "", "output_ids": told, "meta_info": meta}
