"""Files that lie are read or refused with a reason: a short run of what bench/fuzz.py does long."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.fuzz import FORMATS
from bench.mutate import Mutants

ROOT = Path(__file__).parent.parent.parent.parent
FILES = 3000


@pytest.mark.parametrize("format", FORMATS)
def test_mutated_files_are_judged_soon_and_as_the_reference_judges_them(format):
    options = ["--files", str(FILES), "--seed", "20261122"]
    command = [sys.executable, "-m", "bench.fuzz", format, *options]  # it limits its own memory
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    told = json.loads(done.stdout.decode())
    assert told["read"] + told["refused"] == FILES
    assert told["read_by_the_reference_too"] > 50
    assert told["reasons"] > 20
    assert told["memory_grew_mib"] < 200


@pytest.mark.parametrize("format", FORMATS)
def test_same_seed_gives_the_same_files(format):
    one, two = Mutants(format, 5), Mutants(format, 5)
    assert [one.next() for _ in range(50)] == [two.next() for _ in range(50)]
