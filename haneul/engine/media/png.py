"""PNG from pixels. Source: the PNG specification, third edition, 5 and 9."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = 2  # red, green, blue
SUB = 1  # the filter of every row: each byte less the one a pixel before it
LEVEL = 6


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The file of [height, width, 3] values from 0 to 255."""
    height, width, _ = pixels.shape
    rows = np.empty((height, 1 + width * 3), np.uint8)
    rows[:, 0] = SUB
    flat = pixels.reshape(height, width * 3)
    rows[:, 1:4] = flat[:, :3]
    rows[:, 4:] = flat[:, 3:] - flat[:, :-3]  # modulo 256, as it should be
    head = struct.pack(">IIBBBBB", width, height, 8, COLOURS, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), LEVEL)
    return SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
