"""THE path of a request, from its bytes to its row in the ledger.

    who asks → what do they ask → what can answer → reserve → hand to an engine → relay → settle

Everything here is called from `Gateway.serve` or `Gateway._relay`. Before the first byte of an
answer the next target may be tried; after it the answer ends with an error event, never cleanly.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from haneul.base.config import Config
from haneul.base.errors import (
    BadRequest,
    EngineFailed,
    EngineUnavailable,
    HaneulError,
    NotAuthenticated,
    Overloaded,
    RateLimited,
    Unavailable,
)
from haneul.base.log import logger
from haneul.services import openai
from haneul.services.accounts import Accounts
from haneul.services.ask import Ask
from haneul.services.bill import Bill, Biller
from haneul.services.call import JSON, Call, Calls
from haneul.services.choice import CACHE, FALLBACK
from haneul.services.customs import Customs, Way
from haneul.services.dialect import Dialect
from haneul.services.gate import Full
from haneul.services.keyring import Keyring, from_app, require
from haneul.services.keys import LOCAL, Key
from haneul.services.leaders import Led, Turn
from haneul.services.limits import Account
from haneul.services.refusal import engine_error
from haneul.services.remote import NO_HEADERS, Headers, Reply
from haneul.services.replays import HEADER as IDEMPOTENCY
from haneul.services.replays import Replays
from haneul.services.retries import Retries
from haneul.services.router import Plan, Router, head
from haneul.services.sessions import Sessions
from haneul.services.targets import EMBEDDED, Target, Targets

ERROR_MAX_BYTES = 64 << 10
STOPPING_S = 5.0  # after which a client may find the cloud started again
KEY_HEADERS = (b"authorization", b"x-api-key")
APP = b"x-haneul-app"
PRIORITY = b"x-haneul-priority"
PRIORITIES = ("interactive", "batch", "research")
LIMITS = (
    b"x-ratelimit-limit-%b: %d\r\n"
    b"x-ratelimit-remaining-%b: %d\r\n"
    b"x-ratelimit-reset-%b: %.3fs\r\n"  # until it is full again
)
log = logger("gateway")


class Request(NamedTuple):
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
    ) -> None:
        self.config = config
        self.keyring = keyring
        self.sessions = sessions
        self.accounts = accounts
        self.targets = targets
        self.biller = biller
        self.calls = calls
        self.replays = replays
        self.customs = customs
        self.retries = Retries()
        self.router = Router(targets, spill_wait_s=config.spill_wait_s)

    async def guard(self, call: Call, work: Callable[[Call], Awaitable[None]]) -> None:
        """Runs one call to its end, whatever happens, and tells the client how it ended."""
        self.calls.add(call)
        call.within(self.config.idle_s)
        try:
            error = await _outcome(call, work)
            if error is not None and error.status >= 500:
                log.warning("answered_with", request=call.id, status=error.status, code=error.code)
            if error is not None:
                await call.fail(error)
        except asyncio.CancelledError:
            call.absorb()  # the client went away while it was told
        finally:
            self.calls.remove(call)

    async def serve(self, call: Call, dialect: Dialect) -> None:
        """Answers one request that engines are asked for, or as it was answered before."""
        if IDEMPOTENCY not in call.headers:
            await self._serve(call, dialect)
            return
        key = await self.who(call)
        require(key, "infer")
        config = self.config
        data = await call.body(max_bytes=config.body_max_bytes, within_s=config.body_s)
        await self.replays.once(call, key.id, data, lambda: self._serve(call, dialect))

    async def _serve(self, call: Call, dialect: Dialect) -> None:
        if self.biller.ledger.is_behind:
            raise Overloaded("The ledger cannot be written at the moment.", retry_after_s=10)
        if self.biller.flights.is_short:
            await self.biller.room()
        key = from_app(await self.who(call), call.headers.get(APP))
        account = await self.accounts.of(key)
        ask: Ask | None = None
        try:
            require(key, "infer")
            terms = terms_of(call, key)
            if len(self.calls) > self.config.in_flight_max:
                raise Overloaded("Too many requests are in flight.", retry_after_s=2)
            data = await call.body(
                max_bytes=self.config.body_max_bytes, within_s=self.config.body_s
            )
            ask = await dialect.open(key, data)
            plan = self.router.plan(key, ask)
            if self.customs.concerns(ask):
                dialect, ask, plan = await self.customs.clear(call, key, Way(dialect, ask, plan))
            bill = self.biller.open(call, key, account, ask, plan.targets)
        except HaneulError as error:
            model = ask.model if ask else None
            self.biller.refused(call, key, dialect.name, model, error)
            raise
        finally:
            _tell_limits(call, account)
        with bill:
            await self._relay(Request(call, key, dialect, ask, plan, bill, terms))

    def find(self, key: Key, name: str) -> list[Target]:
        """The targets of a name that the key may use. Raises ModelNotFound, NotAllowed."""
        return self.router.find(key, name).targets

    async def who(self, call: Call) -> Key:
        """The key of a call: bearer, x-api-key or the page's cookie; one policy for all."""
        if call.key is not None:
            return call.key
        if call.is_local:
            return LOCAL
        try:
            if (text := _key_text(call)) is not None:
                return await self.keyring.verify(text)
            return await self.keyring.verify(self.sessions.key_text(call.headers))
        except NotAuthenticated as error:
            self.biller.metrics.rejected[error.code] += 1
            raise

    async def _relay(self, request: Request) -> None:
        """Tries the targets in order until one gives its first byte."""
        call, plan, retries = request.call, request.plan, self.retries
        targets, limits, soonest_s = retries.order(plan.targets), call.limits, math.inf
        retries.called(request.key.id)
        for number, target in enumerate(targets):
            reason = plan.reason if target is plan.targets[0] else FALLBACK
            call.limits = limits + head(target.engine, reason)
            request.bill.routed(reason, targets[number + 1] if target is not targets[-1] else None)
            try:
                call.within(self.config.queue_s + self.config.first_token_s)
                if target.leaders is None:
                    await self._at(request, target)
                else:
                    with await target.leaders.turn(request.ask) as turn:
                        await self._at(request, target, turn)
                if reason != CACHE:
                    retries.worked(target)
                if len(targets) > 1:
                    self.router.learn(request.ask.model, request.bill.counters)
                return
            except asyncio.CancelledError:
                if call.expired is not None and not call.has_begun:
                    retries.failed(target, call.expired)  # it may stand still
                raise
            except (Unavailable, EngineFailed, RateLimited) as error:
                if not isinstance(error, Full):
                    retries.failed(target, error)
                soonest_s = min(soonest_s, error.retry_after_s or math.inf)
                is_last = target is targets[-1]
                if is_last or call.has_begun or not retries.take(request.key.id):
                    error.retry_after_s = None if soonest_s == math.inf else soonest_s
                    raise
                log.info("next_target", request=call.id, engine=target.engine, code=error.code)

    async def _at(self, request: Request, target: Target, turn: Turn | None = None) -> None:
        """One target's answer, from its door to its last byte."""
        call, bill, config = request.call, request.bill, self.config
        entered_s = await target.gate.enter()
        try:
            self.router.trying(target)
            await target.ready(config.first_token_s)
            call.within(config.first_token_s if request.ask.is_stream else config.answer_s)
            bill.enter(target, entered_s)
            try:
                async with await self._ask(request, target) as reply:
                    led = Led(reply, turn) if turn is not None and turn.is_leading else reply
                    await self._deliver(request, target, led)
            finally:
                bill.leave()
            target.health.worked()
        except BaseException as error:
            self.router.ended(target, error, late=None if call.has_begun else call.expired)
            raise
        finally:
            target.gate.leave()

    async def _ask(self, request: Request, target: Target) -> Reply:
        """Hands the request to the engine. Raises what the engine refused it with."""
        ask, cap = request.ask, request.bill.completion_max
        body = openai.upstream_body(ask, target.upstream_model, completion_max=cap)
        if ask.shape is not None:
            body = ask.shape(body, target)
        headers = self._headers(request, target)
        if ask.is_stream and target.engine == EMBEDDED:
            body = openai.each_usage(body)
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

    async def _deliver(self, request: Request, target: Target, reply: Reply) -> None:
        if request.ask.is_stream:
            await self._deliver_stream(request, target, reply)
        else:
            await self._deliver_whole(request, reply)

    async def _deliver_whole(self, request: Request, reply: Reply) -> None:
        call, key, ask, bill = request.call, request.key, request.ask, request.bill
        data = await reply.read()
        whole = openai.read_whole(data)
        bill.upstream_id = whole.id
        if whole.usage is not None:
            openai.read_usage(whole.usage, bill.counters)
            bill.metering = "engine"
        else:
            openai.count_whole(whole, ask, bill.counters)
            bill.metering = "counted"
        bill.delivering()
        bill.close("done", 200)
        currency = self.biller.currency
        data = request.dialect.whole(ask, data, cost_nano=bill.cost_nano, currency=currency)
        call.within(self.config.idle_s)
        await request.dialect.keep(key, ask, data)
        await call.answer(200, data, JSON)

    async def _deliver_stream(self, request: Request, target: Target, reply: Reply) -> None:
        call, key, ask, bill = request.call, request.key, request.ask, request.bill
        stream = request.dialect.stream(ask, bill.counters)
        call.errors = stream.errors or call.errors
        is_exact = target.engine == EMBEDDED

        def take(data: bytes) -> None:
            """What came goes on at once; what is about to be sent is billed from now on."""
            events = stream.feed(data)
            bill.upstream_id = stream.upstream_id
            bill.metering = "engine" if stream.has_usage else "counted"
            bill.delivering()
            if events:
                call.within(self.config.idle_s)
                if not call.has_begun:
                    call.begin(200, stream.content_type)
                call.write(events)
            if stream.failure is not None:
                raise stream.failure

        await reply.pump(take, call.line)
        if not stream.is_done:
            raise EngineUnavailable(
                "The engine ended in the middle of its answer.", retry_after_s=2
            )
        bill.metering = "engine" if stream.has_usage or is_exact else "counted"
        bill.close("done", 200)
        ending = stream.ending(cost_nano=bill.cost_nano, currency=self.biller.currency)
        await request.dialect.keep(key, ask, stream)
        if not call.has_begun:
            call.begin(200, stream.content_type)
        call.write(ending, is_last=True)


