"""A folder's worker: `python -m haneul.engine.media SPEC`, frames on stdin and stdout.

A process of its own, because native code may crash and pipelines may hold the interpreter. One
thread runs the pipeline, another reads: a question that nobody waits for any longer is called off
while it is being answered.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from haneul.base.errors import BrokenFile, HaneulError
from haneul.base.lifeline import die_with_parent
from haneul.engine.kernel import Facts
from haneul.engine.media.folder import size_bytes
from haneul.engine.media.offline import cut_network
from haneul.engine.protect import protect
from haneul.engine.worker.frames import (
    HEAD_BYTES,
    Ask,
    Cancel,
    Failed,
    ToFront,
    Told,
    Unloadable,
    framed,
    length,
    to_worker,
)
from haneul.engine.worker.job import Loaded, WorkerSpec
from haneul.engine.worker.stepper import CannotServe

DESCRIBE, MAKE = "describe", "make"  # the two questions


class Maker(Protocol):
    """One loaded model that makes one thing at a time."""

    version: str  # of what computes, for people

    def load(self) -> Any:
        """What the model can. Raises BrokenFile."""
        ...

    def run(self, asked: Any, is_called_off: Callable[[], bool]) -> Any:
        """What is asked for, from the builtins of a request. Raises HaneulError."""
        ...


class Worker:
    """One maker, and the line of questions between the two threads."""

    def __init__(self, maker: Maker, source: BinaryIO, target: BinaryIO) -> None:
        self._maker = maker
        self._source = source
        self._target = target
        self._writing = threading.Lock()
        self._asked: queue.SimpleQueue[Ask] = queue.SimpleQueue()
        self._called_off: set[int] = set()

    def run(self, spec: WorkerSpec) -> None:
        """Answers for ever; ends only with the process."""
        can = self._maker.load()
        self._say(_loaded(self._maker.version, size_bytes(Path(spec.file))))
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            ask = self._asked.get()
            try:
                value = can if ask.what == DESCRIBE else self._made(ask)
                self._say(Told(ask.number, value))
            except Exception as error:  # noqa: BLE001 - told to whoever asked; the next goes on
                self._say(_failed(ask.number, error))
            self._called_off.discard(ask.number)

    def _made(self, ask: Ask) -> Any:
        if ask.number in self._called_off:
            return None
        return self._maker.run(ask.value, lambda: ask.number in self._called_off)

    def _read(self) -> None:
        while head := self._source.read(HEAD_BYTES):
            message = to_worker.decode(self._source.read(length(head)))
            if isinstance(message, Cancel):
                self._called_off.add(message.number)
            elif isinstance(message, Ask):
                self._asked.put(message)
        os._exit(0)  # the front has gone

    def _say(self, message: ToFront) -> None:
        data = framed(message)
        with self._writing:
            self._target.write(data)
            self._target.flush()


def _loaded(version: str, size: int) -> Loaded:
    facts = Facts(
        context_tokens=0,
        trained_context_tokens=0,
        vocabulary=0,
        width=0,
        parameters=0,
        size_bytes=size,
        has_tools=False,
    )
    return Loaded(facts=facts, kernel=version, lacks=[], bos="", eos="", template=None)


def _failed(number: int, error: Exception) -> Failed:
    if isinstance(error, HaneulError):
        facts = {"param": error.param, **error.facts}
        return Failed(number, type(error).__name__, error.message, facts)
    print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return Failed(number, "EngineFailed", "The model failed.")


def maker_for(spec: WorkerSpec) -> Maker:
    """What makes things of that kind; imported here, since it brings much native code with it."""
    try:
        if spec.kernel == "text-to-image":
            from haneul.engine.media.drawing import DiffusionDrawing

            return DiffusionDrawing(Path(spec.file), threads=spec.threads)
        if spec.kernel == "text-to-speech":
            from haneul.engine.media.speaking import SpeechSpeaking

            return SpeechSpeaking(Path(spec.file), threads=spec.threads)
        from haneul.engine.media.hearing import WhisperHearing

        return WhisperHearing(Path(spec.file), threads=spec.threads)
    except ImportError as cause:
        raise CannotServe("OpenVINO GenAI is not installed for this machine.") from cause


def main() -> None:
    spec = msgspec.json.decode(sys.argv[1], type=WorkerSpec)
    die_with_parent(spec.parent)
    protect()
    cut_network()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-c is for the front, which kills us
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever native code prints must not come between frames
    try:
        Worker(maker_for(spec), sys.stdin.buffer, target).run(spec)
    except (BrokenFile, CannotServe) as error:
        target.write(framed(Unloadable(error.message, isinstance(error, BrokenFile))))
        target.flush()
        os._exit(3)


if __name__ == "__main__":
    main()
