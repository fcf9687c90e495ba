"""Two kernels on one model: one that is quickest alone, one that is quickest for many.

No kernel wins everywhere, so which one answers is decided by how many answers are being made when a
request comes. Those that come at the same moment are counted together; while the kernel for many is
at work, newcomers join it, because two kernels that compute at once only take turns. What one of
them lacks, the other does (see Speaker).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

from haneul.base.errors import BrokenFile
from haneul.base.log import logger
from haneul.base.wire import ChatRequest, CompletionRequest
from haneul.engine.kernel import Facts, Kernel, Piece, Prompt, Ranks, Terms, Vectors
from haneul.engine.worker.stepper import CannotServe

TOGETHER_S = 0.01  # who comes within it comes at the same moment; nobody alone notices
QUIET_S, QUIET_WAIT_S = 1.0, 60.0
AGAIN_S = 10.0  # before a kernel for many that died is started again
TRIES_MAX = 5
log = logger("engine")


class Pair:
    """The two, as one Kernel. The one for many loads while the other answers already."""

    def __init__(self, alone: Kernel, make_many: Callable[[], Kernel], *, many_from: int) -> None:
        self._alone = alone
        self._make_many = make_many
        self._many: Kernel | None = None  # when it is loaded
        self._many_from = many_from
        self._inside: Counter[str] = Counter()  # answers being made by each
        self._coming = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stirred = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> Facts:
        facts = await self._alone.start()
        self._keeping = asyncio.create_task(self._keep_many())
        return facts

    async def died(self) -> str:
        return await self._alone.died()

    async def chat(self, request: ChatRequest, terms: Terms) -> AsyncGenerator[Piece, None]:
        async with aclosing(self._run(lambda kernel: kernel.chat(request, terms))) as pieces:
            async for piece in pieces:
                yield piece

    async def complete(
        self, prompt: Prompt, request: CompletionRequest, terms: Terms
    ) -> AsyncGenerator[Piece, None]:
        run = self._run(lambda kernel: kernel.complete(prompt, request, terms))
        async with aclosing(run) as pieces:
            async for piece in pieces:
                yield piece

    async def embed(self, inputs: list[Prompt]) -> Vectors:
        return await self._alone.embed(inputs)

    async def rerank(self, query: str, documents: list[str]) -> Ranks:
        return await self._alone.rerank(query, documents)

    async def tokenise(self, text: str, *, with_special: bool) -> list[int]:
        return await self._alone.tokenise(text, with_special=with_special)

    async def detokenise(self, tokens: list[int]) -> str:
        return await self._alone.detokenise(tokens)

    async def render(self, request: ChatRequest) -> str:
        return await self._alone.render(request)

    async def counters(self) -> dict[str, float]:
        """Both kernels' counts together; of a maximum the larger."""
        counts = dict(await self._alone.counters())
        if self._many is not None:
            for name, value in (await self._many.counters()).items():
                mine = counts.get(name, 0.0)
                counts[name] = max(mine, value) if name.endswith("_max") else mine + value
        return counts

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._alone.close()

    async def _run(
        self, begin: Callable[[Kernel], AsyncGenerator[Piece, None]]
    ) -> AsyncGenerator[Piece, None]:
        kernel, place = await self._choose()
        self._inside[place] += 1
        self._idle.clear()
        self._stirred.set()
        try:
            async with aclosing(begin(kernel)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self._inside[place] -= 1
            if not self._inside.total():
                self._idle.set()

    async def _choose(self) -> tuple[Kernel, str]:
        self._coming += 1
        try:
            if self._many is not None and not self._inside["many"]:
                await asyncio.sleep(TOGETHER_S)
            now = self._inside["alone"] + self._coming
            if self._many is not None and (self._inside["many"] or now >= self._many_from):
                return self._many, "many"
            return self._alone, "alone"
        finally:
            self._coming -= 1

    async def _keep_many(self) -> None:
        """Loads the kernel for many in a quiet moment, and again when it died, a few times."""
        for _ in range(TRIES_MAX):
            await self._quiet()
            kernel = self._make_many()
            try:
                await kernel.start()
                self._many = kernel
                log.warning("kernel_for_many_ended", reason=await kernel.died())
            except (BrokenFile, CannotServe) as error:
                log.warning("kernel_for_many_cannot_serve", reason=error.message)
                return
            finally:
                self._many = None
                await kernel.close()
            await asyncio.sleep(AGAIN_S)

    async def _quiet(self) -> None:
        """Returns when nothing was asked for a second, or after a minute: loading is work."""
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_WAIT_S):
                while await self._is_stirred():
                    await self._idle.wait()

    async def _is_stirred(self) -> bool:
        """Whether something was asked for within the next second."""
        self._stirred.clear()
        try:
            async with asyncio.timeout(QUIET_S):
                return await self._stirred.wait()
        except TimeoutError:
            return not self._idle.is_set()
