"""What every command shares: `--json`, an example in its help, errors with exit code 1."""

from __future__ import annotations

import functools
import getpass
import inspect
import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from haneul.base.config import Config, load
from haneul.base.errors import HaneulError
from haneul.cli.show import fail

if (
    TYPE_CHECKING
):  # The store costs a command's start a third, and not every command has need of it.
    from haneul.store.audit import Actor
    from haneul.store.database import Database

ACTOR_MAX = 128  # characters of a name
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def command(name: str, *, example: str) -> Callable[[Any], click.Command]:
    """A function as a command: its docstring is the help, with an example."""

    def make(function: Any) -> click.Command:
        text = inspect.cleandoc(function.__doc__ or "")
        function.__doc__ = f"{text}\n\n\b\nExample:\n  {example}"

        @functools.wraps(function)
        def guarded(*arguments: Any, **options: Any) -> Any:
            try:
                return function(*arguments, **options)
            except HaneulError as error:
                fail(error, as_json=bool(options.get("as_json")))
            except KeyboardInterrupt:
                raise SystemExit(130) from None

        return click.command(name)(guarded)

    return make


def actor() -> Actor:
    """Who is at this terminal, and from where they came to it."""
    try:
        who = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        who = f"uid {os.getuid()}"
    sudo, ssh = os.environ.get("SUDO_USER"), os.environ.get("SSH_CONNECTION", "").split()
    who = f"{sudo} as {who}" if sudo else who
    origin = f"ssh {ssh[0]}"[:ACTOR_MAX] if ssh else "terminal"
    made: Actor = import_module("haneul.store.audit").Actor(f"cli {who}"[:ACTOR_MAX], origin)
    return made


def config(**flags: Any) -> Config:
    """The configuration that holds for this command."""
    return load(flags).config


def database(settings: Config) -> Database:
    """The store of this home."""
    module = import_module("haneul.store.database")
    opened: Database = module.open_database(settings.database_url, settings.home)
    return opened
