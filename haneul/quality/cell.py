"""Runs a file that a model wrote, in a process of its own: `python -I -S cell.py FILE NETWORK`.

What the process may not do is taken from it before the file is run: seconds, memory, files and
processes by the kernel's limits, the network by a name space of its own where the kernel allows it,
and by the interpreter itself whatever reaches for sockets, processes, native code or files outside
its folder. It loads nothing of haneul. The word that says that all went well comes on standard
input and is said last, so that an early end is no success.
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import sys
from typing import Any

CPU_S = 5
MEMORY_BYTES = 512 << 20
FILE_BYTES = 1 << 20
FILES = 32
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
# What the interpreter tells before it does it (docs.python.org/3/library/audit_events.html).
REFUSED = (
    *("socket.", "ctypes.", "subprocess.", "pty.", "shutil.", "sqlite3.", "mmap.", "fcntl."),
    *("os.", "ftplib.", "http.client.", "imaplib.", "poplib.", "smtplib.", "urllib."),
    *("syslog.", "resource.", "signal.", "_posixsubprocess.", "sys.addaudithook", "code."),
)
HARMLESS = ("os.putenv", "os.unsetenv")
LOOKING = ("os.listdir", "os.scandir", "open")  # allowed in the library and the folder


def limit() -> None:
    """The kernel's bounds; they hold for all that is started as well."""
    for what, most in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def leave_network() -> bool:
    """A network of one's own with nothing in it; whether the kernel gave one."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return any(libc.unshare(flags) == 0 for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET))


def refuse_rest(folder: str) -> None:
    """From now on the interpreter refuses what no test needs; nothing takes that back."""
    here = os.path.realpath(folder)
    library = os.path.realpath(os.path.dirname(os.__file__))
    real, inside = os.path.realpath, (here + os.sep, library + os.sep)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in LOOKING:
            path = arguments[0]
            if isinstance(path, int):  # already open
                return
            mode = arguments[1] if event == "open" and arguments[1:] else "r"
            flags = arguments[2] if event == "open" and arguments[2:] else 0
            where = real(os.fsdecode(path)) + os.sep
            is_writing = any(sign in (mode or "") for sign in "wax+") or flags & 0o3
            if where.startswith(inside[:1] if is_writing else inside):
                return
            raise PermissionError(f"the sandbox refuses {event}")
        if event.startswith(REFUSED) and event not in HARMLESS:
            raise PermissionError(f"the sandbox refuses {event}")

    sys.addaudithook(hook)


def main() -> None:
    """Runs the file, then says the word."""
    file, wants_network_gone = sys.argv[1], sys.argv[2] == "unshare"
    word = sys.stdin.readline().strip()
    has_left = wants_network_gone and leave_network()
    print("apart" if has_left else "refused", flush=True)
    limit()
    sys.argv[:] = [file]
    refuse_rest(os.path.dirname(file))
    runpy.run_path(file, run_name="__main__")
    sys.stdout.flush()
    os.write(1, f"\n{word}\n".encode())


if __name__ == "__main__":
    main()
