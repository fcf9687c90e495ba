"""The process that makes one plan: a Job on standard input, JSON of the plan on standard output."""

from __future__ import annotations

import os
import sys

import msgspec

from haneul.base.errors import HaneulError, NotEnoughMemory, UnsupportedValue
from haneul.services.planning.named import find
from haneul.services.planning.process import REFUSED, Job, Refusal
from haneul.services.planning.serving import plan_serving

NICENESS = 10  # answers of models go first


def main() -> int:
    """Exit code 0 with a plan, REFUSED with why there is none."""
    os.nice(NICENESS)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        answer = msgspec.json.encode(_plan(job))
        code = 0
    except HaneulError as error:
        answer = msgspec.json.encode(_refusal(error))
        code = REFUSED
    sys.stdout.buffer.write(answer)
    return code


def _plan(job: Job) -> object:
    found = find(job.question.model, shape=job.shape, origin="its file, which is here")
    return plan_serving(
        job.question,
        found.model,
        name=found.name,
        cached_share=job.cached_share,
        repository=found.repository,
        said=found.said,
    )


def _refusal(error: HaneulError) -> Refusal:
    """That no chip serves a load is no failure of this machine: it answers the question."""
    code = UnsupportedValue.code if isinstance(error, NotEnoughMemory) else error.code
    param = error.param or ("chips" if error.status in (400, 503) else None)
    return Refusal(code=code, message=error.message, param=param)


if __name__ == "__main__":
    raise SystemExit(main())
