"""The samples of a WAV file as one channel of floats, and a file from such a channel."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from haneul.base.errors import BadRequest
from haneul.engine.media.wav import PCM, Wav

Samples = npt.NDArray[np.float32]


def samples(data: bytes, wav: Wav) -> Samples:
    """One channel from -1 to 1: the mean of all. Raises BadRequest for floats that are none."""
    count = wav.frames * wav.channels
    part = memoryview(data)[wav.begin : wav.begin + count * wav.sample_bytes]
    flat = _floats(part, wav) if wav.is_float else _integers(part, wav)
    mono: Samples = flat.reshape(-1, wav.channels).mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise BadRequest("The sound has samples that are no numbers.", param="file")
    return np.clip(mono, -1.0, 1.0, out=mono)


def written(mono: Samples, rate_hz: int) -> bytes:
    """A WAV file of one channel in 16 bits."""
    body = pcm16(mono)
    form = struct.pack("<HHIIHH", PCM, 1, rate_hz, rate_hz * 2, 2, 16)
    head = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    head += b"data" + struct.pack("<I", len(body))
    return b"RIFF" + struct.pack("<I", len(head) + len(body)) + head + body


def pcm16(mono: Samples) -> bytes:
    """16 bits a sample, little-endian, without a head."""
    return np.round(np.clip(mono, -1.0, 1.0) * 32767).astype("<i2").tobytes()


def _floats(part: memoryview, wav: Wav) -> Samples:
    # A double beyond a float's range becomes infinite, which is refused above.
    with np.errstate(over="ignore"):
        floats = np.frombuffer(part, np.dtype(f"<f{wav.sample_bytes}"))
        return floats.astype(np.float32)


def _integers(part: memoryview, wav: Wav) -> Samples:
    if wav.sample_bytes == 1:  # the only unsigned one
        return (np.frombuffer(part, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(
            128
        )
    if wav.sample_bytes == 3:
        three = np.frombuffer(part, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(three), 4), np.uint8)
        wide[:, 1:] = three
        return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    whole = np.frombuffer(part, np.dtype(f"<i{wav.sample_bytes}")).astype(np.float32)
    return whole / np.float32(2 ** (8 * wav.sample_bytes - 1))
