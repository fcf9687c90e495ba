"""API keys: made, shown once, kept as a hash, verified.

A key reads `sk-hn-` + 8 characters of public id + 43 characters of secret (256 random bits) + 6
characters of CRC-32, all base 62, so that a secret scanner can recognise one without asking. The
store keeps HMAC-SHA256(pepper, secret); the pepper is a file beside the database, so a stolen
database alone opens nothing. Random 256-bit secrets need no slow hash.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.errors import BadRequest, CommandError, Conflict, NotAuthenticated, NotFound
from haneul.base.units import now_us
from haneul.services import roles
from haneul.services.budgets import Limit, check_app
from haneul.store import audit
from haneul.store import keys as queries
from haneul.store.audit import Who
from haneul.store.keys import KeyRow
from haneul.store.tenants import DEFAULT

PREFIX = "sk-hn-"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH, SECRET_LENGTH, CHECK_LENGTH = 8, 43, 6
PEPPER_BYTES = 32
LIMIT_MAX = (1 << 31) - 1  # of a rate, as both databases keep it
KEY_LENGTH = len(PREFIX) + ID_LENGTH + SECRET_LENGTH + CHECK_LENGTH
SCOPES = frozenset(roles.SCOPES)
DEFAULT_SCOPES = ("infer", "usage")
LOCAL_ID = "local"  # what comes over the cloud's own socket, whose file only its owner can open


class Key(Struct, frozen=True, kw_only=True):
    """A verified key: who asks, and what they may."""

    id: str
    name: str
    scopes: frozenset[str]
    models: frozenset[str] | None = None  # None: all
    budget_nano: int | None = None  # None: no limit
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    expires_us: int | None = None
    revoked_us: int | None = None
    tenant_id: str = DEFAULT
    user_id: str | None = None
    app: str | None = None  # that the key is for, or that the request says it comes from
    limits: tuple[Limit, ...] = ()  # the key's own and all others that can hold for it

    @property
    def is_live(self) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_us is None and (self.expires_us is None or now_us() < self.expires_us)


class Terms(Struct, frozen=True, kw_only=True):
    """What a new key may do; None means no limit.

    Scopes that are not named are those of its role, or the ordinary ones where it has none.
    """

    scopes: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    budget_nano: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    expires_us: int | None = None
    tenant_id: str = DEFAULT
    user_id: str | None = None
    role: str | None = None
    app: str | None = None


class Made(NamedTuple):
    """A new key and its secret, which exists nowhere else."""

    key: Key
    secret: str


LOCAL = Key(id=LOCAL_ID, name="this machine", scopes=SCOPES)


def read_pepper(home: Path) -> bytes:
    """The pepper of this home, made at first use and readable by its owner alone."""
    path = home / "pepper"
    if not path.exists():
        _make_pepper(path)
    pepper = path.read_bytes()
    if len(pepper) != PEPPER_BYTES:
        raise CommandError(f"{path} is damaged: put it back from a copy, or no key is known here")
    return pepper


def _make_pepper(path: Path) -> None:
    """Whole at once under its name, whoever else is making it: the first one stays."""
    fresh = path.with_name(f".pepper-{secrets.token_hex(8)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(PEPPER_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()


def create(connection: Connection, pepper: bytes, name: str, terms: Terms, *, actor: Who) -> Made:
    """A new key under a name no live key has. Raises BadRequest, Conflict."""
    if not name or len(name) > 64 or not name.isprintable():
        raise BadRequest("A key's name has 1 to 64 printable characters.", param="name")
    scopes = scopes_of(terms)
    for limit in (terms.requests_per_minute, terms.tokens_per_minute):
        if limit is not None and not 1 <= limit <= LIMIT_MAX:
            raise BadRequest(f"A rate per minute is a whole number from 1 to {LIMIT_MAX}.")
    if terms.app is not None:
        check_app(terms.app)
    if queries.named(connection, name, terms.tenant_id):
        raise Conflict(f"There is a key named '{name}' already.", param="name")
    key_id, secret = _random(ID_LENGTH), _random(SECRET_LENGTH)
    row = KeyRow(
        id=key_id,
        name=name,
        hash=_hash(pepper, secret),
        scopes=msgspec.json.encode(scopes).decode(),
        models=None if terms.models is None else msgspec.json.encode(terms.models).decode(),
        budget_nano=terms.budget_nano,
        requests_per_minute=terms.requests_per_minute,
        tokens_per_minute=terms.tokens_per_minute,
        created_us=now_us(),
        expires_us=terms.expires_us,
        tenant_id=terms.tenant_id,
        user_id=terms.user_id,
        role=terms.role,
        app=terms.app,
    )
    queries.add(connection, row)
    audit.note(connection, actor, "key.create", key_id, name, after=row)
    return Made(of_row(row), PREFIX + key_id + secret + _check(key_id + secret))


def find(connection: Connection, name: str, *, tenant_id: str | None = None) -> KeyRow:
    """A live key, named or by id, of one tenant or of any. Raises NotFound, Conflict."""
    rows = queries.all_named(connection, name, tenant_id)
    if not rows:
        raise NotFound(f"There is no live key '{name}'.")
    if len(rows) > 1:
        raise Conflict(f"Several tenants have a key '{name}': say which tenant, or the key's id.")
    return rows[0]


def revoke(connection: Connection, name: str, *, actor: Who, tenant_id: str | None = None) -> Key:
    """Ends a key, named or by id, of one tenant or of any. Raises NotFound, Conflict."""
    row = find(connection, name, tenant_id=tenant_id)
    queries.revoke(connection, row.id, now_us())
    audit.note(connection, actor, "key.revoke", row.id, row.name, before=row)
    return of_row(row)


def split(text: str) -> tuple[str, str]:
    """The public id and the secret of a key's text. Raises NotAuthenticated."""
    body = text[len(PREFIX) :]
    if len(text) != KEY_LENGTH or not text.startswith(PREFIX) or not text.isascii():
        raise NotAuthenticated("The API key is not of the form sk-hn-….")
    known, check = body[:-CHECK_LENGTH], body[-CHECK_LENGTH:]
    if _check(known) != check:
        raise NotAuthenticated("The API key has a typing mistake: its check digits are wrong.")
    return known[:ID_LENGTH], known[ID_LENGTH:]


