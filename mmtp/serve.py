"""An HTTP server with OpenAI's chat completions for a trained model (`pip install -e '.[serve]'`).

    python -m mmtp.serve --checkpoint=RUN_DIR --port=8000 --speculative=2

    POST /v1/chat/completions   messages with text and pictures (`data:` URLs), streaming, logprobs,
                                temperature, top_p, top_k, seed, max_tokens, stop, n
    GET  /v1/models, /health

With a `seed`, equal calls get equal answers, whatever else is being answered. Without one, every
call draws numbers of its own. Log probabilities are the model's own, at temperature 1.
"""

import asyncio
import itertools
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from absl import flags
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as Http
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cogvit_jax import commands
from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.programs import EXPECTED_ERRORS
from mmtp.data.documents import encode_prompt, stop_tokens
from mmtp.generate import Completion, Engine, EngineSettings, Request, RequestError, make_request
from mmtp.serving import answers, calls
from mmtp.serving.answers import Writer
from mmtp.serving.calls import Call, Limits
from mmtp.serving.errors import ApiError, told
from mmtp.serving.options import (
    CHECKPOINT,
    MAX_LENGTH,
    SPECULATIVE,
    THINKING,
    buckets,
    with_thinking,
)
from mmtp.serving.streams import Stream, collect, next_piece
from mmtp.serving.worker import Worker

HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on.")
PORT = flags.DEFINE_integer("port", 8000, "Port to listen on.")
ROWS = flags.DEFINE_integer("rows", 8, "Completions in progress at a time.")
MODEL_NAME = flags.DEFINE_string("model_name", "", "In /v1/models; empty = the run's or folder's.")
ALLOW_FILES = flags.DEFINE_bool("allow_files", False, "Clients may name pictures on this machine.")
MAX_BODY = flags.DEFINE_integer("max_body", 32 << 20, "Most bytes of a request.")
TOP_LOGPROBS = 20  # as many as OpenAI's API has
DEFAULT_MAX_TOKENS = 1024


@dataclass
class Server:
    """What the handlers share.

    Attributes:
        loaded: model, params, tokenizer and image settings (`mmtp.run.load`).
        worker: the engine's thread.
        limits: what a call may ask for.
        name: of the model.
        max_body: bytes.
        numbers: of requests without a seed.
        seed: of their random numbers.
    """

    loaded: Any
    worker: Worker
    limits: Limits
    name: str = "mmtp"
    max_body: int = 32 << 20
    numbers: Any = field(default_factory=itertools.count)
    seed: int = field(default_factory=lambda: secrets.randbits(63))


def make_server(loaded: Any, settings: EngineSettings, **changes: Any) -> Server:
    """A server and its engine's thread; `changes` are fields of `Server`, and `allow_files`."""
    allow_files = changes.pop("allow_files", False)
    engine = Engine(loaded.model, loaded.params, settings)
    limits = Limits(4 * settings.rows, settings.top_logprobs, allow_files)
    return Server(loaded, Worker(engine), limits, **changes)


def make_app(server: Server) -> Starlette:
    """The ASGI application."""

    async def complete(http: Http) -> Response:
        return await _complete(server, http)

    async def models(http: Http) -> Response:
        model = {"id": server.name, "object": "model", "created": 0, "owned_by": "mmtp"}
        return JSONResponse({"object": "list", "data": [model]})

    async def health(http: Http) -> Response:
        failure = server.worker.failure
        status = {"status": "failed" if failure else "ok", "requests": server.worker.num_requests}
        return JSONResponse(status, 503 if failure else 200)

    routes = [
        Route("/v1/chat/completions", complete, methods=["POST"]),
        Route("/v1/models", models),
        Route("/health", health),
    ]
    handlers: dict[Any, Callable[..., Any]] = {ApiError: _tell, HTTPException: _tell_http}
    return Starlette(routes=routes, exception_handlers=handlers)


async def _complete(server: Server, http: Http) -> Response:
    call = calls.parse(await _read_json(http, server.max_body), server.limits)
    if call.model not in (None, server.name):
        message = f"model = {call.model!r} is not served here; {server.name!r} is."
        raise ApiError(message, "model", "model_not_found", 404)
    requests = await run_in_threadpool(_requests, server, call)
    if server.worker.failure:
        raise ApiError("the engine has failed; see the server's log.", "", "engine_failed", 503)
    streams = [_submit(server, call, i, r) for i, r in enumerate(requests)]
    number = secrets.token_hex(12)
    base = {"id": f"chatcmpl-{number}", "created": int(time.time()), "model": server.name}
    if call.stream:
        events = _events(server, call, streams, base, http)
        return StreamingResponse(events, media_type="text/event-stream")
    try:
        parts = [await collect(stream, http) for stream in streams]
    finally:
        _cancel(server, streams)
    choices = [
        answers.choice(s.index, s.writer, *part) for s, part in zip(streams, parts, strict=True)
    ]
    return JSONResponse(answers.whole(base, choices, _usage(streams)))


