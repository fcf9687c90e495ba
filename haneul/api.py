"""Every address beside the hot path: models, usage, the page's log-in, health, metrics.

The addresses under /haneul/v1/ are haneul's own; haneul/openapi/own.py describes them, and tests
hold what is served to what is described.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import msgspec

from haneul import __version__
from haneul.base.config import LOOPBACK
from haneul.base.errors import BadRequest, NotAllowed, NotAuthenticated, NotFound
from haneul.base.units import MILLION, Moment, now_us
from haneul.chips.chip import Chip
from haneul.console.pages import Page
from haneul.models.hub import Judge
from haneul.openapi.bodies import LogIn, ModelName
from haneul.openapi.document import encoded
from haneul.services import strict
from haneul.services.acting import actor_of
from haneul.services.anthropic import pages as anthropic
from haneul.services.audit_pages import AuditPages
from haneul.services.call import JSON, Call
from haneul.services.chat import Gateway
from haneul.services.heads import APP
from haneul.services.invoice_pages import InvoicePages, seen_by, show_budgets
from haneul.services.key_pages import KeyPages
from haneul.services.keyring import from_app, require
from haneul.services.keys import Key, read_pepper
from haneul.services.ledger import Ledger
from haneul.services.lineage_pages import LineagePages
from haneul.services.mcp import pages as mcp
from haneul.services.metrics import CONTENT_TYPE
from haneul.services.ollama import pages as ollama
from haneul.services.ollama.library import Library
from haneul.services.replica import READY
from haneul.services.routes import show as show_route
from haneul.services.sessions import COOKIE, LIFE_S, PAGE_HEADER
from haneul.services.targets import Target
from haneul.services.telemetry.outside import Outside
from haneul.store import audit
from haneul.store import ledger as ledger_queries
from haneul.store.audit import Actor
from haneul.store.database import Database
from haneul.store.prices import PriceRow
from haneul.workers import Workers

Handler = Callable[[Call], Awaitable[None]]
DAY_US = 86_400 * MILLION
SMALL_BODY_BYTES = 64 << 10
SMALL_BODY_S = 10.0
ID_MAX = 256
CSP = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class Api:
    """The handlers; each answers its call."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        database: Database,
        ledger: Ledger,
        outside: Outside,
        chips: list[Chip],
        pages: dict[str, Page],
        default_model: Callable[[], str],
        refresh: Callable[[], Awaitable[None]],
        judge: Judge,
        workers: Workers,
        more: Mapping[str, dict[str, Handler]] | None = None,  # addresses with files of their own
    ) -> None:
        self.gateway = gateway
        self.database = database
        self.ledger = ledger
        self.outside = outside
        self.chips = chips
        self.pages = pages
        self.default_model = default_model
        self.refresh = refresh
        self.workers = workers
        self.more = more or {}
        self.started = Moment()
        self.invoices = InvoicePages(gateway, database)
        self.keys = KeyPages(gateway, database, read_pepper(gateway.config.home))
        self.anthropic = anthropic.Pages(gateway)
        library = Library(gateway, database=database, refresh=refresh, judge=judge)
        self.ollama = ollama.Pages(gateway, library)
        self.mcp = mcp.Pages(gateway, database=database, ledger=ledger, models=self._seen)

    def routes(self) -> dict[str, dict[str, Handler]]:
        """Address to method to handler; an address ending in '/' takes everything below it."""
        pages: dict[str, dict[str, Handler]] = {path: {"GET": self.page} for path in self.pages}
        return {
            **pages,
            **self.anthropic.routes(),
            **self.ollama.routes(),
            **self.mcp.routes(),
            **self.more,
            "/healthz": {"GET": self.healthz},
            "/readyz": {"GET": self.readyz},
            "/metrics": {"GET": self.prometheus},
            "/openapi.json": {"GET": self.openapi},
            "/v1/models": {"GET": self.models},
            "/v1/models/": {"GET": self.model},
            "/haneul/v1/status": {"GET": self.status},
            "/haneul/v1/session": {"POST": self.log_in, "DELETE": self.log_out},
            "/haneul/v1/me": {"GET": self.me},
            "/haneul/v1/usage": {"GET": self.usage},
            "/haneul/v1/requests/": {"GET": self.request},
            **self.invoices.routes(),
            **self.keys.routes(),
            **AuditPages(self.gateway, self.database).routes(),
            **LineagePages(self.gateway, self.database).routes(),
            "/haneul/v1/models/start": {"POST": self.start},
            "/haneul/v1/models/stop": {"POST": self.stop},
        }

    # health
    async def healthz(self, call: Call) -> None:
        """The process answers."""
        await _json(call, {"status": "ok", "version": __version__})

    async def readyz(self, call: Call) -> None:
        """The default model answers; 503 until then."""
        name = self.default_model()
        target = self.gateway.targets.embedded(name)
        is_ready = target is not None and target.state == READY
        state = target.state if target else "starting"
        await _json(call, {"status": state, "model": name}, 200 if is_ready else 503)

    async def prometheus(self, call: Call) -> None:
        """Counts for Prometheus; beyond loopback they need a key with the scope 'usage'."""
        if self.gateway.config.host not in LOOPBACK:
            require(await self.gateway.who(call), "usage")
        text = await self.outside.page(len(self.gateway.calls))
        text = await self.workers.summed(text)
        await call.answer(200, text, CONTENT_TYPE.encode())

    async def openapi(self, call: Call) -> None:
        """The description of every address."""
        await call.answer(200, await asyncio.to_thread(encoded), JSON)

    # models
    async def models(self, call: Call) -> None:
        """The models this key may use."""
        if anthropic.VERSION in call.headers:
            await self.anthropic.models(call)
            return
        key = await self.gateway.who(call)
        await _json(call, {"object": "list", "data": self._seen(key)})

    def _seen(self, key: Key) -> list[dict[str, Any]]:
        """The models and routes that a key may use."""
        seen = [
            show_target(target)
            for target in self.gateway.targets.every()
            if key.models is None or key.models & {target.model, target.upstream_model}
        ]
        return seen + [show_route(route) for route in self.gateway.router.routes(key)]

    async def model(self, call: Call) -> None:
        if anthropic.VERSION in call.headers:
            await self.anthropic.model(call)
            return
        key = await self.gateway.who(call)
        name = call.path.removeprefix("/v1/models/")
        target = self.gateway.find(key, name)[0]
        route = self.gateway.targets.routes.get(name)
        await _json(call, show_route(route) if route else show_target(target))

    async def start(self, call: Call) -> None:
        """Loads a model that is here; answers when it is ready."""
        target, actor = await self._named(call)
        await target.ready(self.gateway.config.first_token_s)
        await self.database.call(audit.note, actor, "model.start", target.model)
        await _json(call, show_target(target))

    async def stop(self, call: Call) -> None:
        """Unloads a model; the next request for it loads it again."""
        target, actor = await self._named(call)
        if target.replica is None:
            raise BadRequest(
                "This model is on a remote engine and cannot be stopped from here.", param="model"
            )
        await target.replica.stop()
        await self.database.call(audit.note, actor, "model.stop", target.model)
        await _json(call, show_target(target))

    async def _named(self, call: Call) -> tuple[Target, Actor]:
        """The model that a body names, and who asks for it."""
        key = await self.gateway.who(call)
        require(key, "admin")
        body = await _body(call, ModelName)
        call.within(self.gateway.config.first_token_s)
        return self.gateway.targets.find(body.model)[0], actor_of(call, key)

    # who and how much
    async def status(self, call: Call) -> None:
        """What runs here: chips, models, version; with what was changed a moment ago."""
        require(await self.gateway.who(call), "admin")
        await self.refresh()
        await _json(
            call,
            {
                "version": __version__,
                "uptime_s": (self.started.now_us() - self.started.at_us) // MILLION,
                "in_flight": len(self.gateway.calls) - 1,
                "workers": self.workers.shown(),
                "default_model": self.default_model(),
                "chips": self.chips,
                "models": [show_target(target) for target in self.gateway.targets.every()],
            },
        )

    async def me(self, call: Call) -> None:
        """The key that asks: its budget and what it has spent."""
        key = from_app(await self.gateway.who(call), call.headers.get(APP))
        account = await self.gateway.accounts.of(key)
        await _json(
            call,
            {
                "id": key.id,
                "name": key.name,
                "scopes": sorted(key.scopes),
                "models": sorted(key.models) if key.models is not None else None,
                "currency": self.gateway.config.currency,
                "tenant": key.tenant_id,
                "user": key.user_id,
                "app": key.app,
                "budget_nano": key.budget_nano,
                "budgets": show_budgets(account.left(key, at_us=now_us())),
                "spent_nano": account.spent_nano,
                "reserved_nano": account.reserved_nano,
                "requests_per_minute": key.requests_per_minute,
                "tokens_per_minute": key.tokens_per_minute,
                "expires_us": key.expires_us,
                "default_model": self.default_model(),
            },
        )

    async def usage(self, call: Call) -> None:
        """Sums and newest requests of this key, of its tenant, or of all: see seen_by."""
        key = await self.gateway.who(call)
        require(key, "usage")
        query = parse_qs(call.query)
        days = _whole_number(query, "days", default=30, most=3660)
        limit = _whole_number(query, "limit", default=20, most=1000)
        whose = seen_by(key)
        since_us = now_us() - days * DAY_US
        await self._flush()
        rows = await self.database.ask(
            lambda connection: ledger_queries.usage(
                connection, since_us=since_us, until_us=now_us() + 1, **whose
            )
        )
        recent = await self.database.ask(
            lambda connection: ledger_queries.recent(connection, limit=limit, **whose)
        )
        await _json(call, {"days": days, "usage": rows, "requests": recent})

    async def request(self, call: Call) -> None:
        """The record of one request that this key may see; others are not there for it."""
        key = await self.gateway.who(call)
        require(key, "usage")
        request_id = call.path.removeprefix("/haneul/v1/requests/")
        if not request_id.isascii() or not request_id.isprintable() or len(request_id) > ID_MAX:
            raise BadRequest(
                "A request id reads req_…, or as the id inside the answer.", param="id"
            )
        await self._flush()
        whose = seen_by(key)
        row = await self.database.ask(
            lambda connection: ledger_queries.find(connection, request_id, **whose)
        )
        if row is None:
            raise NotFound("There is no record of that request; it may still be running.")
        await _json(call, row)

    async def _flush(self) -> None:
        """Returns when all that has ended is in the store, whichever process answered it."""
        await asyncio.gather(self.ledger.flush(), self.workers.flush())

    # the page
    async def page(self, call: Call) -> None:
        """One file of the page."""
        page = self.pages[call.path]
        call.extra_headers += [
            (b"content-security-policy", CSP),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-cache"),
            (b"etag", page.etag),
        ]
        if call.headers.get(b"if-none-match") == page.etag:
            await call.answer(304, b"", page.content_type)
            return
        await call.answer(200, page.data, page.content_type)  # of a HEAD only the head is sent

    async def log_in(self, call: Call) -> None:
        """Takes a key and gives a cookie for it."""
        if PAGE_HEADER not in call.headers:
            raise NotAllowed("Only haneul's own page logs in here.")
        body = await _body(call, LogIn)
        key = await self.gateway.keyring.verify(body.key)
        await self.database.call(audit.note, actor_of(call, key), "session.open", key.id)
        token = self.gateway.sessions.open(body.key)
        secure = "; Secure" if call.headers.get(b"x-forwarded-proto") == b"https" else ""
        cookie = (
            f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={LIFE_S:.0f}{secure}"
        )
        call.extra_headers.append((b"set-cookie", cookie.encode()))
        await _json(call, {"id": key.id, "name": key.name})

    async def log_out(self, call: Call) -> None:
        """Ends the session of the cookie."""
        with suppress(NotAuthenticated):
            key = await self.gateway.keyring.verify(self.gateway.sessions.key_text(call.headers))
            self.gateway.sessions.close(call.headers)
            await self.database.call(audit.note, actor_of(call, key), "session.close", key.id)
        self.gateway.sessions.close(call.headers)
        cookie = f"{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
        call.extra_headers.append((b"set-cookie", cookie.encode()))
        await _json(call, {})


