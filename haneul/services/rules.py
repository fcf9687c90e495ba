"""What administrators decided for tenants, keys and public model names, as it holds now.

    thinking_max   of a key or a model: the most tokens of thought of one answer; 0: none
    cache          of a tenant: `deterministic` or `all` answers may be given again
    cache_share    of a tenant: what an answer that is given again costs of its price, 0 to 1
    guard          of a tenant or a model: personal data is masked (`mask`) or refused (`refuse`)
    keep_alive_s   of a model: how long its embedded engine is kept without requests; 0: for ever
    scarcity       of a key or a tenant: what is tried when all is busy (see services.scarcity)
    scarcity_budget  of these: the share of a budget from which on what is left is scarce too
    quality_loss_max  of a tenant: by how much a derivative's perplexity may have grown, as a share

A model's rule holds for requests of that name, be it a route's, and for every engine that serves
the model under it. Where several hold, the strictest does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from haneul.base.errors import BadRequest, HaneulError, NotAllowed
from haneul.base.log import logger
from haneul.base.units import MILLION, now_us
from haneul.models import revisions
from haneul.models.quality import loss_of
from haneul.services.targets import Target
from haneul.store import audit, cached
from haneul.store import rules as queries
from haneul.store.audit import Who
from haneul.store.database import Database
from haneul.store.rules import RuleRow

FOLLOW_S = 1.0
THINKING_MOST = 1 << 24
TENANT, KEY, MODEL = "tenant", "key", "model"
CACHES = ("deterministic", "all")
KEEP_MOST_S = 31_536_000
THINKING, SMALLER, QUEUE, BATCH, REFUSE = "thinking", "model", "queue", "batch", "refuse"
STEPS = (THINKING, SMALLER, QUEUE, BATCH, REFUSE)  # when all is busy, in their ordinary order
GUARDS = ("mask", "refuse")  # the stricter last
LOSS = "quality_loss_max"
NAMES = {
    "thinking_max": (KEY, MODEL),
    "cache": (TENANT,),
    "cache_share": (TENANT,),
    "guard": (TENANT, MODEL),
    "keep_alive_s": (MODEL,),
    "scarcity": (KEY, TENANT),
    "scarcity_budget": (KEY, TENANT),
    LOSS: (TENANT,),
}
log = logger("rules")


class Caching(NamedTuple):
    """What a tenant's answers may be given again for."""

    is_all: bool  # else only those that would be the same again
    share_millionths: int  # of the price


class Rules:
    """Every rule, read anew each second."""

    def __init__(self, database: Database) -> None:
        self.is_empty = True
        self._database = database
        self._of: dict[tuple[str, str, str], str] = {}
        self._losses: dict[str, float] = {}  # of derivatives by digest, where a rule asks for it
        self._follower: asyncio.Task[None] | None = None

    async def follow(self) -> None:
        """Reads them now, and every second from now on."""
        await self.refresh()
        self._follower = asyncio.create_task(self._follow(), name="rules")

    async def refresh(self) -> None:
        """What the store says now."""
        rows, self._losses = await self._database.ask(_read)
        self._of = {(row.owner_kind, row.owner_id, row.name): row.value for row in rows}
        self.is_empty = not self._of

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                await self.refresh()
            except HaneulError as error:  # a store that is away: what was known goes on to hold
                log.warning("rules_not_read", reason=error.message)

    async def aclose(self) -> None:
        """Stops reading."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)

    def thinking_max(self, key_id: str, models: Iterable[str]) -> int | None:
        """The least that the key and the models are allowed; None for no limit."""
        found = [self._of.get((MODEL, model, "thinking_max")) for model in models]
        found.append(self._of.get((KEY, key_id, "thinking_max")))
        return min((int(value) for value in found if value is not None), default=None)

    def keep_alive_s(self, model: str) -> float | None:
        """How long a model's engine is kept without requests; 0 for ever, None: nothing is said."""
        found = self._of.get((MODEL, model, "keep_alive_s"))
        return None if found is None else float(found)

    def scarcity(self, key_id: str, tenant_id: str) -> str | None:
        """What is tried when all is busy, the key's own before its tenant's."""
        own = self._of.get((KEY, key_id, "scarcity"))
        return own if own is not None else self._of.get((TENANT, tenant_id, "scarcity"))

    def scarcity_budget(self, key_id: str, tenant_id: str) -> float | None:
        """The share of a budget from which on what is left is scarce; None: none is."""
        own = self._of.get((KEY, key_id, "scarcity_budget"))
        found = own if own is not None else self._of.get((TENANT, tenant_id, "scarcity_budget"))
        return None if found is None else float(found)

    def caching(self, tenant_id: str) -> Caching | None:
        """Whether a tenant's answers are given again, and for what."""
        kind = self._of.get((TENANT, tenant_id, "cache"))
        if kind is None:
            return None
        share = float(self._of.get((TENANT, tenant_id, "cache_share"), "0"))
        return Caching(kind == "all", round(share * MILLION))

    def guard(self, tenant_id: str, models: Iterable[str]) -> str | None:
        """`mask` or `refuse`, the stricter of all that hold."""
        found = {self._of.get((MODEL, model, "guard")) for model in models}
        found.add(self._of.get((TENANT, tenant_id, "guard")))
        return next((kind for kind in reversed(GUARDS) if kind in found), None)

    def lossless(self, tenant_id: str, targets: Sequence[Target]) -> list[Target]:
        """The targets whose weights lost no more than the tenant allows; all where none is said.

        Raises NotAllowed where none is left.
        """
        most = self._of.get((TENANT, tenant_id, LOSS))
        if most is None:
            return list(targets)
        kept = [each for each in targets if self._losses.get(each.digest or "", 0.0) <= float(most)]
        if not kept:
            lost = min(self._losses[each.digest or ""] for each in targets)
            raise NotAllowed(
                f"This model's perplexity grew by {lost:.1%} when it was derived from its parent; "
                f"the tenant allows {float(most):.1%}."
            )
        return kept


