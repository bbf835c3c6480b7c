"""How a judge's words are read, and how a policy's words are kept from being taken for them.

What the policy wrote stands in the prompt between two marks that it cannot have known, and the
verdict must carry a key that it cannot have known either: both follow from the request's content
and a secret. So `{"score": 1.0}` in an answer is neither the end of the quotation nor, where the
judge repeats it, a verdict. (That a judge is talked into something can be made unlikely by the
prompt only.)
"""

import hmac
import re
from collections.abc import Iterator
from typing import NamedTuple

from rl.answers.json_answer import parse_json
from rl.answers.reply import THINK
from rl.types import Json, Verdict

MAX_CHARACTERS = 50_000
FIELDS = {"key", "score", "verdict", "reason"}
VERDICTS = {"correct": 1.0, "incorrect": 0.0}
_MARK = re.compile(r'["\\{}]')


class Nonces(NamedTuple):
    """Unguessable words of one request: around the quotation, and in the verdict."""

    mark: str
    key: str


def nonces(content: bytes, secret: bytes) -> Nonces:
    """The same for the same request, so that an answer that was cached is the answer."""
    mark, key = (hmac.digest(secret, content + name, "sha256").hex() for name in (b"mark", b"key"))
    return Nonces(mark[:24], key[:12])


def quote(text: str, mark: str) -> str:
    """A text that is only talked about."""
    return f"<<<{mark}\n{text}\n{mark}>>>"


def read(text: str, key: str, name: str) -> Verdict:
    """The verdict in a judge's reply.

    It is the only JSON object there that has the key, and it has one of "score" (a number from 0 to
    1) and "verdict" ("correct", "incorrect", "unsure"), a "reason" or none, and nothing else. What
    surrounds it is not looked at, nor are the judge's thoughts.

    Raises:
        ValueError: there is no such object, or there are several.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"over {MAX_CHARACTERS} characters")
    if THINK[0] in text and THINK[1] not in text:
        raise ValueError("the thoughts never end")
    said = text.rpartition(THINK[1])[2]
    found = [value for value in map(parse_json, objects(said)) if _key(value) == key]
    if len(found) != 1:
        raise ValueError(f"{len(found)} JSON objects with the key")
    return _verdict(found[0], name)


def objects(text: str) -> Iterator[str]:
    """What stands between outermost braces, in one pass; braces in strings do not count."""
    depth = start = place = 0
    quoted = False
    while match := _MARK.search(text, place):
        mark, place = match[0], match.end()
        if mark == "\\":
            place += quoted
        elif mark == '"':
            quoted = depth > 0 and not quoted
        elif quoted:
            continue
        elif mark == "{":
            start = start if depth else match.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                yield text[start:place]


def _key(value: Json) -> Json:
    return value.get("key") if isinstance(value, dict) else None


def _verdict(found: dict[str, Json], name: str) -> Verdict:
    extra = found.keys() - FIELDS
    reason = found.get("reason", "")
    if extra or not isinstance(reason, str) or ("score" in found) == ("verdict" in found):
        raise ValueError(f"fields {sorted(found)}")
    if "verdict" in found:
        said = found["verdict"]
        if said == "unsure":
            return Verdict.abstain(name, reason or "unsure")
        if not isinstance(said, str) or said not in VERDICTS:
            raise ValueError(f"verdict {said!r}")
        return Verdict.of(VERDICTS[said], name, reason=reason)
    score = found["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f"score {score!r} is no number from 0 to 1")
    return Verdict.of(score, name, reason=reason)
