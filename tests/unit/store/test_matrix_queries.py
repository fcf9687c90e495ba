"""Rows of others in both databases."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from haneul.store import matrix
from haneul.store.matrix import TakenRow


def a_row(number: int, signer: str = "ada") -> TakenRow:
    return TakenRow(
        id=f"{number:064x}",
        signer=signer,
        signature="00",
        model="tiny",
        digest="",
        chip="cpu-x",
        written="{}",
        taken_us=number,
    )


def test_rows_are_kept_once_and_found_by_signer_in_their_order(database):
    rows = [a_row(2), a_row(1), a_row(3, signer="bob")]
    database.run(matrix.add, rows)
    database.run(matrix.add, [])
    assert database.run(matrix.count) == 3
    assert database.run(matrix.of, ["ada"]) == [rows[1], rows[0]]
    assert database.run(matrix.of, []) == []
    with pytest.raises(IntegrityError):
        database.run(matrix.add, [a_row(1)])


def test_many_ids_are_asked_for_at_once(database):
    database.run(matrix.add, [a_row(number) for number in range(5)])
    ids = [f"{number:064x}" for number in range(1200)]
    assert database.run(matrix.those_there, ids) == set(ids[:5])
