"""The engine behind HTTP, against fake servers in this process and one behind a real socket."""

import asyncio
import base64
import contextlib
import dataclasses
import io
import threading
import time

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from cogvit_jax.settings import ConfigError
from mmtp.data.encoded import Encoded, Visual
from rl.rollout import dialects
from rl.rollout.protocol import Ask, EngineDied, resume
from rl.rollout.server import ServerEngine, ServerSettings, check
from tests.rl.rollout.fake_servers import Fake, app, logprob, reply

DIALECTS = ("vllm", "sglang")


def encoded(tokens, visuals=()) -> Encoded:
    ids = np.asarray(tokens, np.int32)
    return Encoded(ids, np.zeros(len(ids), bool), visuals, 0, "p")


def asks(num: int, **changes) -> list[Ask]:
    made = [
        Ask(f"s{i}", 0, 0, encoded([1, 4, 5 + i]), f"s{i}", 9, stop=(11,), seed=3)
        for i in range(num)
    ]
    return [dataclasses.replace(a, **changes) for a in made]


@contextlib.asynccontextmanager
async def opened(fake: Fake, dialect: str, **changes):
    settings = ServerSettings("http://fake", dialect, wait=0.001, **changes)
    used = ServerEngine(settings, transport=httpx.ASGITransport(app(fake)))
    try:
        yield used
    finally:
        await used.close()


