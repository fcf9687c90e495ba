"""The mirror of OpenVINO's cache against the cache itself, and the fault it keeps us clear of."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openvino_genai", reason="no OpenVINO for this processor")

import openvino_genai as genai

from haneul.engine.openvino.blocks import Blocks, Sequence
from haneul.engine.openvino.grammar_check import small_model
from haneul.engine.openvino.pipeline import as_input

BLOCKS = 24
FLOATS = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("small") / "small.gguf"
    file.write_bytes(small_model())
    return str(file)


def pipeline(file: str | Path, *, blocks: int, step_tokens: int) -> Any:
    plan = genai.SchedulerConfig()
    plan.num_kv_blocks = blocks
    plan.cache_size = 0
    plan.enable_prefix_caching = True
    plan.dynamic_split_fuse = True
    plan.max_num_batched_tokens = step_tokens
    return genai.ContinuousBatchingPipeline(str(file), plan, "CPU", FLOATS, {})


def greedy(max_tokens: int) -> genai.GenerationConfig:
    given = genai.GenerationConfig()
    given.max_new_tokens = max_tokens
    given.ignore_eos = True
    given.do_sample = False
    return given


def conversations(seed: int, count: int) -> list[tuple[list[int], int]]:
    """Prompts that share beginnings of all lengths, and how many tokens to write to each."""
    chance = random.Random(seed)
    stems = [[chance.randrange(98) for _ in range(200)] for _ in range(3)]
    made = []
    for _ in range(count):
        stem = chance.choice(stems)[: chance.randrange(1, 200)]
        tail = [chance.randrange(98) for _ in range(chance.randrange(0, 60))]
        made.append((stem + tail, chance.randrange(1, 40)))
    return made


@pytest.mark.parametrize("seed", [1, 2])
def test_mirror_knows_to_the_token_what_of_a_prompt_is_cached(small: str, seed: int):
    """One token a step: the steps before the first answer are the tokens that were not cached."""
    real, mirror = pipeline(small, blocks=BLOCKS, step_tokens=1), Blocks(BLOCKS)
    for number, (prompt, max_tokens) in enumerate(conversations(seed, 60)):
        sequence = Sequence(list(prompt))
        handle = real.add_request(number, as_input(prompt), greedy(max_tokens))
        cached = mirror.take(sequence)
        steps = 0
        while not handle.can_read():
            real.step()
            steps += 1
        assert steps == len(prompt) - cached
        mirror.read(sequence)
        while True:
            for output in handle.read().values():
                sequence.tokens += output.generated_ids
            if not real.has_non_finished_requests():
                break
            mirror.write(sequence)
            real.step()
        mirror.drop(sequence)


@pytest.mark.parametrize("seed", [3, 4])
def test_mirror_holds_as_many_blocks_as_the_cache_while_several_run(small: str, seed: int):
    total = 80
    real, mirror = pipeline(small, blocks=total, step_tokens=4096), Blocks(total)
    waiting = conversations(seed, 60)
    running: dict[int, tuple[Any, Sequence, bool]] = {}
    number = 0
    while waiting or running:
        for _, sequence, is_read in running.values():
            if is_read:
                mirror.write(sequence)
        if waiting and len(running) < 6:
            prompt, max_tokens = waiting.pop()
            number += 1
            handle = real.add_request(number, as_input(prompt), greedy(max_tokens))
            sequence = Sequence(list(prompt))
            mirror.take(sequence)
            mirror.read(sequence)
            running[number] = (handle, sequence, True)
        real.step()
        assert real.get_metrics().cache_usage == pytest.approx(100 * mirror.held / total, abs=0.01)
        for key, (handle, sequence, _) in list(running.items()):
            while handle.can_read():
                for output in handle.read().values():
                    sequence.tokens += output.generated_ids
            if handle.get_status() == genai.GenerationStatus.FINISHED:
                mirror.drop(sequence)
                del running[key]
