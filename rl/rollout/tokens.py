"""What an engine has said, in little memory: ids, log-probabilities and versions of tokens."""

import base64
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

ID_TYPE = np.dtype("<i4")
LOGPROB_TYPE = np.dtype("<f4")


@dataclass(frozen=True)
class Tokens:
    """Tokens in order. Immutable; adding two continues the first by the second.

    Example:
        Tokens.of((5, 9), (-0.5, -0.25), (12, 13)).versions  # ((12, 1), (13, 1))

    Attributes:
        num: tokens.
        versions: runs of (policy version, tokens).
        id_bytes: int32 little-endian ids; b"" where only lengths matter (simulations).
        logprob_bytes: float32 little-endian, likewise: in the distribution they were drawn from.
        raw_bytes: float32 little-endian, in the policy's own distribution; b"" = the same.
    """

    num: int = 0
    versions: tuple[tuple[int, int], ...] = ()
    id_bytes: bytes = b""
    logprob_bytes: bytes = b""
    raw_bytes: bytes = b""

    @staticmethod
    def of(
        ids: Sequence[int],
        logprobs: Sequence[float],
        versions: Sequence[int],
        raw_logprobs: Sequence[float] | None = None,
    ) -> "Tokens":
        """From one number per token each; log-probabilities are rounded to float32.

        Raises:
            ValueError: they are not equally many, or a log-probability is not finite or above 0.
        """
        sizes = {len(ids), len(logprobs), len(versions), len(raw_logprobs or ids)}
        if len(sizes) > 1:
            raise ValueError(f"ids, logprobs and versions must be equally many, not {sizes}")
        drawn = _checked(logprobs)
        raw = drawn if raw_logprobs is None else _checked(raw_logprobs)
        runs = tuple((int(v), len(list(run))) for v, run in groupby(versions))
        data = np.asarray(ids, ID_TYPE).tobytes()
        return Tokens(len(ids), runs, data, drawn, b"" if raw == drawn else raw)

    @staticmethod
    def counted(num: int, version: int) -> "Tokens":
        """So many tokens of a version, of which nothing else is known."""
        return Tokens(num, ((version, num),) if num else ())

    def __add__(self, other: "Tokens") -> "Tokens":
        if not other.num:
            return self
        if not self.num:
            return other
        return Tokens(
            self.num + other.num,
            _joined(self.versions, other.versions),
            self.id_bytes + other.id_bytes,
            self.logprob_bytes + other.logprob_bytes,
            self._raw() + other._raw() if self.raw_bytes or other.raw_bytes else b"",
        )

    def after(self, num: int) -> "Tokens":
        """All but the first `num` tokens."""
        runs, skip = [], num
        for version, count in self.versions:
            if count > skip:
                runs.append((version, count - skip))
            skip = max(0, skip - count)
        data = (self.id_bytes, self.logprob_bytes, self.raw_bytes)
        return Tokens(max(0, self.num - num), tuple(runs), *(part[4 * num :] for part in data))

    @property
    def ids(self) -> tuple[int, ...]:
        """Of each token."""
        return tuple(np.frombuffer(self.id_bytes, ID_TYPE).tolist())

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Of each token, under the policy that drew it."""
        return tuple(np.frombuffer(self.logprob_bytes, LOGPROB_TYPE).tolist())

    @property
    def raw_logprobs(self) -> tuple[float, ...]:
        """Of each token, in the distribution of the policy that drew it before any filter."""
        return tuple(np.frombuffer(self._raw(), LOGPROB_TYPE).tolist())

    def _raw(self) -> bytes:
        return self.raw_bytes or self.logprob_bytes

    @property
    def token_versions(self) -> tuple[int, ...]:
        """Version of the policy that drew each token."""
        return tuple(version for version, count in self.versions for _ in range(count))

    def to_json(self) -> dict[str, Any]:
        """JSON: arrays as base64 of zlib."""
        return {
            "num": self.num,
            "versions": [list(run) for run in self.versions],
            "ids": _packed(self.id_bytes),
            "logprobs": _packed(self.logprob_bytes),
            "raw": _packed(self.raw_bytes),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Tokens":
        """The inverse of `to_json`."""
        return Tokens(
            value["num"],
            tuple((version, count) for version, count in value["versions"]),
            _unpacked(value["ids"]),
            _unpacked(value["logprobs"]),
            _unpacked(value["raw"]),
        )


def total(parts: Iterable[Tokens]) -> int:
    """How many tokens all of them are."""
    return sum(part.num for part in parts)


def _checked(logprobs: Sequence[float]) -> bytes:
    values = np.asarray(logprobs, LOGPROB_TYPE)
    if not (np.isfinite(values) & (values <= 1e-3)).all():
        raise ValueError("a log-probability is not finite, or above 0")
    return values.tobytes()


def _joined(first: tuple[tuple[int, int], ...], second: tuple[tuple[int, int], ...]):
    (version, count), (next_version, next_count) = first[-1], second[0]
    if version != next_version:
        return first + second
    return (*first[:-1], (version, count + next_count), *second[1:])


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 1)).decode() if data else ""


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text)) if text else b""
