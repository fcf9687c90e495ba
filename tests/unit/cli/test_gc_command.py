"""`haneul models gc`, as it is typed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from haneul.cli.main import haneul


@pytest.fixture
def run(tmp_path):
    def go(line):
        home = str(tmp_path / "home")
        environ = {"HANEUL_HOME": home, "XDG_CONFIG_HOME": home, "HOME": home}
        done = CliRunner().invoke(haneul, line.split(), env=environ)
        assert done.exit_code == 0, done.output
        return done.stdout

    return go


@pytest.fixture
def models(tmp_path):
    return tmp_path / "home" / "models"


def test_pulled_model_is_needed_and_what_came_today_stays(run, models, tiny_model):
    assert "Everything here is needed." in run("models gc")
    run(f"pull {tiny_model}")
    (models / "blobs" / f"sha256-{'ab' * 32}").write_bytes(bytes(5000))
    told = run("models gc")
    assert "came within the last day" in " ".join(told.split())
    assert "Freed 0 B." in told
    found = json.loads(run("models gc --json"))["found"]
    assert [entry["name"] for entry in found] == ["ab" * 32]
    assert len(list((models / "blobs").iterdir())) == 2


def test_downloads_of_today_go_when_they_are_named(run, models, tiny_model):
    run(f"pull {tiny_model}")
    half = models / "partial" / f"{'cd' * 32}.partial"
    half.write_bytes(bytes(8192))
    assert "Freed 0 B." in run("models gc")
    assert "Would free 8.2 kB." in run("models gc --downloads --dry-run")
    assert half.exists()
    assert "Freed 8.2 kB." in run("models gc --downloads")
    assert not half.exists()
