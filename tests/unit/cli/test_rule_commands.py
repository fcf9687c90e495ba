"""The commands of rules: of a key, a tenant, a model; and prices of their own unit."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from haneul.cli.main import haneul


@pytest.fixture
def run(tmp_path):
    def run(line, *, code=0):
        environ = {"HANEUL_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        done = CliRunner().invoke(haneul, line.split(), env=environ)
        assert done.exit_code == code, done.output
        return done.output

    return run


def test_rules_are_made_listed_and_taken_back(run):
    run("keys create research")
    run("tenants create acme")
    assert "thinking max 2048" in run("keys set research --thinking-max 2048")
    said = run("tenants set acme --cache all --cache-share 0.10 --guard mask --json")
    assert json.loads(said)["rules"] == {"cache": "all", "cache_share": "0.1", "guard": "mask"}
    assert "guard refuse" in run("routes rules openai/gpt --guard refuse --thinking-max 0")
    listed = json.loads(run("rules --json"))
    assert [(row["owner_kind"], row["name"], row["value"]) for row in listed] == [
        ("key", "thinking_max", "2048"),
        ("model", "guard", "refuse"),
        ("model", "thinking_max", "0"),
        ("tenant", "cache", "all"),
        ("tenant", "cache_share", "0.1"),
        ("tenant", "guard", "mask"),
    ]
    assert "acme" in run("rules")
    assert "no rules" in run("keys set research --thinking-max none")
    for name in ("--cache none", "--cache-share none", "--guard none"):
        run(f"tenants set acme {name}")
    run("routes rules openai/gpt --guard none --thinking-max none")
    assert "Nothing was decided" in run("rules")


@pytest.mark.parametrize(
    "line",
    [
        "keys set nobody --thinking-max 5",
        "keys set research",
        "keys set research --thinking-max many",
        "keys set research --thinking-max 99999999999",
        "tenants set nowhere --cache all",
        "tenants set default --cache-share 1.5",
        "prices set m --engine e --second 1 --image 2",
        "prices set m --engine e --in 1",
    ],
)
def test_what_cannot_be_decided_is_refused(run, line):
    run("keys create research")
    run(line, code=1)
    assert json.loads(run("rules --json")) == []


def test_prices_are_told_in_their_own_unit(run):
    run("prices set whisper --engine openai --second 0.0001")
    run("prices set draw --engine openai --image 0.04")
    run("prices set tts --engine openai --characters 15")
    listed = run("prices ls")
    for text in ("USD 0.0001 / second", "USD 0.04 / image", "USD 15.00 / 1M characters"):
        assert text in listed
    rows = {each["price"]["model"]: each["price"] for each in json.loads(run("prices ls --json"))}
    assert (rows["whisper"]["unit"], rows["whisper"]["unit_nano"]) == ("audio_us", 100_000)
    assert rows["draw"]["unit_nano"] == 40_000_000_000_000


def test_an_engine_says_how_its_thoughts_are_bounded(run):
    run("engines add v http://x --model m --price-in 1 --price-out 1 --thinking-field none")
    (row,) = json.loads(run("engines ls --json"))
    assert row["thinking_field"] == "none"
