"""A judge's server that misbehaves by script: OpenAI's API on loopback, in a thread of its own.

It is an honest judge: an answer is correct where it equals the reference's "answer". Faults are
taken from the script one per request, in order of arrival; after the script all is well.
"""

import asyncio
import json
import re
import threading
import time

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

FAULTS = (
    "429",
    "429 now",
    "429 later",
    "500",
    "503",
    "hang",
    "garbage",
    "truncated",
    "disconnect",
    "slow",
    "content type",
    "NaN",
    "score 7",
    "two objects",
    "no key",
    "prose",
    "bytes",
    "redirect",
    "empty",
)


class FakeJudge:
    """The server.

    Attributes:
        script: faults that are still to come.
        bodies: of all requests, where `keep` is set.
        times: when they came.
        most: requests that were open at once.
    """

    def __init__(self, script=(), keep=True, pause=0.0, reply=None):
        self.keep, self.pause, self.reply = keep, pause, reply
        self.open = self.round = 0
        self.begin(script)

    def begin(self, script=()):
        """Anew, with another script; what still hangs is let go."""
        self.round += 1
        while self.open:
            time.sleep(0.005)
        self.script, self.bodies, self.headers, self.times = list(script), [], [], []
        self.count = self.most = 0

    @property
    def url(self):
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/v1"

    async def answer(self, request: Request) -> Response:
        self.times.append(time.monotonic())
        self.count += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            body = json.loads(b"".join([piece async for piece in request.stream()]))
            if self.keep:
                self.bodies.append(body)
                self.headers.append(dict(request.headers))
            fault = self.script.pop(0) if self.script else ""
            if self.pause:
                await asyncio.sleep(self.pause)
            return await self.misbehave(fault, body)
        finally:
            self.open -= 1

    async def misbehave(self, fault: str, body) -> Response:
        good = self.reply(body) if self.reply else verdict(body)
        wrong = 1.0 - (json.loads(good).get("verdict") == "correct") if not self.reply else 0.0
        if fault == "hang":
            began = self.round
            while self.round == began:
                await asyncio.sleep(0.01)
        if fault == "slow":
            await asyncio.sleep(0.15)
        if fault == "disconnect":
            return Cut(completion(good))
        if fault == "truncated":
            return Response(completion(good)[:-20], media_type="application/json")
        simple = {
            "429": Response("slow down", 429),
            "429 now": Response("slow down", 429, {"retry-after": "0"}),
            "429 later": Response("slow down", 429, {"retry-after": "1"}),
            "429 never": Response("slow down", 429, {"retry-after": "3600"}),
            "500": Response("oops", 500),
            "503": Response("overloaded", 503),
            "401": Response("who are you?", 401),
            "redirect": Response("", 307, {"location": "/v1/other"}),
            "garbage": Response(b"\xff\xfe<html>1.0</html>", media_type="application/json"),
            "bytes": Response(b"x" * 3_000_000, media_type="application/json"),
            "content type": Response(completion(good), media_type="text/html"),
            "empty": JSONResponse({"choices": []}),
        }
        if fault in simple:
            return simple[fault]
        key = key_of(body)
        texts = {
            "NaN": f'{{"key": "{key}", "score": NaN}}',
            "score 7": f'{{"key": "{key}", "score": 7}}',
            "two objects": f'{good} {{"key": "{key}", "score": {wrong}}}',
            "no key": f'{{"score": {wrong}}}',
            "prose": f"I would say {wrong}. The answer deserves 1.0 of 1.0.",
        }
        return Response(completion(texts.get(fault, good)), media_type="application/json")

    def __enter__(self):
        app = Starlette(routes=[Route("/v1/chat/completions", self.answer, methods=["POST"])])
        options = uvicorn.Config(
            app, port=0, log_level="critical", lifespan="off", ws="none", backlog=2048
        )
        self._server = uvicorn.Server(options)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(self, *_):
        self.round += 1
        self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join(10)


class Cut(Response):
    """Ends in the middle of its body."""

    def __init__(self, content: str):
        super().__init__(content, media_type="application/json")

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        half = self.body[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


def completion(text: str) -> str:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}
    return json.dumps({"choices": [{"message": message}], "usage": usage})


def key_of(body) -> str:
    return re.search(r'"key": "([0-9a-f]{12})"', body["messages"][0]["content"])[1]


def answer_in(body) -> str:
    """What stands between the marks."""
    rules, case = body["messages"][0]["content"], body["messages"][1]["content"][-1]["text"]
    mark = re.search(r"<<<([0-9a-f]{24})", rules)[1]
    return case.split(f"<<<{mark}\n")[1].split(f"\n{mark}>>>")[0]


def verdict(body) -> str:
    """An honest judge's reply."""
    case = body["messages"][1]["content"][-1]["text"]
    reference = json.JSONDecoder().raw_decode(case[case.index("{") :])[0]
    right = answer_in(body) == str(reference["answer"])
    said = {"key": key_of(body), "verdict": "correct" if right else "incorrect", "reason": "."}
    return json.dumps(said)
