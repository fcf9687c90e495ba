"""The lines that start engines: flags of the engines' own parsers, values of the plan."""

from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec.structs import replace

from haneul.chips.plan.chipfiles import load_chips, load_models
from haneul.chips.plan.launch import NAMES, engine_flags, launch_line, launches
from haneul.chips.plan.layouts import layouts
from haneul.chips.plan.terms import Deployment, Load

MODELS, CHIPS = load_models(), load_chips()
WIDE = Deployment(
    model=MODELS["DeepSeek-R1"],
    chip=CHIPS["h200"],
    count=16,
    tp=1,
    ep=16,
    dp=16,
    precision="fp8",
)
LOAD = Load(isl=1000, osl=200)


def words(deployment, load=LOAD, *, batch=160, model="m"):
    return shlex.split(launch_line(deployment, load, batch=batch, model=model))


def after(line, flag):
    return line[line.index(flag) + 1]


@given(some.data())
def test_every_flag_of_every_line_stands_in_the_engines_own_parser(data):
    engine = data.draw(some.sampled_from(["vllm", "sglang", "trtllm"]))
    role = data.draw(some.sampled_from(["aggregated", "prefill", "decode"]))
    model = MODELS[data.draw(some.sampled_from(["Llama-3.1-70B", "DeepSeek-R1", "Qwen3-30B-A3B"]))]
    chip = CHIPS[data.draw(some.sampled_from(["h100", "gb200", "ascend-910c", "l4"]))]
    every = list(layouts(model, chip, precision="fp8", engine=engine, role=role, kv_bits=8))
    deployment = data.draw(some.sampled_from(every))
    load = replace(LOAD, acceptance=data.draw(some.sampled_from([0.0, 0.7, 2.5])))
    if engine == "trtllm":
        deployment = replace(deployment, kv_bits=None)
    line = words(deployment, load)
    known = set(engine_flags()[engine].flags)
    assert {word for word in line if word.startswith("--")} <= known


def test_the_flags_were_read_in_a_version_on_a_day():
    assert engine_flags().keys() == set(NAMES.values())
    for read in engine_flags().values():
        assert min(len(read.version), len(read.source)) > 0
        assert read.dated.startswith("2026-")


def test_vllm_spreads_experts_and_ranks_over_two_machines():
    line = words(WIDE, model="deepseek-ai/DeepSeek-R1")
    assert line[:3] == ["vllm", "serve", "deepseek-ai/DeepSeek-R1"]
    assert after(line, "--data-parallel-size") == "16"
    assert after(line, "--data-parallel-size-local") == "8"  # chips of one machine
    assert "--enable-expert-parallel" in line
    assert after(line, "--max-num-seqs") == "10"  # of a rank
    one = launches((WIDE,), LOAD, copies=(3,), batch=160, model="m")[0]
    assert (one.copies, one.chips) == (3, 16)
    assert "over 2 machines: HEAD is the first; the others add --headless" in one.notes[-1]


def test_sglang_puts_attention_groups_inside_the_tensor_group():
    line = words(replace(WIDE, engine="sglang", role="decode"))
    assert after(line, "--tp-size") == after(line, "--attn-dp-size") == "16"
    assert after(line, "--disaggregation-mode") == "decode"
    assert after(line, "--max-running-requests") == "160"
    assert after(line, "--nnodes") == "2"


def test_vllm_gives_each_role_its_end_of_the_transfer():
    for role, end in (("prefill", "kv_producer"), ("decode", "kv_consumer")):
        told = json.loads(after(words(replace(WIDE, role=role)), "--kv-transfer-config"))
        assert told["kv_role"] == end
    assert "--max-num-seqs" not in words(replace(WIDE, role="prefill"))  # the batch is decode's


@pytest.mark.parametrize(("acceptance", "drafts"), [(0.7, 1), (1.0, 1), (2.5, 3)])
def test_a_step_drafts_as_many_tokens_as_the_plan_counted(acceptance, drafts):
    load = replace(LOAD, acceptance=acceptance)
    told = json.loads(after(words(WIDE, load), "--speculative-config"))
    assert told == {"method": "mtp", "num_speculative_tokens": drafts}
    line = words(replace(WIDE, engine="sglang"), load)
    assert after(line, "--speculative-num-draft-tokens") == str(drafts + 1)


def test_a_model_without_layers_that_draft_is_said_to_need_a_drafter():
    llama = Deployment(model=MODELS["Llama-3.1-8B"], chip=CHIPS["h100"])
    load = replace(LOAD, acceptance=0.7)
    told = json.loads(after(words(llama, load), "--speculative-config"))
    assert told["model"] == "DRAFT"
    (one,) = launches((llama,), load, copies=(1,), batch=8, model="m")
    assert any(note.startswith("DRAFT stands for") for note in one.notes)


def test_fewer_bits_are_made_while_loading_or_said_to_be_needed():
    llama = Deployment(model=MODELS["Llama-3.1-8B"], chip=CHIPS["h100"], precision="fp8", kv_bits=8)
    line = words(llama)
    assert after(line, "--quantization") == "fp8_per_tensor"
    assert after(line, "--kv-cache-dtype") == "fp8"
    assert after(words(replace(llama, engine="sglang")), "--kv-cache-dtype") == "fp8_e4m3"
    narrow = replace(llama, precision="int4", kv_bits=None)
    assert "--quantization" not in words(narrow)
    (one,) = launches((narrow,), LOAD, copies=(1,), batch=8, model="m")
    assert "m has to be one in int4: it is not made on the way" in one.notes


def test_weights_that_are_published_so_need_no_flag():
    assert "--quantization" not in words(WIDE)
    (one, *_) = launches((WIDE,), LOAD, copies=(1,), batch=8, model="m")
    assert not any("has to be one" in note for note in one.notes)


def test_a_model_with_a_hostile_name_stays_one_word_of_the_line():
    assert words(WIDE, model="a; rm -rf b")[2] == "a; rm -rf b"


def test_an_engine_nobody_knows_has_no_line():
    assert launch_line(replace(WIDE, engine="mlx"), LOAD, batch=1, model="m") is None
