"""Runs a file that a model wrote, in a process of its own: `python -I -S cell.py FILE NETWORK`.

What the process may not do is taken from it before the file is run. The kernel's walls hold
whatever the interpreter is made to do: seconds, memory, processes, the network, and on Linux with
Landlock and seccomp also files elsewhere, other programs and signals. The interpreter's own
refusals come before them and say why; they alone are no wall. It loads nothing of haneul. The word
that says that all went well comes on standard input and is said last, so that an early end is no
success; a program that is out to read it from its own interpreter's memory can.
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import struct
import sys
import types
from typing import Any

CPU_S = 5
MEMORY_BYTES = 512 << 20
FILE_BYTES = 1 << 20
FILES = 32
WRITES = 64  # opened for writing, over its life: with FILE_BYTES the sum of what it leaves
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38  # linux/prctl.h
CAPABILITIES_V3 = 0x20080522  # linux/capability.h
LANDLOCK = 444  # create a set of rules, 445 add one, 446 hold oneself to them; on every machine
LOOK, LOOK_AT_FILE = 0x4 | 0x8, 0x4  # linux/landlock.h: read a file, list a folder
WORK = LOOK | 0x2 | 0x20 | 0x100 | 0x4000  # and write, remove, make, cut short a file
# Where the shared libraries lie that the interpreter's library loads; nobody's secrets.
COMMON = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
COMMON_FILES = ("/etc/ld.so.cache", "/dev/null", "/dev/urandom")
# The machine's number in linux/audit.h, and the calls that no test needs: processes and programs,
# signals, sockets, bounds, owners and rights of files, name spaces, other processes' memory.
CALLS = {
    "x86_64": (
        0xC000003E,
        (*(56, 57, 58, 435, 59, 322, 109, 112), *(62, 200, 234, 129, 297, 424, 434, 438)),
        (*(41, 53, 425, 160, 302, 133, 259), *(90, 91, 92, 93, 94, 260, 268, 452)),
        (*(132, 235, 261, 280, 188, 189, 190, 197, 198, 199), *(272, 308, 165, 161, 101)),
        (*(310, 311, 321, 298, 323, 248, 249, 250, 304), *(29, 64, 68, 240)),
    ),
    "aarch64": (
        0xC00000B7,
        (*(220, 435, 221, 281, 154, 157), *(129, 130, 131, 138, 240, 424, 434, 438)),
        (*(198, 199, 425, 164, 261, 33), *(52, 53, 54, 55, 452)),
        (*(88, 5, 6, 7, 14, 15, 16), *(97, 268, 40, 51, 117)),
        (*(270, 271, 280, 241, 282, 217, 218, 219, 265), *(194, 190, 186, 180)),
    ),
}
# What the interpreter tells before it does it (docs.python.org/3/library/audit_events.html).
REFUSED = (
    *("socket.", "ctypes.", "subprocess.", "pty.", "shutil.", "sqlite3.", "mmap.", "fcntl."),
    *("os.", "ftplib.", "http.client.", "imaplib.", "poplib.", "smtplib.", "urllib.", "gc."),
    *("syslog.", "resource.", "signal.", "_posixsubprocess.", "sys.addaudithook", "code."),
    *("sys.settrace", "sys.setprofile", "sys.monitoring", "sys._current_"),
)
HARMLESS = ("os.putenv", "os.unsetenv")
LOOKING = ("os.listdir", "os.scandir", "open")  # allowed in the library and the folder
NATIVE = ("_posixsubprocess", "_multiprocessing", "_ctypes", "ctypes")  # tell nothing of some acts
FRAMES = ("tb_frame", "gi_frame", "cr_frame", "ag_frame")  # ways to what the caller knows


class Hidden(RuntimeError, ValueError):
    """A frame is not shown; the library takes both for an answer and goes on without."""


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


def library() -> str:
    """The folder of the interpreter's library."""
    return os.path.realpath(os.path.dirname(os.__file__))


def leave_network(libc: Any) -> bool:
    """A network of one's own with nothing in it; whether the kernel gave one."""
    return any(libc.unshare(flags) == 0 for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET))


def leave_files(libc: Any, folder: str) -> bool:
    """Landlock: files of the folder, and of the library to read; whether the kernel holds it."""
    version = libc.syscall(LANDLOCK, None, 0, 1)
    if version < 3:  # before it, a file could be cut short
        return False
    rules = libc.syscall(LANDLOCK, struct.pack("Q", 0x7FFF), 8, 0)
    looked = [(path, LOOK) for path in (library(), sys.base_prefix + "/lib", *COMMON)]
    looked += [(path, LOOK_AT_FILE) for path in COMMON_FILES]
    for path, allowed in ((folder, WORK), *looked):
        if os.path.exists(path):
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
            libc.syscall(LANDLOCK + 1, rules, 1, struct.pack("=Qi", allowed, beneath), 0)
            os.close(beneath)
    is_held = bool(libc.syscall(LANDLOCK + 2, rules, 0) == 0)
    os.close(rules)
    return is_held


