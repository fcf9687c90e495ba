"""Every header that means something here, with its unit. A test finds those that are missing."""

from __future__ import annotations

from haneul.openapi.operation import Header, Schema
from haneul.services.heads import PRIORITIES
from haneul.services.mcp.wire import VERSION

WHOLE: Schema = {"type": "string", "pattern": "^[0-9]+$"}
SECONDS: Schema = {"type": "string", "pattern": r"^[0-9]+\.[0-9]{3}s$"}
VISIBLE: Schema = {"type": "string", "pattern": "^[ -~]{1,64}$"}

TAKEN = (
    Header(name="authorization", text="The key, as `Bearer sk-hn-…`."),
    Header(name="x-api-key", text="The key alone; one of the two, never both."),
    Header(
        name="cookie",
        text="The page's own log-in, `haneul_session`; counts only beside `x-haneul-page`. Of the "
        "hub: `m_session_id` with a key, as ModelScope's clients send it, for what only reads.",
    ),
    Header(
        name="x-haneul-page",
        text="Says that haneul's own page asks, which a page of another site cannot do.",
    ),
    Header(
        name="x-haneul-app",
        text="The app that the request comes from, 1 to 64 printable ASCII characters: the ledger "
        "keeps it, and budgets of the app hold for it. A key made for one app is for that alone.",
        schema=VISIBLE,
    ),
    Header(
        name="x-haneul-priority",
        text="How urgent it is: the embedded engine lets the more urgent go first, and none wait "
        "for ever. `interactive` unless said.",
        schema={"enum": list(PRIORITIES)},
    ),
    Header(
        name="x-haneul-cache",
        text="Where a tenant's answers are given again: `no-store` wants none and keeps none, "
        "`no-cache` wants a new one, `max-age=SECONDS` none that is older, `only-if-cached` no "
        "other (504 where there is none). Several stand with commas between them.",
        schema={
            "type": "array",  # with commas between them
            "items": {
                "type": "string",
                "pattern": "^(no-store|no-cache|only-if-cached|max-age=[0-9]{1,9})$",
            },
            "minItems": 1,
        },
    ),
    Header(
        name="x-haneul-within-s",
        text="How long the client waits for an answer to begin. An engine that could not begin by "
        "then, even at the best end of its promise, is not waited for: 503 with `retry-after`. "
        "The timeout that OpenAI's and Anthropic's SDKs send is understood too.",
        unit="seconds",
        schema={"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e9},
    ),
    Header(
        name="x-stainless-read-timeout",
        text="As SDKs send it: like `x-haneul-within-s`.",
        unit="seconds",
    ),
    Header(
        name="x-stainless-timeout",
        text="As SDKs send it: like `x-haneul-within-s`.",
        unit="seconds",
    ),
    Header(
        name="idempotency-key",
        text="A name for the request, of 1 to 255 ASCII characters: sent again within 24 hours it "
        "gets the first answer, byte for byte, and costs nothing.",
        schema={"type": "string", "pattern": "^[ -~]{1,255}$"},
    ),
    Header(
        name="anthropic-version",
        text="Without effect, but `GET /v1/models` answers in Anthropic's shape to it.",
    ),
    Header(name="anthropic-beta", text="Without effect."),
    Header(
        name="mcp-protocol-version",
        text="Of the Model Context Protocol, after its greeting.",
        schema={"const": VERSION},
    ),
    Header(name="origin", text="Of `/mcp`: a page of another origin is refused."),
    Header(name="content-type", text="Of a form, its boundary; JSON is read without it."),
    Header(
        name="content-length",
        text="Of the body; one that is too large is refused before it is read.",
        unit="bytes",
        schema=WHOLE,
    ),
    Header(name="content-encoding", text="Only `identity`: no compressed body is taken."),
    Header(name="expect", text="`100-continue` is answered when the body is wanted."),
    Header(
        name="if-none-match",
        text="Of the page's files and the hub's: 304 where they have not changed.",
    ),
    Header(
        name="range",
        text="Of the hub's files: `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-COUNT`; several at "
        "once, or another unit, get the whole file.",
    ),
    Header(
        name="if-range",
        text="Beside it: the entity tag that the part is to belong to; of another the whole file "
        "comes.",
    ),
    Header(
        name="user-agent",
        text="Of the hub's uploads: Hugging Face's clients before 1.0 are told ids, not addresses.",
    ),
    Header(name="host", text="On loopback only loopback's own names are answered."),
    Header(name="x-forwarded-proto", text="`https` makes the page's cookie `Secure`."),
    Header(name="x-forwarded-for", text="Kept in the audit as where an act came from."),
)
GIVEN = (
    Header(
        name="x-request-id",
        text="The request's id, by which the ledger has its record.",
        schema={"type": "string", "pattern": "^req_"},
        is_always=True,
    ),
    Header(
        name="openai-processing-ms",
        text="From the request's head to the answer's.",
        unit="milliseconds",
        schema=WHOLE,
        is_always=True,
    ),
    Header(name="www-authenticate", text="`Bearer`, with 401."),
    Header(name="allow", text="The methods that the address takes, with 405."),
    Header(
        name="retry-after",
        text="When it is worth asking again, where that is known: with 429, 503 and 409.",
        unit="seconds",
        schema=WHOLE,
    ),
    Header(
        name="x-ratelimit-limit-requests",
        text="Of a key with a rate: how many it may ask.",
        unit="requests a minute",
        schema=WHOLE,
    ),
    Header(
        name="x-ratelimit-remaining-requests",
        text="How many of them are left now.",
        unit="requests",
        schema=WHOLE,
    ),
    Header(
        name="x-ratelimit-reset-requests",
        text="Until all of them are there again, as `1.250s`.",
        unit="seconds",
        schema=SECONDS,
    ),
    Header(
        name="x-ratelimit-limit-tokens",
        text="Of a key with a rate of tokens: how many it may use.",
        unit="tokens a minute",
        schema=WHOLE,
    ),
    Header(
        name="x-ratelimit-remaining-tokens",
        text="How many of them are left now.",
        unit="tokens",
        schema=WHOLE,
    ),
    Header(
        name="x-ratelimit-reset-tokens",
        text="Until all of them are there again, as `1.250s`.",
        unit="seconds",
        schema=SECONDS,
    ),
    Header(
        name="x-haneul-thinking-max",
        text="How much the answer was allowed to think, where somebody bounded it.",
        unit="tokens",
        schema=WHOLE,
    ),
    Header(
        name="x-haneul-cache",
        text="`hit`: the answer was given before; `miss`: it was computed, and kept if it may be.",
        schema={"enum": ["hit", "miss"]},
    ),
    Header(name="age", text="Of an answer that was given before.", unit="seconds", schema=WHOLE),
    Header(
        name="x-haneul-masked",
        text="Where a guard looked: how many different pieces of personal data it masked.",
        unit="pieces",
        schema=WHOLE,
    ),
    Header(name="x-haneul-engine", text="The engine that was asked, by its name."),
    Header(
        name="x-haneul-route-reason",
        text="Why that one: `only`, `own_free`, `own_queue`, `spilled`, `cheapest`, `affinity`, "
        "`fallback`, `cache` where it was not asked again, `scarce_thinking`, `scarce_model` or "
        "`scarce_queue`.",
    ),
    Header(
        name="x-haneul-promised-s",
        text="When the answer was to begin, said as the request came: `4.2; low=2.1; high=8.4`. "
        "Only where it could not begin at once, and the wait is known.",
        unit="seconds",
        schema={"type": "string", "pattern": r"^[0-9.]+; low=[0-9.]+; high=[0-9.]+$"},
    ),
    Header(
        name="x-haneul-scarcity",
        text="What was done for want of free hardware or money, and why: `thinking=1024`, "
        "`model`, `queue`, `batch` or `refuse`, then `reason=busy`, `waking` or `budget`.",
        schema={"type": "string", "pattern": "^[a-z0-9=, ]+; reason=(busy|waking|budget)$"},
    ),
    Header(
        name="idempotent-replayed",
        text="`true` where the answer was given before, to the same `idempotency-key`.",
        schema={"enum": ["true"]},
    ),
    Header(
        name="original-request",
        text="Beside it: the id of the request that was answered first.",
        schema={"type": "string", "pattern": "^req_"},
    ),
    Header(name="content-type", text="Of the answer.", is_always=True),
    Header(
        name="content-length",
        text="Of a whole answer; a stream has none.",
        unit="bytes",
        schema=WHOLE,
    ),
    Header(name="transfer-encoding", text="`chunked`, of a stream."),
    Header(name="connection", text="`close`, where no other request is taken on it."),
    Header(name="date", text="When the answer began.", is_always=True),
    Header(name="set-cookie", text="The page's log-in, or its end."),
    Header(name="etag", text="Of the page's files, and of the hub's: their SHA-256."),
    Header(
        name="x-error-code",
        text="Of the hub: `RepoNotFound`, `RevisionNotFound` or `EntryNotFound`, with 404.",
    ),
    Header(name="x-error-message", text="Of the hub: what failed."),
    Header(
        name="x-repo-commit",
        text="Of the hub: the revision that the answer is of, its first 40 digits.",
        schema={"type": "string", "pattern": "^[0-9a-f]{40}$"},
    ),
    Header(name="x-linked-etag", text="Of the hub's files: the same as `etag`."),
    Header(
        name="x-linked-size",
        text="Of the hub's files: the whole one's.",
        unit="bytes",
        schema=WHOLE,
    ),
    Header(name="accept-ranges", text="`bytes`, of the hub's files."),
    Header(
        name="content-range",
        text="Of a part: `bytes FIRST-LAST/SIZE`; with 416 `bytes */SIZE`.",
    ),
    Header(
        name="content-disposition", text="Of the hub's files: their name, never shown in place."
    ),
    Header(name="link", text='Of a list: where its next page is, as `<ADDRESS>; rel="next"`.'),
    Header(name="content-security-policy", text="Of the page's files: nothing from elsewhere."),
    Header(name="x-content-type-options", text="Of the page's files and the hub's: `nosniff`."),
    Header(name="referrer-policy", text="Of the page's files: `no-referrer`."),
    Header(
        name="cache-control",
        text="Of the page's files: ask again each time; of the hub's too, but by a commit they "
        "never change.",
    ),
)
# What goes with every request that engines are asked for, and with its answer.
ASKING = (
    "x-haneul-app",
    "x-haneul-priority",
    "x-haneul-within-s",
    "x-haneul-cache",
    "idempotency-key",
)
ASKED = (
    *(each.name for each in GIVEN if each.name.startswith(("x-ratelimit-", "x-haneul-"))),
    "age",
    "idempotent-replayed",
    "original-request",
)
EVERYWHERE = ("x-request-id", "openai-processing-ms")


def taken(name: str) -> Header:
    """A header of requests."""
    return next(header for header in TAKEN if header.name == name)


def given(name: str) -> Header:
    """A header of answers."""
    return next(header for header in GIVEN if header.name == name)
