"""OpenVINO's own form of a model file, made once and kept: exact, and loaded in half the time.

Kept under a name made of the file's header, length and time of change, and of the versions that
made it; the ones least recently used are removed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import openvino_genai as genai

from haneul.base.gguf import Header
from haneul.engine.openvino.graph import fill
from haneul.engine.openvino.stand_in import write_stand_in
from haneul.engine.worker.stepper import CannotServe

KEPT = 4
FORM = "3"  # of what is written here; another number makes all anew
MODEL = "openvino_model.xml"


def default_folder() -> Path:
    """Where the forms are kept unless told otherwise."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "haneul" / "openvino"


def prepare(file: Path, header: Header, folder: Path) -> Path:
    """The folder of OpenVINO's form of the file. Raises CannotServe."""
    target = folder / _name(file, header)
    if (target / MODEL).is_file():
        os.utime(target)
        return target
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
    except OSError as cause:
        raise CannotServe(f"OpenVINO's form cannot be kept: {cause.strerror}.") from cause
    try:
        _make(work, file, header)
        if not target.exists():
            work.rename(target)
    except OSError as cause:
        raise CannotServe(f"OpenVINO's form cannot be written: {cause.strerror}.") from cause
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _forget_old(folder, target)
    return target


def _make(work: Path, file: Path, header: Header) -> None:
    rough = work / "rough"
    rough.mkdir()
    stand_in = rough / "model.gguf"
    write_stand_in(file, stand_in, header)
    _read(stand_in, file)
    stand_in.unlink()
    fill(rough / MODEL, work / MODEL, file=file, header=header)
    for path in rough.glob("openvino_*tokenizer.*"):
        path.rename(work / path.name)
    shutil.rmtree(rough)


def _read(stand_in: Path, file: Path) -> None:
    """OpenVINO's reader writes its form beside the stand-in. Raises CannotServe."""
    plan = genai.SchedulerConfig()
    plan.num_kv_blocks = 8
    plan.cache_size = 0
    wanted = {"enable_save_ov_model": True}
    try:
        genai.ContinuousBatchingPipeline(str(stand_in), plan, "CPU", wanted, wanted)
    except RuntimeError as cause:
        raise CannotServe(f"OpenVINO does not read this model: {reason(cause, file)}") from cause
    if not (stand_in.parent / MODEL).is_file():
        raise CannotServe("OpenVINO did not write its form of the model.")


def reason(cause: RuntimeError, file: Path) -> str:
    """The last words of OpenVINO's error, without places of files."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    said = lines[-1] if lines else "no reason given"
    return said.replace(f"{file.parent}/", "")[-300:]


def _name(file: Path, header: Header) -> str:
    facts = file.stat()
    digest = hashlib.sha256()
    with file.open("rb") as source:
        digest.update(source.read(header.data_offset))
    for value in (facts.st_size, facts.st_mtime_ns, genai.__version__, FORM):
        digest.update(f"|{value}".encode())
    return digest.hexdigest()[:32]


def _forget_old(folder: Path, keep: Path) -> None:
    kept = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    kept.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in kept[KEPT:]:
        if path != keep:
            shutil.rmtree(path, ignore_errors=True)
