"""`python -m haneul.engine FILE|FOLDER --uds PATH`: serves one model until told to stop.

Exit codes: 0 told to stop, 2 wrong arguments, 3 the file cannot be served, 4 the kernel died.
For 3 and 4 the last line on standard error is JSON: {"error": reason}.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvicorn

from haneul.base.errors import BrokenFile, HaneulError
from haneul.base.gguf import Header
from haneul.base.gguf_parts import check_files
from haneul.base.lifeline import die_with_parent
from haneul.base.log import open_log
from haneul.engine.front import Front
from haneul.engine.llama_server.kernel import Settings
from haneul.engine.media.folder import Kind, kind_of
from haneul.engine.media.kernel import MediaKernel
from haneul.engine.media.server import MediaEngine
from haneul.engine.opening import KERNELS, Many, Opening, Plan
from haneul.engine.pooling import MEAN, only_pools, pooling_of
from haneul.engine.protect import cores, protect
from haneul.engine.server import Engine
from haneul.engine.slots import Slots

CONTEXT_TOKENS = 4096  # of one sequence, unless more is asked for
QUEUE_S = 120.0  # in the line before the kernel
DRAIN_S = 5.0
BACKLOG = 256
SOCKET_FOLDER_MAX_BYTES = 90  # a Unix socket's whole path has at most 107
FILE_BROKEN, KERNEL_DIED = 3, 4


class Served(NamedTuple):
    """One model on its way to be served."""

    front: Front
    load: Callable[[], Awaitable[Callable[[], Awaitable[str]]]]  # then: what tells of its end
    close: Callable[[], Awaitable[None]]


class Listener(uvicorn.Server):
    """uvicorn, with the signals left to us: a stop first lets answers end."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def _from(least: int, most: int) -> Callable[[str], int]:
    """A reader of whole numbers in a range, for argparse."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}")
        return value

    return number


def _json_object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as cause:
        raise argparse.ArgumentTypeError("must be a JSON object") from cause


def _many(text: str) -> Many:
    try:
        return msgspec.json.decode(text, type=Many)
    except msgspec.DecodeError as cause:
        raise argparse.ArgumentTypeError(f"must describe a kernel: {cause}") from cause


def _adapter(text: str) -> tuple[str, str]:
    name, _, file = text.partition("=")
    if not name or not Path(file).is_file():
        raise argparse.ArgumentTypeError("must be NAME=FILE of a file that is there")
    return name, str(Path(file).absolute())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m haneul.engine",
        description="Serve one GGUF model, or one folder of OpenVINO models, "
        "with the OpenAI protocol.",
    )
    parser.add_argument("file", type=Path, help="a GGUF file, or a folder")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--uds", type=Path, help="Unix socket to listen on (mode 0600)")
    where.add_argument(
        "--port", type=_from(0, 65_535), help="port on 127.0.0.1; 0 takes a free one"
    )
    parser.add_argument("--name", default="", help="the model's name in answers")
    parser.add_argument("--slots", type=_from(1, 64), default=4, help="sequences at a time")
    parser.add_argument(
        "--context", type=_from(0, 1 << 20), default=0, help="tokens per sequence; 0: up to 4096"
    )
    parser.add_argument("--threads", type=_from(0, 1024), default=0, help="0: one per core")
    parser.add_argument(
        "--queue", type=_from(0, 10_000), default=64, help="requests waiting beyond the slots"
    )
    parser.add_argument(
        "--kernel", choices=["auto", *KERNELS], default="auto", help="what computes"
    )
    parser.add_argument(
        "--options", type=_json_object, default={}, help="JSON: settings of the kernel, from tuning"
    )
    parser.add_argument(
        "--many",
        type=_many,
        metavar="JSON",
        help='a second kernel for when many ask at once: {"kernel": …, "options": …, "from": 3}',
    )
    parser.add_argument(
        "--adapter",
        type=_adapter,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a GGUF LoRA adapter, asked for as model NAME",
    )
    parser.add_argument("--nice", type=_from(0, 19), default=0, help="lower priority, 0 to 19")
    parser.add_argument("--die-with-parent", action="store_true", help="be killed when it ends")
    options = parser.parse_args()
    for name in ("adapter", "many", "options"):
        if options.file.is_dir() and getattr(options, name):
            parser.error(f"--{name} is for GGUF files")
    return options


def context_tokens(header: Header, asked: int) -> int:
    """Tokens of one sequence: what is asked for, within what the model was trained on."""
    architecture = header.metadata.get("general.architecture")
    trained = header.metadata.get(f"{architecture}.context_length")
    wanted = asked or CONTEXT_TOKENS
    return min(wanted, trained) if isinstance(trained, int) and trained > 0 else wanted


def kernel_folder(uds: Path | None) -> Path:
    """An empty private folder for the kernel's sockets; a killed engine's is found again."""
    folder = uds.with_suffix(".kernel") if uds else None
    if folder is None or len(bytes(folder)) > SOCKET_FOLDER_MAX_BYTES:
        return Path(tempfile.mkdtemp(prefix="haneul-"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


def listen(uds: Path | None, port: int) -> socket.socket:
    """A socket that already takes connections, on which a loading engine answers 503."""
    if uds is None:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
    else:
        uds.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(uds))
        uds.chmod(0o600)
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


def words(options: argparse.Namespace, header: Header) -> Served:
    """A GGUF file, which answers in words, vectors or scores."""
    plan = Plan(
        kernel=options.kernel,
        options=options.options,
        adapters=dict(options.adapter),
        many=options.many,
        settings=Settings(
            file=options.file.absolute(),
            context_tokens=context_tokens(header, options.context),
            slots=options.slots,
            threads=options.threads or cores(),
            folder=kernel_folder(options.uds),
            pooling=pooling_of(header.metadata) or MEAN,
            only_pools=only_pools(header.metadata),
        ),
    )
    opening = Opening(plan, header.metadata)
    engine = Engine(
        name=options.name or options.file.stem,
        aliases={options.file.stem},
        slots=Slots(slots=options.slots, queue_max=options.queue, wait_s=QUEUE_S),
        adapters=frozenset(plan.adapters),
    )

    async def load() -> Callable[[], Awaitable[str]]:
        loaded = await opening.load()
        if loaded.has_scheduler:
            engine.slots.leave_order_to_kernel()
        engine.open(loaded.kernel, loaded.facts, kernel_name=loaded.name)
        return loaded.kernel.died

    return Served(engine, load, opening.close)


def media(options: argparse.Namespace, kind: Kind) -> Served:
    """A folder of OpenVINO models, which takes one request at a time."""
    folder = options.file.absolute()
    kernel = MediaKernel(folder, kind, threads=options.threads or cores())
    engine = MediaEngine(
        kernel,
        kind,
        name=options.name or folder.name,
        aliases={folder.name},
        slots=Slots(slots=1, queue_max=options.queue, wait_s=QUEUE_S),
    )

    async def load() -> Callable[[], Awaitable[str]]:
        await kernel.start()
        return kernel.died

    return Served(engine, load, kernel.close)


async def serve(options: argparse.Namespace, served: Served) -> int:
    """Runs the engine; returns its exit code."""
    listening = listen(options.uds, options.port or 0)
    listener = Listener(
        uvicorn.Config(
            served.front,
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(listener.serve(sockets=[listening]))
    _tell(listening)
    try:
        return await _until_stopped(served, stop)
    finally:
        listener.should_exit = True
        await serving
        await served.close()
        if options.uds is not None:
            options.uds.unlink(missing_ok=True)


async def _until_stopped(served: Served, stop: asyncio.Event) -> int:
    """Loads the model, then waits for the order to stop or the kernel's end."""
    stopping = asyncio.create_task(stop.wait())
    loading = asyncio.ensure_future(served.load())
    dying = None
    try:
        await asyncio.wait({stopping, loading}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            dying = asyncio.ensure_future(loading.result()())
            await asyncio.wait({stopping, dying}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                return _fail(dying.result(), KERNEL_DIED)
        await _drain(served.front)
        return 0
    except BrokenFile as error:
        return _fail(error.message, FILE_BROKEN)
    except HaneulError as error:
        return _fail(error.message, KERNEL_DIED)
    finally:
        for task in (stopping, loading, dying):
            if task is not None:
                task.cancel()


async def _drain(engine: Front) -> None:
    """Takes nothing new, and gives what runs a few seconds to end."""
    engine.is_draining = True
    try:
        async with asyncio.timeout(DRAIN_S):
            await engine.slots.idle.wait()
    except TimeoutError:
        engine.cut()


def _tell(listening: socket.socket) -> None:
    """One JSON line on standard output: where the engine listens."""
    at = listening.getsockname()
    where = at if isinstance(at, str) else f"http://{at[0]}:{at[1]}"
    print(msgspec.json.encode({"listening": where}).decode(), flush=True)


def _fail(reason: str, code: int) -> int:
    print(msgspec.json.encode({"error": reason}).decode(), file=sys.stderr, flush=True)
    return code


def main() -> int:
    parent = os.getppid()  # asked for before anything slow
    options = arguments()
    if options.die_with_parent:
        die_with_parent(parent)
    protect(nice=options.nice)
    open_log(None, "warning")
    config = uvicorn.Config("", loop="auto", log_config=None)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        return runner.run(_serve(options))


async def _serve(options: argparse.Namespace) -> int:
    """The file or folder is looked at first: what cannot be served never listens."""
    try:
        if options.file.is_dir():
            served = media(options, kind_of(options.file))
        else:
            served = words(options, check_files(options.file))
    except BrokenFile as error:
        return _fail(error.message, FILE_BROKEN)
    return await serve(options, served)


if __name__ == "__main__":
    sys.exit(main())
