"""When a target is left alone: pushed back by its refusals, brought back by a request that tries.

Pure but for the times it is given: the clock and the chance are the caller's.
"""

from __future__ import annotations

FIRST_PAUSE_S = 0.5
PAUSE_MAX_S = 60.0
RETRY_AFTER_MAX_S = 600.0  # of what an engine asks for itself
BREAKS_MAX = 3  # broken answers in a row: one may be its request's own fault
PROBE_S = 30.0  # after which a probe that nothing was heard of is taken for lost


class Health:
    """One target's: well until something fails, then away for a while, then tried by one request.

    Every failure in a row doubles the pause, up to a minute; an engine's own Retry-After goes
    before it. A jitter keeps many clouds from coming back together.
    """

    __slots__ = ("failures", "paused_until", "probed_until")

    def __init__(self) -> None:
        self.failures = 0  # in a row
        self.paused_until = 0.0
        self.probed_until = 0.0

    def paused_s(self, now: float) -> float:
        """Seconds until it may be asked again; 0 when it may be now."""
        if not self.paused_until:
            return 0.0
        return max(self.paused_until - now, self.probed_until - now, 0.0)

    def trying(self, now: float) -> None:
        """One request goes to a target that failed before: the others wait for what it finds."""
        if self.paused_until:
            self.probed_until = now + PROBE_S

    def failed(
        self, now: float, *, retry_after_s: float | None, chance: float, is_broken: bool = False
    ) -> None:
        """It refused, was too slow, or broke its protocol; `chance` is from 0 to 1."""
        self.failures += 1
        self.probed_until = 0.0
        if is_broken and self.failures < BREAKS_MAX and not self.paused_until:
            return
        doubled_s: float = FIRST_PAUSE_S * 2 ** min(self.failures - 1, 20)
        pause_s = min(doubled_s, PAUSE_MAX_S) * (0.5 + chance / 2)
        if retry_after_s is not None:
            pause_s = max(0.0, min(retry_after_s, RETRY_AFTER_MAX_S)) * (1 + chance / 10)
        self.paused_until = max(self.paused_until, now + pause_s)

    def worked(self) -> None:
        """It answered: all is forgotten."""
        self.failures = 0
        self.paused_until = self.probed_until = 0.0

    def untried(self) -> None:
        """The request that tried it ended for a reason that says nothing of the target."""
        self.probed_until = 0.0