async def _outcome(call: Call, work: Callable[[Call], Awaitable[None]]) -> HaneulError | None:
    """The error a call ended with, if any: the only place that catches everything."""
    try:
        await work(call)
    except HaneulError as error:
        return error
    except asyncio.CancelledError:
        call.absorb()
        if call.gone:
            return None
        return call.expired or Unavailable("The cloud is stopping.", retry_after_s=STOPPING_S)
    except Exception:  # the client gets the id, the log gets the reason
        log.exception("request_failed", request=call.id)
        return HaneulError("Something went wrong inside haneul; the log has it.")
    return None


def terms_of(call: Call, key: Key) -> Headers:
    """What the embedded engine is told beside the request: whose it is, and how urgent.

    Raises BadRequest for an urgency that does not exist.
    """
    priority = call.headers.get(PRIORITY, b"interactive").decode("latin-1")
    if priority not in PRIORITIES:
        raise BadRequest(
            f"'x-haneul-priority' can be {', '.join(PRIORITIES)}.", param="x-haneul-priority"
        )
    return {"x-haneul-owner": key.id, "x-haneul-priority": priority}


def _tell_limits(call: Call, account: Account) -> None:
    """Tells the client its rates, by the names that OpenAI gave them."""
    for name, rate in ((b"requests", account.requests), (b"tokens", account.tokens)):
        if rate is not None:
            full_s = rate.wait_s(rate.per_minute)
            facts = (name, rate.per_minute, name, rate.remaining, name, full_s)
            call.limits += LIMITS % facts


def _key_text(call: Call) -> str | None:
    """The key that came in a header, if one did. Raises BadRequest, NotAuthenticated."""
    bearer, plain = call.headers.get(b"authorization"), call.headers.get(b"x-api-key")
    is_double = bearer is not None and plain is not None
    if is_double or (call.repeated and not call.repeated.isdisjoint(KEY_HEADERS)):
        raise BadRequest("Send one API key, in one header.")
    if plain is not None:
        return plain.decode("latin-1")
    if bearer is None:
        return None
    scheme, _, text = bearer.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated("The authorization header must be 'Bearer sk-hn-…'.")
    return text.strip()
