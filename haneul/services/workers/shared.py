"""What the workers of one cloud share, as one of them has it: the book, the places, its own part.

    first = Shared.begin(config)           # the files anew, for the first process
    shared = Shared(config, slot=2)        # in the worker of that number

Worker number 0 is the first process. Each has entries of the book and cells of the places of its
own, by its number, so that what one leaves when it is killed is known to be its.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from haneul.base import places as folders
from haneul.base.config import Config
from haneul.services.accounts import Accounts
from haneul.services.book import Book
from haneul.services.call import Calls
from haneul.services.workers.accounts import SharedAccounts
from haneul.services.workers.gates import SharedCalls, SharedGates
from haneul.services.workers.places import Places
from haneul.store.database import Database

OWNERS = 32_768  # keys, users, tenants and apps that ask in one cloud's life
SPARE = 64  # entries beside those of the requests in flight


class Shared:
    """One worker's part."""

    def __init__(self, config: Config, *, slot: int) -> None:
        self.slot = slot
        self._each = config.in_flight_max + SPARE
        home, workers = config.home, config.workers
        self.book = Book(home / "book", entries=workers * self._each, owners=OWNERS)
        self._places = Places(home / "places", workers=workers, slot=slot)
        self.gates = SharedGates(config, self._places, folders.socket_folder(home))

    @classmethod
    def begin(cls, config: Config) -> Shared:
        """Of the first process: what an earlier cloud left in the files is in the ledger by now."""
        for name in ("book", "book.alive", "places"):
            (config.home / name).unlink(missing_ok=True)
        return cls(config, slot=0)

    def entries(self, slot: int) -> range:
        """Of the book, for the requests of a worker."""
        return range(slot * self._each, (slot + 1) * self._each)

    def empty(self, slot: int) -> None:
        """Takes a dead worker's requests out of the places."""
        self._places.empty(slot)

    def accounts(self, database: Database) -> Accounts:
        return SharedAccounts(database, self.book, self.entries(self.slot))

    def calls(self) -> Calls:
        return SharedCalls(self._places)

    async def aclose(self) -> None:
        """Lets go of the files."""
        await self.gates.aclose()
        self._places.close()
        self.book.close()


def flights_path(config: Config, number: int) -> Path:
    """The pages of a worker's requests; the first process has its own as ever."""
    return config.home / f"flights-{number}"


def part(config: Config) -> Config:
    """The settings of one worker, whose bounds are its part of the whole gateway's."""
    return msgspec.structs.replace(
        config,
        in_flight_max=part_of(config, config.in_flight_max),
        bodies_max=part_of(config, config.bodies_max),
        bodies_max_bytes=part_of(config, config.bodies_max_bytes),
    )


def part_of(config: Config, amount: int) -> int:
    """A worker's part of what the whole gateway may have."""
    return -(-amount // config.workers)
