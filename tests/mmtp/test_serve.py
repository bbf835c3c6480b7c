"""The HTTP server with a random model that has the embedded vocabulary."""

import asyncio
import base64
import dataclasses
import functools
import io
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from mmtp.data.documents import stop_tokens
from mmtp.data.tokenizer import load_tokenizer
from mmtp.generate import Completion, EngineSettings
from mmtp.serve import make_app, make_server
from mmtp.serving.answers import Writer
from mmtp.serving.errors import ApiError
from mmtp.serving.streams import Stream, next_piece
from tests.mmtp import tiny_vlm

PATH = "/v1/chat/completions"


@functools.cache
def server():
    settings = EngineSettings(
        rows=4,
        max_length=160,
        buckets=(64,),
        vision_length=64,
        num_draft=1,
        top_logprobs=5,
    )
    return make_server(tiny_vlm.loaded(), settings, name="tiny", max_body=100_000, seed=1)


@pytest.fixture
def client():
    return TestClient(make_app(server()))


def picture(seed=0) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def call(text="Hello", images=0, **fields):
    parts = [{"type": "image_url", "image_url": {"url": picture(i)}} for i in range(images)]
    content = [*parts, {"type": "text", "text": text}]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 6, "seed": 3}
    return body | fields


def answer(client, body):
    response = client.post(PATH, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def events(client, body):
    response = client.post(PATH, json=body | {"stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def check_same_tokens(found, expected):
    """Requests that are read together or one by one, as it happens, differ by rounding."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        both = one["top_logprobs"], other["top_logprobs"]
        for a, b in zip((one, *both[0]), (other, *both[1]), strict=True):
            assert (a["token"], a["bytes"]) == (b["token"], b["bytes"])
            assert a["logprob"] == pytest.approx(b["logprob"], abs=1e-4)


def test_an_answer_and_its_stream_are_the_same(client):
    body = call("What is this?", images=2, logprobs=True, top_logprobs=3, n=2)
    whole = answer(client, body)
    streamed = events(client, body | {"stream_options": {"include_usage": True}})
    assert whole["object"] == "chat.completion"
    for choice in whole["choices"]:
        parts = [c for e in streamed for c in e["choices"] if c["index"] == choice["index"]]
        assert "".join(p["delta"].get("content", "") for p in parts) == choice["message"]["content"]
        tokens = [t for p in parts if p["logprobs"] for t in p["logprobs"]["content"]]
        check_same_tokens(tokens, choice["logprobs"]["content"])
        assert parts[-1]["finish_reason"] == choice["finish_reason"] == "length"
    assert streamed[-1]["usage"] == whole["usage"]
    assert whole["usage"]["completion_tokens"] == 12
    texts = [c["message"]["content"] for c in whole["choices"]]
    assert texts[0] != texts[1]


def test_log_probabilities_are_sorted_and_hold_the_chosen_token(client):
    body = call(temperature=0, logprobs=True, top_logprobs=5)
    content = answer(client, body)["choices"][0]["logprobs"]["content"]
    assert len(content) == 6
    for entry in content:
        tops = [t["logprob"] for t in entry["top_logprobs"]]
        assert tops == sorted(tops, reverse=True)
        assert len(tops) == 5
        assert entry["logprob"] == tops[0] < 0
        assert bytes(entry["bytes"]).decode("utf-8", "replace") == entry["token"]


def test_eight_calls_at_once_are_answered_as_one_by_one(client):
    bodies = [call(f"Question {i}", images=i % 3, seed=i) for i in range(8)]
    single = [answer(client, body)["choices"] for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda body: answer(client, body)["choices"], bodies))
    assert together == single


def test_without_a_seed_every_call_draws_its_own(client):
    body = call()
    del body["seed"]
    texts = {answer(client, body)["choices"][0]["message"]["content"] for _ in range(3)}
    assert len(texts) == 3


def test_a_stop_text_is_cut_off(client):
    full = answer(client, call())["choices"][0]["message"]["content"]
    stop = full[2:4]
    choice = answer(client, call(stop=[stop, "never"]))["choices"][0]
    assert choice["message"]["content"] == full[: full.index(stop)]
    assert choice["finish_reason"] == "stop"
    streamed = events(client, call(stop=stop))
    text = "".join(e["choices"][0]["delta"].get("content", "") for e in streamed)
    assert text == choice["message"]["content"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ([], 400, "JSON object"),
        ({}, 400, "at least one message"),
        (call(messages=[]), 400, "at least one message"),
        (call(messages=["hi"]), 400, r"messages\[0\] must be an object"),
        (call(messages=[{"role": "boss", "content": "hi"}]), 400, "'boss' must be one of"),
        (call(messages=[{"role": "user", "content": 3}]), 400, "list of parts"),
        (call(messages=[{"role": "user", "content": ""}]), 400, "empty"),
        (call(messages=[{"role": "user", "content": [{"type": "audio"}]}]), 400, "'audio'"),
        (call(temperature="hot"), 400, "type float"),
        (call(temperature=3), 400, "from 0 to 2"),
        (call(top_p=0), 400, "top_p = 0"),
        (call(max_tokens=0), 400, "at least 1"),
        (call(max_tokens=160), 400, "max_length = 160"),
        (call("long " * 200), 400, "max_length = 160"),
        (call(max_token=3), 400, "Did you mean 'max_tokens'"),
        (call(n=99), 400, "n = 99"),
        (call(stop=["a"] * 5), 400, "at most 4"),
        (call(stop=7), 400, "stop = 7"),
        (call(top_logprobs=2), 400, "logprobs = true"),
        (call(logprobs=True, top_logprobs=6), 400, "from 0 to 5"),
        (call(frequency_penalty=1), 400, "not supported"),
        (call(model="gpt"), 404, "'tiny' is"),
        (call("x" * 100_000), 413, "larger than 100000 bytes"),
    ],
)
def test_bad_calls_are_told_what_is_wrong(client, body, status, words):
    response = client.post(PATH, json=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert re.search(words, error["message"]), error["message"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:image/png;base64,@@@", "not base64"),
        ("data:image/png,abc", "must be data:image"),
        ("data:image/png;base64," + base64.b64encode(b"no picture").decode(), "undecodable"),
        ("https://example.com/a.png", "fetches nothing"),
        ("/etc/hostname", "--allow_files"),
    ],
)
def test_bad_pictures_are_told_what_is_wrong(client, url, words):
    part = {"type": "image_url", "image_url": {"url": url}}
    response = client.post(PATH, json={"messages": [{"role": "user", "content": [part]}]})
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert words in message
    assert " object at 0x" not in message


def test_files_are_read_where_that_is_allowed(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(base64.b64decode(picture().partition(",")[2]))
    limits = dataclasses.replace(server().limits, allow_files=True)
    client = TestClient(make_app(dataclasses.replace(server(), limits=limits)))
    parts = call(images=1)["messages"][0]["content"]
    local = [{"type": "image_url", "image_url": {"url": f"file://{file}"}}, parts[1]]
    body = call(messages=[{"role": "user", "content": local}])
    assert answer(client, body)["choices"] == answer(client, call(images=1))["choices"]
    local[0]["image_url"]["url"] = str(tmp_path / "none.png")
    assert client.post(PATH, json=body).status_code == 400


def leave(body, version, after=0):
    """The ASGI protocol by hand: a call, and a client that is gone after `after` messages to it.

    Returns:
        what the server sent, when all rows are free again.
    """
    sent, asked = [], [json.dumps(body).encode()]

    async def receive():
        if asked:
            return {"type": "http.request", "body": asked.pop()}
        while len(sent) < after:
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": [], "query_string": b""}
    asyncio.run(make_app(server())(scope | {"asgi": {"spec_version": version}}, receive, send))
    deadline = time.monotonic() + 30
    while server().worker.num_requests or server().worker.engine.busy:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return sent


def test_a_client_that_leaves_frees_its_row():
    assert leave(call(max_tokens=100), "2.3")[0]["status"] == 499


@pytest.mark.parametrize("version", ["2.3", "2.4"])  # who notices: Starlette, the server
def test_a_client_that_leaves_a_stream_frees_its_row(version):
    sent = leave(call(max_tokens=100, n=2, stream=True), version, after=3)
    assert sent[0]["status"] == 200
    assert len(sent) < 100
    assert b"[DONE]" not in b"".join(m.get("body", b"") for m in sent)


def test_models_health_and_unknown_paths(client):
    assert client.get("/v1/models").json()["data"][0]["id"] == "tiny"
    assert client.get("/health").json()["status"] == "ok"
    assert "error" in client.get("/v2").json()


def test_logits_that_are_not_finite_are_an_error_of_the_server():
    class Http:
        async def is_disconnected(self):
            return False

    async def run():
        ints, floats = np.zeros(0, np.int32), np.zeros(0, np.float32)
        drafts = np.zeros((0, 3), np.int32)
        tops = np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32)
        told = Completion(ints, floats, floats, *tops, drafts, ints, "error")
        events = asyncio.Queue()
        events.put_nowait(told)
        await next_piece(Stream(0, None, None, events), Http())

    with pytest.raises(ApiError, match="no finite numbers"):
        asyncio.run(run())


def test_characters_and_stops_that_span_tokens():
    tokenizer = load_tokenizer()
    end = stop_tokens(tokenizer)
    tokens = [*tokenizer.encode("aé€ STOP after"), end[0]]

    def told(stops):
        writer, text = Writer(tokenizer, end, stops), ""
        for num in range(1, len(tokens) + 1):
            zeros = np.zeros(num, np.float32)
            none = np.zeros((num, 0), np.float32)
            reason = "stop" if num == len(tokens) else ""
            ints = np.array(tokens[:num], np.int32)
            done = Completion(ints, zeros, zeros, none, none, none, ints, reason)
            piece, _ = writer.push(done)
            text += piece
            assert "STOP" not in text or not stops
            if writer.finish_reason:
                return text, num
        raise AssertionError

    assert told(()) == ("aé€ STOP after", len(tokens))
    text, num = told(("STOP",))
    assert text == "aé€ "
    assert num < len(tokens)