def _read(connection: Connection) -> tuple[list[RuleRow], dict[str, float]]:
    """Every rule, and the losses of derivatives where some tenant bounds them."""
    rows = queries.every(connection)
    is_asked = any(row.name == LOSS for row in rows)
    return rows, revisions.losses(connection) if is_asked else {}


def decide(
    connection: Connection, kind: str, owner_id: str, name: str, value: str, *, actor: Who
) -> None:
    """Makes a rule, or takes it back where the value is empty or "none". Raises BadRequest."""
    if kind not in NAMES.get(name, ()):
        raise BadRequest(f"There is no rule '{name}' of a {kind}.", param=name)
    before, kept = of_owner(connection, kind, owner_id), "none"
    if value in ("", "none"):
        queries.remove(connection, kind, owner_id, name)
        if name == "cache":
            cached.forget_tenant(connection, owner_id)
    else:
        kept = _CHECKS[name](value)
        row = RuleRow(
            owner_kind=kind, owner_id=owner_id, name=name, value=kept, created_us=now_us()
        )
        queries.put(connection, row)
    after = of_owner(connection, kind, owner_id)
    said = f"{name}: {kept}"
    audit.note(connection, actor, f"{kind}.rule", owner_id, said, before=before, after=after)


def of_owner(connection: Connection, kind: str, owner_id: str) -> dict[str, str]:
    """The rules of one owner, by name."""
    rows = queries.every(connection)
    return {
        row.name: row.value for row in rows if (row.owner_kind, row.owner_id) == (kind, owner_id)
    }


def _thinking(value: str) -> str:
    if not (value.isascii() and value.isdigit() and int(value[:9]) <= THINKING_MOST):
        raise BadRequest(
            f"A limit of thoughts is 0 to {THINKING_MOST} tokens.", param="thinking_max"
        )
    return str(int(value))


def _share(name: str, what: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise BadRequest(f"{what} lies between 0 and 1.", param=name)
        return f"{share:.6f}".rstrip("0").rstrip(".")

    return check


def _seconds(value: str) -> str:
    if not (value.isascii() and value.isdigit() and int(value[:9]) <= KEEP_MOST_S):
        raise BadRequest(f"A time is 0 to {KEEP_MOST_S} whole seconds.", param="keep_alive_s")
    return str(int(value))


def _ladder(value: str) -> str:
    steps = [step.strip() for step in value.split(",")]
    if unknown := [step for step in steps if step not in STEPS]:
        raise BadRequest(
            f"'{unknown[0][:32]}' is no step: {', '.join(STEPS)}, or refuse alone.",
            param="scarcity",
        )
    if len(set(steps)) < len(steps) or (REFUSE in steps and len(steps) > 1):
        raise BadRequest("Each step is named once, and 'refuse' alone.", param="scarcity")
    return ",".join(steps)


def _one_of(name: str, values: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in values:
            raise BadRequest(f"'{name}' can be {', '.join(values)} or none.", param=name)
        return value

    return check


_CHECKS: dict[str, Callable[[str], str]] = {
    "thinking_max": _thinking,
    "cache": _one_of("cache", CACHES),
    "cache_share": _share("cache_share", "A share of the price"),
    "scarcity_budget": _share("scarcity_budget", "A share of a budget"),
    "guard": _one_of("guard", GUARDS),
    "keep_alive_s": _seconds,
    "scarcity": _ladder,
    LOSS: lambda value: f"{loss_of(value):g}",
}