def _requests(server: Server, call: Call) -> list[Request]:
    """The engine's requests for a call; raises ApiError for what it cannot serve."""
    loaded, engine = server.loaded, server.worker.engine
    try:
        prompt = encode_prompt(call.messages, loaded.tokenizer, loaded.images, loaded.chat)
        room = engine.settings.max_length - len(prompt.tokens)
        limit = call.max_tokens
        options = {
            "max_new_tokens": max(1, min(DEFAULT_MAX_TOKENS, room)) if limit is None else limit,
            "temperature": call.temperature,
            "top_k": call.top_k,
            "top_p": call.top_p,
            "stop": stop_tokens(loaded.tokenizer),
            "seed": server.seed if call.seed is None else call.seed,
        }
        made = []
        for index in range(call.n):
            number = next(server.numbers) if call.seed is None else index
            made.append(make_request(number, prompt, **options))
            engine.check(made[-1])
        return made
    except CorruptRecord as error:
        raise ApiError(told(error), "messages", "invalid_content") from error
    except RequestError as error:
        too_long = "max_length" in str(error)
        code = "context_length_exceeded" if too_long else "invalid_value"
        raise ApiError(str(error), "messages" if too_long else "", code) from error


def _submit(server: Server, call: Call, index: int, request: Request) -> Stream:
    loop, events = asyncio.get_running_loop(), asyncio.Queue()
    top = call.top_logprobs if call.logprobs else None
    writer = Writer(server.loaded.tokenizer, request.stop, call.stop, top)

    def listen(event: Completion | Exception) -> None:
        # A client that left takes its loop along when the server is closing.
        if not loop.is_closed():
            loop.call_soon_threadsafe(events.put_nowait, event)

    server.worker.submit(request, listen)
    return Stream(index, request, writer, events)


async def _events(
    server: Server, call: Call, streams: list[Stream], base: dict[str, Any], http: Http
) -> AsyncIterator[str]:
    """Server-sent events of all completions of a call, one completion after the other."""
    try:
        for stream in streams:
            first = {"role": "assistant", "content": ""}
            yield _event(answers.piece(base, stream.index, first, stream.writer, []))
            while not stream.writer.finish_reason:
                text, content = await next_piece(stream, http)
                if text or content:
                    delta = {"content": text}
                    part = answers.piece(base, stream.index, delta, stream.writer, content)
                    yield _event(part)
            reason = stream.writer.finish_reason
            yield _event(answers.piece(base, stream.index, {}, stream.writer, [], reason))
        if call.include_usage:
            yield _event(
                base | {"object": "chat.completion.chunk", "choices": [], "usage": _usage(streams)}
            )
        yield "data: [DONE]\n\n"
    except ApiError as error:
        yield _event(error.body())
    finally:
        _cancel(server, streams)


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _cancel(server: Server, streams: list[Stream]) -> None:
    for stream in streams:
        server.worker.cancel(stream.request)


def _usage(streams: list[Stream]) -> dict[str, int]:
    prompt = len(streams[0].request.prompt.tokens)
    return answers.usage(prompt, sum(s.writer.num_tokens for s in streams))


async def _read_json(http: Http, max_body: int) -> Any:
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > max_body:
            message = f"the body is larger than {max_body} bytes: send smaller pictures."
            raise ApiError(message, "", "body_too_large", 413)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"the body is not JSON: {error}.", "", "invalid_json") from error


async def _tell(http: Http, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), error.status)


async def _tell_http(http: Http, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = ApiError(f"{http.method} {http.url.path}: {error.detail}.", "", "not_found")
    return JSONResponse(known.body(), error.status_code)


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    del argv
    import uvicorn

    from mmtp.run import load

    try:
        loaded = with_thinking(load(str(CHECKPOINT.value)), THINKING.value)
        length = MAX_LENGTH.value or loaded.max_length
        settings = EngineSettings(
            rows=ROWS.value,
            max_length=length,
            buckets=buckets(length),
            vision_length=loaded.vision_length,
            num_draft=SPECULATIVE.value,
            top_logprobs=min(TOP_LOGPROBS, loaded.model.decoder.vocab_size),
        )
        server = make_server(
            loaded,
            settings,
            name=MODEL_NAME.value or loaded.name,
            max_body=MAX_BODY.value,
            allow_files=ALLOW_FILES.value,
        )
    except (*EXPECTED_ERRORS, ValueError) as error:
        sys.exit(f"error: {error}")
    uvicorn.run(make_app(server), host=HOST.value, port=PORT.value)
    server.worker.close()


if __name__ == "__main__":
    commands.run(main, required=("checkpoint",))
