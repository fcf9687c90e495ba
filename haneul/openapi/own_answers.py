"""What haneul's own addresses answer. Money is in nano-units of the currency, times are
microseconds since 1970 UTC unless a name says another unit."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from haneul.chips.chip import Chip
from haneul.store.invoices import InvoiceRow
from haneul.store.ledger import RequestRow, UsageRow

Text = str | None


class Health(Struct, kw_only=True):
    """The process answers."""

    status: Literal["ok"]
    version: str


class Ready(Struct, kw_only=True):
    """What the default model is doing."""

    status: str
    model: str


class PriceShown(Struct, kw_only=True):
    """A price."""

    id: str
    currency: str
    input_nano_per_million_tokens: int
    cached_nano_per_million_tokens: int
    output_nano_per_million_tokens: int
    reasoning_nano_per_million_tokens: int | None
    chip_nano_per_hour: int
    basis: dict[str, Any]


class ModelShown(Struct, kw_only=True):
    """A model: OpenAI's four fields, and what haneul knows beside them."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    state: Literal["stopped", "loading", "ready", "backoff", "failed"]
    context_tokens: int | None
    digest: Text
    engine_version: Text
    chip: Text
    running: int
    waiting: int
    restarts: int
    price: PriceShown | None


class MemberShown(Struct, kw_only=True):
    """A model of a route; its weight where the route shares by weights."""

    model: str
    weight: int | None


class RouteShown(Struct, kw_only=True):
    """A route: OpenAI's four fields, and where it leads."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["route"]
    members: list[MemberShown]
    fallbacks: list[str]
    scarce: list[str]


class ModelList(Struct, kw_only=True):
    """The models and routes this key may use."""

    object: Literal["list"]
    data: list[dict[str, Any]]


# Lists whose entries are of several kinds, which one struct cannot say.
EITHER: dict[type, dict[str, tuple[type, ...]]] = {ModelList: {"data": (ModelShown, RouteShown)}}


class BudgetLeft(Struct, kw_only=True):
    """A budget that holds for the key."""

    of: str
    period: str
    budget_nano: int
    left_nano: int
    renews_us: int | None


class Me(Struct, kw_only=True):
    """The key that asks."""

    id: str
    name: str
    scopes: list[str]
    models: list[str] | None
    currency: str
    tenant: str
    user: Text
    app: Text
    budget_nano: int | None
    budgets: list[BudgetLeft]
    spent_nano: int
    reserved_nano: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    expires_us: int | None
    default_model: str


class UsageShown(Struct, kw_only=True):
    """Sums by key, model and engine, and the newest requests."""

    days: int
    usage: list[UsageRow]
    requests: list[RequestRow]


class Invoices(Struct, kw_only=True):
    """The invoices and credit notes of the key's tenant."""

    invoices: list[InvoiceRow]


class KeyShown(Struct, kw_only=True):
    """A key, without its secret."""

    id: str
    name: str
    state: Literal["live", "expired", "revoked"]
    user_id: Text
    role: Text
    scopes: list[str]
    app: Text
    models: list[str] | None
    budget_nano: int | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    created_us: int
    expires_us: int | None


class MadeKey(KeyShown, kw_only=True):
    """A new key; `key` is its secret, told this once."""

    key: str


class Keys(Struct, kw_only=True):
    """The tenant's keys."""

    keys: list[KeyShown]


class Revoked(Struct, kw_only=True):
    """The key that was ended."""

    revoked: str
    name: str


class Act(Struct, kw_only=True):
    """Something that was changed, and by whom."""

    id: str
    at_us: int
    actor: str
    action: str
    subject: str
    detail: Text
    origin: Text
    request_id: Text
    before: Any
    after: Any


class Acts(Struct, kw_only=True):
    """The acts that fit, the newest first."""

    acts: list[Act]


class StatusShown(Struct, kw_only=True):
    """What runs here."""

    version: str
    uptime_s: int
    in_flight: int
    default_model: str
    chips: list[Chip]
    models: list[ModelShown]
    workers: list[WorkerShown]


class WorkerShown(Struct, kw_only=True):
    """One of the further processes that answer on the port."""

    number: int
    pid: int | None
    state: str
    restarts: int


class LoggedIn(Struct, kw_only=True):
    """The key of the log-in."""

    id: str
    name: str
