"""`python -m haneul.engine.derive`: does the one job that stands in JSON on standard input.

Progress is JSON lines on standard output, {"done": 3, "all": 120}; the last line is the result.
Exit code 5: the last line on standard error is {"error": reason}. The process ends with the one
that started it, gives way to all others, and leaves a target whole or not at all.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from haneul.base.deriving import (
    FAILED,
    Convert,
    Importance,
    Job,
    Made,
    Measure,
    Merge,
    Quantise,
    Result,
    Step,
)
from haneul.base.errors import BadRequest, HaneulError
from haneul.base.lifeline import die_with_parent
from haneul.engine.derive import importance
from haneul.engine.derive.measure import measure
from haneul.engine.derive.merge import merge
from haneul.engine.derive.quantise import known, quantise
from haneul.engine.derive.texts import calibration
from haneul.engine.protect import cores, protect

NICE = 10
JOB_MAX_BYTES = 1 << 20
TEXT_MAX_BYTES = 16 << 20


def run(job: Job) -> Result:
    """Does the job. Raises HaneulError."""
    if isinstance(job, Quantise):
        return quantise(
            [Path(path) for path in job.sources],
            Path(job.target),
            known(job.type),
            made_from=job.made_from,
            importance=importance.load(Path(job.importance)) if job.importance else None,
            is_lossy_allowed=job.is_lossy_allowed,
            threads=job.threads or cores(),
            on_tensor=_tell,
        )
    if isinstance(job, Merge):
        return merge(
            [Path(path) for path in job.sources],
            Path(job.adapter),
            Path(job.target),
            known(job.type),
            made_from=job.made_from,
            threads=job.threads or cores(),
            on_tensor=_tell,
        )
    if isinstance(job, Convert):
        return _convert(job)
    if isinstance(job, Importance):
        return _weigh(job)
    assert isinstance(job, Measure)
    return measure(
        Path(job.parent),
        Path(job.child),
        adapter=Path(job.adapter) if job.adapter else None,
        library=Path(job.library) if job.library else None,
        threads=job.threads or cores(),
        on_window=_tell,
    )


def _convert(job: Convert) -> Made:
    try:
        from haneul.engine.derive.convert.turn import convert
    except ImportError as cause:
        raise BadRequest("Converting needs two packages more: pip install 'haneul[convert]'") from (
            cause
        )
    return convert(
        Path(job.folder),
        Path(job.target),
        name=job.name,
        made_from=job.made_from,
        scratch=Path(job.scratch),
        on_tensor=_tell,
    )


def _weigh(job: Importance) -> Made:
    texts = [_text(Path(path)) for path in job.texts] or [each.text for each in calibration()]
    dataset = ", ".join(Path(path).name for path in job.texts) or "haneul's own"
    sums, counts, tokens = importance.measure(
        Path(job.model), texts, threads=job.threads or cores(), on_window=_tell
    )
    target = Path(job.target)
    chunks = -(-tokens // importance.WINDOW_TOKENS)
    importance.save(target, sums, counts, dataset=dataset, chunks=chunks)
    return Made(bytes=target.stat().st_size, weighed=len(sums), proven_tokens=tokens)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(TEXT_MAX_BYTES).decode(errors="replace")


def _tell(done: int, all: int) -> None:
    print(msgspec.json.encode(Step(done, all)).decode(), flush=True)


def main() -> int:
    """The exit code."""
    parent = os.getppid()
    protect(nice=NICE)
    die_with_parent(parent)
    try:
        job = msgspec.json.decode(sys.stdin.buffer.read(JOB_MAX_BYTES), type=Job)
        result = run(job)
    except (HaneulError, OSError, msgspec.MsgspecError, MemoryError) as error:
        reason = error.message if isinstance(error, HaneulError) else _plain(error)
        print(msgspec.json.encode({"error": reason}).decode(), file=sys.stderr, flush=True)
        return FAILED
    print(msgspec.json.encode(result).decode(), flush=True)
    return 0


def _plain(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"A file cannot be read or written: {error.strerror}."
    return "There is not enough memory." if isinstance(error, MemoryError) else str(error)


if __name__ == "__main__":
    sys.exit(main())
