"""Requests to draw, checked at the edge: each field is honoured or refused by name.

Taken though they change nothing, because they ask for what is done anyway: `quality`, `background`
and `moderation` "auto", `output_format` "png", `stream` false; and `user`, since an engine keeps
no records.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import BadRequest, UnknownField, UnsupportedValue
from haneul.base.wire import Body, decode

SIDE_PX = (64, 2048)
PIXELS_MAX = 8 << 20  # of all images of a request: they are sent in one frame
PROMPT_MAX_CHARS = 4096

Prompt = Annotated[str, Meta(min_length=1, max_length=PROMPT_MAX_CHARS)]


class ImageRequest(Struct, frozen=True, kw_only=True):
    """POST /v1/images/generations; the last four are not OpenAI's but common."""

    model: str
    prompt: Prompt
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    quality: str | None = None
    background: str | None = None
    moderation: str | None = None
    stream: bool | None = None
    user: str | None = None
    seed: Annotated[int, Meta(ge=0, lt=1 << 32)] | None = None
    steps: Annotated[int, Meta(ge=1, le=150)] | None = None
    guidance_scale: Annotated[float, Meta(ge=0, le=30)] | None = None
    negative_prompt: Prompt | None = None


class Drawing(Struct, frozen=True, kw_only=True):
    """One request to draw. Numbers are resolved; no seed: another one each time."""

    model: str
    prompt: str
    count: int
    width_px: int
    height_px: int
    steps: int
    seed: int | None = None
    guidance_scale: float | None = None  # none: as the model states it
    negative_prompt: str | None = None

    @property
    def pixels(self) -> int:
        """Of all images together."""
        return self.count * self.width_px * self.height_px


class Draws(Struct, frozen=True, kw_only=True):
    """What a loaded model draws when nothing else is asked for."""

    width_px: int
    height_px: int
    steps: int
    step_px: int  # sides are multiples of it
    takes_negative: bool


_decoder = msgspec.json.Decoder(ImageRequest)
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "response_format": ("b64_json",),
    "output_format": ("png",),
    "quality": ("auto",),
    "background": ("auto",),
    "moderation": ("auto",),
    "stream": (False,),
}


def accept_drawing(data: bytes, draws: Draws) -> Drawing:
    """A request that will be honoured whole. Raises BadRequest that names the field."""
    for name in Body(data).unknown(frozenset(ImageRequest.__struct_fields__)):
        raise UnknownField(f"'{name[:64]}' is not honoured by this engine.", param=name[:64])
    request = decode(data, _decoder)
    for name, taken in _NEUTRAL.items():
        value = getattr(request, name)
        if value is not None and value not in taken:
            raise UnsupportedValue(f"'{name}' can be {taken[0]} here.", param=name)
    if request.negative_prompt is not None and not draws.takes_negative:
        raise UnsupportedValue("This model takes no negative prompt.", param="negative_prompt")
    width, height = _size(request.size, draws)
    asked = Drawing(
        model=request.model,
        prompt=request.prompt,
        count=request.n or 1,
        width_px=width,
        height_px=height,
        steps=request.steps or draws.steps,
        seed=request.seed,
        guidance_scale=request.guidance_scale,
        negative_prompt=request.negative_prompt,
    )
    if asked.pixels > PIXELS_MAX:
        raise UnsupportedValue(
            f"{asked.pixels} pixels in all are more than {PIXELS_MAX}.", param="n"
        )
    return asked


def _size(text: str | None, draws: Draws) -> tuple[int, int]:
    if text is None or text == "auto":
        return draws.width_px, draws.height_px
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if found is None:
        raise BadRequest("'size' must be auto or like 512x512.", param="size")
    sides = int(found[1]), int(found[2])
    least, most = SIDE_PX
    if any(not least <= side <= most or side % draws.step_px for side in sides):
        raise UnsupportedValue(
            f"Sides can be from {least} to {most} pixels, in steps of {draws.step_px}.",
            param="size",
        )
    return sides
