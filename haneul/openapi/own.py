"""haneul's own addresses, and the list of models."""

from __future__ import annotations

from typing import Any

from haneul.base import errors
from haneul.models.lineage import Lineage
from haneul.openapi import own_answers as answers
from haneul.openapi import rules
from haneul.openapi.anthropic import AnthropicModel, AnthropicModels
from haneul.openapi.bodies import LogIn, ModelName
from haneul.openapi.errors import MODEL
from haneul.openapi.operation import OPEN, Operation, Query, Schema
from haneul.openapi.plan_answers import PlanShown
from haneul.services import audit_pages
from haneul.services.invoice_pages import NUMBER_DIGITS
from haneul.services.invoices import Invoice
from haneul.services.key_pages import NewKey
from haneul.services.planning.pages import Known
from haneul.services.planning.question import Question
from haneul.store.ledger import RequestRow


def whole(most: int, default: int | None = None) -> Schema:
    """A whole number from 1."""
    usual = {} if default is None else {"default": default}
    return {"type": "integer", "minimum": 1, "maximum": most, **usual}


LABEL: Schema = {"type": "string", "maxLength": audit_pages.TEXT_MAX}
OPERATIONS = (
    Operation(
        method="GET",
        address="/v1/models",
        text="The models and routes this key may use.",
        answer=(answers.ModelList, AnthropicModels),
        takes=("anthropic-version",),
        shapes=("Error", "AnthropicError"),
    ),
    Operation(
        method="GET",
        address="/v1/models/{model}",
        text="One model or route.",
        answer=(answers.ModelShown, answers.RouteShown, AnthropicModel),
        takes=("anthropic-version",),
        shapes=("Error", "AnthropicError"),
        errors=(errors.ModelNotFound,),
    ),
    Operation(
        method="GET",
        address="/haneul/v1/me",
        text="The key that asks: tenant, user, what each budget has left, spent, reserved, rates.",
        answer=answers.Me,
        takes=("x-haneul-app",),
    ),
    Operation(
        method="GET",
        address="/haneul/v1/usage",
        text="Sums and newest requests: of the key, with scope `billing` of its tenant, with "
        "`admin` of all.",
        scope="usage",
        answer=answers.UsageShown,
        query=(
            Query("days", "Sums over the last so many.", whole(3660, 30)),
            Query("limit", "How many of the newest requests.", whole(1000, 20)),
        ),
    ),
    Operation(
        method="GET",
        address="/haneul/v1/requests/{id}",
        text="The record of one request, by its id or the one inside its answer.",
        path={"type": "string", "pattern": "^[ -~]{1,256}$"},
        scope="usage",
        answer=RequestRow,
        errors=(errors.NotFound,),
    ),
    Operation(
        method="GET",
        address="/haneul/v1/invoices",
        text="The tenant's invoices and credit notes.",
        scope="billing",
        answer=answers.Invoices,
    ),
    Operation(
        method="GET",
        address="/haneul/v1/invoices/{number}",
        text="One invoice with its lines.",
        path=whole(10**NUMBER_DIGITS - 1),
        scope="billing",
        answer=Invoice,
        errors=(errors.NotFound,),
    ),
    Operation(
        method="GET",
        address="/haneul/v1/keys",
        text="The tenant's keys.",
        scope="manage",
        answer=answers.Keys,
    ),
    Operation(
        method="POST",
        address="/haneul/v1/keys",
        text="Makes a key of the tenant, with no more than the asking key's own scopes.",
        scope="manage",
        body=NewKey,
        rules=(rules.NEW_KEY,),
        answer=answers.MadeKey,
        errors=(errors.NotFound, errors.Conflict),
    ),
    Operation(
        method="DELETE",
        address="/haneul/v1/keys/{id}",
        text="Ends a key of the tenant.",
        scope="manage",
        answer=answers.Revoked,
        errors=(errors.NotFound, errors.Conflict),
    ),
    Operation(
        method="GET",
        address="/haneul/v1/audit",
        text="Who changed what, the newest first.",
        scope="admin",
        answer=answers.Acts,
        query=(
            Query("days", "Of the last so many.", whole(audit_pages.DAYS_MAX)),
            Query("actor", "Only theirs.", LABEL),
            Query("action", "Only such.", LABEL),
            Query("subject", "Only of it.", LABEL),
            Query("request_id", "Only by that request.", LABEL),
            Query("limit", "How many at most.", whole(audit_pages.LIMIT_MAX, audit_pages.LIMIT)),
            Query("before_us", "Only before it: where a page ended.", whole(1 << 62)),
        ),
    ),
    Operation(
        method="GET",
        address="/haneul/v1/lineage/{model}",
        text="What a model was made of, what was made of it, what breaks if it is withdrawn.",
        answer=Lineage,
        errors=(errors.NotAllowed, errors.ModelNotFound),
    ),
    Operation(
        method="GET",
        address="/haneul/v1/plan",
        text="What a plan can be asked about: models, chips, engines, precisions.",
        answer=Known,
    ),
    Operation(
        method="POST",
        address="/haneul/v1/plan/serve",
        text="A plan of serving: the document that `haneul plan serve --json` prints.",
        body=Question,
        answer=PlanShown,
        errors=(
            errors.NotFound,
            errors.ModelNotFound,
            errors.Overloaded,
            errors.DeadlineExceeded,
        ),
    ),
    Operation(
        method="GET",
        address="/haneul/v1/status",
        text="Chips, models, version.",
        scope="admin",
        answer=answers.StatusShown,
    ),
    Operation(
        method="POST",
        address="/haneul/v1/models/start",
        text="Loads a model; answers when it is ready.",
        scope="admin",
        body=ModelName,
        answer=answers.ModelShown,
        errors=(*MODEL, errors.NotEnoughMemory),
    ),
    Operation(
        method="POST",
        address="/haneul/v1/models/stop",
        text="Unloads a model; the next request for it loads it again.",
        scope="admin",
        body=ModelName,
        answer=answers.ModelShown,
        errors=MODEL,
    ),
    Operation(
        method="POST",
        address="/haneul/v1/session",
        text="Logs the page in, with a cookie.",
        scope=OPEN,
        body=LogIn,
        answer=answers.LoggedIn,
        takes=("x-haneul-page",),
        gives=("set-cookie",),
        errors=(errors.NotAuthenticated,),
    ),
    Operation(
        method="DELETE",
        address="/haneul/v1/session",
        text="Logs the page out.",
        scope=OPEN,
        answer=dict[str, Any],
        gives=("set-cookie",),
    ),
    Operation(
        method="GET",
        address="/healthz",
        text="Whether the process answers.",
        scope=OPEN,
        answer=answers.Health,
    ),
    Operation(
        method="GET",
        address="/readyz",
        text="Whether the default model answers; 503 with the same body until then.",
        scope=OPEN,
        answer=answers.Ready,
        also=(503,),
    ),
    Operation(
        method="GET",
        address="/metrics",
        text="Counts for Prometheus; beyond loopback with the scope `usage`.",
        scope=OPEN,
        answer=str,
        media="text/plain",
        errors=(errors.NotAuthenticated,),
    ),
    Operation(
        method="GET",
        address="/openapi.json",
        text="This description.",
        scope=OPEN,
        answer=dict[str, Any],
    ),
)
FIELDS: dict[type, dict[str, str]] = {
    NewKey: {
        "name": "How the tenant knows it.",
        "user": "Of the tenant, by name or id.",
        "role": "What it may do at most.",
        "scopes": "What it may do, within its role's, its user's and the asking key's.",
        "app": "The one app it is for.",
        "models": "The only models it may use.",
        "budget": 'An amount in the cloud\'s currency, such as `"5"`.',
        "requests_per_minute": "How often it may ask.",
        "tokens_per_minute": "How many tokens it may use.",
        "expires_s": "Seconds until it ends.",
    },
    ModelName: {"model": "One that is here."},
    Question: {
        "model": "Of the published families, of the catalogue, or one that is here.",
        "isl": "Input tokens of a request.",
        "osl": "Output tokens of a request.",
        "rate": "Requests per second; with neither this nor `users`, the most one replica does.",
        "users": "Users at once.",
        "ttft": "Most milliseconds to the first token.",
        "tpot": "Most milliseconds for each token after it.",
        "chips": "Kinds of chips, also with how many there are: `8xH100`.",
        "prices": "An hour of one chip: `H100=2.95`.",
        "cache_hit": "Share of input that a prefix cache has.",
        "acceptance": "Tokens a step gains by speculation.",
        "precision": "Of the weights; empty: as the makers publish them.",
        "engine": "`vllm`, `sglang` or `trtllm`.",
        "kv_bits": "Bits of a number of the cache; null: as the engine keeps it.",
        "utilisation": "Share of hours that sells tokens.",
        "assume_like": "Take unknown speeds of a chip from the one it is said to be like.",
    },
    LogIn: {"key": "The key that the page asks with."},
}
