"""The addresses of sound and pictures, on the path of every other request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import UNSET
from msgspec.structs import replace

from haneul.base.errors import Overloaded
from haneul.base.units import MILLION
from haneul.base.wire import Body
from haneul.services import openai
from haneul.services.ask import Ask, Route
from haneul.services.call import Call
from haneul.services.chat import Gateway
from haneul.services.dialect import Told
from haneul.services.flights import Counters
from haneul.services.keys import Key
from haneul.services.media.asked import (
    IMAGES,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    Upload,
    read_image,
    read_speech,
    read_upload,
)
from haneul.services.media.sound import USUAL_BYTES_PER_S, wav_us
from haneul.services.media.told import Passed, Passing, Sound
from haneul.services.remote import Reply
from haneul.services.targets import Target

Handler = Callable[[Call], Awaitable[None]]
UPLOADS_MAX = 32  # at once: each is held whole while it goes on
READERS = {SPEECH: read_speech, IMAGES: read_image}


class MediaAddresses:
    """The handlers; each answers its call."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._uploads = 0  # under way

    def routes(self) -> dict[str, dict[str, Handler]]:
        every = (TRANSCRIPTIONS, TRANSLATIONS, SPEECH, IMAGES)
        return {route.path: {"POST": self._handler(route)} for route in every}

    def _handler(self, route: Route) -> Handler:
        async def handle(call: Call) -> None:
            await self._gateway.serve(call, Media(route, call, self._gateway.config.answer_s))

        async def upload(call: Call) -> None:
            if self._uploads >= UPLOADS_MAX:
                raise Overloaded("Too many sounds are being sent.", retry_after_s=2)
            self._uploads += 1
            try:
                await handle(call)
            finally:
                self._uploads -= 1

        return handle if route in READERS else upload


class Media(openai.OpenAIErrors):
    """The dialect of one call: what it sends goes on as it came. Implements Dialect."""

    def __init__(self, route: Route, call: Call, answer_s: float) -> None:
        self.name = route.name
        self._route = route
        self._call = call
        self._answer_s = answer_s
        self._passed: Passed | None = None
        self._sound = Sound()

    async def open(self, key: Key, data: bytes) -> Ask:
        """The request. Raises BadRequest that names the field."""
        if (read := READERS.get(self._route)) is not None:
            return replace(read(data), shape=self._json, heard=self._heard)
        content_type = self._call.headers.get(b"content-type", b"").decode("latin-1")
        ask, upload = read_upload(self._route, data, content_type)
        (file,) = (part.data for part in upload.parts if part.name == "file")
        self._sound = Sound(wav_us(file), len(file) * MILLION // USUAL_BYTES_PER_S)
        kind = f"multipart/form-data; boundary={upload.boundary}"
        return replace(ask, shape=self._form(upload), heard=self._heard, content_type=kind)

    def stream(self, ask: Ask, counters: Counters) -> Told:
        self._passed = Passed(ask, counters, self._sound)
        return self._passed

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        return data

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """Nothing of it is to be found again."""

    def _json(self, data: bytes, target: Target) -> bytes:
        """Nothing is added to a body that no stream's options belong to."""
        self._call.within(self._answer_s)
        return Body(data).replace(stream_options=UNSET)

    def _form(self, upload: Upload) -> Callable[[bytes, Target], bytes]:
        def shape(data: bytes, target: Target) -> bytes:
            self._call.within(self._answer_s)
            return upload.named(target.upstream_model)

        return shape

    def _heard(self, reply: Reply) -> Reply:
        def passed() -> Passed:
            assert self._passed is not None
            return self._passed

        return Passing(reply, passed)
