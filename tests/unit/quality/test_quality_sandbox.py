"""What a model's program may do, and how it ends when it does more."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from haneul.quality.sandbox import run_tests


async def ran(code, tests="", deadline_s=10.0, **how):
    return await run_tests(code, tests, deadline_s=deadline_s, **how)


async def test_code_passes_when_its_tests_do():
    assert (await ran("def f(x): return x + 1", "assert f(1) == 2")).is_passed
    wrong = await ran("def f(x): return x", "assert f(1) == 2, 'it is one'")
    assert not wrong.is_passed
    assert wrong.reason == "AssertionError: it is one"


@pytest.mark.parametrize(
    "code",
    ["import sys\nsys.exit(0)", "import os\nos._exit(0)", "raise SystemExit", "def f(: pass"],
)
async def test_leaving_before_the_tests_is_no_success(code):
    assert not (await ran(code, "assert False")).is_passed


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.fork()",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.system('true')",
        "import os\nos.kill(os.getppid(), 9)",
        "import ctypes\nctypes.CDLL(None)",
        "open('/etc/hostname').read()",
        "open('/tmp/never-here', 'w')",
        "import os\nos.listdir('/')",
        "import os\nos.remove('answer.py')",
        "import os\nos.open('/etc/hostname', os.O_RDONLY)",
        "import socket\nsocket.socket()",
    ],
)
async def test_what_reaches_out_of_the_folder_is_refused(code):
    found = await ran(code)
    assert not found.is_passed
    assert "the sandbox refuses" in (found.reason or "")


async def test_the_network_is_refused_and_it_is_said_how():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {port}))"
        for is_apart_wanted in (True, False):
            found = await ran(code, is_apart_wanted=is_apart_wanted)
            assert not found.is_passed
            assert found.network in (("apart", "refused") if is_apart_wanted else ("refused",))


async def test_memory_and_output_have_a_bound():
    assert not (await ran("x = bytearray(1 << 30)")).is_passed
    assert not (await ran("while True: print('x' * 4096)")).is_passed


async def test_a_program_without_end_is_ended():
    found = await ran("import time\ntime.sleep(600)", deadline_s=0.5)
    assert not found.is_passed
    assert "did not end" in (found.reason or "")


async def test_nothing_of_our_environment_is_there_and_the_library_is():
    os.environ["HANEUL_SECRET"] = "s"
    try:
        code = "import os, json, re, dataclasses, datetime, decimal, heapq, statistics\n"
        code += "@dataclasses.dataclass\nclass A:\n    x: int\n"
        code += "open('mine', 'w').write('1')\nassert open('mine').read() == '1'\n"
        found = await ran(code, "assert not {'HANEUL_SECRET', 'HOME', 'PATH'} & set(os.environ)")
        assert found.is_passed, found.reason
    finally:
        del os.environ["HANEUL_SECRET"]


async def test_several_run_beside_one_another():
    found = await asyncio.gather(*(ran("x = 1", f"assert x == {n % 2}") for n in range(4)))
    assert [each.is_passed for each in found] == [False, True, False, True]
