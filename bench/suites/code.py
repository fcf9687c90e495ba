"""Python functions with tests; every test was answered by the reference before it is written."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from bench.suites.code_tasks import TASKS
from bench.suites.made import Made

SETTINGS = """
format = 1
name = "code"
version = "1.0.0"
licence = "CC0-1.0"
language = ["en", "python"]
task = "Python functions from one expression to small algorithms, run against tests in a sandbox"
system = "Reply with one Python code block and nothing else."

[parameters]
max_tokens = 384
temperature = 0.0
seed = 1

[[checks]]
kind = "unit_test"
deadline_s = 10.0
"""
NEEDED = "import math\nfrom collections import Counter\n\n\n"  # by the references


def make() -> Made:
    cases = []
    for level, function, calls in TASKS:
        name, says = function.__name__, " ".join((function.__doc__ or "").split())
        head = f"{name}{inspect.signature(function)}"
        cases.append(
            {
                "id": name.replace("_", "-"),
                "level": level,
                "prompt": f"Write a Python function `{head}`. {says}",
                "tests": _tests(function, calls),
                "reference": reference(function),
            }
        )
    return Made("code", SETTINGS, cases)


def reference(function: Callable[..., Any]) -> str:
    """The source of a function without its decorator and docstring."""
    source = textwrap.dedent(inspect.getsource(function))
    source = source[source.index(f"def {function.__name__}") :]
    return NEEDED + source


def _tests(function: Callable[..., Any], calls: tuple[Any, ...]) -> str:
    lines = []
    for call in calls:
        arguments = call if isinstance(call, tuple) else (call,)
        value = function(*arguments)
        asked = f"{function.__name__}({', '.join(map(repr, arguments))})"
        if isinstance(value, float):
            lines.append(f"assert abs({asked} - {value!r}) < 1e-9")
        else:
            lines.append(f"assert {asked} == {value!r}")
    return "\n".join(lines)
