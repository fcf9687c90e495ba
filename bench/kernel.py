"""Measures our scheduler over libllama against a raw llama_decode loop and llama-server.

All three on one library and one file, alternating, the median of rounds:

    python bench/kernel.py MODEL.gguf [--library libllama.so --server llama-server] [--only A,B]

A one stream 128 → 64; B 16 distinct prompts of 128 → 64; C8 eight requests of 800 shared + 32 → 64,
cold, then warm; D 4 chats of 4 turns; M 8 streams while a prompt of 4,000 tokens arrives; E a text
to be repeated, with and without lookup (alone). Speeds are generated tokens per second.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from haneul.engine.libllama.context import Context, Shape
from haneul.engine.libllama.library import open_library
from haneul.engine.libllama.model import Model
from haneul.engine.libllama.pool import Line
from haneul.engine.libllama.stepper import LibllamaStepper
from haneul.engine.libllama.tasks import Part, Task
from haneul.engine.protect import die_with_parent
from haneul.engine.worker.job import Job, Step, WorkerSpec

NEW = 64
SERVER = """
import sys, xllamacpp, signal
p = xllamacpp.CommonParams()
p.model.path, port, slots, context, threads = sys.argv[1], *map(int, sys.argv[2:6])
p.hostnames, p.port, p.n_parallel, p.n_ctx = ["127.0.0.1"], port, slots, context * slots
p.kv_unified, p.fit_params, p.cache_ram_mib, p.n_ubatch = False, False, 0, 512
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
p.verbosity = 0
server = xllamacpp.Server(p)
print("ready", flush=True)
signal.pause()
"""


class Talk:
    """One conversation: turns of new prompt tokens, each answered with NEW tokens."""

    def __init__(self, turns: list[list[int]]) -> None:
        self.turns = turns
        self.history: list[int] = []
        self.sent_s = 0.0
        self.times: list[float] = []  # of each token
        self.first_s: list[float] = []

    def prompt(self) -> list[int]:
        self.history += self.turns.pop(0)
        self.sent_s = time.perf_counter()
        return self.history


class Own:
    """Our scheduler, in this process."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.stepper = LibllamaStepper(spec)
        self.stepper.load()
        self.number = 0
        self.cells = 0.0
        self.answers: dict[int, list[int]] = {}

    def run(self, talks: list[Talk], *, late: Talk | None = None, new: int = NEW) -> float:
        """Seconds until all have ended."""
        began = time.perf_counter()
        going = {self._begin(talk, new): talk for talk in talks}
        self.cells = 0
        while going:
            for number, step in self.stepper.step():
                assert isinstance(step, Step), step
                talk, now = going[number], time.perf_counter()
                if step.completion_tokens == 1:
                    talk.first_s.append(now - talk.sent_s)
                talk.times += [now]
                if step.finish_reason:
                    del going[number]
                    talk.history += self.answers.pop(number)
                    if talk.turns:
                        going[self._begin(talk, new)] = talk
            self.cells = max(self.cells, self.stepper.call("counters", None)["kv_cells_live"])
            if late and len(talks[0].times) == 8:
                going[self._begin(late, 4)] = late
                late = None
        return time.perf_counter() - began

    def _begin(self, talk: Talk, new: int) -> int:
        self.number += 1
        job = Job(prompt=[], temperature=0.0, max_tokens=new, ignores_end=True)
        prompt = talk.prompt()
        self.stepper.begin(self.number, job, list(prompt))
        self.answers[self.number] = [11] * new  # like the server: its words are not looked at
        return self.number


