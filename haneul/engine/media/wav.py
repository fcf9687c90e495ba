"""WAV: what a head says of its sound. The samples behind it: haneul.engine.media.samples.

Read here, not by the standard library's `wave`, which knows neither floats nor the extensible form
that recorders write. Source of the layouts: Microsoft's RIFF and mmreg.h.
"""

from __future__ import annotations

import struct

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.errors import BadRequest, UnsupportedValue

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
RATES_HZ = (4_000, 192_000)  # least and most
CHANNELS_MAX = 8
OTHERS = {  # how other containers begin -> their name
    b"ID3": "MP3",
    b"\xff\xfb": "MP3",
    b"\xff\xf3": "MP3",
    b"\xff\xf2": "MP3",
    b"\xff\xf1": "AAC",
    b"\xff\xf9": "AAC",
    b"OggS": "Ogg",
    b"fLaC": "FLAC",
    b"\x1a\x45\xdf\xa3": "WebM",
    b"FORM": "AIFF",
    b"RF64": "RF64",
}
CONVERT = "Convert it to 16-bit PCM WAV, for example: ffmpeg -i INPUT -ar 16000 -ac 1 OUTPUT.wav"


class Wav(Struct, frozen=True, kw_only=True):
    """Where the samples lie in a file, and how to read them."""

    rate_hz: int
    channels: int
    is_float: bool
    sample_bytes: int
    begin: int  # of the samples, in bytes
    frames: int  # samples of one channel

    @property
    def duration_ms(self) -> int:
        """Milliseconds of sound, a begun one counted whole."""
        return -(-self.frames * 1000 // self.rate_hz)


def read_head(data: bytes, *, param: str) -> Wav:
    """What the file says of itself; costs nothing. Raises BadRequest, UnsupportedValue."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise _other(data, param)
    form: Wav | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8
        if name == b"fmt " and form is None:
            form = _form(data[at : at + size], param)
        elif name == b"data":
            if form is None:
                break
            there = min(size, len(data) - at)  # a streamed file says 0xffffffff
            frames = there // (form.sample_bytes * form.channels)
            return replace(form, begin=at, frames=frames)
        at += size + size % 2
    raise BadRequest("The WAV file has no samples.", param=param)


def _form(data: bytes, param: str) -> Wav:
    if len(data) < 16:
        raise BadRequest("The WAV file is cut.", param=param)
    kind, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", data[:16])
    if kind == EXTENSIBLE and len(data) >= 26:
        kind = int.from_bytes(data[24:26], "little")  # the first two bytes of the sub-format
    if kind not in (PCM, FLOAT) or bits not in ((32, 64) if kind == FLOAT else (8, 16, 24, 32)):
        raise UnsupportedValue(
            f"WAV of coding {kind} with {bits} bits is not read here. {CONVERT}", param=param
        )
    if not 1 <= channels <= CHANNELS_MAX:
        raise UnsupportedValue(f"A WAV file may have 1 to {CHANNELS_MAX} channels.", param=param)
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise UnsupportedValue(
            f"{rate_hz} samples per second; from {RATES_HZ[0]} to {RATES_HZ[1]} are read.",
            param=param,
        )
    return Wav(
        rate_hz=rate_hz,
        channels=channels,
        is_float=kind == FLOAT,
        sample_bytes=bits // 8,
        begin=0,
        frames=0,
    )


def _other(data: bytes, param: str) -> UnsupportedValue:
    name = next((told for begin, told in OTHERS.items() if data.startswith(begin)), None)
    if name is None and data[4:8] == b"ftyp":
        name = "MP4"
    told = f"A sound in {name} is not read here." if name else "The file is no WAV."
    return UnsupportedValue(f"{told} {CONVERT}", param=param)
