"""The addresses of planning: what can be asked, and a plan of serving as the command prints it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from haneul.base.errors import HaneulError
from haneul.chips.fleet import Fleet
from haneul.chips.plan.chipfiles import load_chips, load_models
from haneul.chips.plan.precision import GGUF_BITS, KNOWN
from haneul.chips.shape import Shape
from haneul.models import catalogue, revisions
from haneul.services import strict
from haneul.services.call import JSON, Call
from haneul.services.chat import Gateway
from haneul.services.keys import Key
from haneul.services.planning.named import names
from haneul.services.planning.process import WITHIN_S, Job, Planners
from haneul.services.planning.question import USUAL, Question
from haneul.store.database import Database

PLAN = "/haneul/v1/plan"
BODY_BYTES_MOST = 64 << 10
BODY_S = 10.0
ENGINES = ("vllm", "sglang", "trtllm")
Handler = Callable[[Call], Awaitable[None]]


class KnownChip(Struct, frozen=True, kw_only=True):
    """A chip that can be named, with what a choice needs; None is unknown."""

    id: str
    name: str
    vendor: str
    memory_gb: float | None
    bandwidth_tb_s: float | None
    usd_per_hour: float | None  # as seen, of one
    like: str | None  # whose speeds may be assumed


class Known(Struct, frozen=True, kw_only=True):
    """What a plan can be asked about; the chips are those that are taken when none is named."""

    models: tuple[str, ...]
    chips: tuple[KnownChip, ...]
    usual: tuple[str, ...]
    engines: tuple[str, ...]
    precisions: tuple[str, ...]


class PlanPages:
    """The handlers; each answers its call."""

    def __init__(self, gateway: Gateway, database: Database, fleet: Fleet) -> None:
        """fleet is what the cloud was started with: what pages say changes with its next start."""
        self._gateway = gateway
        self._database = database
        self._cached_share = fleet.figures.cached_input_share.value
        self._planners = Planners()
        self._decoder = msgspec.json.Decoder(Question)

    def routes(self) -> dict[str, dict[str, Handler]]:
        return {PLAN: {"GET": self.known}, f"{PLAN}/serve": {"POST": self.serve}}

    async def known(self, call: Call) -> None:
        """Models, chips, engines and precisions that a plan knows."""
        await self._gateway.who(call)
        await call.answer(200, msgspec.json.encode(await asyncio.to_thread(known)), JSON)

    async def serve(self, call: Call) -> None:
        """The plan of a question, made beside this process."""
        key = await self._gateway.who(call)
        data = await call.body(max_bytes=BODY_BYTES_MOST, within_s=BODY_S)
        question = strict.read(data, self._decoder)
        call.within(WITHIN_S + BODY_S)
        shape = await self._shape(key, question.model)
        job = Job(question=question, cached_share=self._cached_share, shape=shape)
        await call.answer(200, await self._planners.plan(job, asker=key.id), JSON)

    async def _shape(self, key: Key, model: str) -> Shape | None:
        """Of a model that is here and that the key may use."""
        try:
            name = self._gateway.find(key, model)[0].model
            row = await self._database.ask(lambda connection: revisions.resolve(connection, name))
        except HaneulError:
            return None
        return revisions.facts(row).shape


def known() -> Known:
    """What a plan can be asked about."""
    chips = [
        KnownChip(
            id=chip.id,
            name=chip.name,
            vendor=chip.vendor,
            memory_gb=chip.memory_gb,
            bandwidth_tb_s=chip.bandwidth_tb_s,
            usd_per_hour=float(chip.price.mid) if chip.price else None,
            like=chip.like,
        )
        for chip in load_chips().values()
    ]
    listed = [entry.name for entry in catalogue.load().entries]
    return Known(
        models=(*names(load_models()), *listed),
        chips=tuple(sorted(chips, key=lambda chip: (chip.vendor, chip.name))),
        usual=USUAL,
        engines=ENGINES,
        precisions=(*KNOWN, *GGUF_BITS),
    )
