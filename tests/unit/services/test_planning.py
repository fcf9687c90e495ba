"""The process of plans: one at a time, bounded, with a deadline; and the answers it describes."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from haneul.base.errors import BadRequest, DeadlineExceeded, HaneulError, ModelNotFound, Overloaded
from haneul.chips.plan import answer, charging, choose, curve, launch, options, seen, similar, terms
from haneul.chips.plan.chipfiles import load_models
from haneul.openapi import plan_answers as shown
from haneul.services.planning.named import find, repository_in
from haneul.services.planning.process import Job, Planners
from haneul.services.planning.question import Question, asked
from haneul.services.planning.serving import plan_serving

QUESTION = Question(model="Qwen3-8B", isl=100, osl=50, chips=("H100",))
JOB = Job(question=QUESTION, cached_share=0.1)


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        (answer.Plan, shown.PlanShown),
        (choose.Choice, shown.PlannedChoice),
        (options.Option, shown.PlannedOption),
        (options.Lost, shown.PlannedLost),
        (charging.TokenMoney, shown.PlannedMoney),
        (terms.Memory, shown.PlannedMemory),
        (similar.Near, shown.PlannedNear),
        (seen.Seen, shown.PlannedSeen),
        (curve.Point, shown.PlannedPoint),
        (launch.Launch, shown.PlannedLaunch),
    ],
)
def test_what_is_described_is_what_a_plan_holds(ours, told):
    assert ours.__struct_fields__ == told.__struct_fields__


async def test_a_plan_comes_from_a_process_of_its_own():
    plan = msgspec.json.decode(await Planners().plan(JOB))
    assert plan["choice"]["options"][0]["chip"] == "H100 SXM"


async def test_one_too_many_is_told_to_come_back():
    planners = Planners(waiting_most=1)
    first = asyncio.create_task(planners.plan(JOB))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refusal:
        await planners.plan(JOB)
    assert refusal.value.retry_after_s
    assert await first


async def test_a_key_that_asks_too_much_leaves_room_for_others():
    planners = Planners(waiting_each=1)
    first = asyncio.create_task(planners.plan(JOB, asker="a"))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="of this key"):
        await planners.plan(JOB, asker="a")
    assert await planners.plan(JOB, asker="b")
    assert await first
    assert await planners.plan(JOB, asker="a")


async def test_why_a_planner_failed_is_in_the_log_and_not_in_the_answer(caplog):
    unreadable = Job(question=QUESTION, cached_share=float("nan"))
    with pytest.raises(HaneulError) as refusal:
        await Planners().plan(unreadable)
    assert refusal.value.message == "The planner ended with code 1."
    (said,) = [record for record in caplog.records if record.message == "planner_failed"]
    assert "ValidationError" in said.fields["said"]


async def test_a_plan_that_takes_too_long_ends_and_the_next_one_is_made():
    planners = Planners(within_s=0.01)
    with pytest.raises(DeadlineExceeded):
        await planners.plan(JOB)
    assert await Planners().plan(JOB)


async def test_refusals_cross_the_processes():
    job = Job(question=msgspec.structs.replace(QUESTION, model="nobody"), cached_share=0.1)
    with pytest.raises(ModelNotFound, match="No model is called 'nobody'"):
        await Planners().plan(job)


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), 0.0])
def test_a_rate_that_is_none_is_refused_by_name(rate):
    with pytest.raises(BadRequest) as refusal:
        asked(model="m", isl=1, osl=1, rate=rate)
    assert refusal.value.param == "rate"


LEAST = {"rate": 5e-324, "ttft": 1e-310, "tpot": 1e-7, "utilisation": 1e-310}


@pytest.mark.parametrize("name", LEAST)
def test_a_number_too_small_to_divide_by_is_refused_by_name(name):
    with pytest.raises(BadRequest) as refusal:
        asked(model="m", isl=1, osl=1, **{name: LEAST[name]})
    assert refusal.value.param == name


@pytest.mark.parametrize(
    "most",
    [
        {"rate": 1e-6, "utilisation": 0.001},
        {"rate": 1e-6, "isl": 1, "osl": 1},
        {"rate": 1e9, "utilisation": 0.001},
        {"users": 10_000_000, "acceptance": 8, "tpot": 1e9},
        {"isl": 8000, "cache_hit": 1 - 1e-16, "ttft": 1e9},
    ],
)
def test_the_ends_of_what_may_be_asked_are_planned(most):
    question = msgspec.structs.replace(QUESTION, **most)
    assert plan_serving(
        msgspec.convert(msgspec.to_builtins(question), Question),
        load_models()["Llama-3.1-8B"],
        name="x",
        cached_share=0.1,
    ).choice.options


def test_a_repository_of_a_hub_is_known_by_its_last_name():
    found = find("hf:Qwen/Qwen3-32B")
    assert (found.name, found.repository) == ("Qwen/Qwen3-32B", "Qwen/Qwen3-32B")
    assert "as published for Qwen3-32B" in found.said[0]
    assert repository_in("https://example.com/a.gguf") == ""


def test_a_published_name_is_loaded_from_its_makers():
    assert find("DeepSeek-V3").repository == "deepseek-ai/DeepSeek-V3"
    assert find("gpt-oss-120b").repository == "openai/gpt-oss-120b"
