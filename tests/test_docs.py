"""The documentation says what the program does: commands, addresses, codes, settings."""

from __future__ import annotations

import re
from pathlib import Path

import api_reference
import msgspec
import pytest
from cli_reference import render, walk

from haneul.base import errors
from haneul.base.config import Config
from haneul.cli.main import haneul
from haneul.openapi import headers
from haneul.openapi.addresses import FIELDS, OPERATIONS, fields_of
from haneul.openapi.errors import every, said
from haneul.services.batches.lines import PROBLEMS

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs/api.md").read_text()
READMES = [(ROOT / name).read_text() for name in ("README.md", "README.ko.md")]


def test_the_command_reference_is_the_commands_own_help():
    assert (ROOT / "docs/cli.md").read_text() == render(), "run 'make docs'"


def test_every_command_has_an_example_and_prints_json():
    commands = [pair for pair in walk("haneul", haneul) if not hasattr(pair[1], "commands")]
    assert len(commands) >= 18
    for name, command in commands:
        assert f"Example:\n  {name}" in (command.help or ""), name
        assert "--json" in {option for each in command.params for option in each.opts}, name


@pytest.mark.parametrize("readme", READMES, ids=["english", "korean"])
def test_the_readme_names_every_command(readme):
    for name in haneul.commands:
        assert f"`{name}`" in readme or f"haneul {name}" in readme or f"`{name} " in readme, name


def test_the_readmes_have_the_same_code():
    english, korean = (re.findall(r"```(?:python)\n(.*?)```", text, re.S) for text in READMES)
    assert english == korean


def test_the_reference_is_what_the_tables_make():
    folder = ROOT / "docs/reference"
    there = {path.name: path.read_text() for path in folder.glob("*")}
    assert there == api_reference.render(), "run 'make docs'"


def test_every_field_of_a_request_says_what_becomes_of_it():
    bodies = {each.body for each in OPERATIONS if each.body is not None}
    for body in bodies:
        fields = {field.encode_name for field in msgspec.structs.fields(body)}
        assert fields_of(body).keys() == fields, body.__name__
    used = {base for body in bodies for base in body.__mro__}
    parts = {kind for kind in FIELDS.keys() - used if kind.__name__ != "Options"}
    assert parts == set(), "told, but of no request"


def test_every_header_in_the_code_is_told():
    """Names in bytes that look like headers, in what reads requests and writes answers."""
    sources = [*ROOT.glob("haneul/*.py"), *ROOT.glob("haneul/services/**/*.py")]
    text = "\n".join(path.read_text() for path in sources)
    seen = set(re.findall(r'headers(?:\.get\(|\[)b"([a-z-]+)"', text))
    seen |= set(re.findall(r'\(b"([a-z-]+)", ', text))
    seen |= set(re.findall(r'= b"((?:x|anthropic|idempotency)-[a-z-]+)"', text))
    seen |= set(re.findall(r'b"([a-z][a-z-]+[a-z]): ', text))
    seen |= set(re.findall(r"[rn]((?:x|openai)-[a-z-]+): ", text))
    told = {header.name for header in (*headers.TAKEN, *headers.GIVEN)}
    others = {"event", "data", "http", "requests", "tokens"}  # events' fields, kinds of rates
    made = {name for name in seen - told - others if not name.startswith("x-ratelimit-")}
    assert len(seen) > 15
    assert made == set()


def test_every_problem_of_a_batchs_file_is_told():
    source = (ROOT / "haneul/services/batches/lines.py").read_text()
    assert set(re.findall(r'Problem\(\s*"(\w+)"', source)) == PROBLEMS.keys()


def test_every_error_says_what_to_do():
    assert len(every()) > 20
    assert [kind.__name__ for kind in every() if not all(said(kind))] == []


def test_the_tree_of_errors_is_drawn_as_it_is():
    drawn = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.HaneulError):
            line = next((line for line in drawn.splitlines() if f"{name} " in line), "")
            assert kind.code in line or issubclass(kind, errors.CommandError), name


def test_every_setting_says_what_it_is():
    source = (ROOT / "haneul/base/config.py").read_text()
    for name in Config.__struct_fields__:
        assert re.search(rf"^    {name}: .*(#|Path)", source, re.M), name


def test_links_between_documents_lead_somewhere():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_no_path_of_a_machine_and_no_host_of_a_registry_is_committed():
    banned = re.compile(
        r"(?<![\w.])/(?:root|work|farm)/|pypi\.org|pythonhosted|npmjs\.org|deb\.debian"
    )
    own = Path(__file__).name
    found = [
        str(path.relative_to(ROOT))
        for folder in ("haneul", "tests", "docs", "bench", ".")
        for path in (ROOT.glob("*") if folder == "." else (ROOT / folder).rglob("*"))
        if path.is_file()
        and path.suffix in {".py", ".md", ".toml", ".js", ".html", ".css", ".lock", ".sh", ""}
        and path.name != own
        and banned.search(path.read_text(errors="ignore"))
    ]
    assert found == []