def leave_calls(libc: Any) -> bool:
    """Seccomp: the kernel answers EPERM to CALLS, for good; whether it holds that."""
    if os.uname().machine not in CALLS:
        return False
    machine, *groups = CALLS[os.uname().machine]
    calls = [call for group in groups for call in group]
    refuse_at = len(calls) + 5
    steps = [(0x20, 0, 0, 4), (0x15, 0, refuse_at - 2, machine), (0x20, 0, 0, 0)]
    steps += [(0x35, refuse_at - 4, 0, 0x40000000)]  # x32, another name for every call
    steps += [(0x15, refuse_at - at - 1, 0, call) for at, call in enumerate(calls, 4)]
    steps += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050001)]  # allow; EPERM
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    held = struct.pack("HP", len(steps), ctypes.addressof(program))
    return bool(libc.prctl(PR_SET_SECCOMP, 2, held, 0, 0) == 0)


def leave(folder: str, *, is_network_left: bool) -> tuple[bool, bool]:
    """Whether the network, and whether all else that the kernel can hold, is out of reach now."""
    if sys.platform != "linux":
        limit()
        return False, False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    is_apart = is_network_left and leave_network(libc)
    limit()
    are_files_left = leave_files(libc, folder)
    libc.capset(struct.pack("Ii", CAPABILITIES_V3, 0), bytes(24))  # root is no more than a user
    return is_apart, leave_calls(libc) and are_files_left


def forget_native() -> None:
    """No module is left in memory that reaches past the interpreter; the hook loads none."""
    for name in [each for each in sys.modules if each.partition(".")[0] in NATIVE]:
        del sys.modules[name]
    globals().pop("ctypes", None)
    # `import subprocess`, by itself, does nobody harm
    sys.modules["_posixsubprocess"] = stand_in = types.ModuleType("_posixsubprocess")
    stand_in.__dict__["fork_exec"] = no_program


def no_program(*_arguments: object) -> None:
    """In place of the library's way to start a program."""
    raise PermissionError("the sandbox refuses fork_exec")


def refuse_rest(folder: str) -> None:
    """From now on the interpreter refuses what no test needs.

    The hook looks nothing up by a name that the program could give to something else, and takes
    only exact types, of which no method can be replaced.
    """
    here, roots = os.path.realpath(folder) + "/", (os.path.dirname(os.__file__) + "/",)
    inside = (here, *roots, library() + "/")
    looking, refused, harmless, native, frames = LOOKING, REFUSED, HARMLESS, NATIVE, FRAMES
    kind, text, raw, number, nothing = type, str, bytes, int, type(None)
    forbidden, hidden, following, writes = PermissionError, Hidden, next, iter(range(WRITES))

    def place(path: Any) -> str:
        if kind(path) is raw:
            path = path.decode("utf-8", "surrogateescape")
        if kind(path) is nothing:
            path = ""
        if kind(path) is not text:
            raise forbidden("the sandbox refuses a path that is no text")
        full = (path if path.startswith("/") else here + path) + "/"
        if "/../" in full:
            raise forbidden("the sandbox refuses a path with ..")
        return full  # type: ignore[no-any-return]

    def look(event: str, path: Any, mode: Any = "r", flags: Any = 0) -> None:
        if event == "open" and kind(path) is number:  # already open
            return
        full, is_plain = place(path), kind(mode) is nothing
        if kind(flags) is not number or kind(mode) not in (text, nothing):
            raise forbidden("the sandbox refuses open")
        is_writing = is_plain or flags & 0o3103  # write, create, cut short (O_ACCMODE and so on)
        if not is_writing and mode is not None:
            is_writing = "w" in mode or "a" in mode or "x" in mode or "+" in mode
        if not full.startswith(here if is_writing else inside):
            raise forbidden(f"the sandbox refuses {event}")
        # A folder that is open is a way round this: os.open only writes.
        if is_plain and not flags & 0o3:
            raise forbidden("the sandbox refuses os.open of what is only read")
        if is_writing and following(writes, None) is None:
            raise forbidden("the sandbox refuses so many files")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in looking:
            look(event, *arguments)
        elif event == "import" and arguments[0].rpartition(".")[2] in native:
            raise forbidden(f"the sandbox refuses {event} of native code")
        elif event == "sys._getframe" or (event == "object.__getattr__" and arguments[1] in frames):
            raise hidden("the sandbox shows no frames")
        elif event.startswith(refused) and event not in harmless:
            raise forbidden(f"the sandbox refuses {event}")

    sys.addaudithook(hook)


def main() -> None:
    """Runs the file, then says the word."""
    file, is_network_left = sys.argv[1], sys.argv[2] == "unshare"
    word = os.read(0, 64).strip()  # not through sys.stdin, which would keep it
    folder = os.path.dirname(file)
    is_apart, _ = leave(folder, is_network_left=is_network_left)
    print("apart" if is_apart else "refused", flush=True)
    sys.argv[:] = [file]
    forget_native()
    refuse_rest(folder)
    runpy.run_path(file, run_name="answer")
    sys.stdout.flush()
    os.write(1, b"\n" + word + b"\n")


if __name__ == "__main__":
    main()
