"""Each engine's forecast is kept when it starts, and what it then does stands beside it."""

from __future__ import annotations

import pytest

from haneul.chips.estimate import Estimate
from haneul.services.scored import measured
from haneul.services.scored.timing import KEPT_PROMPT, WHOLE
from haneul.store import deployments

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_what_was_foretold_of_an_engine_stands_beside_what_it_did(start_cloud, tiny_model):
    cloud = await start_cloud()
    key = await cloud.make_key()
    served = await cloud.cloud.serve(str(tiny_model))
    database = cloud.cloud.database
    terms = {"stream": True, "max_tokens": 40, "ignore_eos": True}
    for number in range(4):  # one after the other, so each is alone
        text = " ".join(f"{number}{word}" for word in range(24))
        assert (await cloud.chat(key.secret, served.model, text, **terms)).status == 200
    assert (await cloud.chat(key.secret, served.model, max_tokens=2)).status == 200
    await cloud.cloud.ledger.flush()

    (row,) = await database.ask(deployments.every)
    assert (row.model, row.digest, row.slots) == (
        served.model,
        served.digest,
        served.gate.inside_max,
    )
    assert row.chip == cloud.cloud.chip.id

    async def memory_is_known():
        rows = await database.ask(measured.measured_here)
        return any(each.kind == "memory" for each in rows)

    await cloud.until(memory_is_known, 30, "its memory was looked at")
    found = {
        (each.kind, each.streams): each
        for each in await database.ask(measured.measured_here)
        if each.source in ("requests", "process")
    }
    decode, memory = found["decode", 1], found["memory", row.slots]
    assert decode.count == 4
    assert decode.measured > 0
    assert isinstance(decode.forecast, Estimate)
    assert decode.forecast.unit == "tok/s"
    assert found["ttft", 1].forecast.unit == "s"
    assert memory.measured > 1e6
    assert memory.forecast.unit == "B"
    left_out = await database.ask(measured.left_out)
    assert left_out["decode"][WHOLE] == 1
    assert KEPT_PROMPT not in left_out["decode"]
    (day,) = await database.ask(measured.days)
    assert (day.deployment, day.requests) == (row.id, 5)
    assert {each.kind for each in day.rows} >= {"decode", "ttft", "memory"}


async def test_an_engine_that_starts_again_is_another_deployment(start_cloud, tiny_model):
    cloud = await start_cloud()
    served = await cloud.cloud.serve(str(tiny_model))
    await served.replica.stop()
    await served.ready(30)

    async def both_are_kept():
        return len(await cloud.cloud.database.ask(deployments.every)) == 2

    await cloud.until(both_are_kept, 30, "two forecasts are kept")
    first, second = await cloud.cloud.database.ask(deployments.every)
    assert first.id != second.id
    assert first.started_us < second.started_us
