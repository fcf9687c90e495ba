"""The servers that have the same file: which of them is asked next.

Each is tried with one request, then the one whose connections are fastest serves; after a while
the others are tried again. One that breaks off is asked again as long as that brings something;
one that lies only if there is no other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from haneul.base.errors import FetchFailed
from haneul.models.pulling.fetch import WrongBytes
from haneul.models.pulling.piece import Piece
from haneul.models.pulling.spans import SILENT_S

FIRST_BYTES, LEAST_BYTES, MOST_BYTES = 4 << 20, 1 << 20, 256 << 20  # of one request
REQUEST_S = 4.0  # how long a request should last at the speed that was seen
RATE_S = 3.0  # over which speed is averaged
AGAIN_S = 20.0  # then a slower server is tried again
OUTRUN = 2.0  # another that is this many times as fast takes over in the middle of a request
CUTS_FREE, CUT_BYTES = 64, 64 << 10  # beyond so many cuts, each must bring that much on average
AT_ONCE_S, PAUSE_S, REST_S_MAX = 2.0, 0.1, 30.0
FRUITLESS_MAX, FRUITLESS_MAX_KNOWN = 4, 7  # attempts in a row that bring nothing
BUSY = (429, 500, 502, 503, 504)


class Mirror:
    """One server's copy, and what was seen of it."""

    def __init__(self, piece: Piece, source: str) -> None:
        self.piece, self.source = piece, source
        self.place = piece.url  # where it was found in the end
        self.has_ranges: bool | None = None
        self.rate_bytes_s: float | None = None
        self.rated_s = 0.0
        self.active = 0
        self.limit: int | None = None  # connections it bears
        self.brought_bytes = 0
        self.resting_until_s = 0.0
        self.failure: FetchFailed | None = None  # it is not asked again
        self.is_forgiven = False  # a wrong answer now and then, where the hash decides anyway
        self._cuts = self._fruitless = 0
        self._answer_s = 0.0

    def note(self, count: int, seconds: float, now_s: float) -> None:
        """Notes how much one connection brought in a time."""
        self.brought_bytes += count
        self._fruitless = 0 if count else self._fruitless
        if seconds <= 0:
            return
        seen, share = count / seconds, 1 - math.exp(-seconds / RATE_S)
        known = self.rate_bytes_s
        self.rate_bytes_s = seen if known is None else known + share * (seen - known)
        self.rated_s = now_s

    @property
    def patience_s(self) -> float:
        """How long an answer is waited for while another could give it."""
        usual_s = max(SILENT_S, 3 * self._answer_s)
        return float(min(usual_s * 2**self._fruitless, REST_S_MAX))

    def answered(self, after_s: float) -> None:
        """Notes how long the head of an answer took."""
        self._answer_s = max(self._answer_s / 2, after_s)

    def silent(self, now_s: float) -> None:
        """Notes that a connection brought nothing for long."""
        self.rate_bytes_s, self.rated_s = 0.0, now_s
        self._fruitless += 1
        if self._fruitless > FRUITLESS_MAX:
            self.failure = FetchFailed(f"{self.source} sent nothing any more.")

    def failed(
        self, failure: FetchFailed, *, brought_bytes: int, lasted_s: float, now_s: float
    ) -> None:
        """Judges what went wrong with a request: again at once, after a rest, or never."""
        status = failure.facts.get("upstream_status")
        if isinstance(failure, WrongBytes):
            self._fruitless += 1
            if not self.is_forgiven or self._fruitless > FRUITLESS_MAX:
                self.failure = failure
        elif status is not None:
            self._refused(failure, int(status), now_s)
        elif brought_bytes:
            self._cuts += 1
            if self._cuts > CUTS_FREE and self.brought_bytes < self._cuts * CUT_BYTES:
                self.failure = FetchFailed("The connection was cut again and again.")
        elif now_s >= self.resting_until_s:  # what fails at once with others is counted once
            self._fruitless += 1
            most = FRUITLESS_MAX_KNOWN if self._is_worth_waiting else FRUITLESS_MAX
            if self._fruitless > most or (lasted_s > AT_ONCE_S and not self.brought_bytes):
                self.failure = failure
            self.resting_until_s = now_s + PAUSE_S * 2 ** (self._fruitless - 1)

    @property
    def _is_worth_waiting(self) -> bool:
        return self.brought_bytes > 0 and self.has_ranges is True

    def _refused(self, failure: FetchFailed, status: int, now_s: float) -> None:
        """A status of 400 or more: perhaps too many connections, or a redirect that has expired."""
        is_first = now_s >= self.resting_until_s
        self._fruitless += is_first  # what several connections are told at once is counted once
        is_serving = self.brought_bytes > 0 or self.active > 1
        if status == 416 and self.has_ranges is None:
            self.has_ranges = False  # as of an empty file
        elif status == 416:
            self.failure = WrongBytes("The file has become shorter than what was kept.")
        elif status in BUSY and is_serving and self._fruitless <= FRUITLESS_MAX_KNOWN:
            self.limit = max(1, self.active - 1)
            wait_s = failure.retry_after_s or PAUSE_S * 2**self._fruitless
            self.resting_until_s = now_s + min(wait_s, REST_S_MAX)
        elif self.place != self.piece.url and self._fruitless <= FRUITLESS_MAX:
            self.place = self.piece.url
        else:
            self.failure = failure

    def request_bytes(self) -> int:
        """How much to ask for at once."""
        if self.rate_bytes_s is None:
            return FIRST_BYTES
        return int(min(max(self.rate_bytes_s * REQUEST_S, LEAST_BYTES), MOST_BYTES))


