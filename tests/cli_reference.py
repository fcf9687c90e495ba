"""Prints docs/cli.md from the commands themselves: `make docs` writes it, a test compares it."""

from __future__ import annotations

import click

from haneul.cli.main import haneul


def render() -> str:
    """The help of every command, under its name."""
    parts = ["# The commands", "Written by `make docs` from the commands' own help."]
    for name, command in walk("haneul", haneul):
        context = click.Context(
            command,
            info_name=name,
            max_content_width=90,
            terminal_width=90,
            help_option_names=haneul.context_settings["help_option_names"],
        )
        parts.append(f"## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def walk(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
    """The command and everything below it."""
    found = [(name, command)]
    if isinstance(command, click.Group):
        for below in sorted(command.commands):
            found += walk(f"{name} {below}", command.commands[below])
    return found


if __name__ == "__main__":
    print(render(), end="")