def show_target(target: Target) -> dict[str, Any]:
    """A model as /v1/models lists it: OpenAI's four fields, and what haneul knows beside them."""
    replica = target.replica
    return {
        "id": target.model,
        "object": "model",
        "created": target.created_us // MILLION,
        "owned_by": target.engine,
        "state": target.state,
        "context_tokens": target.context_tokens,
        "digest": target.digest,
        "engine_version": target.engine_version,
        "chip": target.chip,
        "running": target.gate.busy.inside,
        "waiting": target.gate.waiting,
        "restarts": replica.restarts if replica else 0,
        "price": show_price(target.price),
    }


def show_price(price: PriceRow | None) -> dict[str, Any] | None:
    """A price with its unit in each name; None while it is unknown."""
    if price is None:
        return None
    return {
        "id": price.id,
        "currency": price.currency,
        "input_nano_per_million_tokens": price.input_nano,
        "cached_nano_per_million_tokens": price.cached_nano,
        "output_nano_per_million_tokens": price.output_nano,
        "reasoning_nano_per_million_tokens": price.reasoning_nano,
        "chip_nano_per_hour": price.hour_nano,
        "basis": msgspec.Raw(price.basis.encode()),
    }


def _whole_number(query: dict[str, list[str]], name: str, *, default: int, most: int) -> int:
    text = query.get(name, [str(default)])[0]
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
        raise BadRequest(f"'{name}' is a whole number from 1 to {most}.", param=name)
    return int(text)


async def _body(call: Call, kind: type[Any]) -> Any:
    data = await call.body(max_bytes=SMALL_BODY_BYTES, within_s=SMALL_BODY_S)
    return strict.read(data, msgspec.json.Decoder(kind))


async def _json(call: Call, value: Any, status: int = 200) -> None:
    await call.answer(status, msgspec.json.encode(value), JSON)