class Mirrors:
    """The servers of one file, the preferred ones first; more may be added while it is fetched."""

    def __init__(self, pieces: Iterable[tuple[str, Piece]]) -> None:
        self.all = [Mirror(piece, source) for source, piece in pieces]
        self.all[0].is_forgiven = len(self.all) == 1 and bool(self.piece.sha256)

    @property
    def piece(self) -> Piece:
        """What is known of the file."""
        return self.all[0].piece

    def add(self, source: str, piece: Piece) -> None:
        """Another server of the same bytes; one that promises others, or nothing, is not taken."""
        is_same = bool(piece.sha256) and piece.sha256 == self.piece.sha256
        if is_same and piece.url not in [mirror.piece.url for mirror in self.all]:
            self.all.append(Mirror(piece, source))
            self.all[0].is_forgiven = False

    def best(self, now_s: float) -> Mirror | None:
        """Whom to ask now; None while all that are left rest or bear no more connections."""
        able = [mirror for mirror in self._alive() if _is_free(mirror, now_s)]
        for mirror in able:
            fastest = max(other.rate_bytes_s or 0 for other in able)
            is_old = now_s - mirror.rated_s > AGAIN_S and (mirror.rate_bytes_s or 0) < fastest
            if mirror.active == 0 and (mirror.rate_bytes_s is None or is_old):
                return mirror
        return max(able, key=lambda mirror: mirror.rate_bytes_s or 0, default=None)

    def is_outrun(self, mirror: Mirror, now_s: float) -> bool:
        """Whether another should go on in the middle of a request.

        One that is so much faster, or one that came meanwhile and is to be tried.
        """
        limit = OUTRUN * (mirror.rate_bytes_s or 0)
        for other in self._alive():
            is_new = other.rate_bytes_s is None and not other.active
            is_faster = is_new or (other.rate_bytes_s or 0) > limit
            if other is not mirror and is_faster and _is_free(other, now_s):
                return True
        return False

    def has_another(self, mirror: Mirror, now_s: float) -> bool:
        """Whether another could be asked now."""
        return any(m is not mirror and _is_free(m, now_s) for m in self._alive())

    def _alive(self) -> list[Mirror]:
        """Those still worth asking; of them those that answer ranges, if any does."""
        alive = [mirror for mirror in self.all if mirror.failure is None]
        return [mirror for mirror in alive if mirror.has_ranges is not False] or alive

    @property
    def is_over(self) -> bool:
        """Whether nobody is left to ask."""
        return not self._alive()

    def failure(self) -> FetchFailed:
        """Why nobody is left."""
        failures = [mirror.failure for mirror in self.all if mirror.failure is not None]
        wrong = [failure for failure in failures if isinstance(failure, WrongBytes)]
        if len(failures) == 1 or (wrong and len(wrong) == len(failures)):
            return failures[0]
        return FetchFailed(" ".join(dict.fromkeys(failure.message for failure in failures)))

    @property
    def served(self) -> list[Mirror]:
        """Those that brought something, the one that brought most first."""
        bringers = [mirror for mirror in self.all if mirror.brought_bytes]
        return sorted(bringers, key=lambda mirror: -mirror.brought_bytes)


def _is_free(mirror: Mirror, now_s: float) -> bool:
    has_room = mirror.limit is None or mirror.active < mirror.limit
    return has_room and mirror.resting_until_s <= now_s
