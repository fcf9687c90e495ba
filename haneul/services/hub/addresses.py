"""The hub's addresses, below /hub: what HF_ENDPOINT and MODELSCOPE_ENDPOINT are pointed at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from haneul.base import places
from haneul.models.folder.blobs import Blobs
from haneul.services.call import Call
from haneul.services.chat import Gateway
from haneul.services.hub.access import Access
from haneul.services.hub.counts import Counts
from haneul.services.hub.files import FilesOut
from haneul.services.hub.reading import MODELS, Reading
from haneul.services.hub.scope import Scope
from haneul.services.hub.sending import Sender
from haneul.services.hub.shelf import Shelf
from haneul.services.hub.uploads import Uploads
from haneul.services.hub.ways import Ways
from haneul.services.hub.writing import CREATE, YAML, Writing
from haneul.services.keys import read_pepper
from haneul.store.database import Database


class HubAddresses:
    """Builds the parts of the hub; closes what they own."""

    def __init__(self, gateway: Gateway, database: Database) -> None:
        config = gateway.config
        blobs, shelf, access = Blobs(places.blobs(config.home)), Shelf(), Access(gateway)
        self.counts = Counts(database)
        self._sender = Sender()
        self._uploads = Uploads(blobs, idle_s=config.idle_s)
        files = FilesOut(
            access, blobs=blobs, sender=self._sender, counts=self.counts, idle_s=config.idle_s
        )
        reading = Reading(access, database=database, shelf=shelf, files=files)
        scope = Scope(access, database=database, shelf=shelf, files=files)
        writing = Writing(
            gateway,
            access,
            database=database,
            shelf=shelf,
            blobs=blobs,
            pepper=read_pepper(config.home),
        )
        self.ways = Ways(access, [*writing.ways(), *scope.ways(), *reading.ways()])

    async def open(self) -> None:
        """Removes what uploads of a killed process left."""
        await asyncio.to_thread(self._uploads.clear)

    def routes(self) -> dict[str, dict[str, Callable[[Call], Awaitable[None]]]]:
        """Address to method to handler; one that ends in '/' takes everything below it."""
        ways = self.ways
        return {
            "/hub/api/whoami-v2": {"GET": ways},
            MODELS: {"GET": ways},
            f"{MODELS}/": {"GET": ways, "POST": ways},
            CREATE: {"POST": ways},
            YAML: {"POST": ways},
            "/hub/api/v1/models/": {"GET": ways},
            "/hub/lfs/": {"PUT": ways},
            "/hub/": {"GET": ways, "POST": ways},
        }

    def takes(self, call: Call) -> bool:
        """Whether there is an answer to it here, be it a refusal."""
        return call.path.startswith("/hub/") and self.ways.takes(call)

    async def aclose(self) -> None:
        """Writes what was counted, and ends the threads."""
        await self.counts.aclose()
        await self._sender.aclose()
