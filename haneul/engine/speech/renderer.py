"""The front's side of the sandbox: starts it when it is needed, and again after it was ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from typing import Any

from haneul.base.errors import BadRequest
from haneul.engine.protect import reduced
from haneul.engine.speech.sandbox import (
    HEAD_BYTES,
    RENDER_S,
    Question,
    Refused,
    Render,
    Rendered,
    Use,
    framed,
    replies,
)

ANSWER_S = 30.0  # to start a process on a busy machine; its own alarm is far shorter


class Unbounded(BadRequest):
    """The model's chat template takes more time or memory than any conversation needs."""


class Renderer:
    """Renders one template. Its process ends with it, or when the front goes."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def render(self, values: dict[str, Any]) -> str:
        """The text. Raises BadRequest with the template's own reason, or Unbounded."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            return self._ask(Render(values))

    def _start(self) -> None:
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "haneul.engine.speech.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=reduced(os.environ),
        )
        weakref.finalize(self, _end, process)
        self._ask(Use(self._source))

    def _ask(self, question: Question) -> str:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = threading.Timer(ANSWER_S, process.kill)
        deadline.start()
        try:
            process.stdin.write(framed(question))
            process.stdin.flush()
            head = process.stdout.read(HEAD_BYTES)
            data = process.stdout.read(int.from_bytes(head, "little"))
        except BrokenPipeError:
            head = data = b""
        finally:
            deadline.cancel()
        if not head:
            _end(process)
            raise Unbounded(
                f"The model's chat template took longer than {RENDER_S:g} s, or too much memory.",
                param="messages",
            )
        reply = replies.decode(data)
        if isinstance(reply, Refused):
            raise _refusal(reply.reason)
        assert isinstance(reply, Rendered)
        return reply.text


def _refusal(reason: str) -> BadRequest:
    return BadRequest(
        f"The model's chat template refuses these messages: {reason[:500]}", param="messages"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:  # what was not flushed is of no use any more
                pass
    process.wait()
