"""What the engine's thread tells of a completion, taken up on the server's event loop."""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as Http

from mmtp.generate import Completion, Request
from mmtp.serving.answers import Writer
from mmtp.serving.errors import ApiError

POLL_SECONDS = 0.2  # between looks at whether a client is still there


@dataclass
class Stream:
    """One completion of a call: its request, its text so far, and what the engine tells of it."""

    index: int
    request: Request
    writer: Writer
    events: asyncio.Queue[Completion | Exception]


async def next_piece(stream: Stream, http: Http) -> tuple[str, list[dict[str, Any]]]:
    """New text and tokens of a completion; raises ApiError where nobody waits for them."""
    while True:
        try:
            event = await asyncio.wait_for(stream.events.get(), POLL_SECONDS)
        except TimeoutError:
            event = None
        if await http.is_disconnected():
            raise ApiError("the client is gone.", "", "client_closed_request", 499)
        if isinstance(event, Exception):
            raise ApiError(f"the engine failed: {event}", "", "engine_failed", 500) from event
        if event is not None and event.finish_reason == "error":
            message = "the model gave no finite numbers for this conversation."
            raise ApiError(message, "", "not_finite", 500)
        if event is not None:
            return stream.writer.push(event)


async def collect(stream: Stream, http: Http) -> tuple[str, list[dict[str, Any]]]:
    """All text and tokens of a completion."""
    text, content = "", []
    while not stream.writer.finish_reason:
        more, tokens = await next_piece(stream, http)
        text, content = text + more, content + tokens
    return text, content
