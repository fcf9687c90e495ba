"""`python -m haneul.engine.native SOURCE FOLDER`: builds libllama for this very processor.

SOURCE is a source archive that holds llama.cpp in `…/vendor/llama.cpp/`. Only the library is
built, beside FOLDER in FOLDER.build, which a later call continues; FOLDER appears when the library
has been tried in a process of its own. Progress is JSON lines on standard output: {"stage": "…",
"done": 3, "all": 120}. Exit code 5: the last line on standard error is {"error": reason}.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from haneul.base.errors import CommandError, HaneulError
from haneul.base.lifeline import die_with_parent
from haneul.engine.libllama.layout import FILE, layout_program
from haneul.engine.libllama.library import open_library

FAILED = 5
INSIDE = "/vendor/llama.cpp/"
NEEDED = ("CMakeLists.txt", "LICENSE", "cmake/", "ggml/", "include/", "src/", "vendor/", "scripts/")
LIBRARY = "libllama.so"
STEP = re.compile(r"^\[\s*(\d+)(?:/(\d+)|%)\]")
SAID_KEPT = 12  # lines of a compiler that are told when it fails
# GCC 12 takes the stores of AMX's tile configuration for dead, because its intrinsic names eight
# bytes of the sixty-four that ldtilecfg reads; the kernel then dies of an illegal instruction.
AMX_RULE = """
if (CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set_source_files_properties(
        ggml-cpu/amx/mmq.cpp PROPERTIES COMPILE_OPTIONS "-fno-tree-dse;-fno-dse")
endif()
"""
OFF = ("TESTS", "EXAMPLES", "TOOLS", "SERVER", "COMMON", "APP")


def tools() -> list[str]:
    """What is missing to build, by the names of Debian's packages; empty: nothing is."""
    has_make = shutil.which("ninja") or shutil.which("make")
    missing = [] if shutil.which("cmake") else ["cmake"]
    missing += [] if shutil.which("c++") and shutil.which("cc") else ["g++"]
    return missing if has_make else [*missing, "make"]


def build(source: Path, folder: Path, *, jobs: int) -> None:
    """Makes the folder: the library, what it is linked to, and its layout. Raises CommandError."""
    work = folder.with_name(f"{folder.name}.build")
    code = work / "llama.cpp"
    _tell("unpacking")
    _unpack(source, code)
    _tell("configuring")
    _configure(code, work / "out")
    _tell("compiling")
    maker = "ninja" if (work / "out" / "build.ninja").is_file() else "make"
    _run([maker, "-C", str(work / "out"), "-j", str(jobs), "llama"])
    _tell("trying")
    fresh = work / "fresh"
    _gather(work / "out", fresh)
    layout = _layout(code, work)
    (fresh / FILE).write_text(layout)
    _run([sys.executable, "-m", "haneul.engine.native", "--try", str(fresh)])
    shutil.rmtree(folder, ignore_errors=True)
    fresh.replace(folder)
    shutil.rmtree(work)
    _tell("ready")


def _unpack(source: Path, code: Path) -> None:
    """Only what the library needs; a whole unpacking leaves a mark and is not made again."""
    mark = code / ".whole"
    if mark.is_file():
        return
    shutil.rmtree(code, ignore_errors=True)
    with tarfile.open(source, "r:gz") as archive:
        for member in archive:
            name = member.name.partition(INSIDE)[2]
            if name.startswith(NEEDED) and (member.isfile() or member.isdir()):
                member.name = name
                archive.extract(member, code, filter="data")
    if not (code / "include" / "llama.h").is_file():
        raise CommandError("The archive has no llama.cpp in it.")
    with (code / "ggml" / "src" / "CMakeLists.txt").open("a") as rules:
        rules.write(AMX_RULE)
    mark.touch()


def _configure(code: Path, out: Path) -> None:
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_BUILD_RPATH": "$ORIGIN",  # the libraries find each other wherever they lie
        "BUILD_SHARED_LIBS": "ON",
        "GGML_NATIVE": "ON",
        "LLAMA_CURL": "OFF",
        "LLAMA_OPENSSL": "OFF",
        **{f"LLAMA_BUILD_{what}": "OFF" for what in OFF},
    }
    given = [f"-D{name}={value}" for name, value in options.items()]
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    _run(["cmake", "-S", str(code), "-B", str(out), *generator, *given])


def _gather(out: Path, fresh: Path) -> None:
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for path in (out / "bin").glob("*.so*"):
        shutil.copy2(path, fresh / path.name, follow_symlinks=False)


def _layout(code: Path, work: Path) -> str:
    """What a program says that was compiled with the library's own header."""
    text, program = work / "layout.c", work / "layout"
    text.write_text(layout_program())
    folders = [f"-I{code / 'include'}", f"-I{code / 'ggml' / 'include'}"]
    _run(["cc", "-std=c11", *folders, str(text), "-o", str(program)])
    said = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    msgspec.json.decode(said)
    return said


def _run(command: Sequence[str]) -> None:
    """Runs one tool, telling its steps. Raises CommandError with its last words."""
    said: list[str] = []
    ours = os.getpid()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=lambda: die_with_parent(ours),  # no threads here
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.rstrip())
            del said[:-SAID_KEPT]
            if step := STEP.match(line):
                _tell("compiling", int(step[1]), int(step[2] or 100))
    if process.returncode != 0:
        last = " / ".join(line for line in said if line)
        raise CommandError(f"{Path(command[0]).name} failed: {last[-600:]}")


def _tell(stage: str, done: int = 0, all: int = 0) -> None:
    line = {"stage": stage, "done": done, "all": all}
    print(msgspec.json.encode(line).decode(), flush=True)


def main() -> int:
    parent = os.getppid()
    parser = argparse.ArgumentParser(prog="python -m haneul.engine.native")
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--try", dest="tried", type=Path, help="only open the library of a folder")
    parser.add_argument("--check", action="store_true", help="only say what is missing")
    options = parser.parse_args()
    try:
        if options.tried:
            open_library(options.tried / LIBRARY)
            return 0
        if missing := tools():
            raise CommandError(f"to build, first: apt install {' '.join(missing)}")
        if options.check:
            return 0
        if options.source is None or options.folder is None:
            parser.error("SOURCE and FOLDER are needed")
        die_with_parent(parent)
        os.nice(19)
        build(options.source, options.folder, jobs=options.jobs)
        return 0
    except (HaneulError, OSError, tarfile.TarError) as error:
        reason = error.message if isinstance(error, HaneulError) else str(error)
        print(msgspec.json.encode({"error": reason}).decode(), file=sys.stderr, flush=True)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
