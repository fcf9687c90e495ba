"""What this machine's own measurements taught its forecasts, by the kind of engine and figure.

A model's tuned setup may run on another kernel than the default, twice as fast: what was measured
of one kernel says little of another, so each has corrections of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from haneul.chips.calibrate import Correction, calibrate, refine
from haneul.chips.estimate import Estimate

DEFAULT = "default"  # the engine as it starts where nothing was chosen for a model
PREFILL, DECODE, CAPACITY = "prefill", "decode", "capacity"


class Learned(Struct, frozen=True):
    """Corrections by kernel, then by kind: prefill, decode (one stream), capacity (several)."""

    by_kernel: dict[str, dict[str, Correction]] = {}
    calibration: str | None = None  # the id of the calibration they are from; None: of no one

    def of(self, engine_version: str = "") -> Mapping[str, Correction]:
        """Those of an engine's kernel; of the default, where its own was never measured."""
        own = self.by_kernel.get(kernel_of(engine_version))
        return own if own is not None else self.by_kernel.get(DEFAULT, {})

    def decode(self, speed: Estimate, *, streams: int, engine_version: str = "") -> Estimate:
        """The speed of so many streams, corrected."""
        kind = DECODE if streams == 1 else CAPACITY
        return refine(speed, self.of(engine_version).get(kind))

    def prefill(self, speed: Estimate, *, engine_version: str = "") -> Estimate:
        """The speed of reading prompts, corrected."""
        return refine(speed, self.of(engine_version).get(PREFILL))


def learn(pairs: Mapping[tuple[str, str], Sequence[tuple[Estimate, float]]]) -> Learned:
    """Corrections from uncorrected forecasts and what was measured, by kernel and kind."""
    found: dict[str, dict[str, Correction]] = {}
    for (kernel, kind), known in pairs.items():
        if (correction := calibrate(known)) is not None:
            found.setdefault(kernel, {})[kind] = correction
    return Learned(found)


def kernel_of(engine_version: str) -> str:
    """The kernel in 'xllamacpp 1.2 (openvino, 2 threads)'; DEFAULT where no setup was chosen."""
    _, _, setup = engine_version.partition(" (")
    if not setup:
        return DEFAULT
    words = [word.strip() for word in setup.rstrip(")").split(";")[0].split(",")]
    kernel = DEFAULT if words[0] == "auto" else words[0]
    return f"{kernel}, native build" if "native build" in words else kernel
