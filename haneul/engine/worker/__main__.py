"""A worker's process: `python -m haneul.engine.worker SPEC`, frames on stdin and stdout.

A process of its own, because a step may hold the interpreter and native code may crash: the front
must be able to answer all the time. One thread steps; another reads and tokenises.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from typing import BinaryIO

import msgspec

from haneul.base.errors import BrokenFile, HaneulError
from haneul.base.lifeline import die_with_parent
from haneul.engine.protect import protect
from haneul.engine.worker.frames import (
    HEAD_BYTES,
    Ask,
    Begin,
    Cancel,
    Failed,
    Stepped,
    ToFront,
    Told,
    ToWorker,
    Unloadable,
    framed,
    length,
    to_worker,
)
from haneul.engine.worker.job import Step, WorkerSpec
from haneul.engine.worker.stepper import CannotServe, Stepper

Work = tuple[Begin, list[int]] | Cancel | Ask


class Worker:
    """One kernel, and the line of work between the two threads."""

    def __init__(self, stepper: Stepper, source: BinaryIO, target: BinaryIO) -> None:
        self._stepper = stepper
        self._source = source
        self._target = target
        self._writing = threading.Lock()
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()

    def run(self) -> None:
        """Steps for ever; ends only with the process."""
        self._say(self._stepper.load())
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            while self._stepper.is_idle or not self._work.empty():
                self._take(self._work.get())
            self._tell(self._stepper.step())

    def _tell(self, results: list[tuple[int, Step | Exception]]) -> None:
        steps = [(number, result) for number, result in results if isinstance(result, Step)]
        if steps:
            self._say(Stepped(steps))
        for number, result in results:
            if isinstance(result, Exception):
                self._say(_failed(number, result))

    def _take(self, work: Work) -> None:
        if isinstance(work, Cancel):
            self._stepper.cancel(work.number)
            return
        number = work.number if isinstance(work, Ask) else work[0].number
        try:
            if isinstance(work, Ask):
                self._say(Told(number, self._stepper.call(work.what, work.value)))
            else:
                self._stepper.begin(number, work[0].job, work[1])
        except Exception as error:  # noqa: BLE001 - told to whoever asked; the others go on
            self._say(_failed(number, error))

    def _read(self) -> None:
        while head := self._source.read(HEAD_BYTES):
            message = to_worker.decode(self._source.read(length(head)))
            try:
                self._understand(message)
            except Exception as error:  # noqa: BLE001 - told to whoever asked
                self._say(_failed(message.number, error))
        os._exit(0)  # the front has gone

    def _understand(self, message: ToWorker) -> None:
        if isinstance(message, Begin):
            self._work.put((message, self._tokens(message)))
        elif isinstance(message, Ask) and message.what == "tokenise":
            tokens = self._stepper.tokenise(
                message.value["text"], with_special=message.value["with_special"]
            )
            self._say(Told(message.number, tokens))
        elif isinstance(message, Ask) and message.what == "detokenise":
            self._say(Told(message.number, self._stepper.detokenise(message.value)))
        else:
            self._work.put(message)

    def _tokens(self, begin: Begin) -> list[int]:
        prompt = begin.job.prompt
        if isinstance(prompt, list):
            return prompt
        return self._stepper.tokenise(prompt, with_special=begin.job.adds_special)

    def _say(self, message: ToFront) -> None:
        data = framed(message)
        with self._writing:
            self._target.write(data)
            self._target.flush()


def _failed(number: int, error: Exception) -> Failed:
    if isinstance(error, HaneulError):
        facts = {"param": error.param, **error.facts}
        return Failed(number, type(error).__name__, error.message, facts)
    print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return Failed(number, "EngineFailed", "The kernel failed.")


def stepper_for(spec: WorkerSpec) -> Stepper:
    """The kernel of that name; imported here, since each brings much native code with it."""
    try:
        if spec.kernel == "openvino":
            from haneul.engine.openvino.stepper import OpenvinoStepper

            return OpenvinoStepper(spec)
        from haneul.engine.libllama.stepper import LibllamaStepper

        return LibllamaStepper(spec)
    except ImportError as cause:
        raise CannotServe(f"The kernel {spec.kernel} is not installed.") from cause


def main() -> None:
    spec = msgspec.json.decode(sys.argv[1], type=WorkerSpec)
    die_with_parent(spec.parent)
    protect()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-c is for the front, which kills us
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever native code prints must not come between frames
    try:
        Worker(stepper_for(spec), sys.stdin.buffer, target).run()
    except (BrokenFile, CannotServe) as error:
        target.write(framed(Unloadable(error.message, isinstance(error, BrokenFile))))
        target.flush()
        os._exit(3)


if __name__ == "__main__":
    main()
