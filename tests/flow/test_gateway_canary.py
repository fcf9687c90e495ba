"""Secrets are put in everywhere, and every output is searched for them.

A canary is a text that occurs nowhere else. Each has the places where it may be: the answer to who
sent it, the file its owner keeps it in, and nothing beside.
"""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import AsyncExitStack

import pytest
from click.testing import CliRunner

from haneul.cli.main import haneul
from haneul.store import audit
from haneul.testing.otlp import OtlpReceiver
from haneul.testing.raw import RawEngine
from tests.log_lines import Lines

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPT, ANSWER = "canaryprompt7f3a", "canaryanswer91bc"
PROVIDER = "prov-canarykey-55e1d2"
END_OF_LIFE = "canary-otlp-header-3d"
READING = (
    *("keys ls", "tenants ls", "users ls", "budgets ls", "prices ls", "engines ls", "routes ls"),
    *("invoices ls", "usage", "ls", "tune ls", "audit", "audit --json", "engines ls --json"),
    *("keys ls --json", "usage --json", "ps", "ps --json"),
)


def forms(secret):
    """A secret as it is, and as it would be if somebody wrapped it up."""
    text = secret if isinstance(secret, bytes) else secret.encode()
    return {text, base64.b64encode(text)[:-4], text.hex().encode()}


@pytest.fixture
def receiver():
    """It outlives the cloud that sends to it."""
    with OtlpReceiver() as receiver:
        yield receiver


async def test_no_output_holds_a_secret(receiver, start_cloud, tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={END_OF_LIFE}")
    key_file = tmp_path / "provider.key"
    key_file.write_text(PROVIDER)
    answers = []
    said = f'{{"error":{{"message":"the key {PROVIDER} is wrong","code":"bad"}}}}'.encode()

    async def repeat(exchange):
        exchange.whole(said, 400)

    async with AsyncExitStack() as stack:
        log = stack.enter_context(Lines())
        paid = await stack.enter_async_context(RawEngine(repeat))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        cloud = await start_cloud(log_requests=True, metrics_vllm=True, log_level="debug")
        home = cloud.cloud.config.home
        key = await cloud.make_key(scopes=("infer", "usage", "billing", "manage", "admin"))
        fine = await cloud.add_engine(name="fine", words=[ANSWER])
        broken = await cloud.add_engine(name="broken", words=[ANSWER], die_after=1)
        garbage = await cloud.add_engine(name="garbage", whole=b"<html>" + ANSWER.encode())
        cloud_engines = (fine, broken, garbage)
        environ = {"HANEUL_HOME": str(home), "XDG_CONFIG_HOME": str(tmp_path)}

        def command(line):
            return CliRunner().invoke(haneul, line.split(), env=environ)

        add = f"engines add paid {paid.url} --key-file {key_file} --model m"
        outputs = [await asyncio.to_thread(command, f"{add} --price-in 1 --price-out 1")]
        await cloud.cloud.roster.refresh()

        async def ask(*asked, **headers):
            answers.append(await cloud.ask(*asked, **headers))
            return answers[-1]

        secret = {"secret": key.secret}
        for model in (*(engine.models[0] for engine in cloud_engines), "paid/m", "nope"):
            for is_stream in (False, True):
                chat = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
                path = "/v1/chat/completions"
                answer = await cloud.ask("POST", path, {**chat, "stream": is_stream}, **secret)
                answers += [answer] if model in ("paid/m", "nope") else []
                await cloud.ask("POST", path, {**chat, "stream": is_stream, "n": 0}, **secret)
        assert all(PROVIDER.encode() in exchange.head for exchange in paid.exchanges)
        for wrong in (key.secret[:-1] + "!", key.secret + "A", PROVIDER):
            await ask("GET", "/v1/models", secret=wrong)
        made = await cloud.ask("POST", "/haneul/v1/keys", {"name": "made"}, **secret)
        page = {"x-haneul-page": "1"}
        opened = await cloud.ask("POST", "/haneul/v1/session", {"key": key.secret}, **page)
        cookie = opened.headers["set-cookie"].partition(";")[0]
        for address in ("me", "usage", "audit", "keys", "invoices", "status"):
            await ask("GET", f"/haneul/v1/{address}", **page, cookie=cookie)
        for address in ("/v1/models", "/metrics", "/openapi.json", "/haneul/v1/audit"):
            await ask("GET", address, **secret)
        bad_body = f'{{"model": "{PROMPT}'.encode()
        await ask("POST", "/v1/chat/completions", bad_body, **secret)
        await ask("DELETE", "/haneul/v1/session", **page, cookie=cookie)
        outputs += [await asyncio.to_thread(command, line) for line in READING]
        await cloud.settle()
        rows = [repr(await cloud.rows(key.key.id))]
        rows.append(repr(await cloud.cloud.database.ask(audit.recent, 1000)))
        await cloud.until(lambda: len(receiver.spans) > 10 and bool(receiver.points), 5, "spans")
        files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert all(done.exit_code == 0 for done in outputs), [done.output for done in outputs]
    places = {
        "log": "\n".join(log.lines).encode(),
        "rows": "".join(rows).encode(),
        "spans and metrics": b"".join(receiver.bodies),
        "commands": "".join(done.output for done in outputs).encode(),
        "answers": b"".join(each.data + repr(dict(each.headers)).encode() for each in answers),
        **{str(path.relative_to(home)): data for path, data in files.items()},
    }
    assert "request_ended" in "\n".join(log.lines)
    assert all(json.loads(line).get("request") for line in log.lines if "request_ended" in line)
    assert receiver.headers[0]["authorization"] == END_OF_LIFE, "that is where it belongs"
    body = key.secret[len("sk-hn-") + 8 : -6]
    canaries = {
        "key": body,
        "made key": made.json()["key"][len("sk-hn-") + 8 : -6],
        "provider's key": PROVIDER,
        "receiver's key": END_OF_LIFE,
        "pepper": (home / "pepper").read_bytes(),
        "cookie": cookie.partition("=")[2],
        "prompt": PROMPT,
        "answer": ANSWER,
    }
    found = [
        (name, place)
        for name, secret in canaries.items()
        for place, data in places.items()
        if any(form in data for form in forms(secret))
    ]
    assert found == [("pepper", "pepper")], "only the file of the pepper holds it"


async def test_a_line_that_is_written_for_a_request_names_it(start_cloud):
    cloud = await start_cloud()
    key = await cloud.make_key()
    engine = await cloud.add_engine(status=500)
    with Lines() as log:
        answer = await cloud.chat(key.secret, engine.models[0])
        await cloud.settle()
    mine = [json.loads(line) for line in log.lines if answer.id in line]
    assert mine
    assert {line["request"] for line in mine} == {answer.id}
