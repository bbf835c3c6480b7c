"""Publishing and loading a version of the weights, by what carries it, in one run.

    python -m benchmarks.rl_weights [--megabytes=256] [--json=FILE]

A tree like a decoder's, split over eight devices as FSDP does, is published and loaded onto one
device. Seconds are of this machine; what can be compared are the columns of one run.
"""

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from rich.console import Console
from rich.table import Table

from rl.weights import Publisher, WeightSettings
from rl.weights_load import Subscriber
from rl.weights_store import Store, folder_store, memory_store
from rl.weights_tcp import serve, tcp_store

REPEATS = 4


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--json", help="write the rows to this file too")
    args = parser.parse_args()
    params = make_params(args.megabytes)
    rows = [
        measure(kind, dtype, params)
        for dtype in ("float32", "bfloat16")
        for kind in ("memory", "folder", "tcp")
    ]
    table = Table(*rows[0], title=f"{args.megabytes} MB of float32, 8 devices to 1")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=160).print(table)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"status": "measured", "rows": rows}, file, indent=1)


def make_params(megabytes: int) -> dict[str, Any]:
    """Matrices of 4 MB, each split by rows over all devices."""
    mesh = Mesh(np.asarray(jax.devices()), ("fsdp",))
    rows = NamedSharding(mesh, PartitionSpec("fsdp"))
    make = np.random.default_rng(0)
    return {
        f"layer{i}": jax.device_put(make.random((1024, 1024), np.float32), rows)
        for i in range(megabytes // 4)
    }


@contextlib.contextmanager
def stores(kind: str) -> Iterator[tuple[Store, Store]]:
    """(to publish to, to load from)."""
    memory = memory_store()
    if kind == "memory":
        yield memory, memory
    elif kind == "folder":
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            yield folder_store(folder), folder_store(folder)
    else:
        with serve(memory) as (host, port), tcp_store(host, port) as remote:
            yield memory, remote


def measure(kind: str, dtype: str, params: dict[str, Any]) -> dict[str, Any]:
    """The least seconds of several versions, each part for itself; the first one compiles."""
    called, published, loaded = [], [], []
    with stores(kind) as (store, remote):
        publisher, subscriber = Publisher(store, WeightSettings(dtype)), Subscriber(remote)
        for version in range(1 + REPEATS):
            began = time.perf_counter()
            handle = publisher.publish(version, params)
            called.append(time.perf_counter() - began)
            published.append(handle.result())
            loaded.append(subscriber.load(version, SingleDeviceSharding(jax.devices()[0])))
        publisher.close()
        subscriber.close()
    assert loaded[0].num_bytes == published[0].num_bytes
    return {
        "store": kind,
        "type": dtype,
        "MB": round(published[0].num_bytes / 1e6),
        "publish() returns, s": round(min(called[1:]), 3),
        "from devices, s": round(min(x.fetch_seconds for x in published[1:]), 3),
        "checksums and writing, s": round(min(x.write_seconds for x in published[1:]), 3),
        "reading and checksums, s": round(min(x.read_seconds for x in loaded[1:]), 3),
        "to the device, s": round(min(x.place_seconds for x in loaded[1:]), 3),
    }


if __name__ == "__main__":
    main()
