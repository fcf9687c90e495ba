"""`haneul run` and `haneul chat`: a question, or a conversation, with a model of the cloud."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from haneul.base.errors import CommandError
from haneul.base.units import show_duration, show_money
from haneul.cli import local
from haneul.cli.command import command, config, json_option
from haneul.cli.models import pull_row
from haneul.cli.show import print_json
from haneul.models import hub


@command("run", example='haneul run smollm2:135m "Why is the sky blue?"')
@click.argument("model")
@click.argument("prompt", nargs=-1)
@click.option("--max-tokens", type=click.IntRange(min=1), help="The most tokens to answer with.")
@json_option
def run(model: str, prompt: tuple[str, ...], max_tokens: int | None, as_json: bool) -> None:
    """Asks a model once, pulling it if need be; without a prompt, standard input or a chat."""
    name = _prepare(model)
    text = " ".join(prompt)
    if not text and not sys.stdin.isatty():
        text = sys.stdin.read()
    if not text:
        _converse(name, max_tokens)
        return
    answer = _ask(name, [{"role": "user", "content": text}], max_tokens, quiet=as_json)
    if as_json:
        print_json(answer)
    else:
        click.echo(_footer(answer), err=True)


@command("chat", example="haneul chat")
@click.argument("model", required=False)
@click.option("--max-tokens", type=click.IntRange(min=1), help="The most tokens per answer.")
@json_option
def chat(model: str | None, max_tokens: int | None, as_json: bool) -> None:
    """Holds a conversation with the default model, or another; an empty line ends it.

    With --json each line of standard input is a turn and each answer one JSON object.
    """
    name = _prepare(model) if model else _default_model()
    _converse(name, max_tokens, as_json=as_json)


def _default_model() -> str:
    name: str = local.ask(config().home, "GET", "/haneul/v1/status")["default_model"]
    if not name:
        raise CommandError("the cloud has no default model yet; name one")
    return name


def _prepare(model: str) -> str:
    """The public name of the model, here and known to the running cloud."""
    if model in (known := _models()):
        return model
    name = hub.name_of(model)
    if name not in known:
        from haneul.cli.preview import check_fits  # what speaks https, with a first pull only

        check_fits(model, config())
        pull_row(model)
        if name not in _models():
            raise CommandError(f"the cloud has not taken up '{name}'; haneul doctor may say why")
    return name


def _models() -> list[str]:
    """The public names of the running cloud, as the store has them now."""
    status = local.ask(config().home, "GET", "/haneul/v1/status")
    return [model["id"] for model in status["models"]]


def _converse(name: str, max_tokens: int | None, *, as_json: bool = False) -> None:
    messages: list[dict[str, str]] = []
    is_person = sys.stdin.isatty() and not as_json
    if is_person:
        click.echo(f"{name}: ask; an empty line ends.", err=True)
    while text := _read_line(is_person):
        messages.append({"role": "user", "content": text})
        answer = _ask(name, messages, max_tokens, quiet=as_json)
        messages.append({"role": "assistant", "content": answer["text"]})
        if as_json:
            print_json(answer)
        else:
            click.echo(_footer(answer), err=True)


def _read_line(is_person: bool) -> str:
    try:
        return input("> " if is_person else "").strip()
    except EOFError:
        return ""


def _ask(
    name: str, messages: list[dict[str, str]], max_tokens: int | None, *, quiet: bool
) -> dict[str, Any]:
    """Streams one answer to standard output; its text, usage, time and request id."""
    body: dict[str, Any] = {
        "model": name,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if max_tokens is not None:
        body["max_completion_tokens"] = max_tokens
    began = time.monotonic()
    parts: list[str] = []
    answer: dict[str, Any] = {"model": name}
    for event in local.events(config().home, "/v1/chat/completions", body):
        answer["request_id"] = event.get("request_id", answer.get("request_id"))
        answer["usage"] = event.get("usage") or answer.get("usage")
        for choice in event.get("choices", []):
            parts.append(choice["delta"].get("content") or "")
            if not quiet:
                click.echo(parts[-1], nl=False)
    if not quiet:
        click.echo()
    return {**answer, "text": "".join(parts), "seconds": round(time.monotonic() - began, 3)}


def _footer(answer: dict[str, Any]) -> str:
    usage = answer["usage"]
    return (
        f"[{usage['prompt_tokens']} tokens in, {usage['completion_tokens']} out, "
        f"{show_duration(answer['seconds'])}, {show_money(usage['cost_nano'], usage['currency'])}, "
        f"{answer['request_id']}]"
    )
