"""A chat completion request: OpenAI's JSON -> typed fields and messages, or an ApiError."""

import base64
import binascii
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtp.data.records import Image, Message, Part, Text
from mmtp.serving.errors import ApiError

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "observation",
}
MAX_STOPS = 4
# Fields that say something about the caller, not the answer.
IGNORED = ("user", "metadata", "store")
# Fields that are accepted where they change nothing.
NEUTRAL = {"frequency_penalty": 0, "presence_penalty": 0}


@dataclass(frozen=True)
class Call:
    """What was asked for; see OpenAI's reference of chat completions."""

    messages: tuple[Message, ...]
    model: str | None
    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    stop: tuple[str, ...]
    n: int
    stream: bool
    include_usage: bool
    logprobs: bool
    top_logprobs: int


@dataclass(frozen=True)
class Limits:
    """What a call may ask for.

    Attributes:
        max_choices: most completions of one call.
        top_logprobs: most alternatives told for each token.
        allow_files: pictures may be named by paths on this machine.
    """

    max_choices: int
    top_logprobs: int
    allow_files: bool


FIELDS = (
    *("messages", "model", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k"),
    *("seed", "stop", "n", "stream", "stream_options", "logprobs", "top_logprobs"),
)


def parse(body: Any, limits: Limits) -> Call:
    """The call that a decoded JSON body holds; raises ApiError naming the field."""
    if not isinstance(body, dict):
        raise ApiError("the body must be a JSON object.")
    _check_names(body)
    options = _get(body, "stream_options", dict, {})
    limit = _get(body, "max_completion_tokens", int, _get(body, "max_tokens", int, None))
    call = Call(
        messages=_messages(body, limits),
        model=_get(body, "model", str, None),
        max_tokens=limit,
        temperature=_get(body, "temperature", float, 1.0),
        top_p=_get(body, "top_p", float, 1.0),
        top_k=_get(body, "top_k", int, 0),
        seed=_get(body, "seed", int, None),
        stop=_stop(body),
        n=_get(body, "n", int, 1),
        stream=_get(body, "stream", bool, False),
        include_usage=bool(options.get("include_usage")),
        logprobs=_get(body, "logprobs", bool, False),
        top_logprobs=_get(body, "top_logprobs", int, 0),
    )
    _check_range("n", call.n, 1, limits.max_choices)
    _check_range("temperature", call.temperature, 0, 2)
    _check_range("top_p", call.top_p, 0, 1)
    _check_range("top_logprobs", call.top_logprobs, 0, limits.top_logprobs)
    if call.top_logprobs and not call.logprobs:
        raise ApiError("top_logprobs needs logprobs = true.", "top_logprobs")
    return call


def _check_names(body: Mapping[str, Any]) -> None:
    for name, value in body.items():
        if name in NEUTRAL:
            if value not in (None, NEUTRAL[name]):
                raise ApiError(f"{name} = {value!r} is not supported; leave it out.", name)
        elif name not in FIELDS and name not in IGNORED:
            near = difflib.get_close_matches(name, FIELDS, 1, 0.6)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ApiError(f"{name!r} is not known.{hint}", name, "unknown_parameter")


def _get(body: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    """A field of one type; absent and null are the default, an integer is a float too."""
    value = body.get(name)
    if value is None:
        return default
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ApiError(f"{name} = {value!r} must be of type {kind.__name__}.", name, "invalid_type")
    return value


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ApiError(f"{name} = {value} must be from {low} to {high}.", name)


def _stop(body: Mapping[str, Any]) -> tuple[str, ...]:
    value = body.get("stop")
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(s, str) and s for s in stops):
        raise ApiError(f"stop = {value!r} must be a text or a list of texts.", "stop")
    if len(stops) > MAX_STOPS:
        raise ApiError(f"stop has {len(stops)} texts; at most {MAX_STOPS} are possible.", "stop")
    return tuple(stops)


def _messages(body: Mapping[str, Any], limits: Limits) -> tuple[Message, ...]:
    messages = _get(body, "messages", list, [])
    if not messages:
        raise ApiError("messages must be a list of at least one message.", "messages")
    return tuple(_message(m, f"messages[{i}]", limits) for i, m in enumerate(messages))


def _message(message: Any, where: str, limits: Limits) -> Message:
    if not isinstance(message, dict):
        raise ApiError(f"{where} must be an object with role and content.", where, "invalid_type")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise ApiError(f"{where}.role = {role!r} must be one of {', '.join(ROLES)}.", where)
    if isinstance(content, str):
        return Message(ROLES[role], (Text(content),))
    if not isinstance(content, list):
        raise ApiError(
            f"{where}.content must be a text or a list of parts.",
            f"{where}.content",
            "invalid_type",
        )
    parts = (_part(p, f"{where}.content[{i}]", limits) for i, p in enumerate(content))
    return Message(ROLES[role], tuple(parts))


def _part(part: Any, where: str, limits: Limits) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return Text(part["text"])
    if kind == "image_url":
        picture = part.get("image_url")
        url = picture.get("url") if isinstance(picture, dict) else picture
        if isinstance(url, str):
            return Image(_read(url, f"{where}.image_url", limits))
    raise ApiError(
        f"{where}: type {kind!r} must be 'text' with a text, or 'image_url' with a url.",
        where,
        "invalid_type",
    )


def _read(url: str, where: str, limits: Limits) -> bytes:
    """The file that a URL holds or names."""
    if url.startswith("data:"):
        head, comma, data = url.partition(",")
        if not comma or not head.endswith(";base64"):
            raise ApiError(f"{where} must be data:image/…;base64,… .", where, "invalid_image_url")
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ApiError(f"{where} is not base64: {error}.", where, "invalid_base64") from error
    if url.startswith(("http://", "https://")):
        raise ApiError(
            f"{where}: this server fetches nothing from the network; send the picture as a "
            "data: URL.",
            where,
            "invalid_image_url",
        )
    if not limits.allow_files:
        raise ApiError(
            f"{where}: files are not read unless the server runs with --allow_files; send the "
            "picture as a data: URL.",
            where,
            "invalid_image_url",
        )
    try:
        return Path(url.removeprefix("file://")).read_bytes()
    except OSError as error:
        raise ApiError(f"{where}: {error}.", where, "invalid_image_url") from error
