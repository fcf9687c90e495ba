"""Takes the network away from this process, for good (Linux, x86-64 and AArch64).

A filter of system calls lets `socket` make Unix sockets only; connections that are open stay.
Source: linux/seccomp.h, linux/filter.h, linux/audit.h.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
LOAD, RETURN = 0x20, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_RET|BPF_K
EQUAL, AT_LEAST = 0x15, 0x35  # BPF_JMP|BPF_JEQ|BPF_K, BPF_JMP|BPF_JGE|BPF_K
X32_BIT = 0x40000000  # calls of x86-64's other ABI have it in their number
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT = 0, 4, 16  # of struct seccomp_data
# machine -> its number for the audit, and those of socket and io_uring_setup
CALLS = {"x86_64": (0xC000003E, 41, 425), "aarch64": (0xC00000B7, 198, 425)}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def cut_network() -> bool:
    """Whether the process can reach no network from now on; before any thread is started."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in CALLS:
        return False
    code = _filter(*CALLS[machine])
    program = _Program(len(code) // 8, code)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return bool(prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _filter(architecture: int, make_socket: int, make_ring: int) -> bytes:
    refuse = ERRNO | errno.EPERM
    steps = [  # code, jump if so, jump if not, value
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (EQUAL, 0, 7, architecture),  # another ABI's calls are refused
        (LOAD, 0, 0, NUMBER_AT),
        (AT_LEAST, 5, 0, X32_BIT),
        (EQUAL, 4, 0, make_ring),  # a ring makes sockets past this filter
        (EQUAL, 0, 2, make_socket),
        (LOAD, 0, 0, FIRST_ARGUMENT_AT),
        (EQUAL, 0, 1, socket.AF_UNIX),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, refuse),
    ]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)
