"""Building libllama here: what is missing is said, and an archive is not trusted."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile

import pytest

from haneul.base.errors import CommandError
from haneul.engine.native import build

NATIVE = [sys.executable, "-m", "haneul.engine.native"]


def archive(path, *names):
    with tarfile.open(path, "w:gz") as made:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            made.addfile(member, io.BytesIO(b"text"))
    return path


def test_missing_tools_are_named_as_packages(tmp_path):
    done = subprocess.run([*NATIVE, "--check"], env={"PATH": str(tmp_path)}, capture_output=True)
    assert done.returncode == 5
    assert json.loads(done.stderr)["error"] == "to build, first: apt install cmake g++ make"


def test_a_library_that_cannot_be_opened_is_refused_in_its_own_process(tmp_path):
    (tmp_path / "libllama.so").write_bytes(b"garbage")
    done = subprocess.run([*NATIVE, "--try", str(tmp_path)], capture_output=True)
    assert done.returncode == 5
    assert "layout.json cannot be read" in json.loads(done.stderr)["error"]


def test_an_archive_without_the_source_is_refused(tmp_path):
    source = archive(tmp_path / "a.tar.gz", "x-1/README.md", "x-1/vendor/other/src/a.c")
    with pytest.raises(CommandError, match=r"no llama\.cpp"):
        build(source, tmp_path / "built", jobs=1)
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize("name", ["src/../../../../evil", "src//../../evil"])
def test_no_member_leaves_the_folder(tmp_path, name):
    inside = f"x-1/vendor/llama.cpp/{name}"
    source = archive(tmp_path / "a.tar.gz", "x-1/vendor/llama.cpp/include/llama.h", inside)
    with pytest.raises(tarfile.TarError):
        build(source, tmp_path / "deep" / "built", jobs=1)
    assert not list(tmp_path.rglob("evil"))


def test_what_is_not_needed_is_not_unpacked(tmp_path):
    names = ["include/llama.h", "tools/server/a.cpp", "models/a.gguf", "ggml/b.c"]
    source = archive(tmp_path / "a.tar.gz", *(f"x-1/vendor/llama.cpp/{name}" for name in names))
    with pytest.raises(FileNotFoundError):  # the rules of the build are not there
        build(source, tmp_path / "built", jobs=1)
    found = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"a.tar.gz", "llama.h", "b.c"}
