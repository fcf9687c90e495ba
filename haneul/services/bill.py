"""What one request will have cost: reserved at the start, exact at the end, recorded once.

    with biller.open(call, key, account, ask, targets) as bill:
        ...                       # counters move as tokens come, and are kept before they are sent
        bill.close("done", 200)

Leaving the block in any other way closes it too: a hang-up as `aborted`, a deadline or a broken
engine as `failed`, an engine that would not take the request as `refused`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from haneul.base.errors import HaneulError
from haneul.base.units import MILLION
from haneul.services.ask import Ask
from haneul.services.call import Call
from haneul.services.flights import Counters, Flight, Flights, terminal
from haneul.services.gate import Busy
from haneul.services.keys import Key
from haneul.services.ledger import Ledger
from haneul.services.limits import Account, Left, Reservation, quota_exceeded
from haneul.services.metrics import Metrics
from haneul.services.offers import CLIENT_CLOSED, Offer, kept, offer_of, payer
from haneul.services.openai import BYTES_PER_TOKEN
from haneul.services.prices import affordable_tokens, cost_nano, worst_nano
from haneul.services.targets import Target
from haneul.store.ledger import RequestRow

ANSWER_TOKENS = 256  # set aside from a token rate for an answer whose length nobody said
UNBOUNDED_TOKENS = 1 << 17  # the most a remote engine is taken to answer when nobody says
CODE_MAX_BYTES = 64
TRIED_MAX_BYTES = 160
ROOM_S, ROOM_LOOK_S = 5.0, 0.01  # for a slow disk to take what waits


class Bill:
    """One request's money, from reservation to record."""

    def __init__(
        self,
        biller: Biller,
        call: Call,
        account: Account,
        offers: list[Offer],
        *,
        reservation: Reservation,
        flight: Flight,
        completion_max: int | None,
    ) -> None:
        self.completion_max = completion_max  # a cap the budget sets; None: none needed
        self.row: RequestRow | None = None
        self.metering = "none"
        self.upstream_id: str | None = None
        self.started_us: int | None = None
        self.calls = 0  # of engines: more than one where some gave no answer
        self._biller = biller
        self._call = call
        self._offers = offers
        self._offer = offers[0]
        self._inside: tuple[Busy, float, int] | None = None
        self._routed: str | None = None
        self._next: Target | None = None
        self._tried: list[str] = []
        self._account = account
        self._reservation = reservation
        self._flight = flight

    @property
    def counters(self) -> Counters:
        return self._flight.counters

    @property
    def cost_nano(self) -> int:
        """What the request cost; known when it is closed."""
        assert self.row is not None
        return self.row.cost_nano

    def routed(self, reason: str, following: Target | None) -> None:
        """Why it goes where it goes now, and where it would have gone instead."""
        self._routed, self._next = reason, following

    def failed_at(self, target: Target, error: HaneulError) -> None:
        """A target gave no answer, and why."""
        self._tried.append(f"{target.engine}={error.code}")

    def enter(self, target: Target, entered_s: float) -> None:
        """The request is inside an engine: from now on its clock runs, and only its counts."""
        if target is not self._offer.target:
            offer = next(offer for offer in self._offers if offer.target is target)
            self._flight.reopen(offer.opened)
            self._offer, self.metering, self.upstream_id = offer, "none", None
        self.started_us = self._call.now_us()
        self.calls += 1
        self._inside = (target.gate.busy, entered_s, self._flight.counters.busy_us)

    def leave(self) -> None:
        """The request is no longer inside."""
        if self.row is None:
            self._charge()
        self._inside = None

    def _charge(self) -> None:
        if self._inside is not None:
            busy, entered_s, before_us = self._inside
            busy_us = round((busy.reading_s() - entered_s) * MILLION)
            self._flight.counters.busy_us = before_us + busy_us

    def arrived(self) -> None:
        """All of the answer is here; nothing of it is sent before its record is made."""
        counters = self._flight.counters
        counters.last_us = self._call.now_us()
        if counters.completion_tokens:
            counters.first_token_us = counters.last_us

    def delivering(self) -> None:
        """Keeps the counters safe from a kill: what is about to be sent is billed from now on."""
        self._charge()
        counters = self._flight.counters
        counters.last_us = self._call.now_us()
        if not counters.first_token_us and counters.completion_tokens:
            counters.first_token_us = counters.last_us
        self._flight.save()

    def keeper(self) -> Callable[[int], None]:
        """What keeps the completion's tokens alone; the rest of the counters stays as it was."""
        return self._flight.keeper()

    def close(self, state: str, status: int, error_code: str | None = None) -> None:
        """Writes the terminal record and returns the reservation; the first close counts."""
        if self.row is not None:
            return
        self.row = self._record(state, status, error_code)
        self._flight.finish(self.row)
        self._settle(self.row)
        self._biller.ledger.append(self.row, self._flight)

    def _settle(self, row: RequestRow) -> None:
        """Returns the reservation and counts what the request used."""
        self._account.settle(self._reservation, row.cost_nano, self._flight.counters.tokens())
        self._biller.metrics.count(row)

    def _record(self, state: str, status: int, error_code: str | None) -> RequestRow:
        self._charge()
        return terminal(
            self._flight.opened,
            self._flight.counters,
            state=state,
            status=status,
            error_code=kept(error_code, CODE_MAX_BYTES) if error_code else None,
            metering=self.metering,
            upstream_id=kept(self.upstream_id),
            routed=self._routed,
            saved_nano=self._saved_nano(self._next) if self._next else None,
            tried=kept(" ".join(self._tried), TRIED_MAX_BYTES) if self._tried else None,
            started_us=self.started_us,
            finished_us=self._call.now_us(),
        )

    def _saved_nano(self, following: Target) -> int | None:
        """What the next target would have cost more, for the same tokens; own hardware nothing."""
        other = next(offer for offer in self._offers if offer.target is following)
        mine, theirs = self._spent_nano(self._offer), self._spent_nano(other)
        return None if mine is None or theirs is None else theirs - mine

    def _spent_nano(self, offer: Offer) -> int | None:
        """What the tokens cost whoever runs the cloud; None where the price is unknown."""
        if offer.target.is_own:
            return 0
        if offer.opened.row.price_id is None:
            return None
        counters = self.counters
        return cost_nano(
            offer.opened.rates,
            prompt=counters.prompt_tokens,
            cached=counters.cached_tokens,
            completion=counters.completion_tokens,
            reasoning=counters.reasoning_tokens,
            units=counters.units,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.row is not None:
            return
        if self._call.gone:
            self.close("aborted", CLIENT_CLOSED, "client_gone")
        elif self._call.expired is not None:
            self.close("failed", self._call.expired.status, self._call.expired.code)
        elif isinstance(error, HaneulError):
            state = "refused" if error.status < 500 and not self._call.has_begun else "failed"
            self.close(state, error.status, error.code)
        elif isinstance(error, asyncio.CancelledError):
            self.close("aborted", 503, "cloud_stopped")
        else:
            self.close("failed", 500, "internal_error")


class Biller:
    """Opens bills and notes what is refused before one."""

    def __init__(self, flights: Flights, ledger: Ledger, metrics: Metrics, currency: str) -> None:
        self.flights = flights
        self.ledger = ledger
        self.metrics = metrics
        self.currency = currency

    async def room(self) -> None:
        """Waits while hardly a page is left and commits go on: requests come no faster than those.

        Where they fail, or take too long, the last pages are used and then requests refused.
        """
        late_s = time.monotonic() + ROOM_S
        while self.flights.is_short and not self.ledger.is_failing and time.monotonic() < late_s:  # noqa: ASYNC110
            await asyncio.sleep(ROOM_LOOK_S)

    def open(self, call: Call, key: Key, account: Account, ask: Ask, targets: list[Target]) -> Bill:
        """Reserves the worst case of the dearest target.

        Raises QuotaExceeded, RateLimited, Overloaded.
        """
        currency = self.currency
        offers = [offer_of(call, key, ask, target, currency) for target in targets]
        tightest = account.tightest(key, at_us=call.received_us) if key.limits else None
        each = likely = ask.completion_max or 0
        cap = None
        if ask.completion_max is None:
            each = cap = _cap(tightest, call, ask, offers, currency)
            likely = ANSWER_TOKENS
        answers, worst = ask.answers, 0
        for offer in offers:
            cost = worst_nano(
                offer.opened.rates,
                prompt_max=offer.prompt_max,
                completion_max=each * answers,
                units_max=ask.units_max,
            )
            if cost > worst:
                worst = cost
        tokens = ask.prompt_bytes // BYTES_PER_TOKEN + likely * answers
        reservation = account.reserve(
            key,
            worst,
            tokens,
            currency=self.currency,
            at_us=call.received_us,
            request_id=call.id,
        )
        try:
            flight = self.flights.open(offers[0].opened)
        except BaseException:
            account.settle(reservation, 0, 0)
            raise
        make: type[Bill] = ask.billed or Bill
        return make(
            self,
            call,
            account,
            offers,
            reservation=reservation,
            flight=flight,
            completion_max=cap if tightest is not None else None,
        )

    def refused(
        self, call: Call, key: Key, route: str, model: str | None, error: HaneulError
    ) -> None:
        """Notes a request that was turned away before any engine."""
        row = RequestRow(
            **payer(key, route, self.currency),
            id=call.id,
            received_us=call.received_us,
            model=kept(model),
            state="refused",
            status=error.status,
            error_code=kept(error.code, CODE_MAX_BYTES),
            finished_us=call.now_us(),
        )
        self.ledger.append(row)
        self.metrics.count(row)


def _cap(tightest: Left | None, call: Call, ask: Ask, offers: list[Offer], currency: str) -> int:
    """The most tokens an answer of unsaid length may have: what the tightest budget's rest pays.

    At the dearest of the engines that may give it.
    """
    limit = max([offer.target.context_tokens or UNBOUNDED_TOKENS for offer in offers])
    if tightest is None:
        return limit
    affordable = limit * ask.answers
    for offer in offers:
        affordable = affordable_tokens(
            offer.opened.rates,
            prompt_max=offer.prompt_max,
            remaining_nano=tightest.nano,
            limit=affordable,
        )
    if affordable < ask.answers:
        raise quota_exceeded(tightest, None, currency=currency, at_us=call.received_us)
    return affordable // ask.answers
