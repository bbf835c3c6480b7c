"""Replies of an OpenAI-compatible endpoint: read within bounds, and what is wrong with them."""

import email.utils
import json
import time

import httpx

from rl.types import Json


class Problem(Exception):
    """An attempt that gave no verdict.

    Attributes:
        name: a short word for the metrics.
        again: whether another attempt may help.
        healthy: what it says of the endpoint.
        wait: seconds that the endpoint asks for.
    """

    def __init__(
        self, name: str, reason: str, again: bool = True, healthy: bool = False, wait: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.name, self.again, self.healthy, self.wait = name, again, healthy, wait


async def read_response(response: httpx.Response, max_bytes: int) -> tuple[str, int]:
    """The completion's text, and the tokens that were used (0 = not told).

    Raises:
        Problem: it is none; httpx.HTTPError: the connection broke.
    """
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > max_bytes:
            raise Problem("garbage", f"the reply is over {max_bytes} bytes")
    _check_status(response, bytes(content[:200]))
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise Problem("garbage", f"the reply is {kind or 'nothing named'}, not JSON")
    try:
        return _text_of(json.loads(content))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise Problem("garbage", f"the reply is no completion: {error!r}") from error


def _check_status(response: httpx.Response, content: bytes) -> None:
    status = response.status_code
    if status == 200:
        return
    reason = f"HTTP {status}: {content.decode(errors='replace')}"
    wait = retry_after(response.headers.get("retry-after", ""))
    if status == 429:
        raise Problem("429", reason, healthy=True, wait=wait)
    if status >= 500 or status == 408:
        raise Problem("5xx", reason, wait=wait)
    raise Problem("refused", reason, again=False, healthy=True)


def _text_of(completion: Json) -> tuple[str, int]:
    text = completion["choices"][0]["message"]["content"]
    if not isinstance(text, str):
        raise TypeError("its content is no text")
    used = (completion.get("usage") or {}).get("total_tokens", 0)
    return text, used if isinstance(used, int) and 0 < used < 10_000_000 else 0


def retry_after(header: str) -> float:
    """Seconds that a Retry-After header asks for, in either of its forms; 0 = none."""
    if header.isascii() and header.isdigit() and len(header) < 9:
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
