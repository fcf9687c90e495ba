"""A private PostgreSQL for tests: a cluster in a temporary folder, reached by a Unix socket only.

    with Postgres() as postgres:
        url = postgres.new_database()

The server does not run as root; started by root it runs as the user that its package brings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from haneul.base.errors import CommandError

PACKAGED = "/usr/lib/postgresql"  # where Debian puts what is not on PATH
OWNER = "haneul"
# Durability is not what these tests are about: a crash of the machine may take the cluster.
OPTIONS = "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c max_connections=50"


class Postgres:
    """A running server and its data; both end with the block."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pg-")
        self._path = Path(self._folder.name)
        self._user = "postgres" if os.getuid() == 0 else None
        self._databases = 0

    def __enter__(self) -> Self:
        if self._user is not None:
            shutil.chown(self._path, self._user)
        self._run("initdb", "-D", f"{self._path}/data", "-U", OWNER, "-A", "trust", "--no-sync")
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._folder.cleanup()

    def start(self) -> None:
        """Returns when the server answers."""
        options = f"{OPTIONS} -k {self._path}"
        log = f"{self._path}/log"
        self._run("pg_ctl", "start", "-w", "-D", f"{self._path}/data", "-l", log, "-o", options)

    def stop(self) -> None:
        """Ends the server at once, as a crash does; its data stay."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", f"{self._path}/data")

    def new_database(self) -> str:
        """The URL of an empty database."""
        self._databases += 1
        name = f"test_{self._databases}"
        self._run("createdb", "-h", str(self._path), "-U", OWNER, name)
        return f"postgresql://{OWNER}@/{name}?host={self._path}"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [find(program), *arguments],
            user=self._user,
            cwd=self._path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise CommandError(f"{program} failed: {done.stderr[-500:]}")


def find(program: str) -> str:
    """Where a program of PostgreSQL lies. Raises CommandError, saying what to install."""
    packaged = sorted(Path(PACKAGED).glob(f"*/bin/{program}"))
    found = shutil.which(program) or (str(packaged[-1]) if packaged else None)
    if found is None:
        raise CommandError("PostgreSQL is not installed: apt-get install postgresql")
    return found
