"""Another sampling rate, without what would fold back: a windowed sinc, computed phase by phase.

The ratio of two whole rates is up/down in lowest terms; output sample n lies at input place
n·down/up, so there are only `up` different sets of coefficients. Kaiser's window with beta 12
keeps what lies beyond the narrower band more than 100 dB down.
Source: Oppenheim and Schafer, Discrete-Time Signal Processing, 7.5 and 4.6.
"""

from __future__ import annotations

import math

import numpy as np

from haneul.engine.media.samples import Samples

ZEROS = 32  # zero crossings of the sinc on each side
BETA = 12.0
PASSBAND = 0.92  # of the narrower half band: the rest is the filter's slope
BLOCK = 1 << 16  # output samples of one phase at a time, to bound memory


def resampled(mono: Samples, from_hz: int, to_hz: int) -> Samples:
    """The same sound at another rate: ceil(length · to / from) samples."""
    if from_hz == to_hz or not len(mono):
        return mono
    common = math.gcd(from_hz, to_hz)
    up, down = to_hz // common, from_hz // common
    cutoff = PASSBAND * min(1.0, to_hz / from_hz)  # of the input's half band
    reach = math.ceil(ZEROS / cutoff)
    padded = np.pad(mono, reach + 1).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 2)
    out = np.empty(-(-len(mono) * up // down), np.float32)
    for phase in range(min(up, len(out))):
        whole, rest = divmod(phase * down, up)
        weights = _weights(rest / up, cutoff, reach)
        count = -(-(len(out) - phase) // up)
        for begin in range(0, count, BLOCK):
            end = min(count, begin + BLOCK)
            first = whole + 1 + begin * down
            rows = windows[first : first + (end - begin - 1) * down + 1 : down]
            out[phase + begin * up : phase + (end - 1) * up + 1 : up] = rows @ weights
    return out


def _weights(offset: float, cutoff: float, reach: int) -> Samples:
    """Coefficients for a place `offset` samples behind the middle; their sum is 1."""
    places = np.arange(-reach, reach + 2) - offset
    inside = np.clip(1 - (places / (reach + 1)) ** 2, 0, None)
    weights = np.sinc(places * cutoff) * np.i0(BETA * np.sqrt(inside)) / np.i0(BETA)
    return np.asarray(weights / weights.sum(), np.float32)