@contextlib.contextmanager
def served(fake: Fake):
    """The fake behind a socket, whose connections can be closed."""
    server = uvicorn.Server(uvicorn.Config(app(fake), port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    (listening,) = server.servers[0].sockets
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("dialect", "incremental"), [("vllm", False), ("sglang", False), ("sglang", True)]
)
def test_replies_are_told_with_log_probabilities(dialect, incremental):
    asked = asks(8)

    async def run():
        async with opened(Fake(incremental=incremental), dialect) as used:
            told = await asyncio.gather(*map(used.generate, asked))
            return told, used.stats()

    told, stats = asyncio.run(run())
    for ask, found in zip(asked, told, strict=True):
        wanted = reply(ask.prompt.tokens.tolist(), 9, [11])
        assert list(found.tokens) == wanted
        assert found.logprobs == found.raw_logprobs == tuple(map(logprob, wanted))
        assert found.finish_reason == ("stop" if wanted[-1] == 11 else "length")
        assert found.versions == (0,) * len(wanted)
    assert len({t.finish_reason for t in told}) == 2
    assert stats["tokens"] == sum(len(t.tokens) for t in told)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_aborted_replies_keep_what_was_streamed_and_go_on(dialect):
    fake = Fake(holds=True)

    async def run(url):
        used = ServerEngine(ServerSettings(url, dialect))
        asked = asks(3, stop=())
        tasks = [asyncio.ensure_future(used.generate(a)) for a in asked]
        while sum(bool(a.heard.tokens) for a in used._asked) < 3:
            await asyncio.sleep(0.005)
        used.abort(["s0", "s1", "unknown"])
        fake.holds = False
        first = await asyncio.gather(*tasks)
        await used.publish(4, "/somewhere")
        again = await used.generate(resume(asked[0], first[0]))
        await used.close()
        return asked, first, again

    with served(fake) as url:
        asked, first, again = asyncio.run(run(url))
    assert [t.finish_reason for t in first] == ["abort", "abort", "length"]
    num = len(first[0].tokens)
    assert num == 2
    assert len(first[2].tokens) == 9
    assert again.finish_reason == "length"
    assert again.tokens[:num] == first[0].tokens
    assert list(again.tokens) == reply(asked[0].prompt.tokens.tolist(), 9, [])
    assert again.versions == (0,) * num + (4,) * (9 - num)
    body = fake.calls[-1][1]
    ids = body["prompt" if dialect == "vllm" else "input_ids"]
    assert ids == [*asked[0].prompt.tokens.tolist(), *first[0].tokens]
    seeds = [dialects.seed_of(asked[0]), dialects.seed_of(resume(asked[0], first[0]))]
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_busy_server_is_asked_again_and_a_dead_one_is_told(dialect):
    async def run(fake, **changes):
        async with opened(fake, dialect, **changes) as used:
            return await used.generate(asks(1)[0])

    assert asyncio.run(run(Fake(busy=2))).finish_reason in ("stop", "length")
    with pytest.raises(EngineDied, match="503"):
        asyncio.run(run(Fake(busy=2), retries=1))
    with pytest.raises(EngineDied, match="machine is gone"):
        asyncio.run(run(Fake(breaks_after=1)))


def test_silence_and_a_missing_server_are_deaths():
    async def run(url, **changes):
        used = ServerEngine(ServerSettings(url, wait=0.001, **changes))
        with pytest.raises(EngineDied):
            await used.generate(asks(1, stop=())[0])
        with pytest.raises(EngineDied):
            await used.publish(1, "/somewhere")
        await used.close()
        with pytest.raises(EngineDied, match="closed"):
            await used.generate(asks(1)[0])

    asyncio.run(run("http://127.0.0.1:9"))  # nobody listens there
    with served(Fake(pause=30.0)) as url:

        async def silent():
            used = ServerEngine(ServerSettings(url, silence=0.2))
            with pytest.raises(EngineDied, match=r"not a word within 0\.2 s"):
                await used.generate(asks(1, stop=())[0])
            await used.close()

        asyncio.run(silent())


def test_of_a_prompt_that_was_read_in_another_way_nothing_new_is_kept():
    """The server cuts the picture into four, and the prompt has one place for it."""
    visual = Visual(np.zeros((4, 48), np.uint8), (2, 2), 1)

    async def run():
        async with opened(Fake(cell=4), "sglang") as used:
            (ask,) = asks(1, prompt=encoded([1, 12, 5], (visual,)), stop=())
            first = await used.generate(ask)
            numbers = (-1.0, -1.0)
            told = dataclasses.replace(
                first, tokens=(3, 4), logprobs=numbers, raw_logprobs=numbers, versions=(0, 0)
            )
            return first, await used.generate(resume(ask, told))

    first, second = asyncio.run(run())
    assert "cuts pictures in another way" in first.error
    assert "cuts pictures in another way" in second.error
    assert (first.tokens, second.tokens) == ((), (3, 4))


def test_a_request_may_wait_its_turn_while_the_server_speaks_to_others():
    """Six requests, one at a time: the last ones wait for longer than the limit of silence."""

    async def run(url):
        used = ServerEngine(ServerSettings(url, "vllm", silence=1.5))
        started = time.monotonic()
        told = await asyncio.gather(*(used.generate(ask) for ask in asks(6, stop=())))
        await used.close()
        return told, time.monotonic() - started

    with served(Fake(pause=0.08, one_by_one=True)) as url:
        told, seconds = asyncio.run(run(url))
    assert {t.finish_reason for t in told} == {"length"}
    assert seconds > 2.0


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_the_server_refuses_is_told(dialect):
    async def run():
        async with opened(Fake(), dialect) as used:
            return await used.generate(asks(1, max_new_tokens=64)[0])

    told = asyncio.run(run())
    assert told.finish_reason == "error"
    assert "more than 64 tokens" in told.error


@pytest.mark.parametrize("dialect", DIALECTS)
def test_weights_are_published_while_requests_wait(dialect):
    fake = Fake()

    async def run():
        async with opened(fake, dialect) as used:
            await used.publish(3, "/weights/3")
            assert used.version == 3
            if dialect == "sglang":
                with pytest.raises(EngineDied, match="no such folder"):
                    await used.publish(4, "/lost")
            return await used.generate(asks(1)[0])

    assert set(asyncio.run(run()).versions) == {3}
    paths = [path for path, _ in fake.calls]
    if dialect == "vllm":
        wanted = ["/pause", "/collective_rpc", "/reset_prefix_cache", "/update_weight_version"]
        assert paths == [*wanted, "/resume", "/v1/completions"]
    else:
        wanted = ["/pause_generation", "/update_weights_from_disk"]  # the second time in vain
        assert paths == [*wanted, "/continue_generation", *wanted, "/generate"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_request_that_the_server_gives_up_is_not_asked_again_where_it_is_the_requests_fault(
    dialect,
):
    async def run(status):
        async with opened(Fake(gives_up=(status, "no room")), dialect) as used:
            return await used.generate(asks(1, stop=())[0])

    told = asyncio.run(run(400))
    assert told.finish_reason == "error"
    assert "400" in told.error
    assert "no room" in told.error
    with pytest.raises(EngineDied, match="no room"):
        asyncio.run(run(503))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_tokens_are_marked_with_the_weights_that_the_server_says_drew_them(dialect):
    spans = (("default", 0, 2), ("5", 2, 7), ("6", 7, 9))

    async def run():
        async with opened(Fake(spans=spans), dialect) as used:
            return await used.generate(asks(1, stop=())[0])

    assert asyncio.run(run()).versions == (0,) * 2 + (5,) * 5 + (6,) * 2


def test_one_log_probability_is_enough_only_where_both_are_equal():
    async def run(dialect, **changes):
        async with opened(Fake(), dialect) as used:
            return await used.generate(asks(1, **changes)[0])

    greedy = asyncio.run(run("vllm", temperature=0.0))
    assert set(greedy.logprobs) == {0.0}
    assert max(greedy.raw_logprobs) < 0
    for dialect, changes in (
        ("vllm", {"temperature": 0.7}),
        ("vllm", {"top_p": 0.9}),
        ("sglang", {"temperature": 0.0}),
    ):
        with pytest.raises(ValueError, match="log probabilities alone"):
            asyncio.run(run(dialect, **changes))


def test_pictures_go_as_pngs_with_the_same_pixels():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 16, 3)).astype(np.uint8)
    blocks = pixels.reshape(1, 2, 4, 2, 2, 4, 3).transpose(0, 3, 1, 4, 2, 5, 6)
    visual = Visual(blocks.reshape(8, 48), (2, 4), 1)
    head, data = dialects.data_url(visual).split(",")
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), pixels
    )
    prompt = encoded([1, 12, 12, 4, 12, 5], (visual, Visual(visual.patches[:4], (2, 2), 4)))
    ask = dataclasses.replace(asks(1)[0], prompt=prompt)
    assert dialects.folded(ask) == [1, 12, 4, 12, 5]

    async def run(dialect):
        async with opened(Fake(), dialect) as used:
            return await used.generate(ask)

    assert "takes no such pictures" in asyncio.run(run("vllm")).error
    # This server reads one token for a placeholder, where the prompt has two for the first picture.
    assert asyncio.run(run("sglang")).finish_reason == "error"


def test_settings_without_sense_are_refused():
    for words, settings in {
        "dialect = 'tgi'": ServerSettings("http://x", "tgi"),
        "url = 'x'": ServerSettings("x"),
        "logprobs = 'all'": ServerSettings("http://x", logprobs="all"),
        "silence = 0": ServerSettings("http://x", silence=0),
    }.items():
        with pytest.raises(ConfigError, match=words):
            check(settings)
