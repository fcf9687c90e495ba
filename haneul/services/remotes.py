"""Makes the targets of engines that were added, as the store describes them."""

from __future__ import annotations

import time

from haneul.base.config import Config
from haneul.services.affinity import mark
from haneul.services.gate import Gates
from haneul.services.leaders import Leaders
from haneul.services.remote import Transport
from haneul.services.targets import REMOTE_INSIDE_MAX, Target, always_ready
from haneul.store.engines import EngineRow


class Remotes:
    """Their maker."""

    def __init__(self, config: Config, gates: Gates) -> None:
        self._config = config
        self._gates = gates

    def make(self, row: EngineRow, model: str, transport: Transport) -> Target:
        """One model of an engine."""
        name = f"{row.name}/{model}"
        gate = self._gates.of(name, row.own_slots or REMOTE_INSIDE_MAX)
        return Target(
            model=name,
            engine=row.name,
            upstream_model=model,
            transport=transport,
            gate=gate,
            health=self._gates.health(gate, f"{row.url} {row.created_us}"),
            ready=always_ready,
            currency=self._config.currency,
            created_us=row.created_us,
            is_own=row.own_slots is not None,
            thinking_field=row.thinking_field,
            id=mark(name.encode()),
            leaders=self._leaders() if row.shares_prefixes else None,
        )

    def _leaders(self) -> Leaders:
        return Leaders(wait_s=self._config.leader_wait_s, clock=time.monotonic)
