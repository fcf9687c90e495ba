"""THE path of a request, from its bytes to its row in the ledger.

    who asks → what do they ask → what can answer → reserve → hand to an engine → relay → settle

Everything here is called from `Gateway.serve` or `Gateway._relay`. Before the first byte of an
answer the next target may be tried; after it the answer ends with an error event, never cleanly.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from msgspec import Struct

from haneul.base.config import Config
from haneul.base.errors import (
    EngineFailed,
    HaneulError,
    Overloaded,
    RateLimited,
    Unavailable,
)
from haneul.base.log import logger
from haneul.services import openai
from haneul.services.accounts import Accounts
from haneul.services.arrivals import Arrivals
from haneul.services.ask import Ask
from haneul.services.asker import Askers
from haneul.services.bill import Bill, Biller
from haneul.services.cache.answers import HEADER as KEPT_ANSWERS
from haneul.services.call import JSON, Call, Calls
from haneul.services.choice import CACHE, FALLBACK
from haneul.services.customs import Customs, Way
from haneul.services.dialect import Dialect
from haneul.services.heads import tell_limits
from haneul.services.keyring import Keyring, require
from haneul.services.keys import Key
from haneul.services.leaders import Led, Turn
from haneul.services.promise import check, line, promised, within_s
from haneul.services.refusal import engine_error
from haneul.services.relay import Relay
from haneul.services.remote import NO_HEADERS, Headers, Reply
from haneul.services.replays import HEADER as IDEMPOTENCY
from haneul.services.replays import Replays
from haneul.services.retries import Retries
from haneul.services.router import Plan, Router, head
from haneul.services.sessions import Sessions
from haneul.services.targets import EMBEDDED, Target, Targets, always_ready
from haneul.services.watch import Silent, Wait, Watch

ERROR_MAX_BYTES = 64 << 10
STOPPING_S = 5.0  # after which a client may find the cloud started again
log = logger("gateway")


class Request(Struct, frozen=True, eq=False):
    """One request on its way: who asks what, in which words, and what may answer on which terms."""

    call: Call
    key: Key
    dialect: Dialect
    ask: Ask
    plan: Plan
    bill: Bill
    terms: Headers


class Gateway:
    """The parts a request meets on its way."""

    def __init__(
        self,
        config: Config,
        *,
        keyring: Keyring,
        sessions: Sessions,
        accounts: Accounts,
        targets: Targets,
        biller: Biller,
        calls: Calls,
        replays: Replays,
        customs: Customs,
        router: Router,
    ) -> None:
        self.config = config
        self.keyring = keyring
        self.sessions = sessions
        self.accounts = accounts
        self.targets = targets
        self.biller = biller
        self.askers = Askers(keyring, sessions, accounts, biller.metrics)
        self.calls = calls
        self.replays = replays
        self.customs = customs
        self.retries = Retries(processes=config.workers)
        self.watch = Watch()
        self.arrivals = Arrivals(most=config.bodies_max, most_bytes=config.bodies_max_bytes)
        self.running = 0  # requests whose bodies are there
        self.router = router

    async def guard(self, call: Call, work: Callable[[Call], Awaitable[None]]) -> None:
        """Runs one call to its end, whatever happens, and tells the client how it ended."""
        self.calls.add(call)
        call.within(self.config.idle_s)
        error: HaneulError | None = None
        try:
            try:
                await work(call)
                return
            except BaseException as cause:  # noqa: BLE001 - the only place that catches everything
                error = _outcome(call, cause)
            if error is not None and error.status >= 500:
                log.warning("answered_with", request=call.id, status=error.status, code=error.code)
            if error is not None:
                await call.fail(error)
        except asyncio.CancelledError:
            call.absorb()  # the client went away while it was told
        finally:
            error = None  # its traceback has this frame: the cycle would wait for a collection
            self.calls.remove(call)

    def serve(self, call: Call, dialect: Dialect) -> Awaitable[None]:
        """Answers one request that engines are asked for, or as it was answered before."""
        if IDEMPOTENCY not in call.headers:
            return self._serve(call, dialect)
        return self._once(call, dialect)

    async def _once(self, call: Call, dialect: Dialect) -> None:
        key = await self.who(call)
        require(key, "infer")
        data = await self.body(call, key)
        await self.replays.once(call, key.id, data, lambda: self._serve(call, dialect))

    async def _serve(self, call: Call, dialect: Dialect) -> None:
        if self.biller.ledger.is_behind:
            raise Overloaded("The ledger cannot be written at the moment.", retry_after_s=10)
        if self.biller.flights.is_short:
            await self.biller.room()
        asker = self.askers.at_hand(call) or await self.askers.of(call)
        key, account = asker.key, asker.account
        ask: Ask | None = None
        try:
            terms = asker.terms(call)
            data = call.body_at_hand(self.config.body_max_bytes)
            if data is None:
                data = await self.body(call, key)
            if self.running >= self.config.in_flight_max:
                raise Overloaded("Too many requests are in flight.", retry_after_s=2)
            ask = await dialect.open(key, data)
            plan = self.router.plan(key, ask)
            if KEPT_ANSWERS in call.headers or self.customs.concerns(ask, plan):
                way = Way(dialect, ask, plan)
                dialect, ask, plan = await self.customs.clear(call, key, account, way)
            bill = self.biller.open(call, key, account, ask, plan.targets)
        except HaneulError as error:
            model = ask.model if ask else None
            self.biller.refused(call, key, dialect.name, model, error)
            raise
        finally:
            tell_limits(call, account)
        self.running += 1
        try:
            with bill:
                await self._relay(Request(call, key, dialect, ask, plan, bill, terms))
        finally:
            self.running -= 1

    async def body(self, call: Call, key: Key) -> bytes:
        """The body of a request to an engine. Raises TooLarge, RequestTimeout, Overloaded."""
        config = self.config
        most_bytes = config.body_max_bytes
        return await self.arrivals.body(call, key, max_bytes=most_bytes, within_s=config.body_s)

    def find(self, key: Key, name: str) -> list[Target]:
        """The targets of a name that the key may use. Raises ModelNotFound, NotAllowed."""
        return self.router.find(key, name).targets

    async def who(self, call: Call) -> Key:
        """The key of a call: bearer, x-api-key or the page's cookie; one policy for all."""
        return await self.askers.who(call)

    async def _relay(self, request: Request) -> None:
        """Tries the targets in order until one gives its first byte."""
        call, plan, retries = request.call, request.plan, self.retries
        targets, limits, soonest_s = plan.targets, call.limits, math.inf
        bill = request.bill
        retries.called(request.key.id)
        for number, target in enumerate(targets):
            is_last = target is targets[-1]
            reason = FALLBACK if number else plan.reason
            promise = promised(target)
            call.limits = limits + head(target.engine, reason)
            if promise is not None:
                call.limits += line(promise)
            bill.routed(reason, None if is_last else targets[number + 1])
            calls = bill.calls
            try:
                if promise is not None:
                    check(target, promise, within_s(call))
                call.within(self.config.queue_s + self.config.first_token_s)
                if target.leaders is None:
                    await self._at(request, target)
                else:
                    with await target.leaders.turn(request.ask) as turn:
                        await self._at(request, target, turn)
                if reason != CACHE:
                    target.health.worked()
                if len(targets) > 1 or bill.counters.reasoning_tokens:
                    self.router.learn(request.ask.model, bill.counters)
                return
            except (Unavailable, EngineFailed, RateLimited) as error:
                bill.failed_at(target, error)
                soonest_s = min(soonest_s, error.retry_after_s or math.inf)
                is_free = bill.calls == calls or isinstance(error, Silent)  # no work was done there
                may_go_on = not (is_last or call.has_begun)
                if not may_go_on or not (is_free or retries.take(request.key.id)):
                    error.retry_after_s = None if soonest_s == math.inf else soonest_s
                    raise
                log.info("next_target", request=call.id, engine=target.engine, code=error.code)

    async def _at(self, request: Request, target: Target, turn: Turn | None = None) -> None:
        """One target's answer, from its door to its last byte."""
        call, config = request.call, self.config
        has_next = target is not request.plan.targets[-1]
        entered_s: float | None = None
        try:
            with self.watch.wait(target, request.ask, has_next=has_next) as wait:
                entered_s = await target.gate.enter()
                if target.health.paused_until:
                    self.router.trying(target)
                if target.ready is not always_ready:
                    await target.ready(config.first_token_s)
                call.within(config.first_token_s if request.ask.is_stream else config.answer_s)
                wait.sent()
                request.bill.enter(target, entered_s)
                reply: Reply | None = None
                try:
                    reply = await self._ask(request, target)
                    led = Led(reply, turn) if turn is not None and turn.is_leading else reply
                    if request.ask.is_stream:
                        await self._deliver_stream(request, target, led, wait)
                    else:
                        await self._deliver_whole(request, led, wait)
                finally:
                    if reply is not None:
                        reply.abort()
                    request.bill.leave()
        except BaseException as error:
            if entered_s is not None:
                late = None if call.has_begun else call.expired
                self.router.ended(target, error, late=late)
            raise
        finally:
            if entered_s is not None:
                target.gate.leave()

    async def _ask(self, request: Request, target: Target) -> Reply:
        """Hands the request to the engine. Raises what the engine refused it with."""
        ask, cap = request.ask, request.bill.completion_max
        model, is_each = target.upstream_model, target.engine == EMBEDDED
        body = openai.upstream_body(ask, model, completion_max=cap, is_each=is_each)
        if ask.shape is not None:
            body = ask.shape(body, target)
        headers = self._headers(request, target)
        reply = await target.transport.send("POST", ask.route.path, body=body, headers=headers)
        if reply.status == 200:
            return reply if ask.heard is None else ask.heard(reply)
        async with reply:
            raise engine_error(reply, await reply.read(ERROR_MAX_BYTES), target)

    def _headers(self, request: Request, target: Target) -> Headers:
        """What the engine is told beside the request."""
        if request.ask.content_type is not None:
            return {"content-type": request.ask.content_type}
        return request.terms if target.engine == EMBEDDED else NO_HEADERS

    async def _deliver_whole(self, request: Request, reply: Reply, wait: Wait) -> None:
        call, key, ask, bill = request.call, request.key, request.ask, request.bill
        data = await reply.read()
        wait.heard()
        whole, counters = openai.read_whole(data), bill.counters
        bill.upstream_id = whole.id
        if whole.usage is not None:
            openai.read_usage(whole.usage, counters)
            bill.metering = "engine"
        else:
            openai.count_whole(whole, ask, counters)
            bill.metering = "counted"
        bill.arrived()
        bill.close("done", 200)
        currency = self.biller.currency
        data = request.dialect.whole(ask, data, cost_nano=bill.cost_nano, currency=currency)
        call.within(self.config.idle_s)
        await request.dialect.keep(key, ask, data)
        await call.answer(200, data, JSON)

    async def _deliver_stream(
        self, request: Request, target: Target, reply: Reply, wait: Wait
    ) -> None:
        call, key, ask, bill = request.call, request.key, request.ask, request.bill
        stream = request.dialect.stream(ask, bill.counters)
        call.errors = stream.errors or call.errors
        is_exact = target.engine == EMBEDDED
        relay = Relay(call, bill, stream, target=target, wait=wait, idle_s=self.config.idle_s)
        await relay.run(reply)
        bill.metering = "engine" if stream.has_usage or is_exact else "counted"
        bill.close("done", 200)
        ending = stream.ending(cost_nano=bill.cost_nano, currency=self.biller.currency)
        await request.dialect.keep(key, ask, stream)
        if not call.has_begun:
            call.begin(200, stream.content_type)
        call.write(ending, is_last=True)


def _outcome(call: Call, cause: BaseException) -> HaneulError | None:
    """The error to tell of what a call ended with; None where nobody is there to be told."""
    if isinstance(cause, HaneulError):
        return cause
    if isinstance(cause, asyncio.CancelledError):
        call.absorb()
        if call.gone:
            return None
        return call.expired or Unavailable("The cloud is stopping.", retry_after_s=STOPPING_S)
    if not isinstance(cause, Exception):
        raise cause
    # the client gets the id, the log gets the reason
    log.exception("request_failed", request=call.id)
    return HaneulError("Something went wrong inside haneul; the log has it.")
