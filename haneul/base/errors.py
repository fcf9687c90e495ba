"""The one tree of errors.

HaneulError                 500  internal_error
├─ BadRequest               400  invalid_request_error   the request cannot be understood
│  ├─ UnknownField          400  unknown_parameter       a field this engine does not honour
│  ├─ ContextTooLong        400  context_length_exceeded
│  ├─ UnsupportedValue      400  unsupported_value
│  └─ PersonalData          400  personal_data           a guard lets none of it through
├─ NotAuthenticated         401  invalid_api_key
├─ NotAllowed               403  permission_denied
├─ NotFound                 404  not_found
│  └─ ModelNotFound         404  model_not_found
├─ MethodNotAllowed         405  method_not_allowed
├─ RequestTimeout           408  request_timeout
├─ Conflict                 409  conflict
│  └─ IdempotencyConflict   409  idempotency_key_in_use  + Retry-After
├─ TooLarge                 413  request_too_large
│  └─ HeadTooLarge          431  request_head_too_large
├─ RangeNotSatisfiable      416  range_not_satisfiable
├─ IdempotencyMismatch      422  idempotency_key_reused  the key came with another body
├─ RateLimited              429  rate_limit_exceeded     + Retry-After
├─ QuotaExceeded            429  insufficient_quota      the budget is spent
├─ Unavailable              503  service_unavailable     + Retry-After
│  ├─ EngineUnavailable     503  engine_unavailable      died, loading or unreachable
│  ├─ Overloaded            503  overloaded              every bounded queue is full
│  └─ NotEnoughMemory       503  insufficient_memory
├─ EngineFailed             502  engine_failed           an engine broke its protocol
├─ DeadlineExceeded         504  deadline_exceeded       a hop outlived its deadline
├─ NotCached                504  not_cached              only a kept answer was wanted
├─ GuardUnavailable         503  guard_unavailable       what a guard needs is not installed
└─ CommandError             -    what the command line prints; exit code 1
   ├─ BrokenFile            -    a model file that lies about itself
   ├─ FetchFailed           -    nothing came from a source
   └─ AlreadyRunning        -    another cloud holds this home

The first line of a class docstring is the default message, what follows says what to do about it
(docs/reference/errors.md is made of both), keyword arguments are the facts.
"""

from __future__ import annotations

import inspect
from typing import Any


