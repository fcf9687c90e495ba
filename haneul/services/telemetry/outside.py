"""What is seen of a running cloud from outside: /metrics, telemetry, a line for each request."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from haneul.base.config import Config
from haneul.base.log import logger
from haneul.services.chat import Gateway
from haneul.services.house import House
from haneul.services.ledger import Ledger
from haneul.services.metrics import Metrics
from haneul.services.targets import Targets
from haneul.services.telemetry.start import open_telemetry
from haneul.services.telemetry.watch import Watched, Watcher
from haneul.services.vllm_names import VllmNames
from haneul.store.database import Database
from haneul.store.ledger import RequestRow

log = logger("requests")


class Outside:
    """Builds what the configuration and the environment ask for, and closes it."""

    def __init__(
        self,
        config: Config,
        *,
        metrics: Metrics,
        database: Database,
        ledger: Ledger,
        targets: Targets,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._targets = targets
        self._house = house = House(home=config.home, database=database, ledger=ledger)
        metrics.registry.register(house)
        self._watchers: list[Watcher] = []
        if config.metrics_vllm:
            names = VllmNames(targets.every, lambda: house.caches)
            metrics.registry.register(names)
            self._watchers.append(names)
        self._telemetry = open_telemetry(environ)
        if self._telemetry is not None:
            self._watchers.append(self._telemetry)
        if config.log_requests:
            metrics.watchers.append(log_request)

    def gateway(self, **parts: Any) -> Gateway:
        """The gateway: the plain one where nobody watches."""
        if not self._watchers:
            return Gateway(self._config, **parts)
        return Watched(self._config, watchers=self._watchers, metrics=self._metrics, **parts)

    async def page(self, in_flight: int) -> bytes:
        """The page for Prometheus, with everything as it is now."""
        if self._telemetry is not None:
            self._house.lost = {"spans": self._telemetry.lost}
        targets = self._targets.every()
        await self._house.look(targets)
        return self._metrics.text(targets, in_flight)

    async def aclose(self) -> None:
        """Sends what telemetry still holds, within bounds."""
        if self._telemetry is not None:
            await self._telemetry.aclose()


def log_request(row: RequestRow) -> None:
    """One line for a request that has ended: its numbers, and nothing of what was said."""
    first_us = row.first_token_us
    log.info(
        "request_ended",
        request=row.id,
        key=row.key_id,
        tenant=row.tenant_id,
        app=row.app,
        route=row.route,
        model=row.model,
        engine=row.engine,
        routed=row.routed,
        state=row.state,
        status=row.status,
        code=row.error_code,
        prompt_tokens=row.prompt_tokens,
        cached_tokens=row.cached_tokens,
        completion_tokens=row.completion_tokens,
        cost_nano=row.cost_nano,
        first_token_s=None if first_us is None else (first_us - row.received_us) / 1e6,
        took_s=(row.finished_us - row.received_us) / 1e6,
    )
