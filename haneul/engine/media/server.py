"""The front of a folder: OpenAI's addresses of what its model can do."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from haneul.base.errors import ModelNotFound
from haneul.engine.asgi import Answer
from haneul.engine.front import Call, Front
from haneul.engine.media.asked import Hearing, Task, accept_hearing
from haneul.engine.media.folder import Kind
from haneul.engine.media.kernel import MediaKernel
from haneul.engine.media.meters import MediaMeters
from haneul.engine.media.multipart import read_form
from haneul.engine.media.transcript import KINDS, told
from haneul.engine.slots import Slots


class MediaEngine(Front):
    """Answers for one folder under its names."""

    def __init__(
        self, kernel: MediaKernel, kind: Kind, *, name: str, aliases: set[str], slots: Slots
    ) -> None:
        self.meters = MediaMeters()
        super().__init__(
            slots=slots,
            counts=self.meters,
            routes={
                "/metrics": ("GET", self._metrics),
                "/v1/models": ("GET", self._models),
                "/v1/audio/transcriptions": ("POST", self._transcribe),
                "/v1/audio/translations": ("POST", self._translate),
            },
        )
        self._kernel = kernel
        self._kind = kind
        self._name = name
        self._names = {name, *aliases}
        self._created = int(time.time())

    @property
    def is_loaded(self) -> bool:
        return self._kernel.facts is not None

    async def _metrics(self, call: Call, answer: Answer) -> None:
        text = self.meters.text(self.slots)
        await answer.whole(text.encode(), "text/plain; version=0.0.4; charset=utf-8")

    async def _models(self, call: Call, answer: Answer) -> None:
        self.check_ready()
        model: dict[str, Any] = {
            "id": self._name,
            "object": "model",
            "created": self._created,
            "owned_by": "haneul",
            "task": self._kind,
            "kernel": self._kernel.name,
            "hears": self._kernel.hears,
            "meta": {"size_bytes": self._kernel.facts.size_bytes if self._kernel.facts else None},
        }
        await answer.json({"object": "list", "data": [model]})

    async def _transcribe(self, call: Call, answer: Answer) -> None:
        await self._hear(call, answer, "transcribe")

    async def _translate(self, call: Call, answer: Answer) -> None:
        await self._hear(call, answer, "translate")

    async def _hear(self, call: Call, answer: Answer, task: Task) -> None:
        self.check_ready()
        asked = await asyncio.to_thread(self._accept, call, task)
        self._check_model(asked.model)
        with self.slots.admit():
            async with self.slots.place():
                self.meters.heard_ms += asked.sound.duration_ms
                heard = await self._kernel.hear(asked)
        ms = str(asked.sound.duration_ms)
        await answer.whole(told(heard, asked), KINDS[asked.form], x_haneul_audio_ms=ms)

    def _accept(self, call: Call, task: Task) -> Hearing:
        return accept_hearing(read_form(call.body, call.content_type), task, self._kernel.hears)

    def _check_model(self, model: str) -> None:
        if model not in self._names:
            raise ModelNotFound(f"There is no model '{model[:100]}' here.", param="model")
