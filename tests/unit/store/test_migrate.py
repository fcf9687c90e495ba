"""From empty or from any older release to the newest schema, and append-only whoever asks."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from haneul.base.errors import CommandError
from haneul.store import fresh, migrate, schema
from haneul.store.database import open_database
from tests.newest_schema import migrated

ROW_DAY = 2  # since 1970, of the request below
ROW = {
    "request": "INSERT INTO request (id, key_id, route, state, status, is_stream, metering,"
    " prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, currency, cost_nano,"
    " hour_nano, busy_us, received_us, finished_us)"
    " VALUES ('a', 'k', 'chat', 'done', 200, 0, 'none', 0, 0, 0, 0, 'USD', 7, 0, 0,"
    " 200000000000, 0)",
    "chip_hour": "INSERT INTO chip_hour VALUES ('a', 'c', 'USD', 0, 1, 2)",
    "price": "INSERT INTO price VALUES ('a', 'm', 'e', 'USD', 1, 2, 3, 4, '{}', 5, 6, 7, NULL,"
    " NULL)",
    "measurement": "INSERT INTO measurement VALUES ('a','m','d','c','v','decode',1,'tok/s',2)",
    "trial": "INSERT INTO trial (id, tuning_id, model, digest, chip, setup, state, rounds,"
    " created_us) VALUES ('a', 't', 'm', 'd', 'c', '{}', 'lost', 0, 1)",
    "tuning": "INSERT INTO tuning (id, model, digest, chip, versions, purpose, default_trial,"
    " single_trial, many_trial, used_trial, said, load, took_us, created_us)"
    " VALUES ('a', 'm', 'd', 'c', 'v', 'both', 't', 't', 't', 't',"
    " 'because', '{}', 1, 2)",
    "invoice": "INSERT INTO invoice VALUES ('a', 'default', 1, 'invoice', '2026-11', 'USD', 1,"
    " NULL, NULL, 2)",
    "invoice_line": "INSERT INTO invoice_line VALUES ('a', 'i', 1, 'k', 'm', 'e', 'p', 1, 2, 3, 4,"
    " 5, 6, NULL, NULL, NULL)",
    "alias_move": "INSERT INTO alias_move VALUES ('a', 'm', 'prod', 'r', 'me', 2)",
    "derivation": "INSERT INTO derivation VALUES ('a', 'c', 'p', 'merged', '{}', '{}', NULL, 2)",
    "quality": "INSERT INTO quality VALUES ('a', 'c', 'p', 's', '{}', 2)",
    "eval_suite": "INSERT INTO eval_suite VALUES ('a', 's', '1', 'CC0-1.0', 't', 1, 2)",
    "eval_case": "INSERT INTO eval_case VALUES ('a', 's', 'c', 'k', '{}', 2)",
    "eval_run": "INSERT INTO eval_run VALUES ('a', 'd', 's', '[]', '[]', NULL, 'me', 2)",
    "eval_result": "INSERT INTO eval_result VALUES ('a', 'r', 'c', 'm', 'd', 'p', 'passed', 1,"
    " NULL, NULL, 1, 0, 'USD', 2, 3, 4, 5, 6, 7, NULL, 8)",
    "deployment": "INSERT INTO deployment VALUES ('a', 'm', 'd', 'embedded', 'v', '1', 'c', 'Q4_0',"
    " NULL, 1, 2, '[]', 3)",
    "calibration": "INSERT INTO calibration VALUES ('a', 'c', '1', '{}', '{}', 2)",
    "audit": "INSERT INTO audit (id, at_us, actor, action, subject) VALUES ('a', 4102444800000000,"
    " 'me', 'did', 'that')",
}


def test_the_newest_migration_is_the_one_this_program_expects():
    files = sorted((migrate.FOLDER / "versions").glob("[0-9]*.py"))
    assert files[-1].name.partition("_")[0] == migrate.HEAD


def test_an_empty_database_gets_the_whole_schema(database):
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, schema.metadata)
        assert migrate.version(connection) == migrate.HEAD
    assert differences == []


def test_an_empty_file_gets_what_the_migrations_make_of_one():
    """`make schema` writes it down anew."""
    assert fresh.FILE.read_text() == migrated()


def test_an_empty_file_needs_no_library_of_migrations(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from haneul.store.database import open_database\n"
        "open_database('', Path(sys.argv[1])).close()\n"
        "assert 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


def test_opening_again_changes_nothing(new_url, tmp_path):
    url = new_url()
    first = open_database(url, tmp_path)
    first.run(lambda connection: connection.execute(text(ROW["audit"])))
    first.close()
    again = open_database(url, tmp_path)
    assert again.run(lambda c: c.execute(text("SELECT count(*) FROM audit")).scalar()) == 1
    again.close()


@pytest.mark.parametrize("release", ["0001", "0002"])
def test_a_database_of_an_older_release_is_brought_up_with_what_it_holds(
    new_url, tmp_path, release
):
    opened = open_database(new_url(), tmp_path)
    with opened.engine.begin() as connection:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(text(f'DROP TABLE "{table.name}"'))
        connection.execute(text("DROP TABLE alembic_version"))
        if connection.dialect.name == "postgresql":
            for table in schema.APPEND_ONLY:
                connection.execute(text(f"DROP FUNCTION {table}_is_append_only"))
    migrate.migrate(opened.engine, to=release)
    with opened.engine.begin() as connection:
        connection.execute(text(ROW["request"]))
    migrate.migrate(opened.engine)
    with opened.engine.connect() as connection:
        assert migrate.version(connection) == migrate.HEAD
        assert connection.execute(text("SELECT count(*) FROM request")).scalar() == 1
        whose = text("SELECT tenant_id, user_id FROM request")
        assert connection.execute(whose).one() == ("default", None)
        sums = text("SELECT owner_kind, owner_id, day, cost_nano FROM spending ORDER BY 1")
        expected = [("key", "k", ROW_DAY, 7), ("tenant", "default", ROW_DAY, 7)]
        assert [tuple(row) for row in connection.execute(sums)] == expected
    opened.close()


def test_a_database_of_a_newer_release_is_refused(new_url, tmp_path):
    url = new_url()
    opened = open_database(url, tmp_path)
    opened.run(
        lambda connection: connection.execute(
            text("UPDATE alembic_version SET version_num = '9999'")
        )
    )
    opened.close()
    with pytest.raises(CommandError, match="newer than this program's"):
        open_database(url, tmp_path)


@pytest.mark.parametrize("table", schema.APPEND_ONLY)
def test_what_is_append_only_can_be_neither_changed_nor_removed(database, table):
    database.run(lambda connection: connection.execute(text(ROW[table])))
    statements = [f"UPDATE {table} SET id = 'b'", f"DELETE FROM {table}"]
    if database.engine.dialect.name == "postgresql":
        statements.append(f"TRUNCATE {table}")
    for statement in statements:
        with pytest.raises(DBAPIError, match=f"{table} is append-only"):
            database.run(lambda connection, it=statement: connection.execute(text(it)))
    count = text(f"SELECT count(*) FROM {table} WHERE id = 'a'")
    assert database.run(lambda connection: connection.execute(count).scalar()) == 1


def test_a_replacing_insert_does_not_change_a_record_either(tmp_path):
    """SQLite's REPLACE deletes without asking the trigger against deletion."""
    opened = open_database("", tmp_path)
    opened.run(lambda connection: connection.execute(text(ROW["audit"])))
    again = ROW["audit"].replace("INSERT", "INSERT OR REPLACE").replace("'did'", "'undid'")
    with pytest.raises(DBAPIError, match="append-only"):
        opened.run(lambda connection: connection.execute(text(again)))
    opened.close()


def test_every_append_only_table_of_the_schema_is_held():
    assert set(ROW) == set(schema.APPEND_ONLY) <= set(schema.metadata.tables)


def test_processes_that_open_an_empty_home_together_do_not_disturb_each_other(new_url, tmp_path):
    url = new_url()
    code = (
        "import sys; from pathlib import Path\n"
        "from haneul.store.database import open_database\n"
        "open_database(sys.argv[1], Path(sys.argv[2])).close()\n"
    )
    arguments = [sys.executable, "-c", code, url, str(tmp_path / "home")]
    opening = [subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in opening:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    opened = open_database(url, tmp_path / "home")
    with opened.engine.connect() as connection:
        assert sqlalchemy.inspect(connection).has_table("request")
    opened.close()
