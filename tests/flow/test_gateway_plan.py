"""Plans over HTTP: the document of the command, for keys, of what they may see, and bounded."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest
import pytest_asyncio

from haneul.models import hub

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVE = "/haneul/v1/plan/serve"
LLAMA = {"model": "Llama-3.1-8B", "isl": 1000, "osl": 200, "chips": ["H100", "PPU"]}
WORDS = ("serve", "Llama-3.1-8B", "--isl", "1000", "--osl", "200", "--chips", "H100,PPU")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def key(cloud):
    return await cloud.make_key()


async def test_a_plan_over_http_is_the_document_that_the_command_prints(cloud, key, tmp_path):
    asked = {**LLAMA, "rate": 5, "tpot": 40, "cache_hit": 0.5, "prices": ["H100=2.5"]}
    answer = await cloud.ask("POST", SERVE, asked, secret=key.secret)
    assert answer.status == 200, answer.data
    flags = ("--rate", "5", "--tpot", "40", "--cache-hit", "0.5", "--price", "H100=2.5", "--json")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "haneul", "plan", *WORDS, *flags],
        env={"HANEUL_HOME": str(tmp_path / "none"), "HOME": str(tmp_path), "PATH": "/usr/bin"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert answer.json() == json.loads(done.stdout)


async def test_what_can_be_asked_is_listed(cloud, key):
    known = (await cloud.ask("GET", "/haneul/v1/plan", secret=key.secret)).json()
    chips = {chip["id"]: chip for chip in known["chips"]}
    assert {"h100", "ascend-910c", "ppu"} <= chips.keys()
    assert chips["ppu"]["bandwidth_tb_s"] is None  # unpublished
    assert {"DeepSeek-R1", "qwen3:8b"} <= set(known["models"])
    assert (await cloud.ask("GET", "/haneul/v1/plan")).status == 401


async def test_a_load_that_no_chip_serves_is_told_why(cloud, key):
    asked = {"model": "Llama-3.1-405B", "isl": 1000, "osl": 200, "chips": ["1xL4"]}
    answer = await cloud.ask("POST", SERVE, asked, secret=key.secret)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "unsupported_value")
    assert "does not fit 1 x L4" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"isl": 0}, 400, "isl"),
        ({"rate": -1}, 400, "rate"),
        ({"rate": 5e-324}, 400, "rate"),
        ({"utilisation": 1e-310}, 400, "utilisation"),
        ({"chips": ["Z80"]}, 404, None),
        ({"model": "no-such-model"}, 404, "model"),
        ({"model": "/etc/hostname"}, 404, "model"),
        ({"model": "./pyproject.toml"}, 404, "model"),
        ({"prices": ["H100"]}, 400, "chips"),
        ({"colour": "blue"}, 400, "colour"),
    ],
)
async def test_what_is_wrong_is_refused_by_name(cloud, key, change, status, param):
    answer = await cloud.ask("POST", SERVE, {**LLAMA, **change}, secret=key.secret)
    assert (answer.status, answer.json()["error"]["param"]) == (status, param), answer.data
    assert "Traceback" not in answer.data.decode()


async def test_a_fleet_file_that_broke_since_the_start_is_nobodys_business(cloud, key):
    path = cloud.cloud.config.home / "fleet.toml"
    path.write_text("this is no fleet")
    try:
        answer = await cloud.ask("POST", SERVE, LLAMA, secret=key.secret)
    finally:
        path.unlink()
    assert answer.status == 200, answer.data


async def test_a_plan_needs_a_key(cloud):
    assert (await cloud.ask("POST", SERVE, LLAMA)).status == 401


async def test_a_model_that_is_here_is_planned_for_keys_that_may_use_it(cloud, key, tiny_model):
    await cloud.cloud.serve(str(tiny_model))
    name = hub.name_of(str(tiny_model))
    asked = {"model": name, "isl": 100, "osl": 20, "chips": ["L4"]}
    assert (await cloud.ask("POST", SERVE, asked, secret=key.secret)).status == 200
    other = await cloud.make_key(models=["another"])
    assert (await cloud.ask("POST", SERVE, asked, secret=other.secret)).status == 404
