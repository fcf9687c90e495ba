"""How long a sound in a file lasts at most, before anybody has heard it.

A WAV file says it in its head. Of a compressed one only its size is known, and the least that any
speech coder in use takes for a second bounds it from above.
"""

from __future__ import annotations

import struct

from haneul.base.units import MILLION

LEAST_BYTES_PER_S = 1000  # 8 kbit/s: Opus and Speex at their least for speech that is understood
USUAL_BYTES_PER_S = 8000  # 64 kbit/s, where nothing else tells how long it lasts
HEAD_MAX_BYTES = 64 << 10  # in which a WAV file's format and length stand


def longest_us(data: bytes) -> int:
    """Microseconds; exact for a WAV file."""
    known = wav_us(data)
    return known if known is not None else len(data) * MILLION // LEAST_BYTES_PER_S


def wav_us(data: bytes) -> int | None:
    """Microseconds of a WAV file; None for what is none. Source: RIFF, chunks fmt and data."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    at, bytes_per_s = 12, 0
    while at + 8 <= min(len(data), HEAD_MAX_BYTES):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"fmt " and at + 20 <= len(data):
            (bytes_per_s,) = struct.unpack_from("<I", data, at + 16)
        if name == b"data":
            there = min(size, len(data) - at - 8)
            return there * MILLION // bytes_per_s if bytes_per_s else None
        at += 8 + size + size % 2
    return None
