"""What a stranger wrote is shown in tables and errors as it is, and commands no terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import CommandError
from haneul.base.visible import visible
from haneul.cli.show import fail, print_table


@pytest.mark.parametrize("cell", ["x[/b]", "[red]stop", "[link=http://x]here[/link]", ":smile:"])
def test_what_looks_like_markup_is_a_cell_like_any_other(capsys, cell):
    print_table(("NAME", cell), [(cell, "1")], empty="")
    head, row = capsys.readouterr().out.splitlines()
    assert cell in head
    assert row.split() == [*cell.split(), "1"]


def test_a_control_character_is_shown_and_not_sent(capsys):
    print_table(("ANSWER",), [("a\x1b[2Jb\x00\x9b\u202e\nc 하늘",)], empty="")
    assert capsys.readouterr().out.splitlines()[1] == r"a\x1b[2Jb\x00\x9b\u202e\nc 하늘"


def test_an_error_keeps_its_lines_and_shows_what_else_it_holds(capsys):
    with pytest.raises(SystemExit):
        fail(CommandError("one\ntwo \x1b[31m"))
    assert capsys.readouterr().err == "haneul: one\ntwo \\x1b[31m\n"


@given(st.text())
def test_what_is_visible_stays_and_nothing_else_is_left(text):
    shown = visible(text)
    assert visible(shown) == shown
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)