class HaneulError(Exception):
    """Something inside haneul went wrong.

    Nothing the client can mend: the log has the reason, under the id in x-request-id.
    """

    status = 500
    code = "internal_error"
    type = "server_error"

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        **facts: Any,
    ) -> None:
        self.message = message or inspect.cleandoc(type(self).__doc__ or "").split("\n")[0]
        self.param = param
        self.retry_after_s = retry_after_s
        self.facts = facts
        super().__init__(self.message)

    def as_openai(self) -> dict[str, dict[str, Any]]:
        """The body of an OpenAI error answer."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return {"error": {**error, **self.facts}}


class BadRequest(HaneulError):
    """The request cannot be understood.

    Mend what `param` names, if it names something; asking again would not help.
    """

    status, code, type = 400, "invalid_request_error", "invalid_request_error"


class UnknownField(BadRequest):
    """A field of the request is not honoured here.

    Leave out the field that `param` names, or ask a model whose engine takes it.
    """

    code = "unknown_parameter"


class UnsupportedValue(BadRequest):
    """A field of the request has a value that is not honoured here.

    Give the field that `param` names another value, or leave it out.
    """

    code = "unsupported_value"


class ContextTooLong(BadRequest):
    """The prompt does not fit the model's context.

    Shorten the prompt, ask for a shorter answer, or ask a model with a longer context.
    """

    code = "context_length_exceeded"


class PersonalData(BadRequest):
    """The request holds personal data, which a guard does not let through.

    Take it out; the message says of which kind it is, and how much there is.
    """

    status, code = 400, "personal_data"


class NotAuthenticated(HaneulError):
    """No valid API key came with the request. Send it as 'Authorization: Bearer sk-hn-…'.

    It was left out, is wrong, expired or revoked: get one from who runs the cloud.
    """

    status, code, type = 401, "invalid_api_key", "authentication_error"


class NotAllowed(HaneulError):
    """This key may not do that.

    Its scopes, models, app or tenant do not allow it: ask with another key.
    """

    status, code, type = 403, "permission_denied", "permission_error"


class NotFound(HaneulError):
    """There is nothing at this address.

    Check the address; what is another tenant's is not there either.
    """

    status, code, type = 404, "not_found", "invalid_request_error"


class ModelNotFound(NotFound):
    """There is no such model here, or it has no such address. See GET /v1/models.

    The message names the nearest ones that the key may use.
    """

    code = "model_not_found"


class MethodNotAllowed(HaneulError):
    """This address does not take that method.

    The header Allow lists those it takes.
    """

    status, code, type = 405, "method_not_allowed", "invalid_request_error"


class RequestTimeout(HaneulError):
    """The request did not arrive whole in time.

    Send it again, over a faster line or in smaller parts.
    """

    status, code, type = 408, "request_timeout", "invalid_request_error"


class Conflict(HaneulError):
    """That is already so, or taken.

    Look at what is there; the same request would fail again until that changes.
    """

    status, code, type = 409, "conflict", "invalid_request_error"


class IdempotencyConflict(Conflict):
    """The first request with this Idempotency-Key is still running.

    Ask again after Retry-After for its answer.
    """

    code = "idempotency_key_in_use"


class RangeNotSatisfiable(HaneulError):
    """The file does not have those bytes.

    `content-range` says how many it has: ask for some of these, or for all.
    """

    status, code, type = 416, "range_not_satisfiable", "invalid_request_error"


class IdempotencyMismatch(HaneulError):
    """This Idempotency-Key was used for another request before.

    Use a key of its own for each request.
    """

    status, code, type = 422, "idempotency_key_reused", "invalid_request_error"


class TooLarge(HaneulError):
    """The request body is too large.

    Send less.
    """

    status, code, type = 413, "request_too_large", "invalid_request_error"


class HeadTooLarge(TooLarge):
    """The head of the request is too large.

    Send fewer or shorter headers, or a shorter address.
    """

    status, code = 431, "request_head_too_large"


class RateLimited(HaneulError):
    """The key has used its rate for now.

    Ask again after Retry-After; x-ratelimit-* say what is left.
    """

    status, code, type = 429, "rate_limit_exceeded", "rate_limit_error"


class QuotaExceeded(HaneulError):
    """The key has spent its budget.

    `budget` says which and what is left, `renews_us` when it renews.
    """

    status, code, type = 429, "insufficient_quota", "insufficient_quota"


class Unavailable(HaneulError):
    """Not available at the moment; try again.

    Ask again after Retry-After.
    """

    status, code, type = 503, "service_unavailable", "server_error"


class EngineUnavailable(Unavailable):
    """The engine of this model is not answering; it is being restarted.

    Ask again after Retry-After.
    """

    code = "engine_unavailable"


class Overloaded(Unavailable):
    """Too many requests are waiting already.

    Ask again after Retry-After, or less often.
    """

    code = "overloaded"


class NotEnoughMemory(Unavailable):
    """The model does not fit the memory that is free now.

    Stop another model, or choose a smaller one.
    """

    code = "insufficient_memory"


class EngineFailed(HaneulError):
    """The engine gave an answer that is not of its protocol.

    Ask again, or another model; who runs the cloud sees the reason in the log.
    """

    status, code = 502, "engine_failed"


class DeadlineExceeded(HaneulError):
    """A deadline passed before the answer was complete.

    Ask for a shorter answer, stream it, or ask again.
    """

    status, code = 504, "deadline_exceeded"


class GuardUnavailable(HaneulError):
    """A guard is switched on, but what it needs is not installed here: pip install haneul[guard].

    Nothing is passed on unguarded; who runs the cloud installs it, or switches the guard off.
    """

    status, code = 503, "guard_unavailable"


class NotCached(HaneulError):
    """There is no kept answer to this request.

    `only-if-cached` in x-haneul-cache wants no other; leave it out to have one computed.
    """

    status, code = 504, "not_cached"


class CommandError(HaneulError):
    """The command could not be carried out."""

    code = "command_failed"


class BrokenFile(CommandError):
    """The model file is damaged or lies about itself."""

    code = "broken_file"


class FetchFailed(CommandError):
    """Nothing could be fetched from that source."""

    code = "fetch_failed"


class AlreadyRunning(CommandError):
    """Another cloud is running on this home already."""

    code = "already_running"
