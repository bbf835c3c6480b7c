"""The process in which `rl.rewards.sandbox` runs code that nobody trusts.

It uses Python's own modules alone. It shuts itself in before it is told any code: namespaces
without network and other processes, an empty folder as root, a user id of its own, resource limits,
and an audit hook. Where the system grants none of it, the hook alone refuses files, processes and
sockets. It then only answers calls: what they should give is known in another process.

A supervisor stays outside and kills everything within when the input ends.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import select
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any

HEADER = struct.Struct(">I")
CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
NAMESPACES = CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
FIRST_USER = 1_900_000  # beyond those of people and of most containers
MODULES = (  # what solutions may import
    *("abc", "array", "bisect", "calendar", "cmath", "collections", "collections.abc", "copy"),
    *("dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "heapq", "itertools"),
    *("json", "math", "numbers", "operator", "random", "re", "statistics", "string", "textwrap"),
    *("time", "typing", "unicodedata", "types", "contextlib", "__future__"),
)
# Audit events that no solution needs; a trailing dot stands for all that begin so.
REFUSED = (
    *("os.", "socket.", "subprocess.", "ctypes.", "shutil.", "tempfile.", "mmap.", "fcntl."),
    *("pty.", "urllib.", "gc.", "sys.settrace", "sys.setprofile", "sys.addaudithook"),
    *("code.__new__", "signal.", "resource.", "syslog.", "webbrowser.", "sqlite3.", "marshal."),
)
UNIMPORTABLE = ("ctypes", "_ctypes", "_posixsubprocess", "subprocess", "socket", "_socket", "mmap")


def main(folder: str, memory: int, seconds: int, number: int, walls: bool) -> None:
    """Shuts itself in and answers calls.

    Args:
        folder: an empty one, that the code sees as its working folder.
        memory: bytes of address space at most.
        seconds: of processor time at most.
        number: another for each process that runs at the same time.
        walls: False = the audit hook and limits alone.
    """
    requests, replies = os.dup(0), os.dup(1)
    separate = walls and _leave_namespaces()
    child = os.fork()
    if child:
        os.close(replies)
        _supervise(child, requests)
    for module in MODULES:
        importlib.import_module(module)
    for fd in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), fd)
    os.closerange(max(requests, replies) + 1, 256)
    os.chdir(folder)
    means = {"network": "namespace" if separate else "hook", "files": "hook", "processes": "hook"}
    if walls:
        means |= _shut_in(folder, FIRST_USER + number % 1_000_000)
    os.environ.clear()
    _limit(memory, seconds)
    _send(replies, {"id": None, "kind": "ready", "means": means})
    for name in [name for name in sys.modules if name.partition(".")[0] in UNIMPORTABLE]:
        del sys.modules[name]
    del globals()["ctypes"]
    sys.addaudithook(_guard(os.path.dirname(os.__file__)))
    _serve(requests, replies)


def _leave_namespaces() -> bool:
    """Whether this process's children have no network and see no other processes."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if os.geteuid() == 0 and libc.unshare(NAMESPACES) == 0:
            return True
        user, group = os.geteuid(), os.getegid()
        if libc.unshare(CLONE_NEWUSER | NAMESPACES):
            return False
        for name, line in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", "")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line or f"0 {group} 1")
        return True
    except (OSError, AttributeError):
        return False


def _supervise(child: int, requests: int) -> None:
    """Ends when the child does, and kills it when the input ends."""
    poll = select.poll()
    poll.register(requests, 0)
    handle = os.pidfd_open(child) if hasattr(os, "pidfd_open") else -1
    if handle >= 0:
        poll.register(handle, select.POLLIN)
    while True:
        happened = dict(poll.poll(None if handle >= 0 else 50))
        if requests in happened:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os._exit(0)
        if os.waitpid(child, os.WNOHANG)[0]:
            os._exit(0)


def _shut_in(folder: str, user: int) -> dict[str, str]:
    """Takes files and privileges away; says which by other means than the hook."""
    means = {}
    with contextlib.suppress(OSError):
        os.chroot(folder)
        os.chdir("/")
        means["files"] = "root"
    with contextlib.suppress(OSError):
        os.setgroups([])
    with contextlib.suppress(OSError):
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        means["processes"] = "limit"  # those of that user; root has no limit
    _drop_capabilities()
    return means


def _drop_capabilities() -> None:
    """Without them, and no way to get them back."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        libc.capset(header, (ctypes.c_uint32 * 6)())


def _limit(memory: int, seconds: int) -> None:
    """Resource limits; a hard one that is lower already stays."""
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 16,
        resource.RLIMIT_NPROC: 1,
        resource.RLIMIT_CORE: 0,
    }
    for which, most in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (most, most))


def _guard(stdlib: str) -> Callable[[str, tuple[Any, ...]], None]:
    """A hook that refuses events; it uses no global name, which the code could replace."""
    prefixes = tuple(event for event in REFUSED if event.endswith("."))
    whole = frozenset(REFUSED)
    names = frozenset(UNIMPORTABLE)
    problem, kind, beneath = PermissionError, str, stdlib + "/"

    def refuse(event: str, details: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode = details[0], details[1]
            inside = path.__class__ is kind and path.startswith(beneath) and ".." not in path
            if not inside or not (mode is None or mode == "r" or mode == "rb"):
                raise problem("files cannot be opened here")
        elif event == "import":
            if details[0] in names:
                raise problem("this module cannot be used here")
        elif event == "marshal.loads" or event == "os.listdir":  # as the import of modules does
            path = details[0]
            if event == "os.listdir" and not (path.__class__ is kind and path.startswith(stdlib)):
                raise problem("files cannot be seen here")
        elif event in whole or event.startswith(prefixes):
            raise problem("this cannot be done here")

    return refuse


def _serve(requests: int, replies: int) -> None:
    space: dict[str, Any] = {"__name__": "solution"}
    while True:
        request = _receive(requests)
        try:
            if "code" in request:
                exec(compile(request["code"], "solution.py", "exec"), space)
                value = True
            else:
                value = space[request["function"]](*request["args"])
            reply = {"id": request["id"], "kind": "value", "value": value}
            body = json.dumps(reply, allow_nan=False).encode()
        except BaseException as problem:
            reason = f"{type(problem).__name__}: {str(problem)[:200]}"
            body = json.dumps({"id": request["id"], "kind": "error", "reason": reason}).encode()
        _write(replies, body)


def _receive(fd: int) -> dict[str, Any]:
    (size,) = HEADER.unpack(_read(fd, HEADER.size))
    return json.loads(_read(fd, size))


def _read(fd: int, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        some = os.read(fd, min(size - len(found), 1 << 20))
        if not some:
            os._exit(0)
        found += some
    return bytes(found)


def _send(fd: int, reply: dict[str, Any]) -> None:
    _write(fd, json.dumps(reply).encode())


def _write(fd: int, body: bytes) -> None:
    left = memoryview(HEADER.pack(len(body)) + body)
    while left:
        left = left[os.write(fd, left) :]


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]), walls=sys.argv[5] == "walls")
