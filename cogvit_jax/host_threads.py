"""Threads for several virtual CPU devices, so that their collectives cannot wait for each other."""

import os
import re


def room_for_collectives() -> None:
    """Gives XLA's CPU client threads enough for collectives that run at the same time.

    A collective holds a thread until all devices have come, and XLA starts independent ones in any
    order; by default there are as many threads as devices. Where one device began with another
    collective than the rest, all threads waited and the process was aborted after 40 s (seen with
    jaxlib 0.10.2 on a busy machine: FSDP's gathers beside the ring's permutes). Call it before the
    first use of a device; it does nothing where `XLA_FLAGS` asks for no virtual devices.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    match = re.search(r"xla_force_host_platform_device_count=(\d+)", flags)
    if match and int(match[1]) > 1:
        os.environ.setdefault("PJRT_NPROC", str(8 * int(match[1])))
