"""The parts that a request meets on its way, built alike in every process that answers requests."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import NamedTuple

from haneul.base import http
from haneul.base.config import Config
from haneul.models import catalogue
from haneul.services.accounts import Accounts
from haneul.services.bill import Biller
from haneul.services.cache.answers import Answers
from haneul.services.call import Calls
from haneul.services.chat import Gateway
from haneul.services.customs import Customs
from haneul.services.customs_metrics import CustomsMetrics
from haneul.services.flights import Flights
from haneul.services.gate import Gates
from haneul.services.keyring import Keyring
from haneul.services.keys import read_pepper
from haneul.services.ledger import GATHER_S, Ledger
from haneul.services.metrics import Metrics
from haneul.services.replays import Replays
from haneul.services.router import Router
from haneul.services.rules import Rules
from haneul.services.scarcity import Scarcity
from haneul.services.sessions import Sessions
from haneul.services.targets import Targets
from haneul.services.telemetry.outside import Outside
from haneul.services.workers.shared import Shared, part
from haneul.store.database import Database


class Parts(NamedTuple):
    """What whoever builds the rest of the process needs of them."""

    gateway: Gateway
    ledger: Ledger
    client: http.Client
    metrics: Metrics
    targets: Targets
    gates: Gates
    rules: Rules
    cached: Answers
    outside: Outside


async def open_parts(
    stack: AsyncExitStack,
    config: Config,
    database: Database,
    flights: Flights,
    shared: Shared | None = None,
) -> Parts:
    """All of them, closed with the stack; `shared` is what several workers have in common."""
    config = part(config) if shared else config
    ledger = Ledger(database, gather_s=GATHER_S * config.workers)  # no more commits than of one
    stack.push_async_callback(ledger.aclose)
    client = http.Client()
    stack.push_async_callback(client.aclose)
    metrics = Metrics()
    calls = shared.calls() if shared else Calls()
    stack.push_async_callback(calls.aclose)
    targets = Targets(client, await asyncio.to_thread(_aliases))
    stack.push_async_callback(targets.aclose)
    replays = Replays(database)
    stack.push_async_callback(replays.aclose)
    rules = Rules(database)
    stack.push_async_callback(rules.aclose)
    await rules.follow()
    cached = Answers(database, room_bytes=config.cache_max_bytes, age_s=config.cache_age_s)
    stack.push_async_callback(cached.aclose)
    keyring = Keyring(database, read_pepper(config.home))
    stack.push_async_callback(keyring.aclose)
    outside = Outside(config, metrics=metrics, database=database, ledger=ledger, targets=targets)
    stack.push_async_callback(outside.aclose)
    router = Router(targets, spill_wait_s=config.spill_wait_s)
    gateway = outside.gateway(
        keyring=keyring,
        sessions=Sessions(),
        accounts=shared.accounts(database) if shared else Accounts(database, ledger.flush),
        targets=targets,
        biller=Biller(flights, ledger, metrics, config.currency),
        calls=calls,
        replays=replays,
        customs=Customs(rules, cached, Scarcity(config, rules, router)),
        router=router,
    )
    stack.push_async_callback(gateway.watch.aclose)
    metrics.registry.register(CustomsMetrics(gateway.customs))
    gates = shared.gates if shared else Gates(config)
    return Parts(gateway, ledger, client, metrics, targets, gates, rules, cached, outside)


def _aliases() -> dict[str, str]:
    entries = catalogue.load().entries
    return {alias: entry.name for entry in entries for alias in entry.aliases}
