"""Asks a model through the gateway like any other client, so that each answer is metered.

What a busy gateway refuses, and what gets lost, is no wrong answer: it is asked again within bounds
and counted apart. What the ledger knows of lost attempts is part of what the answer cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Struct

from haneul.base import http
from haneul.base.errors import CommandError, HaneulError, QuotaExceeded, Unavailable
from haneul.base.wire import Usage
from haneul.quality.looking import Answer, Call
from haneul.quality.suite import Parameters

PATH = "/v1/chat/completions"
APP = "haneul-eval"
AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})
FATAL = frozenset({401, 403, 404})
ATTEMPTS = 5
PAUSE_S, PAUSE_MAX_S = 0.5, 30.0
ANSWER_MAX_BYTES = 8 << 20
SETTLED_S = 1.0  # for the ledger to have the record of what was cut off
Charged = Callable[[str], Awaitable[int | None]]


class Said(Struct, frozen=True, kw_only=True):
    """What came of asking once, however many attempts it took."""

    answer: Answer | None  # None: there was none to look at
    error: str | None = None  # why not, as a code
    attempts: int = 1
    unpriced: int = 0  # attempts of which the ledger knows nothing
    cost_nano: int = 0  # of all of them
    currency: str = ""
    latency_us: int | None = None  # of the one that was answered
    usage: Usage = Usage()
    request_id: str | None = None


class _Message(Struct):
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Choice(Struct):
    message: _Message


class _Priced(Usage, frozen=True, kw_only=True):
    cost_nano: int = 0
    currency: str = ""


class _Body(Struct):
    choices: list[_Choice]
    usage: _Priced = _Priced()


class _Refusal(Struct):
    error: dict[str, Any] = {}


class Gateway:
    """A running cloud, asked with a key or as the owner of its home. To be closed."""

    def __init__(
        self,
        to: http.Address,
        *,
        key: str = "",
        deadline_s: float = 600.0,
        pause_s: float = PAUSE_S,
        charged: Charged,
    ) -> None:
        self._to = to
        self._client = http.Client()
        self._deadline_s = deadline_s
        self._pause_s = pause_s
        self._charged = charged
        self._headers = {"x-haneul-app": APP, "x-haneul-cache": "no-store"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._client.aclose()

    async def ask(
        self,
        model: str,
        messages: list[dict[str, str]],
        parameters: Parameters,
        *,
        name: str,
        tools: list[dict[str, Any]] | None = None,
    ) -> Said:
        """What the model says, known to the ledger by `name`.

        Raises CommandError where nothing asked of this model would ever be answered.
        """
        body = {**msgspec.to_builtins(parameters), "model": model, "messages": messages}
        body |= {"max_tokens": parameters.max_tokens, "temperature": parameters.temperature}
        body |= {"tools": tools} if tools else {}
        lost: list[str] = []
        error = ""
        for attempt in range(ATTEMPTS):
            tag = f"{name}.{attempt}"
            try:
                said, error, wait_s = await self._once({**body, "user": tag})
            except (TimeoutError, HaneulError) as cause:
                if isinstance(cause, CommandError | QuotaExceeded):
                    raise
                said, error, wait_s = None, getattr(cause, "code", "deadline_exceeded"), 0.0
            if said is not None:
                return await self._with_lost(said, lost)
            lost.append(tag)
            if wait_s is None:
                break
            if attempt < ATTEMPTS - 1:
                await asyncio.sleep(min(PAUSE_MAX_S, max(wait_s, self._pause_s * 2**attempt)))
        return await self._with_lost(Said(answer=None, error=error, attempts=0), lost)

    async def _once(self, body: dict[str, Any]) -> tuple[Said | None, str, float | None]:
        """The answer, or an error's code and when to ask again; None: never."""
        began = time.monotonic()
        async with asyncio.timeout(self._deadline_s):
            reply = await self._client.send(
                self._to, "POST", PATH, body=msgspec.json.encode(body), headers=self._headers
            )
            async with reply:
                data = await reply.read(ANSWER_MAX_BYTES)
        if reply.status == 200:
            return _said(data, reply, round((time.monotonic() - began) * 1e6)), "", None
        code, message = _refusal(data, reply.status)
        if code == "insufficient_quota":
            raise QuotaExceeded(message)
        if reply.status in FATAL:
            raise CommandError(f"{body['model']}: {message}")
        wait_s = retry_wait_s(reply.headers.get(b"retry-after", b""))
        return None, code, wait_s if reply.status in AGAIN else None

    async def _with_lost(self, said: Said, lost: list[str]) -> Said:
        """With what the attempts before it cost, as far as the ledger knows."""
        if lost:
            await asyncio.sleep(SETTLED_S)
        known = [await self._charged(tag) for tag in lost]
        return msgspec.structs.replace(
            said,
            attempts=said.attempts + len(lost),
            cost_nano=said.cost_nano + sum(cost for cost in known if cost is not None),
            unpriced=said.unpriced + known.count(None),
        )


def retry_wait_s(header: bytes) -> float:
    """Seconds of a retry-after; 0 for a date or none, as the own pauses grow anyway."""
    try:
        return max(0.0, min(PAUSE_MAX_S, float(header)))
    except ValueError:
        return 0.0


def _said(data: bytes, reply: http.Reply, latency_us: int) -> Said:
    """Raises Unavailable for an answer that is none, which may be asked for again."""
    try:
        body = msgspec.json.decode(data, type=_Body)
        message = body.choices[0].message
        calls = [_call(each["function"]) for each in message.tool_calls or []]
    except (msgspec.DecodeError, LookupError, TypeError) as cause:
        raise Unavailable("The answer is none of the protocol's.") from cause
    return Said(
        answer=Answer(message.content or "", calls),
        cost_nano=body.usage.cost_nano,
        currency=body.usage.currency,
        latency_us=latency_us,
        usage=body.usage,
        request_id=reply.headers.get(b"x-request-id", b"").decode("latin-1") or None,
    )


def _call(function: dict[str, Any]) -> Call:
    arguments = function.get("arguments", "")
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return Call(str(function["name"]), text)


def _refusal(data: bytes, status: int) -> tuple[str, str]:
    """An error's code and sentence, as the gateway says them."""
    try:
        error = msgspec.json.decode(data, type=_Refusal).error
    except msgspec.DecodeError:
        error = {}
    code, message = error.get("code"), error.get("message")
    return str(code or f"status_{status}"), str(message or f"status {status}")
