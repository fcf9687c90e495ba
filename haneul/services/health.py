"""When a target is asked after the others: the one place that knows who rests, and until when.

What says that it has too much to do (429, 503) is asked last for as long as it says, and nothing is
held against it: load shifts, no breaker opens. What cannot be reached, or gives no first byte,
pauses at once, each time in a row for longer; then one request tries it for all. A broken answer
may be its request's own fault: only the third in a row counts. Whatever it is, a target never falls
out of the order, so nobody's failures close a model.

Pure but for the times it is given: the clock and the chance are the caller's.
"""

from __future__ import annotations

FIRST_PAUSE_S = 0.5
PAUSE_MAX_S = 60.0
REST_S = 1.0  # of one with too much to do that does not say for how long
RETRY_AFTER_MAX_S = 600.0  # of what an engine asks for itself
BREAKS_MAX = 3  # broken answers in a row: one may be its request's own fault
MOMENT_S = 1e-3
PROBE_S = 30.0  # after which a probe that nothing was heard of is taken for lost


class Health:
    """One target's: well until something fails, then away for a while, then tried by one request.

    Every failure in a row doubles the pause, up to a minute; an engine's own Retry-After goes
    before it. A jitter keeps many clouds from coming back together.
    """

    __slots__ = ("failures", "paused_until", "probed_until", "rests_until")

    def __init__(self) -> None:
        self.failures = 0  # in a row
        self.paused_until = 0.0  # for its failures
        self.probed_until = 0.0
        self.rests_until = 0.0  # as it asked itself

    def paused_s(self, now: float) -> float:
        """Seconds until it may be asked again; 0 when it may be now."""
        rests_s = max(self.rests_until - now, 0.0) if self.rests_until else 0.0
        if not self.paused_until:
            return rests_s
        return max(self.paused_until - now, self.probed_until - now, rests_s)

    def trying(self, now: float) -> None:
        """One request goes to a target that failed before: the others wait for what it finds."""
        if self.paused_until:
            self.probed_until = now + PROBE_S

    def rest(self, now: float, *, retry_after_s: float | None, chance: float) -> None:
        """It has too much to do, which says nothing against it; `chance` is from 0 to 1."""
        asked_s = REST_S if retry_after_s is None else retry_after_s
        self.rests_until = max(self.rests_until, now + _asked_s(asked_s, chance))
        self.probed_until = 0.0

    def failed(
        self, now: float, *, retry_after_s: float | None, chance: float, is_broken: bool = False
    ) -> None:
        """It was away, too slow, or broke its protocol; `chance` is from 0 to 1."""
        if now < self.paused_until - MOMENT_S:
            return  # it was asked before its pause began: one outage is one failure
        self.failures += 1
        self.probed_until = 0.0
        if is_broken and self.failures < BREAKS_MAX and not self.paused_until:
            return
        doubled_s: float = FIRST_PAUSE_S * 2 ** min(self.failures - 1, 20)
        pause_s = min(doubled_s, PAUSE_MAX_S) * (0.5 + chance / 2)
        if retry_after_s is not None:
            pause_s = _asked_s(retry_after_s, chance)
        self.paused_until = max(self.paused_until, now + pause_s)

    def heard(self) -> None:
        """Its first byte is there: the others need not wait for the rest of the answer."""
        self.probed_until = 0.0

    def worked(self) -> None:
        """It answered: its failures are forgotten; what it asked for itself still holds."""
        self.failures = 0
        self.paused_until = self.probed_until = 0.0

    def untried(self) -> None:
        """The request that tried it ended for a reason that says nothing of the target."""
        self.probed_until = 0.0


def _asked_s(retry_after_s: float, chance: float) -> float:
    return max(0.0, min(retry_after_s, RETRY_AFTER_MAX_S)) * (1 + chance / 10)
