"""The OpenVINO kernel with the real SmolLM2: counts, sharing, cancelling, forms, refusals."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openvino_genai", reason="no OpenVINO for this processor")

from haneul.base.errors import BadRequest, ContextTooLong, UnsupportedValue
from haneul.engine.openvino.pipeline import strangeness
from haneul.engine.openvino.stepper import OpenvinoStepper
from haneul.engine.requantise import requantise
from haneul.engine.worker.job import Branch, Constraint, Job, Loaded, WorkerSpec
from haneul.engine.worker.stepper import CannotServe

CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
TEXT = (
    "The town lies where two rivers meet. For centuries its people lived from fishing and from the"
    " salt that was brought down from the hills on rafts. In the spring, when the snow melted, the"
    " lower streets stood under water, and children went to school by boat. Later a railway came,"
    " and with it came strangers who built mills, and the mills brought work, smoke and money. "
)


class Answer:
    def __init__(self) -> None:
        self.data = b""
        self.steps: list[Any] = []
        self.error: Exception | None = None

    @property
    def last(self) -> Any:
        return self.steps[-1]


class Driver:
    """A loaded stepper, and the shortest way to ask it."""

    def __init__(self, stepper: OpenvinoStepper, loaded: Loaded) -> None:
        self.stepper = stepper
        self.loaded = loaded
        self.answers: dict[int, Answer] = {}

    def tokens(self, text: str) -> list[int]:
        return self.stepper.tokenise(text, with_special=False)

    def begin(self, prompt: str | list[int], **fields: Any) -> int:
        number = len(self.answers) + 1
        tokens = self.tokens(prompt) if isinstance(prompt, str) else prompt
        job = Job(prompt=tokens, **{"temperature": 0.0, "max_tokens": 24, **fields})
        self.answers[number] = Answer()
        try:
            self.stepper.begin(number, job, tokens)
        except Exception:
            del self.answers[number]
            raise
        return number

    def step(self) -> None:
        for number, result in self.stepper.step():
            if isinstance(result, Exception):
                self.answers[number].error = result
            else:
                self.answers[number].steps.append(result)
                self.answers[number].data += result.data

    def finish(self) -> None:
        while not self.stepper.is_idle:
            self.step()

    def ask(self, prompt: str | list[int], **fields: Any) -> Answer:
        number = self.begin(prompt, **fields)
        self.finish()
        return self.answers[number]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openvino")


def load(file: Path, folder: Path, **options: Any) -> Driver:
    spec = WorkerSpec(
        kernel="openvino",
        file=str(file),
        parent=os.getpid(),
        context_tokens=2048,
        slots=4,
        threads=2,
        options={"folder": str(folder), "precision": "f32", **options},
    )
    stepper = OpenvinoStepper(spec)
    return Driver(stepper, stepper.load())


@pytest.fixture(scope="module")
def driver(smollm2: Path, folder: Path) -> Driver:
    return load(smollm2, folder)


def test_facts_and_special_tokens_are_those_of_the_file(driver: Driver):
    facts = driver.loaded.facts
    assert (facts.vocabulary, facts.width, facts.context_tokens) == (49152, 576, 2048)
    assert driver.loaded.eos == "<|im_end|>"
    assert driver.loaded.template is not None


def test_answer_ends_by_itself_and_its_end_token_counts(driver: Driver):
    answer = driver.ask(CHAT.format("Say hi."), max_tokens=60)
    assert answer.last.finish_reason == "stop"
    assert answer.last.prompt_tokens == len(driver.tokens(CHAT.format("Say hi.")))
    assert answer.last.completion_tokens == len(driver.tokens(answer.data.decode())) + 1
    assert b"<|im_end|>" not in answer.data


def test_answer_that_uses_up_its_tokens_says_so(driver: Driver):
    answer = driver.ask(CHAT.format("Tell me of the sea."), max_tokens=5)
    assert (answer.last.finish_reason, answer.last.completion_tokens) == ("length", 5)


def test_answer_without_a_bound_ends_with_the_context(driver: Driver):
    prompt = (driver.tokens(TEXT) * 40)[:2000]
    answer = driver.ask(prompt, max_tokens=None, ignores_end=True)
    assert (answer.last.finish_reason, answer.last.completion_tokens) == ("length", 48)


def test_marks_are_seen_in_the_text_when_wanted(driver: Driver):
    answer = driver.ask(
        CHAT.format("Say hi."), max_tokens=40, ignores_end=True, marks=["<|im_end|>"]
    )
    assert b"<|im_end|>" in answer.data


def test_prompt_is_computed_once_for_requests_that_come_together(driver: Driver):
    shared = driver.tokens("Shared. " + TEXT * 6)[:320]
    numbers = [driver.begin(shared + driver.tokens(f" Number {each}")) for each in range(4)]
    driver.finish()
    counts = [driver.answers[number].last.cached_tokens for number in numbers]
    assert counts == [0, 320, 320, 320]


@pytest.mark.slow
def test_sharing_a_prompt_does_not_change_an_answer(driver: Driver, smollm2: Path, folder: Path):
    """Two continuations of a text whose end fills a block only partly, at the same time.

    Inputs unrounded: else the batch's shape decides near-ties.
    """
    exact = {"dynamic_quantisation_group": 0}
    base = driver.tokens(TEXT)[:70]
    ends = [" In winter the people liked to", " The most famous painter born there was called"]
    alone = []
    for end in ends:
        fresh = load(smollm2, folder, **exact)
        alone.append(fresh.ask(base + driver.tokens(end), ignores_end=True).data)
    shared = load(smollm2, folder, **exact)
    shared.ask(base, max_tokens=1)
    numbers = [shared.begin(base + driver.tokens(end), ignores_end=True) for end in ends]
    shared.finish()
    assert [shared.answers[number].data for number in numbers] == alone
    assert shared.answers[numbers[0]].last.cached_tokens >= 64


def test_steps_stay_short_while_a_long_prompt_comes(driver: Driver):
    for each in range(2):
        driver.begin(CHAT.format(f"Count to {each + 20}."), max_tokens=200, ignores_end=True)
    for _ in range(5):
        driver.step()
    chance = driver.tokens(TEXT)
    long = driver.begin([*chance[7:], *reversed(chance), *chance * 12][:1500], max_tokens=1)
    took_s = []
    while not driver.answers[long].steps:
        started = time.monotonic()
        driver.step()
        took_s.append(time.monotonic() - started)
    driver.finish()
    assert len(took_s) > 2, "the prompt was read in one go"
    assert max(took_s) < sum(took_s) / 2, took_s


def test_cancelled_job_gives_its_place_and_its_blocks_back_at_the_next_step(driver: Driver):
    numbers = [driver.begin(CHAT.format(f"Story {each}"), max_tokens=None) for each in range(5)]
    driver.step()
    driver.step()
    waiting = driver.answers[numbers[4]]
    assert not waiting.steps
    for number in numbers[:4]:
        driver.stepper.cancel(number)
    driver.step()
    driver.step()
    assert waiting.steps, "the fifth has a place now"
    driver.stepper.cancel(numbers[4])
    assert not driver.stepper.is_idle
    driver.step()
    assert driver.stepper.is_idle
    assert driver.stepper.call("counters", None)["kv_cells_used"] == 0


def test_job_cancelled_while_its_prompt_is_read_leaves_a_sound_cache(driver: Driver):
    prompt = [*driver.tokens(TEXT)[3:], *reversed(driver.tokens(TEXT * 6))][:600]
    number = driver.begin(prompt)
    driver.step()
    driver.stepper.cancel(number)
    driver.finish()
    again = driver.ask(prompt, ignores_end=True)
    assert driver.ask(prompt, ignores_end=True).data == again.data
    assert again.last.completion_tokens == 24


def test_same_seed_gives_the_same_answer_and_another_one_another(driver: Driver):
    def ask(seed: int) -> bytes:
        return driver.ask(CHAT.format("Tell me a story."), temperature=1.0, seed=seed).data

    assert ask(5) == ask(5)
    assert len({ask(seed) for seed in range(4)}) > 1


def test_nothing_unlikely_is_taken_where_only_the_likeliest_may_be(driver: Driver):
    greedy = driver.ask(CHAT.format("Name a colour.")).data
    for fields in ({"top_k": 1}, {"top_p": 1e-6, "top_k": 0}, {"min_p": 0.99, "top_k": 0}):
        fields = {"temperature": 1.5, "min_p": 0.0, "top_p": 1.0, **fields}
        assert driver.ask(CHAT.format("Name a colour."), **fields).data == greedy


def test_penalties_keep_an_answer_from_repeating_itself(driver: Driver):
    prompt = "one two one two one two one two one two one two"
    plain = driver.ask(prompt, ignores_end=True).data.split()
    varied = driver.ask(prompt, ignores_end=True, presence_penalty=2.0, frequency_penalty=2.0)
    assert len(set(varied.data.split())) > 2 * len(set(plain))


def test_scores_are_logarithms_of_likelihoods_of_the_tokens_taken(driver: Driver):
    answer = driver.ask(CHAT.format("Say hi."), logprobs=0)
    scores = [score for step in answer.steps for score in step.scores]
    assert b"".join(bytes(score.bytes) for score in scores) == answer.data
    assert all(-20 < score.logprob <= 0 for score in scores)


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_schema_is_kept_whenever_an_answer_stops(driver: Driver, temperature: float):
    form = Constraint(branches=[Branch(schema=SCHEMA)])
    answer = driver.ask(
        CHAT.format("Invent a person."),
        constraint=form,
        max_tokens=200,
        temperature=temperature,
        seed=1,
    )
    if answer.last.finish_reason == "stop":
        person = json.loads(answer.data)
        assert isinstance(person["name"], str)
        assert isinstance(person["age"], int)
    assert answer.last.finish_reason == "stop" or temperature


def test_regex_and_fixed_text_are_kept(driver: Driver):
    form = Constraint(branches=[Branch(head="No. ", regex="[0-9]{3}-[a-c]{2}", tail=".")])
    answer = driver.ask(CHAT.format("A code, please."), constraint=form)
    assert answer.last.finish_reason == "stop"
    assert re.fullmatch(r"No\. [0-9]{3}-[a-c]{2}\.", answer.data.decode())


def test_one_of_several_branches_is_taken_once_or_more_often(driver: Driver):
    branches = [
        Branch(head=f"<call>{name} ", schema={"enum": [name.upper()]}, tail="</call>")
        for name in ("sun", "rain")
    ]
    form = Constraint(branches=branches, separator="\n", is_repeated=True)
    answer = driver.ask(CHAT.format("Call sun, then rain."), constraint=form, max_tokens=60)
    call = r'<call>(sun "SUN"|rain "RAIN")</call>'
    pattern = rf"{call}(\n{call})*"
    if answer.last.finish_reason == "stop":
        assert re.fullmatch(pattern, answer.data.decode())
    assert re.match(call, answer.data.decode())


def test_form_that_cannot_be_followed_is_refused_and_harms_nobody(driver: Driver):
    other = driver.begin(CHAT.format("Say hi."))
    driver.step()
    with pytest.raises(UnsupportedValue, match="Unclosed"):
        driver.begin(CHAT.format("x"), constraint=Constraint(branches=[Branch(regex="([")]))
    driver.finish()
    assert driver.answers[other].last.finish_reason is not None


@pytest.mark.parametrize(
    "fields",
    [{"biases": [(5, 1.0)]}, {"adapter": "a"}, {"logprobs": 3}, {"repeat_penalty": 1.2}],
)
def test_field_that_is_not_honoured_is_declared_and_refused(driver: Driver, fields: dict[str, Any]):
    (name,) = fields
    assert name in driver.loaded.lacks
    with pytest.raises(UnsupportedValue):
        driver.begin("x", **fields)


def test_prompts_that_cannot_be_are_refused(driver: Driver):
    with pytest.raises(ContextTooLong):
        driver.begin([5] * 2048)
    with pytest.raises(BadRequest):
        driver.begin([])
    with pytest.raises(BadRequest):
        driver.begin([49152])
    assert driver.stepper.is_idle


@pytest.mark.slow
def test_weights_of_four_bits_and_a_minimum_are_exact(smollm2: Path, folder: Path, tmp_path: Path):
    """The reader alone rounds Q4_1; filled by us it means what its copy in eight bits means."""
    copy = tmp_path / "copy.gguf"
    requantise(smollm2, copy, "Q8_0")
    ours, theirs = load(smollm2, folder), load(copy, folder)
    tokens = ours.tokens(TEXT)
    found = strangeness(ours.stepper._pipeline, tokens)
    assert found == pytest.approx(strangeness(theirs.stepper._pipeline, tokens), rel=0.01)
    assert found < 4.0


@pytest.mark.slow
def test_form_that_was_kept_is_loaded_again_and_a_damaged_one_made_anew(
    smollm2: Path, folder: Path
):
    (kept,) = [
        path
        for path in folder.iterdir()
        if (path / "openvino_model.bin").stat().st_size < 120_000_000
    ]
    (kept / "openvino_model.xml").write_text("no model")
    assert load(smollm2, folder).ask(CHAT.format("Say hi.")).steps
    before = (kept / "openvino_model.xml").stat().st_mtime_ns
    assert load(smollm2, folder).ask(CHAT.format("Say hi.")).steps
    assert (kept / "openvino_model.xml").stat().st_mtime_ns == before


def test_unknown_option_is_refused_by_name(smollm2: Path, folder: Path):
    with pytest.raises(CannotServe, match="speed"):
        load(smollm2, folder, speed=3)


def test_cache_that_memory_cannot_hold_is_refused_before_loading(smollm2: Path, folder: Path):
    spec = WorkerSpec(
        kernel="openvino",
        file=str(smollm2),
        parent=os.getpid(),
        context_tokens=1 << 20,
        slots=64,
        threads=2,
        options={"folder": str(folder)},
    )
    with pytest.raises(CannotServe, match="Fewer places"):
        OpenvinoStepper(spec).load()


@pytest.mark.slow
def test_prompt_lookup_gives_the_same_answer_in_fewer_steps(
    driver: Driver, smollm2: Path, folder: Path
):
    fast = load(smollm2, folder, lookup=True)
    prompt = CHAT.format("Repeat this text: " + TEXT) + TEXT[:40]
    fields = {"max_tokens": 60, "ignores_end": True}
    plain, quick = driver.ask(prompt, **fields), fast.ask(prompt, **fields)
    assert quick.data == plain.data
    assert len(quick.steps) < len(plain.steps) / 2
    assert (quick.last.completion_tokens, quick.last.cached_tokens) == (60, 0)
    long = fast.ask((driver.tokens(TEXT) * 20)[:1500], **fields)
    assert (long.last.prompt_tokens, long.last.completion_tokens) == (1500, 60)
    assert "constraint" in fast.loaded.lacks
    with pytest.raises(UnsupportedValue):
        fast.begin("x", constraint=Constraint(branches=[Branch(regex="a")]))
    number = fast.begin(prompt, max_tokens=None)
    fast.step()
    fast.stepper.cancel(number)
    fast.finish()
    assert fast.stepper.is_idle
