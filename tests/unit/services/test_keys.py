"""What a key looks like, and what may be one."""

from __future__ import annotations

import re
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest, CommandError, Conflict, NotAuthenticated, NotFound
from haneul.services import keys
from haneul.services.keys import BASE62, KEY_LENGTH, Terms
from haneul.store.database import open_database

PEPPER = b"p" * 32


@pytest.fixture
def database(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.close()


def create(database, name="one", **terms):
    return database.run(
        lambda connection: keys.create(connection, PEPPER, name, Terms(**terms), actor="test")
    )


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    opened = open_database("", tmp_path_factory.mktemp("home"))
    made = create(opened)
    opened.close()
    return made.secret


def test_a_key_has_a_form_that_scanners_can_know(secret):
    assert re.fullmatch(r"sk-hn-[0-9A-Za-z]{57}", secret)
    assert len(secret) == KEY_LENGTH


@given(at=st.integers(6, KEY_LENGTH - 1), letter=st.sampled_from(BASE62))
def test_every_single_mistyped_character_is_noticed(secret, at, letter):
    typed = secret[:at] + letter + secret[at + 1 :]
    if typed == secret:
        assert keys.split(typed) == (secret[6:14], secret[14:-6])
    else:
        with pytest.raises(NotAuthenticated, match="typing mistake"):
            keys.split(typed)


@given(at=st.integers(6, KEY_LENGTH - 2))
def test_two_swapped_neighbours_are_noticed(secret, at):
    typed = secret[:at] + secret[at + 1] + secret[at] + secret[at + 2 :]
    if typed != secret:
        with pytest.raises(NotAuthenticated):
            keys.split(typed)


@given(st.text(max_size=100))
def test_no_other_text_is_a_key(text):
    with pytest.raises(NotAuthenticated):
        keys.split(text)


def test_the_store_keeps_neither_the_secret_nor_a_hash_without_the_pepper(database):
    made = create(database)
    row = database.run(keys.queries.get, made.key.id)
    key_id, secret = keys.split(made.secret)
    assert key_id == row.id
    assert keys.matches(row, PEPPER, secret)
    assert not keys.matches(row, b"q" * 32, secret)
    assert secret not in repr(row)


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("", {}),
        ("n" * 65, {}),
        ("line\nbreak", {}),
        ("ok", {"scopes": ("infer", "root")}),
        ("ok", {"requests_per_minute": 0}),
        ("ok", {"requests_per_minute": -1}),
        ("ok", {"tokens_per_minute": 1 << 31}),
    ],
)
def test_terms_that_cannot_be_held_are_refused(database, name, terms):
    with pytest.raises(BadRequest):
        create(database, name, **terms)


def test_a_name_is_free_again_when_its_key_is_revoked(database):
    first = create(database)
    with pytest.raises(Conflict):
        create(database)
    database.run(lambda connection: keys.revoke(connection, "one", actor="test"))
    with pytest.raises(NotFound):
        database.run(lambda connection: keys.revoke(connection, "one", actor="test"))
    assert create(database).key.id != first.key.id


def test_the_pepper_is_made_once_for_its_owner_alone(tmp_path):
    pepper = keys.read_pepper(tmp_path)
    assert (len(pepper), keys.read_pepper(tmp_path)) == (32, pepper)
    assert stat.S_IMODE((tmp_path / "pepper").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]


def test_a_damaged_pepper_is_refused_and_not_replaced(tmp_path):
    (tmp_path / "pepper").write_bytes(b"")
    with pytest.raises(CommandError, match="damaged"):
        keys.read_pepper(tmp_path)
    assert (tmp_path / "pepper").read_bytes() == b""


def test_processes_that_start_together_have_one_pepper(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from haneul.services.keys import read_pepper\n"
        "sys.stdin.read(1)\n"
        "print(read_pepper(Path(sys.argv[1])).hex())\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        process.stdin.write("x")
        process.stdin.flush()
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1
