"""An engine's refusal as ours: the user's fault stays the user's, the rest is the engine's."""

from __future__ import annotations

import re

import msgspec

from haneul.base.errors import (
    BadRequest,
    EngineFailed,
    HaneulError,
    ModelNotFound,
    NotFound,
    Overloaded,
    RateLimited,
)
from haneul.services.remote import Reply
from haneul.services.targets import Target

CODE = re.compile(r"[\w.-]{1,64}")  # the ledger keeps an engine's code, but no prose of it
NO_ADDRESS = (NotFound.code, None)  # as haneul's own engines say it


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    code: str | int | None = None
    type: str | None = None
    param: str | None = None


class _ErrorBody(msgspec.Struct, frozen=True):
    error: _Error


def engine_error(reply: Reply, data: bytes, target: Target) -> HaneulError:
    """An engine's refusal as ours: the user's fault stays the user's, the rest is the engine's."""
    retry_after_s = _seconds(reply.headers.get(b"retry-after"))
    try:
        said = msgspec.json.decode(target.transport.without_key(data), type=_ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = _Error()
    if reply.status == 404 and (not said.message or (said.code, said.param) == NO_ADDRESS):
        return ModelNotFound("The engine of this model cannot do that.", param="model")
    if reply.status in (400, 404, 413, 415, 422, 501):
        error: HaneulError = BadRequest(said.message or None, param=said.param)
        code = str(said.code or "")
        error.code = code if CODE.fullmatch(code) else error.code
        error.status = 400 if reply.status in (422, 501) else reply.status
        return error
    if reply.status == 429:
        return RateLimited(
            "The engine of this model is at its rate.", retry_after_s=retry_after_s or 5
        )
    if reply.status in (401, 403):
        return EngineFailed(f"The provider '{target.engine}' does not take haneul's key.")
    if reply.status == 503:
        return Overloaded(said.message or None, retry_after_s=retry_after_s or 2)
    return EngineFailed(f"The engine answered with status {reply.status}.")


def _seconds(value: bytes | None) -> float | None:
    return float(value) if value is not None and value.isdigit() else None
