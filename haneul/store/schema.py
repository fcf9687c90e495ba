"""The tables, the same on SQLite and PostgreSQL.

Identifiers, times (UTC microseconds, `_us`) and money (integer nano-units, `_nano`) are made above
the store and kept as given. Deletions are states. `request`, `chip_hour`, `price`, `measurement`,
`trial`, `tuning`, `invoice`, `invoice_line`, `audit`, evaluations and some of the hub are
append-only: triggers refuse every UPDATE and DELETE (see migrations), but for acts of the audit
that are long past.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

from haneul.store.batch_tables import tables as batch_tables
from haneul.store.eval_tables import APPEND_ONLY as EVAL_APPEND_ONLY
from haneul.store.eval_tables import tables as eval_tables
from haneul.store.hub_tables import APPEND_ONLY as HUB_APPEND_ONLY
from haneul.store.hub_tables import tables as hub_tables
from haneul.store.invoice_tables import tables as invoice_tables
from haneul.store.matrix_tables import table as matrix_table
from haneul.store.plan_tables import APPEND_ONLY as PLAN_APPEND_ONLY
from haneul.store.plan_tables import tables as plan_tables

metadata = MetaData()

APPEND_ONLY = (
    *("request", "chip_hour", "price", "measurement", "trial", "tuning", "audit"),
    *("invoice", "invoice_line"),
    *HUB_APPEND_ONLY,
    *EVAL_APPEND_ONLY,
    *PLAN_APPEND_ONLY,
)

tenant = Table(
    "tenant",  # who is billed: a company or a team; "default" is there from the start
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("closed_us", BigInteger),
)

tenant_user = Table(
    "tenant_user",  # a person of a tenant
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),  # see services.roles
    Column("created_us", BigInteger, nullable=False),
    Column("removed_us", BigInteger),
)

budget = Table(
    "budget",  # one limit of one owner; a changed one ends and another begins
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("owner_kind", Text, nullable=False),  # key, user, tenant, app
    Column("owner_id", Text, nullable=False),  # of an app its name
    Column("measure", Text, nullable=False),  # money, requests, tokens, concurrency
    Column("period", Text, nullable=False),  # total, day, week, month; minute; now
    Column("amount", BigInteger, nullable=False),  # nano-units, or how many
    Column("created_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Index("budget_of_tenant", "tenant_id", "ended_us"),
)

spending = Table(
    "spending",  # sums of the ledger, kept in the transaction that adds to it
    metadata,
    Column("owner_kind", Text, primary_key=True),
    Column("owner_id", Text, primary_key=True),  # of an app: tenant/app
    Column("day", Integer, primary_key=True),  # UTC, since 1970, on which requests were received
    Column("cost_nano", BigInteger, nullable=False),
)

replay = Table(
    "replay",  # the first answer to a request that may be sent again; forgotten after a day
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),  # the client's Idempotency-Key
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of the address and the body
    Column("request_id", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Index("replay_by_age", "created_us", "bytes"),
)

key = Table(
    "key",
    metadata,
    Column("id", Text, primary_key=True),  # the public part of the key
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),  # HMAC-SHA256(pepper, secret)
    Column("scopes", Text, nullable=False),  # JSON list
    Column("models", Text),  # JSON list of allowed models; NULL: all
    Column("budget_nano", BigInteger),  # NULL: no limit
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("tenant_id", Text, nullable=False, server_default="default"),
    Column("user_id", Text),
    Column("role", Text),  # what it may do at most; NULL: what its scopes say
    Column("app", Text),  # the one app it is for; NULL: what the request says
)

engine = Table(
    "engine",  # engines beside the embedded ones: a URL that speaks OpenAI
    metadata,
    Column("name", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("key_file", Text),  # the provider's key is read from here, never kept
    Column("models", Text, nullable=False),  # JSON list of the names it serves
    Column("created_us", BigInteger, nullable=False),
    Column("removed_us", BigInteger),
    Column("shares_prefixes", SmallInteger, nullable=False, server_default="0"),
    Column("own_slots", Integer),  # answers at a time of one's own hardware; NULL: a provider's
    Column("thinking_field", Text),  # that bounds thoughts in its requests; NULL: unknown
)

route = Table(
    "route",  # a public name that leads to several models
    metadata,
    Column("name", Text, primary_key=True),
    Column("members", Text, nullable=False),  # JSON list of [model, weight or null]
    Column("fallbacks", Text, nullable=False),  # JSON list of models, in order
    Column("created_us", BigInteger, nullable=False),
    Column("scarce", Text, nullable=False, server_default="[]"),  # JSON: asked when all is busy
    Column("removed_us", BigInteger),
)

rule = Table(
    "rule",  # what was decided for a tenant, a key or a public model name: see services.rules
    metadata,
    Column("owner_kind", Text, primary_key=True),  # tenant, key, model
    Column("owner_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

cached_answer = Table(
    "cached_answer",  # answers of engines that may be given again; the least used go first
    metadata,
    Column("digest", LargeBinary, primary_key=True),  # SHA-256 of tenant, version and request
    Column("tenant_id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("used_us", BigInteger, nullable=False),
    Index("cached_answer_by_use", "used_us", "bytes"),
    Index("cached_answer_by_tenant", "tenant_id", "used_us"),
)

model = Table(
    "model",  # what a name means now: one verified file
    metadata,
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False),  # sha256 of the file, hexadecimal
    Column("path", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("source", Text, nullable=False),  # where it came from, in words
    Column("licence", Text),
    Column("shape", Text, nullable=False),  # JSON of chips.shape.Shape
    Column("pulled_us", BigInteger, nullable=False),
    Column("removed_us", BigInteger),
    Column("revision", Text),  # of the hub; NULL: pulled before there were any
)

price = Table(
    "price",  # append-only; of a model and engine the one with the latest from_us is in force
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("engine", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("input_nano", BigInteger, nullable=False),  # per million tokens
    Column("cached_nano", BigInteger, nullable=False),
    Column("output_nano", BigInteger, nullable=False),
    Column("hour_nano", BigInteger, nullable=False),  # owning the chip for one hour; 0: not ours
    Column("basis", Text, nullable=False),  # JSON: what it was computed from
    Column("created_us", BigInteger, nullable=False),
    Column("reasoning_nano", BigInteger),  # NULL: as the other tokens of an answer
    Column("from_us", BigInteger, nullable=False, server_default="0"),  # 0: computed, not set
    Column("unit", Text),  # what is paid beside tokens, and what a million of it costs
    Column("unit_nano", BigInteger),
    Index("price_in_force", "model", "engine", "created_us"),
)

request = Table(
    "request",  # THE ledger: append-only, one terminal row per request
    metadata,
    Column("id", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("app", Text),
    Column("route", Text, nullable=False),  # chat, completions, embeddings
    Column("model", Text),
    Column("digest", Text),  # the model's version: sha256 of its file
    Column("engine", Text),
    Column("engine_version", Text),
    Column("chip", Text),
    Column("state", Text, nullable=False),  # done, aborted, failed, refused
    Column("status", SmallInteger, nullable=False),  # the HTTP status the client saw
    Column("error_code", Text),
    Column("is_stream", SmallInteger, nullable=False),
    Column("metering", Text, nullable=False),  # engine: its own counts; counted: chunks; none
    Column("prompt_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),  # of the prompt tokens
    Column("completion_tokens", Integer, nullable=False),
    Column("reasoning_tokens", Integer, nullable=False),  # of the completion tokens
    Column("price_id", Text),
    Column("currency", Text, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),  # per token used
    Column("hour_nano", BigInteger, nullable=False),  # per hour owned: its share of busy time
    Column("busy_us", BigInteger, nullable=False),  # that share of the engine's time
    Column("upstream_id", Text),  # the id inside the answer
    Column("end_user", Text),
    Column("received_us", BigInteger, nullable=False),
    Column("started_us", BigInteger),  # handed to the engine
    Column("first_token_us", BigInteger),
    Column("finished_us", BigInteger, nullable=False),
    Column("tenant_id", Text, nullable=False, server_default="default"),
    Column("user_id", Text),
    # What was paid of the price, in millionths: less for work that may wait.
    Column("share_millionths", Integer, nullable=False, server_default="1000000"),
    Column("routed", Text),  # why this engine: see services.choice
    Column("saved_nano", BigInteger),  # against the next engine; NULL: there was none to compare
    Column("thinking_max", Integer),  # tokens of thought that were allowed; NULL: no limit
    Column("masked", Integer),  # pieces of personal data that were masked; NULL: nobody looked
    Column("unit", Text),  # what was billed beside tokens: see services.prices
    Column("units", BigInteger),
    Column("tried", Text),  # engines that gave no answer before, each ENGINE=CODE
    Index("request_by_key", "key_id", "received_us"),
    Index("request_by_tenant", "tenant_id", "received_us"),
    Index("request_by_upstream", "upstream_id"),
)

chip_hour = Table(
    "chip_hour",  # append-only: what owning the chips cost while the cloud ran, idle or not
    metadata,
    Column("id", Text, primary_key=True),
    Column("chip", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("to_us", BigInteger, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
)

forecast = Table(
    "forecast",  # what was said before; measurement says what happened
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("digest", Text),
    Column("chip", Text, nullable=False),
    Column("kind", Text, nullable=False),  # decode, prefill, capacity, memory
    Column("low", BigInteger, nullable=False),  # thousandths of the unit
    Column("mid", BigInteger, nullable=False),
    Column("high", BigInteger, nullable=False),
    Column("unit", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

measurement = Table(
    "measurement",  # append-only
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("chip", Text, nullable=False),
    Column("engine_version", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", BigInteger, nullable=False),  # thousandths of the unit
    Column("unit", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Index("measurement_newest", "digest", "chip", "kind", "created_us"),
)

trial = Table(
    "trial",  # append-only; the model-chip matrix: see store.tunings for the meaning of each
    metadata,
    Column("id", Text, primary_key=True),
    Column("tuning_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("chip", Text, nullable=False),
    Column("setup", Text, nullable=False),  # JSON
    Column("kernel", Text),
    Column("state", Text, nullable=False),  # measured, lost
    Column("reason", Text),
    Column("rounds", Integer, nullable=False),
    Column("single_milli", BigInteger),
    Column("together_milli", BigInteger),
    Column("shared_milli", BigInteger),
    Column("ttft_us", BigInteger),
    Column("together_ttft_us", BigInteger),
    Column("spread_millionths", BigInteger),
    Column("memory_bytes", BigInteger),
    Column("loss_low", BigInteger),
    Column("loss_mid", BigInteger),
    Column("loss_high", BigInteger),
    Column("created_us", BigInteger, nullable=False),
    Column("long_milli", BigInteger),
    Index("trial_of_tuning", "tuning_id"),
)

tuning = Table(
    "tuning",  # append-only; the newest row of a digest, chip and versions holds
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("chip", Text, nullable=False),
    Column("versions", Text, nullable=False),
    Column("purpose", Text, nullable=False),  # single, many, both
    Column("default_trial", Text, nullable=False),
    Column("single_trial", Text, nullable=False),
    Column("many_trial", Text, nullable=False),
    Column("used_trial", Text, nullable=False),
    Column("said", Text, nullable=False),
    Column("load", Text, nullable=False),  # JSON
    Column("took_us", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("many_from", Integer),
    Index("tuning_newest", "digest", "chip", "versions", "created_us"),
)

audit = Table(
    "audit",  # append-only: who changed what
    metadata,
    Column("id", Text, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text),
    Column("origin", Text),  # from where it was done
    Column("request_id", Text),
    Column("before", Text),  # JSON, as are the facts after it; without secrets
    Column("after", Text),
    Index("audit_at", "at_us"),
)

response = Table(
    "response",  # what clients may find again; deleted rows are gone
    metadata,
    Column("id", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("previous_id", Text),  # the response that it continues
    Column("input", Text, nullable=False),  # JSON list of the items of its own request
    Column("response", Text, nullable=False),  # JSON, as it was answered
    Column("bytes", BigInteger, nullable=False),  # of both
    Column("created_us", BigInteger, nullable=False),
    Column("used_us", BigInteger, nullable=False),  # when it was made or continued last
    Index("response_by_key", "key_id", "used_us", "bytes"),
    Index("response_by_use", "used_us"),
)

file, batch, batch_line = batch_tables(metadata)

invoice, invoice_line = invoice_tables(metadata)

hub = hub_tables(metadata)

evals = eval_tables(metadata)

plans = plan_tables(metadata)

matrix_row = matrix_table(metadata)
