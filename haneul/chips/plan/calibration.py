"""Efficiencies and corrections as `haneul plan calibrate` fitted them, and how they are asked."""

from __future__ import annotations

from importlib.resources import files

import msgspec
from msgspec import Struct

from haneul.chips.plan.residual import Corrector, Residual, Traits
from haneul.chips.plan.step import Efficiency

UNFITTED = 0.45  # standard deviation of the logarithm: what physics alone was off by


class Calibration(Struct, frozen=True, kw_only=True):
    """What a fit leaves behind; from how many rows, and on which day."""

    efficiency: Efficiency
    speed: Residual | None = None
    ttft: Residual | None = None
    rows: int = 0
    dated: str = ""


class Planner:
    """A calibration made ready: efficiencies, and corrections as (logarithm, deviation)."""

    def __init__(self, calibration: Calibration) -> None:
        self.efficiency = calibration.efficiency
        self.source = (
            f"roofline fitted to {calibration.rows} published rows ({calibration.dated})"
            if calibration.rows
            else "roofline with a priori efficiencies"
        )
        self._speed = Corrector(calibration.speed) if calibration.speed else None
        self._ttft = Corrector(calibration.ttft) if calibration.ttft else None

    def speed(self, asked: tuple[Traits, ...]) -> list[float]:
        """For each, the logarithm by which throughput is corrected."""
        return _mean(self._speed, asked)

    def ttft(self, asked: tuple[Traits, ...]) -> list[float]:
        """For each, the logarithm by which TTFT is corrected."""
        return _mean(self._ttft, asked)

    def deviations(self, asked: Traits) -> tuple[float, float]:
        """Standard deviations of the logarithms of throughput and of TTFT."""
        return _deviation(self._speed, asked), _deviation(self._ttft, asked)


def _mean(corrector: Corrector | None, asked: tuple[Traits, ...]) -> list[float]:
    return [0.0] * len(asked) if corrector is None else [*map(float, corrector.mean(asked))]


def _deviation(corrector: Corrector | None, asked: Traits) -> float:
    return UNFITTED if corrector is None else float(corrector((asked,))[1][0])


def load_calibration() -> Calibration:
    """The calibration that ships with haneul; a priori constants where there is none."""
    file = files("haneul.chips.plan") / "data" / "calibration.json"
    if not file.is_file():
        return Calibration(efficiency=Efficiency())
    return msgspec.json.decode(file.read_bytes(), type=Calibration)
