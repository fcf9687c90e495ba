"""What is seen of a cloud from outside: /metrics, its other names, dashboards, alerts."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from haneul.testing.otlp import OtlpReceiver

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = re.compile(r"\b(?:haneul|vllm:)[a-z0-9_:]*\b")
LABEL = re.compile(r"by \(([^)]*)\)|\{([^}]*)\}")
FROM_PROMETHEUS = {"instance", "job", "le"}  # labels that are not of the page


async def samples(cloud):
    """Of the page: the labels that each name has."""
    answer = await cloud.ask("GET", "/metrics")
    assert answer.status == 200
    found = {}
    for family in text_string_to_metric_families(answer.data.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def asked():
    """Every expression of the dashboard and of the alerts."""
    dashboard = json.loads((DEPLOY / "grafana/haneul.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", [])]
    variables = [each["definition"] for each in dashboard["templating"]["list"][1:]]
    rules = (DEPLOY / "prometheus/haneul.rules.yml").read_text()
    exprs = re.findall(r"expr: (?:>\n((?: {10}.*\n)+)|(.*))", rules)
    return [
        *(target["expr"] for target in targets),
        *variables,
        *("".join(pair).strip() for pair in exprs),
    ]


@pytest.fixture
def receiver(monkeypatch):
    """What a cloud that starts from now on sends to."""
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        yield receiver


async def test_every_series_that_dashboard_and_alerts_ask_for_is_there(
    receiver, start_cloud, tiny_model
):
    cloud = await start_cloud()
    served = await cloud.cloud.serve(str(tiny_model))
    key = await cloud.make_key(budget="5")
    for is_stream in (False, True):
        answer = await cloud.chat(
            key.secret, served.model, stream=is_stream, max_tokens=4, ignore_eos=True
        )
        assert answer.status == 200, answer.data
    await cloud.ask("GET", "/v1/models", secret="sk-hn-none")
    await cloud.settle()
    page = await samples(cloud)
    missing, strange = set(), set()
    for expr in asked():
        for name in NAME.findall(expr):
            if name != "haneul" and name not in page:
                missing.add(name)
        names = [name for name in NAME.findall(expr) if name in page]
        labels = {label for name in names for facts, _ in page[name] for label in facts}
        for by, inside in LABEL.findall(expr):
            said = set(re.findall(r"(\w+)\s*(?:=~|=|,|$)", f"{by or inside}"))
            said -= {word for word in said if f'"{word}"' in inside}
            if names:
                strange |= said - labels - FROM_PROMETHEUS
    assert missing == set()
    assert strange == set(), "labels that no series has"
    assert len(asked()) > 30
    (used,) = page["haneul_engine_cache_used_ratio"]
    assert 0 <= used[1] <= 1
    assert page["haneul_disk_free_bytes"][0][1] <= page["haneul_disk_bytes"][0][1]


async def test_vllms_names_are_there_where_they_are_wanted(start_cloud):
    plain, named = await start_cloud(), await start_cloud(metrics_vllm=True)
    for cloud in (plain, named):
        key = await cloud.make_key()
        await cloud.add_engine(name="near", cached_tokens=1)
        for is_stream in (True, False):
            await cloud.chat(key.secret, "near/model-of-near", stream=is_stream)
        await cloud.settle()
    assert not [name for name in await samples(plain) if name.startswith("vllm:")]
    page = await samples(named)
    labels = {"model_name": "near/model-of-near", "engine": "near"}
    assert page["vllm:request_success_total"] == [({**labels, "finished_reason": "stop"}, 2)]
    assert page["vllm:generation_tokens_total"] == [(labels, 8)]
    assert page["vllm:num_requests_running"] == [(labels, 0)]
    assert page["vllm:time_to_first_token_seconds_count"] == [(labels, 1)], "of streams alone"
    assert page["vllm:e2e_request_latency_seconds_count"] == [(labels, 2)]
    assert page["vllm:prefix_cache_hits_total"] == [(labels, 2)]
    assert "vllm:kv_cache_usage_perc" not in page, "a far engine says nothing of its cache"


async def test_labels_are_few_whatever_is_asked_for(start_cloud):
    cloud = await start_cloud(metrics_vllm=True)
    key = await cloud.make_key()
    await cloud.add_engine(name="near")
    await cloud.chat(key.secret, "near/model-of-near")
    await cloud.chat(key.secret, "invented-0")
    await cloud.settle()
    before = {name: len(series) for name, series in (await samples(cloud)).items()}
    for number in range(200):
        await cloud.chat(key.secret, f"invented-{number}", user=f"u{number}")
        headers = {"x-haneul-app": f"app-{number}"}
        await cloud.ask("POST", "/v1/chat/completions", b"{", secret=key.secret, **headers)
    await cloud.settle()
    after = await samples(cloud)
    assert {name: len(series) for name, series in after.items()} == before
    assert "invented" not in repr(after)


async def test_budgets_that_are_nearly_used_are_seen(start_cloud):
    cloud = await start_cloud()
    key = await cloud.make_key(budget="0.000005")
    engine = await cloud.add_engine(name="near")
    await cloud.make_key(budget="1")
    while (await cloud.chat(key.secret, engine.models[0], "a", max_tokens=4)).status == 200:
        pass
    await cloud.settle()
    page = await samples(cloud)
    spent = sum(row.cost_nano for row in await cloud.rows(key.key.id))
    used = {facts["of"]: value for facts, value in page["haneul_budget_used_ratio"]}
    assert used["key"] == pytest.approx(spent / 5000)
    assert used["tenant"] == 0
    nearly = {facts["of"]: value for facts, value in page["haneul_budgets_nearly_used"]}
    assert nearly == {"key": int(spent >= 4500), "user": 0, "tenant": 0, "app": 0}


async def test_the_page_is_as_promtool_wants_it(cloud, key):
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt-get install prometheus (tests/debian.sh does)"
    engine = await cloud.add_engine()
    await cloud.chat(key.secret, engine.models[0], stream=True)
    await cloud.settle()
    page = (await cloud.ask("GET", "/metrics")).data
    check = [promtool, "check", "metrics"]
    done = await asyncio.to_thread(subprocess.run, check, input=page, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