def matches(row: KeyRow, pepper: bytes, secret: str) -> bool:
    """Whether the secret is the one the row was made with, in constant time."""
    return hmac.compare_digest(row.hash, _hash(pepper, secret))


def of_row(row: KeyRow) -> Key:
    """The key a row describes, with its own limits; `standing` adds those of others."""
    scopes = frozenset(msgspec.json.decode(row.scopes))
    if row.role is not None:
        scopes &= roles.ROLES.get(row.role, frozenset())
    if row.tenant_id != DEFAULT:
        scopes -= roles.CLOUDS
    return Key(
        id=row.id,
        name=row.name,
        scopes=scopes,
        models=None if row.models is None else frozenset(msgspec.json.decode(row.models)),
        budget_nano=row.budget_nano,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        expires_us=row.expires_us,
        revoked_us=row.revoked_us,
        tenant_id=row.tenant_id,
        user_id=row.user_id,
        app=row.app,
        limits=own_limits(row),
    )


def own_limits(row: KeyRow) -> tuple[Limit, ...]:
    """The limits that are part of a key."""
    own = (
        ("money", "total", row.budget_nano),
        ("requests", "", row.requests_per_minute),
        ("tokens", "", row.tokens_per_minute),
    )
    return tuple(
        Limit("key", row.id, f"API key '{row.name}'", measure, period, amount)
        for measure, period, amount in own
        if amount is not None
    )


def scopes_of(terms: Terms) -> tuple[str, ...]:
    """What was asked for, within what the role allows. Raises BadRequest."""
    allowed = SCOPES if terms.role is None else roles.scopes_of(terms.role)
    if terms.tenant_id != DEFAULT:
        allowed -= roles.CLOUDS
    if terms.scopes is None:
        usual = DEFAULT_SCOPES if terms.role is None else sorted(allowed)
        return tuple(scope for scope in usual if scope in allowed)
    if unknown := set(terms.scopes) - SCOPES:
        raise BadRequest(
            f"Unknown scope {sorted(unknown)[0]!r}; there are {', '.join(sorted(SCOPES))}.",
            param="scopes",
        )
    return tuple(scope for scope in terms.scopes if scope in allowed)


def _random(length: int) -> str:
    """43 characters of 62 are 256.03 bits."""
    return "".join(secrets.choice(BASE62) for _ in range(length))


def _check(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(CHECK_LENGTH):
        number, rest = divmod(number, 62)
        digits = BASE62[rest] + digits
    return digits


def _hash(pepper: bytes, secret: str) -> bytes:
    return hmac.new(pepper, secret.encode(), hashlib.sha256).digest()
