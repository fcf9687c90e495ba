"""Starts one llama-server process, waits until its model is loaded, and ends it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections import deque
from pathlib import Path

import msgspec

from haneul.base.errors import BrokenFile
from haneul.base.http import Address, unix
from haneul.engine.llama_server.spec import Spec
from haneul.engine.protect import reduced

LINES_KEPT = 50
LINE_MAX_BYTES = 64 << 10
_REASON = re.compile(r"error loading model: (.+)")


class LlamaProcess:
    """One llama-server. Its last words are kept, to say why it ended."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.address: Address = unix(spec.socket)
        self._process: asyncio.subprocess.Process | None = None
        self._words: deque[str] = deque(maxlen=LINES_KEPT)
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when the model is loaded. Raises BrokenFile with the kernel's reason."""
        Path(self.spec.socket).parent.mkdir(mode=0o700, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "haneul.engine.llama_server",
            msgspec.json.encode(self.spec).decode(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_MAX_BYTES,
            env=reduced(os.environ),
        )
        self._listening = asyncio.create_task(self._listen())
        assert self._process.stdout is not None
        said = await self._process.stdout.readline()
        if b'"ready"' not in said:
            await self._process.wait()
            await self._listening
            raise BrokenFile(f"The kernel cannot load this model: {self.reason()}")

    @property
    def has_ended(self) -> bool:
        return self._process is not None and self._process.returncode is not None

    async def died(self) -> str:
        """Returns when the process has ended, with the reason it left."""
        assert self._process is not None
        code = await self._process.wait()
        return f"The kernel ended with code {code}: {self.reason()}"

    def reason(self) -> str:
        """What the kernel said last, without the folder of the model."""
        for line in reversed(self._words):
            if found := _REASON.search(line):
                return self._without_folder(found[1])
        return self._without_folder(self._words[-1]) if self._words else "no reason given"

    async def close(self) -> None:
        """Kills the process: it holds nothing that could be lost."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._listening is not None:
            await self._listening

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        while line := await _line(self._process.stderr):
            self._words.append(line.decode(errors="replace").strip())
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()

    def _without_folder(self, text: str) -> str:
        return text.replace(f"{Path(self.spec.file).parent}/", "")


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # longer than the limit: dropped by the reader, so say only that
        return b"(a line too long to show)\n"
