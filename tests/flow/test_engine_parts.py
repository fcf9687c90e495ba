"""A model of several files answers as the same model in one; a wrong part is refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent.parent
FILE_BROKEN = 3  # the exit code


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in three files."""
    folder = tmp_path_factory.mktemp("parts")
    command = [sys.executable, str(TESTS / "tiny_gguf.py"), str(folder / "tiny.gguf"), "7", "8"]
    subprocess.run(command, check=True)
    assert len(list(folder.iterdir())) == 3
    return folder / "tiny-00001-of-00003.gguf"


async def test_parts_answer_as_the_whole(start_engine: Any, tiny_model: Path, parts: Path) -> None:
    said = []
    for file in (tiny_model, parts):
        engine = start_engine(file)
        await engine.ready()
        answer = await engine.complete("the ", max_tokens=12, temperature=0)
        said.append(answer["choices"][0]["text"])
        engine.stop()
    assert said[0] == said[1]


def test_part_of_another_model_is_refused_before_an_engine_opens_it(
    parts: Path, tmp_path: Path
) -> None:
    for path in parts.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    wrong = (tmp_path / parts.name.replace("00001", "00003")).read_bytes()
    (tmp_path / parts.name.replace("00001", "00002")).write_bytes(wrong)
    command = [sys.executable, "-m", "haneul.engine", str(tmp_path / parts.name), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == FILE_BROKEN, done
    assert "says that it is number 3" in done.stderr
