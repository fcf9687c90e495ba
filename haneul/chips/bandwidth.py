"""Memory bandwidth, measured: threads that read buffers too large for a core's own caches.

memchr of the C library looks for a byte that is not there, which reads every cache line once and
writes none, as decoding a token does; ctypes lets go of the interpreter lock meanwhile. Where
there is no such library a copy is timed instead, whose reads and writes both count. On a machine of
two cores with five others at work this says 17-19 GB/s where bytes over all the time say 2.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import time
from collections.abc import Callable
from statistics import median

from haneul.chips.estimate import Estimate

BUFFER_BYTES = 160 << 20  # of one thread: above its share of a large last-level cache
LEAST_BYTES = 32 << 20  # of one thread: above the 1-4 MiB that one core caches for itself
TOTAL_BYTES = 1 << 30  # of all threads
STRIDE_BYTES = 4 << 20  # read between two looks at the clock
RUN_SPREAD = 1.25  # between repeated runs on a shared machine, as seen on two virtual ones

Read = Callable[[int, int], object]


def measure_bandwidth(
    threads: int, *, seconds: float = 0.15, free_bytes: int | None = None
) -> Estimate:
    """Bytes per second that so many threads read from memory together.

    Takes about twice the seconds and at most an eighth of free_bytes: first the buffers get their
    pages, as many as the time allows (a virtual machine may have to ask its host for each), then
    they are read for that long.
    """
    total = min(TOTAL_BYTES, (free_bytes or TOTAL_BYTES) // 8)
    size = _strides(min(BUFFER_BYTES, total // threads))
    read, how = _reader()
    filled = threading.Barrier(threads)
    rates = [0.0] * threads

    def work(index: int) -> None:
        buffer = mmap.mmap(-1, size)
        holder = ctypes.c_char.from_buffer(buffer)
        start = ctypes.addressof(holder)
        usable = _fill(start, size, seconds)
        filled.wait()
        rates[index] = _rate(read, start, usable, seconds)
        del holder
        buffer.close()

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    mid = sum(rates)
    return Estimate(
        low=mid / RUN_SPREAD,
        mid=mid,
        high=mid * RUN_SPREAD,
        unit="B/s",
        source=f"measured here: {how}, {threads} thread{'s' * (threads > 1)}",
    )


def _strides(size: int) -> int:
    return max(STRIDE_BYTES, size - size % STRIDE_BYTES)


def _fill(start: int, size: int, seconds: float) -> int:
    """Gives the buffer real pages, not one shared page of zeros; how much of it in that time."""
    until = time.perf_counter() + seconds
    done = 0
    while done < size and (done < LEAST_BYTES or time.perf_counter() < until):
        ctypes.memset(start + done, 0, STRIDE_BYTES)
        done += STRIDE_BYTES
    return done


def _rate(read: Read, start: int, size: int, seconds: float) -> float:
    """By the middle one of all strides: those in which somebody else had the core do not count."""
    began = now = time.perf_counter()
    took: list[float] = []
    offset = 0
    while now < began + seconds:
        read(start + offset, STRIDE_BYTES)
        offset = (offset + STRIDE_BYTES) % size
        before, now = now, time.perf_counter()
        took.append(now - before)
    return STRIDE_BYTES / median(took)


def _reader() -> tuple[Read, str]:
    try:
        memchr = ctypes.CDLL(None).memchr
    except (OSError, AttributeError, TypeError):
        return _copy, "copying memory"
    memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    memchr.restype = ctypes.c_void_p

    def scan(start: int, size: int) -> object:
        return memchr(start, 1, size)

    return scan, "reading memory"


def _copy(start: int, size: int) -> None:
    half = size // 2
    ctypes.memmove(start, start + half, half)
