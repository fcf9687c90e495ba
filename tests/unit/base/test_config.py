"""Where a setting comes from, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from haneul.base.config import Config, config_files, load
from haneul.base.errors import CommandError


@pytest.fixture
def levels(tmp_path, monkeypatch):
    """A user's file and a project's file to write; returns the environment that finds them."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    (tmp_path / "config" / "haneul").mkdir(parents=True)
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


def user_file(environ):
    return Path(environ["XDG_CONFIG_HOME"]) / "haneul" / "haneul.toml"


def test_every_setting_has_a_default_that_is_allowed(levels):
    loaded = load({}, levels)
    assert loaded.config.host == "127.0.0.1"
    assert loaded.origin == dict.fromkeys(Config.__struct_fields__, "default")
    assert loaded.config.home.is_absolute()


def test_a_nearer_level_overrides_a_farther_one_and_says_so(levels):
    user_file(levels).write_text("port = 1\nslots = 2\nqueue_max = 3\nmodel = 'user'\n")
    Path("haneul.toml").write_text("port = 10\nslots = 20\nmodel = 'project'\n")
    environ = {**levels, "HANEUL_PORT": "100", "HANEUL_SLOTS": "30"}
    loaded = load({"port": 1000, "host": None}, environ)
    config = loaded.config
    assert (config.port, config.slots, config.queue_max) == (1000, 30, 3)
    assert config.model == "project"
    origin = loaded.origin
    assert (origin["port"], origin["slots"]) == ("flag", "environment")
    assert origin["queue_max"] == f"user: {user_file(levels)}"
    assert origin["model"].startswith("project: ")
    assert origin["host"] == "default", "a flag that was not given is no level"


def test_values_of_the_environment_and_of_flags_are_read_from_text(levels):
    environ = {**levels, "HANEUL_IDLE_S": "2.5", "HANEUL_HOME": "~/x", "HANEUL_MODEL": "7"}
    config = load({"port": "0"}, environ).config
    assert (config.idle_s, config.port, config.model) == (2.5, 0, "7")
    assert config.home == Path("~/x").expanduser()


def test_an_empty_variable_counts_as_none(levels):
    assert load({}, {**levels, "HANEUL_PORT": ""}).origin["port"] == "default"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 8420", "prot"),
        ("port = 70000", "port"),
        ("port = '8420'", "port"),
        ("port = -1", "port"),
        ("currency = 'usd'", "currency"),
        ("log_level = 'loud'", "log_level"),
        ("body_max_bytes = 10", "body_max_bytes"),
        ("idle_s = 0", "idle_s"),
        ("[table]\nport = 1", "table"),
        ("home = 5", "home"),
        ("port = ", "cannot be read"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_file_that_says_what_is_not_allowed_is_refused_with_its_name(levels, text, said):
    user_file(levels).write_bytes(text.encode("latin-1"))
    with pytest.raises(CommandError, match=said) as caught:
        load({}, levels)
    assert "haneul.toml" in str(caught.value)


@pytest.mark.parametrize("value", ["many", "-1", "70000", "1.5"])
def test_a_variable_that_is_not_allowed_is_refused(levels, value):
    with pytest.raises(CommandError, match=r"environment.*port"):
        load({}, {**levels, "HANEUL_PORT": value})


def test_a_flag_that_is_not_allowed_is_refused(levels):
    with pytest.raises(CommandError, match="flag"):
        load({"slots": -1}, levels)
    with pytest.raises(CommandError, match="nonsense"):
        load({"nonsense": 1}, levels)


def test_variables_of_other_programs_are_none_of_ours(levels):
    environ = {**levels, "HANEUL_TEST_SLOWNESS": "3", "HANEUL_NONSENSE": "1"}
    assert load({}, environ).config == load({}, levels).config


def test_the_user_level_lies_where_the_desktop_standard_says(monkeypatch):
    files = dict(config_files({"XDG_CONFIG_HOME": "/somewhere"}))
    assert files["user"] == Path("/somewhere/haneul/haneul.toml")
    assert dict(config_files({}))["user"] == Path.home() / ".config/haneul/haneul.toml"
