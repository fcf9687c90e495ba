"""Brings a database to the newest schema, from empty or from any older release."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from haneul.base.errors import CommandError

HEAD = "0015"
FOLDER = Path(__file__).parent / "migrations"


def migrate(engine: Engine, *, to: str = "head") -> None:
    """Runs what is missing, in one transaction. Raises CommandError for a newer database."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # SQLite's transaction holds the only write lock
            connection.execute(text("SELECT pg_advisory_xact_lock(8420)"))
        found = version(connection)
        if found == HEAD:
            return
        # Imported only when there is something to do: it would double the start of every command.
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        scripts = ScriptDirectory(str(FOLDER))
        if found and found not in {script.revision for script in scripts.walk_revisions()}:
            raise CommandError(
                f"the database has schema {found}, newer than this program's {HEAD}: "
                "update haneul, or name another HANEUL_HOME"
            )
        config = Config()
        config.set_main_option("script_location", str(FOLDER))
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def version(connection: Connection) -> str | None:
    """The schema's version, or None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
