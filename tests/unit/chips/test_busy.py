"""Whether others use the processors is read from the kernel's own counters."""

from __future__ import annotations

import subprocess
import sys

import pytest

from haneul.chips.busy import busy_share, read_times


def test_busy_and_total_ticks_are_told_apart():
    line = "cpu  100 5 20 800 50 1 2 3 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    assert read_times(line) == (131, 981)


@pytest.mark.parametrize("text", ["", "intr 5", "cpu  a b c d e f g h"])
def test_what_is_not_said_is_unknown(text):
    assert read_times(text) is None


def test_a_missing_file_is_unknown(tmp_path):
    assert busy_share(0.01, tmp_path / "none") is None


def test_a_spinning_process_is_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinning:
        try:
            share = busy_share(0.5)
        finally:
            spinning.kill()
    assert share is not None
    assert 0.02 < share <= 1
