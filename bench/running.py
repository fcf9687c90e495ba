"""A cloud as its user sees it: a process with a screen, a port, a log; and Ctrl-C."""

from __future__ import annotations

import datetime
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import processes

LOOK_S = 0.01  # between two looks at port, screen and log: the error of what is seen there
STOP_S = 30.0


class Running:
    """`haneul up` from its start to its last process's end. Moments are of the wall clock."""

    def __init__(
        self, command: Sequence[str], *, home: Path, port: int, folder: Path, env: Mapping[str, str]
    ) -> None:
        self.home = home
        self.port = port
        self.began = time.time()
        self.process = subprocess.Popen(
            [*command, "up", "--port", str(port), "--no-input"],
            cwd=folder,
            env={**env, "HANEUL_HOME": str(home), "HANEUL_TUNE": "false"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, as a terminal gives it
        )
        self._text = b""
        self._read_at: list[tuple[int, float]] = []  # end of a piece, when it came
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while piece := os.read(self.process.stdout.fileno(), 1 << 16):
            now = time.time()
            self._text += piece
            self._read_at.append((len(self._text), now))

    @property
    def text(self) -> str:
        """The screen so far."""
        return self._text.decode(errors="replace")

    def shown_at(self, pattern: bytes) -> float | None:
        """When the end of the pattern's first match came to the screen."""
        found = re.search(pattern, self._text)
        if found is None:
            return None
        return next((at for end, at in self._read_at if end >= found.end()), None)

    def status(self, path: str) -> int:
        """The status of a GET; 0 while nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def events(self) -> list[dict[str, Any]]:
        """The lines of cloud.log of this start, each with its moment under 'time'."""
        try:
            lines = (self.home / "logs" / "cloud.log").read_text().splitlines()
        except FileNotFoundError:
            return []
        found = [json.loads(line) for line in lines if line.endswith("}")]
        for event in found:
            event["time"] = datetime.datetime.fromisoformat(event["at"]).timestamp()
        return [event for event in found if event["time"] >= self.began]

    def logged_at(self, name: str) -> float | None:
        """When the event was first logged, to the millisecond."""
        return next((event["time"] for event in self.events() if event["event"] == name), None)

    def until(self, path: str, within_s: float) -> float:
        """The moment that the address first answers 200. Raises SystemExit."""
        while self.status(path) != 200:
            self.check(within_s)
            time.sleep(LOOK_S)
        return time.time()

    def check(self, within_s: float) -> None:
        """Raises SystemExit with the screen when the process ended or its time is over."""
        if self.process.poll() is not None:
            raise SystemExit(f"haneul up ended with {self.process.returncode}:\n{self.text}")
        if time.time() > self.began + within_s:
            raise SystemExit(f"not there after {within_s:.0f} s:\n{self.text}")

    def stop(self) -> float:
        """Ctrl-C, as a terminal sends it: seconds until every process of it is gone."""
        known = processes.marks(processes.tree(self.process.pid))
        os.killpg(self.process.pid, signal.SIGINT)
        seconds = processes.until_gone(known, STOP_S)
        if self.process.wait() != 0:
            raise SystemExit(f"haneul up ended with {self.process.returncode}:\n{self.text}")
        return seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()  # its engines end with it
            self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
