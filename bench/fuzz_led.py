"""As bench/fuzz.py, with files that atheris makes, led by the lines of the readers they reach.

python -m bench.fuzz_led gguf --files 50000
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["haneul.base"]):
    from bench.fuzz import FORMATS, MEMORY_MAX_BYTES, Judge, fast_folder, told
    from bench.mutate import Mutants, gguf_seeds, safetensors_seeds

LENGTH_MAX = 16_384


def main() -> None:
    """Ends the process: with the run's numbers as JSON, or where a file breaks a promise."""
    parser = argparse.ArgumentParser(description="Feeds the readers with files led by coverage.")
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        fuzz(options.format, options.files, options.seed, Path(folder))


def fuzz(format: str, files: int, seed: int, folder: Path) -> None:
    """Judges so many files; a broken promise is kept by atheris as crash-DIGEST."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(gguf_seeds() if format == "gguf" else safetensors_seeds()):
        (corpus / str(number)).write_bytes(data)
    judge = Judge(format, folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, judged = time.perf_counter(), 0

    def one(data: bytes) -> None:
        nonlocal judged
        judge.judge(data)
        judged += 1
        if judged == files:
            spent_s = time.perf_counter() - began
            print(json.dumps(told(judge, files, seed, spent_s, before), indent=1), flush=True)

    mutants = Mutants(format, seed)

    def changed(data: bytes, size_max: int, number: int) -> bytes:
        """As atheris changes it; half of the safetensors files where their JSON can be changed."""
        if format == "safetensors" and number % 2:
            return mutants.json_changed(data, number)[:size_max]
        return bytes(atheris.Mutate(data, size_max))

    kept = f"-artifact_prefix={tempfile.gettempdir()}/"
    flags = [kept, f"-runs={files}", f"-seed={seed}", f"-max_len={LENGTH_MAX}", "-verbosity=0"]
    atheris.Setup(
        [sys.argv[0], *flags, "-mutate_depth=2", str(corpus)], one, custom_mutator=changed
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