class Server:
    """llama-server over HTTP, streaming."""

    def __init__(self, spec: WorkerSpec, program: str | None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        facts = (self.port, spec.slots, spec.context_tokens, spec.threads)
        numbers = [str(number) for number in facts]
        command = [sys.executable, "-c", SERVER, spec.file, *numbers]
        if program:
            command = [program, "-m", spec.file, "--port", numbers[0], "-np", numbers[1]]
            command += ["-c", str(spec.context_tokens * spec.slots), "-t", numbers[3]]
            command += ["--no-kv-unified", "--cache-ram", "0", "--no-warmup", "-fit", "off"]
            command += ["-fa", "on" if spec.options.get("flash", True) else "off"]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
        self._wait()

    def _wait(self) -> None:
        for _ in range(300):
            try:
                if self._get("/health") == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise SystemExit("llama-server did not start")

    def _get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status

    def run(self, talks: list[Talk], *, late: Talk | None = None, new: int = NEW) -> float:
        began = time.perf_counter()
        threads = [threading.Thread(target=self._talk, args=(talk, new)) for talk in talks]
        for thread in threads:
            thread.start()
        if late:
            while len(talks[0].times) < 8:
                time.sleep(0.005)
            self._talk(late, 4)
        for thread in threads:
            thread.join()
        return time.perf_counter() - began

    def _talk(self, talk: Talk, new: int) -> None:
        while talk.turns:
            self._ask(talk, new)
            talk.history += [11] * new

    def _ask(self, talk: Talk, new: int) -> None:
        body = {"prompt": talk.prompt(), "n_predict": new, "temperature": 0, "ignore_eos": True}
        body |= {"stream": True, "cache_prompt": True, "return_tokens": True}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("POST", "/completion", json.dumps(body))
        count = total = 0
        for line in connection.getresponse():
            if not line.startswith(b"data: "):
                continue
            now = time.perf_counter()
            event = json.loads(line[6:])
            tokens = len(event.get("tokens", ()))
            total = event.get("tokens_predicted", 0)
            count += tokens
            if tokens and count == tokens:
                talk.first_s.append(now - talk.sent_s)
            talk.times += [now] * bool(tokens)
        connection.close()
        assert total == new, total

    def peak_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class Raw:
    """The same work as one plain loop: all prompts in pieces, then all streams together."""

    def __init__(self, spec: WorkerSpec, lines: int) -> None:
        path = spec.options.get("library")
        self.model = Model(open_library(Path(path) if path else None), Path(spec.file))
        shape = Shape(
            cells=512 * lines,
            lines=lines,
            has_rooms=True,
            batch_tokens=512,
            rows=lines,
            threads=spec.threads,
            batch_threads=spec.threads,
        )
        self.context = Context(self.model, shape)

    def run(self, prompts: list[list[int]]) -> float:
        tasks = []
        for number, prompt in enumerate(prompts):
            task = Task(number, prompt, most=len(prompt) + NEW, now_s=0)
            task.line = Line(number)
            self.context.cut(task.line, 0)
            tasks.append(task)
        began = time.perf_counter()
        last = []
        for task, prompt in zip(tasks, prompts, strict=True):
            last += self.context.compute([Part(task, prompt, 0, 1)]).argmax(axis=1).tolist()
        for place in range(NEW - 1):
            at = [len(prompt) + place for prompt in prompts]
            parts = [Part(t, [x], p, 1) for t, x, p in zip(tasks, last, at, strict=True)]
            last = self.context.compute(parts).argmax(axis=1).tolist()
        return time.perf_counter() - began


def talks_of(name: str, words: Callable[[int], list[int]]) -> list[Talk]:
    if name == "C8":
        shared = words(800)
        return [Talk([shared + words(32)]) for _ in range(8)]
    if name == "D":
        return [Talk([words(96), *(words(48) for _ in range(3))]) for _ in range(4)]
    count = {"A": 1, "B": 16, "M": 8}[name]
    return [Talk([words(128)]) for _ in range(count)]


def text_tokens(own: Own) -> Iterator[int]:
    """Tokens of real text without end, never the same twice in a row."""
    root = Path(__file__).parent.parent
    text = "\n".join(path.read_text() for path in sorted(root.glob("docs/**/*.md")))
    tokens = own.stepper.tokenise(text, with_special=False)
    place = time.time_ns() % len(tokens)
    while True:
        yield tokens[place]
        place = (place + 1) % len(tokens)


def line(name: str, side: str, values: list[float], **more: Any) -> None:
    spread = f"{statistics.median(values):8.1f} ({min(values):.1f}–{max(values):.1f})"
    print(f"{name:8} {side:12} {spread}", *(f"{k} {v}" for k, v in more.items()), flush=True)


def gaps(talks: list[Talk]) -> float:
    pairs = [zip(talk.times, talk.times[1:], strict=False) for talk in talks]
    return max(later - earlier for pair in pairs for earlier, later in pair)


def compare(name: str, sides: dict[str, Any], words: Any, rounds: int) -> None:
    speed: dict[str, list[float]] = {}
    first: dict[str, list[float]] = {}
    stall: dict[str, list[float]] = {}
    late_s: dict[str, list[float]] = {}
    for number in range(rounds):
        order = list(sides.items())[:: 1 if number % 2 else -1]
        for side, engine in order:
            talks = talks_of(name, words)
            warm = [Talk([talk.turns[0][:800] + words(32)]) for talk in talks]
            late = Talk([words(4000)]) if name == "M" else None
            new = 256 if name == "M" else NEW
            turns = sum(len(talk.turns) for talk in talks)
            took_s = engine.run(talks, late=late, new=new)
            speed.setdefault(side, []).append(turns * new / took_s)
            print(f"{name:8} {side:12} round {number}: {took_s:.2f} s", flush=True)
            first.setdefault(side, []).extend(1000 * s for talk in talks for s in talk.first_s)
            stall.setdefault(side, []).append(1000 * gaps(talks))
            if late:
                late_s.setdefault(side, []).append(late.first_s[0])
            if name == "C8":
                took_s = engine.run(warm)
                speed.setdefault(f"{side} warm", []).append(8 * NEW / took_s)
            if number == 0 and isinstance(engine, Own):
                print(f"{name:8} {side:12} live cells at most {engine.cells:.0f}")
    for side, values in speed.items():
        more = {}
        if side in first:
            more["TTFT_p50_ms"] = round(statistics.median(first[side]))
            more["stall_ms"] = round(statistics.median(stall[side]))
        if side in late_s:
            more["late_TTFT_s"] = round(statistics.median(late_s[side]), 2)
        line(name, side, values, **more)
    for side, values in speed.items():
        if side.startswith("server") or (side == "server warm"):
            own = speed["own" + side.removeprefix("server")]
            line(name, f"own/{side}", [a / b for a, b in zip(own, values, strict=True)])


def against_raw(name: str, own: Own, spec: WorkerSpec, words: Any, rounds: int) -> None:
    count = {"A": 1, "B": 16}[name]
    raw = Raw(spec, count)
    ratios = []
    for number in range(rounds):
        took = {}
        for side in ("own", "raw")[:: 1 if number % 2 else -1]:
            prompts = [words(128) for _ in range(count)]
            if side == "own":
                took[side] = own.run([Talk([prompt]) for prompt in prompts])
            else:
                took[side] = raw.run(prompts)
        ratios.append(took["raw"] / took["own"])
    line(name, "own/raw", ratios)
    raw.context.close()
    raw.model.close()


def edit(spec: WorkerSpec, rounds: int) -> None:
    """A text written again with one word changed, and one without repetition; lookup on and off."""
    text = (Path(__file__).parent.parent / "docs" / "log.md").read_text()[200:1400]
    copy = "<|im_start|>user\nWrite this text again, word for word, but write Python in capitals:\n"
    copy += text + "<|im_end|>\n<|im_start|>assistant\n"
    fresh = "<|im_start|>user\nTell a long story about a lighthouse.<|im_end|>\n"
    fresh += "<|im_start|>assistant\nOnce"
    sides = {}
    for side in (True, False):
        sides[side] = LibllamaStepper(
            msgspec.structs.replace(spec, slots=1, options={**spec.options, "lookup": side})
        )
        sides[side].load()
    for name, prompt, new in (("E copy", copy, 256), ("E fresh", fresh, 96)):
        speed: dict[bool, list[float]] = {True: [], False: []}
        for number in range(rounds):
            for side in (True, False)[:: 1 if number % 2 else -1]:
                speed[side].append(_writing_speed(sides[side], prompt, new))
        line(name, "lookup", speed[True])
        line(name, "plain", speed[False])
        line(name, "ratio", [a / b for a, b in zip(speed[True], speed[False], strict=True)])
    counts = sides[True].call("counters", None)
    drafted, accepted = counts["drafted_tokens_total"], counts["accepted_tokens_total"]
    print(f"guessed {drafted:.0f}, came true {accepted:.0f}")


def _writing_speed(stepper: LibllamaStepper, prompt: str, new: int) -> float:
    """Tokens per second behind the first."""
    job = Job(prompt="", temperature=0.0, max_tokens=new, ignores_end=True)
    stepper.begin(1, job, stepper.tokenise(prompt, with_special=True))
    began = 0.0
    count = 0
    while not stepper.is_idle:
        for _, step in stepper.step():
            assert isinstance(step, Step), step
            began, count = began or time.perf_counter(), step.completion_tokens
    return (count - 1) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--library")
    parser.add_argument("--server")
    parser.add_argument("--only", default="A,B,C8,D")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--options", default="{}")
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--neighbours", type=int, default=0, help="programs that do nothing busily")
    flags = parser.parse_args()
    options = {"library": flags.library} if flags.library else {}
    spec = WorkerSpec(
        kernel="libllama",
        file=flags.model,
        parent=os.getpid(),
        context_tokens=flags.context,
        slots=flags.slots,
        threads=flags.threads,
        options={**options, **json.loads(flags.options)},
    )
    if flags.only == "E":
        edit(spec, flags.rounds)
        return
    own = Own(spec)
    source = text_tokens(own)

    def words(count: int) -> list[int]:
        return [next(source) for _ in range(count)]

    if flags.raw:
        for name in flags.only.split(","):
            against_raw(name, own, spec, words, flags.rounds)
        return
    server = Server(spec, flags.server)
    busy = [sys.executable, "-c", "while True: pass"]
    neighbours = [subprocess.Popen(busy) for _ in range(flags.neighbours)]
    try:
        for name in flags.only.split(","):
            compare(name, {"own": own, "server": server}, words, flags.rounds)
        mine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"peak memory: own {mine / 1024:.0f} MB, server {server.peak_bytes() / 1e6:.0f} MB")
    finally:
        for process in (server.process, *neighbours):
            process.kill()


if __name__ == "__main__":
    main()
