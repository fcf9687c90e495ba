"""The front of a folder: OpenAI's addresses of what its model can do."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from typing import Any

import msgspec

from haneul.base.errors import ModelNotFound
from haneul.base.multipart import read_form
from haneul.engine.asgi import Answer
from haneul.engine.front import Call, Front, Handler
from haneul.engine.media.folder import Kind
from haneul.engine.media.kernel import MediaKernel
from haneul.engine.media.meters import MediaMeters
from haneul.engine.media.to_draw import Drawing, Draws, accept_drawing
from haneul.engine.media.to_hear import Hearing, Hears, Task, accept_hearing
from haneul.engine.media.to_say import KINDS as SAID_KINDS
from haneul.engine.media.to_say import Said, Says, accept_saying
from haneul.engine.media.transcript import KINDS, Heard, told
from haneul.engine.slots import Slots

# A model that needs more than four times as long as the sound lasts, half a second for a character,
# or two minutes for a step of a million pixels, is too large for its machine.
HEAR_S, HEAR_FACTOR = 60.0, 4.0
SAY_S, SAY_FACTOR_S = 60.0, 0.5
DRAW_S, DRAW_FACTOR_S = 60.0, 120.0


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
                **self._addresses(kind),
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
            "can": self._kernel.described,
            "meta": {"size_bytes": self._kernel.facts.size_bytes if self._kernel.facts else None},
        }
        await answer.json({"object": "list", "data": [model]})

    async def _transcribe(self, call: Call, answer: Answer) -> None:
        await self._hear(call, answer, "transcribe")

    async def _translate(self, call: Call, answer: Answer) -> None:
        await self._hear(call, answer, "translate")

    async def _hear(self, call: Call, answer: Answer, task: Task) -> None:
        self.check_ready()
        asked = await asyncio.to_thread(self._to_hear, call, task)
        self._check_model(asked.model)
        duration_ms = asked.sound.duration_ms
        with self.slots.admit():
            async with self.slots.place():
                self.meters.heard_ms += duration_ms
                within_s = HEAR_S + HEAR_FACTOR * duration_ms / 1000
                heard = await self._kernel.make(asked, Heard, within_s=within_s)
        body = told(heard, asked)
        await answer.whole(body, KINDS[asked.form], x_haneul_audio_ms=str(duration_ms))

    def _to_hear(self, call: Call, task: Task) -> Hearing:
        parts = read_form(call.body, call.content_type)
        return accept_hearing(parts, task, self._kernel.can(Hears))

    async def _say(self, call: Call, answer: Answer) -> None:
        self.check_ready()
        asked = accept_saying(call.body, self._kernel.can(Says))
        self._check_model(asked.model)
        with self.slots.admit():
            async with self.slots.place():
                self.meters.characters += len(asked.text)
                within_s = SAY_S + SAY_FACTOR_S * len(asked.text)
                said = await self._kernel.make(asked, Said, within_s=within_s)
        self.meters.said_ms += said.duration_ms
        await answer.whole(
            said.data,
            SAID_KINDS[asked.form],
            x_haneul_characters=str(len(asked.text)),
            x_haneul_audio_ms=str(said.duration_ms),
        )

    async def _draw(self, call: Call, answer: Answer) -> None:
        self.check_ready()
        asked = accept_drawing(call.body, self._kernel.can(Draws))
        self._check_model(asked.model)
        with self.slots.admit():
            async with self.slots.place():
                self.meters.images += asked.count
                self.meters.pixels += asked.pixels
                within_s = DRAW_S + DRAW_FACTOR_S * asked.steps * asked.pixels / (1 << 20)
                images = await self._kernel.make(asked, list[bytes], within_s=within_s)
        body = await asyncio.to_thread(drawn, asked, images)
        await answer.whole(
            body,
            "application/json",
            x_haneul_images=str(asked.count),
            x_haneul_image_pixels=str(asked.pixels),
        )

    def _addresses(self, kind: Kind) -> dict[str, tuple[str, Handler]]:
        if kind == "text-to-image":
            return {"/v1/images/generations": ("POST", self._draw)}
        if kind == "text-to-speech":
            return {"/v1/audio/speech": ("POST", self._say)}
        return {
            "/v1/audio/transcriptions": ("POST", self._transcribe),
            "/v1/audio/translations": ("POST", self._translate),
        }

    def _check_model(self, model: str) -> None:
        if model not in self._names:
            raise ModelNotFound(f"There is no model '{model[:100]}' here.", param="model")


def drawn(asked: Drawing, images: list[bytes]) -> bytes:
    """OpenAI's answer, with the images as base64 of PNG."""
    value = {
        "created": int(time.time()),
        "data": [{"b64_json": b64encode(image).decode()} for image in images],
        "output_format": "png",
        "size": f"{asked.width_px}x{asked.height_px}",
        "usage": {"type": "images", "images": asked.count, "pixels": asked.pixels},
    }
    return msgspec.json.encode(value)
