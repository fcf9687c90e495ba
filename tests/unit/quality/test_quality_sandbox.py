"""What a model's program may do, and how it ends when it does more."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from haneul.quality.sandbox import CELL, run_tests

# What the kernel holds when the interpreter refuses nothing: each act is tried in a process that
# went through the walls of the cell, but not through its hook.
WALLS = """
import ctypes, os, runpy, socket, sys
cell = runpy.run_path(sys.argv[1])
outside = open(sys.argv[2], "w")
outside.close()
def tried(act):
    try:
        act()
    except OSError as error:
        return f"refused {error.errno}"
    return "done"
"""
ACTS = """
is_apart, are_held = cell["leave"](os.getcwd(), is_network_left=False)
print(are_held)
import _posixsubprocess
for act in (
    lambda: os.fork() or os._exit(0),
    lambda: os.execv("/bin/true", ["true"]),
    lambda: os.posix_spawn("/bin/true", ["true"], {}),
    os.setsid,
    lambda: os.kill(os.getppid(), 0),
    socket.socket,
    lambda: os.mkfifo("pipe"),
    lambda: open(sys.argv[2]),
    lambda: open(sys.argv[2], "w"),
    lambda: os.truncate(sys.argv[2], 0),
    lambda: os.remove(sys.argv[2]),
    lambda: os.chmod(sys.argv[2], 0o777),
    lambda: os.utime(sys.argv[2]),
    lambda: os.listdir("/etc"),
):
    print(tried(act), flush=True)
open("mine", "w").write("1")
print(open("mine").read())
"""
ALONE = """
print(cell["leave_network"](ctypes.CDLL(None)))
print(tried(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[3])))))
"""


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


def behind_the_walls(tmp_path, script, *arguments):
    inside = tmp_path / "inside"
    inside.mkdir()
    done = subprocess.run(
        [sys.executable, "-I", "-c", WALLS + script, CELL, tmp_path / "outside", *arguments],
        cwd=inside,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has these walls")
def test_the_kernel_holds_what_the_interpreter_would_let_pass(tmp_path):
    are_held, *acts, own = behind_the_walls(tmp_path, ACTS)
    if are_held != "True":
        pytest.skip("this kernel has no Landlock of version 3 or no seccomp")
    assert len(acts) == 14
    assert all(act.startswith("refused") for act in acts), acts
    assert own == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has name spaces")
async def test_a_network_apart_reaches_no_server_and_it_is_said_which_it_was(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        is_apart, reached = behind_the_walls(tmp_path, ALONE, port)
    assert reached.startswith("refused") == (is_apart == "True")
    expected = "apart" if is_apart == "True" else "refused"
    assert (await ran("")).network == expected
    assert (await ran("", is_apart_wanted=False)).network == "refused"


@pytest.mark.parametrize(
    "code",
    [
        "import multiprocessing as m, os\n"
        "p = m.get_context('spawn').Process(target=os.system, args=('touch MARK',))\n"
        "p.start()\np.join()",
        "import _posixsubprocess\n_posixsubprocess.fork_exec()",
        "import sys\ndel sys.modules['_posixsubprocess']\nimport _posixsubprocess",
        "import _ctypes",
        "import os, builtins\nos.fsdecode = lambda path: 'x'\n"
        "builtins.isinstance = lambda *each: True\n"
        "os.path.realpath = lambda path: 'x'\nopen('/etc/hostname')",
        "import __main__\n__main__.LOOKING = __main__.REFUSED = ()\nopen('/etc/hostname')",
        "open('../../etc/hostname')",
        "class Sly(str):\n    def startswith(self, *each): return False\n"
        "import os\nos.listdir(Sly('/'))",
        "import gc\ngc.get_objects()",
        "import os\nos.open('.', os.O_RDONLY)",
    ],
)
async def test_ways_round_the_refusals_are_refused(code, tmp_path):
    mark = tmp_path / "mark"
    found = await ran(code.replace("MARK", str(mark)))
    assert not found.is_passed
    assert "the sandbox refuses" in (found.reason or "")
    assert not mark.exists()


@pytest.mark.parametrize(
    "frame",
    [
        "sys._getframe()",
        "broken().__traceback__.tb_frame",
        "(each for each in ()).gi_frame",
    ],
)
async def test_the_word_of_success_is_not_read_from_the_caller(frame):
    code = f"""
import os, sys
def broken():
    try:
        1 / 0
    except ZeroDivisionError as error:
        return error
frame = {frame}
while frame:
    word = frame.f_locals.get("word")
    if word:
        word = word if type(word) is bytes else word.encode()
        os.write(1, b"\\n" + word + b"\\n")
        os._exit(0)
    frame = frame.f_back
"""
    found = await ran(code, "assert False")
    assert not found.is_passed
    assert "shows no frames" in (found.reason or "")


async def test_what_the_library_does_with_frames_still_works():
    code = "import collections, enum, logging, subprocess, typing, unittest\n"
    code += "P = collections.namedtuple('P', 'x y')\nlogging.warning('w')\n"
    code += "E = enum.Enum('E', 'a b')\nT = typing.NamedTuple('T', [('x', int)])\n"
    tests = "with unittest.TestCase().assertRaises(ValueError): int('x')\nassert P(1, 2).y == 2"
    found = await ran(code, tests)
    assert found.is_passed, found.reason


async def test_what_a_program_does_only_as_a_program_is_not_done():
    demo = "if __name__ == '__main__':\n    input('a number? ')\n"
    found = await ran(f"def f(): return 1\n{demo}", "assert f() == 1")
    assert found.is_passed, found.reason


async def test_memory_output_and_files_have_a_bound():
    assert not (await ran("x = bytearray(1 << 30)")).is_passed
    assert (await ran("print('x' * (32 << 10))")).is_passed
    assert not (await ran("print('x' * (128 << 10))")).is_passed
    write = "for n in range({}): open(str(n), 'w').close()"
    assert (await ran(write.format(60))).is_passed
    assert "so many files" in ((await ran(write.format(100))).reason or "")
    assert not (await ran("open('x', 'wb').write(bytes(2 << 20))")).is_passed


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
