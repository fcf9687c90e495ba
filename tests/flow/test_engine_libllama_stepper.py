"""The own scheduler with real models: what it answers, beside the fallback and beside itself."""

import asyncio
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from haneul.base.errors import BadRequest, BrokenFile, ContextTooLong, ModelNotFound
from haneul.base.wire import CompletionRequest
from haneul.engine.kernel import Terms
from haneul.engine.libllama.stepper import LibllamaStepper
from haneul.engine.llama_server.kernel import LlamaKernel, Settings
from haneul.engine.worker.job import Branch, Constraint, Job, Step, WorkerSpec
from haneul.engine.worker.stepper import CannotServe

LORA = Path(__file__).parent.parent / "lora_gguf.py"
NEAR = 0.15  # nats between the two best tokens: there the order of sums may decide
QUESTIONS = [
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Count from one to ten.",
    "Name three colours.",
    "Why is the sky blue?",
]
POEM = (
    "The sun was shining on the sea, shining with all his might. He did his very best to make the "
    "billows smooth and bright. And this was odd, because it was the middle of the night. "
)


def chat(question):
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


class Desk:
    """A stepper and a short way to have jobs done, all at once."""

    def __init__(self, file, *, slots=4, context=1024, options=None, adapters=None):
        spec = WorkerSpec(
            kernel="libllama",
            file=str(file),
            parent=0,
            context_tokens=context,
            slots=slots,
            threads=1,
            adapters=adapters or {},
            options=options or {},
        )
        self.stepper = LibllamaStepper(spec)
        self.loaded = self.stepper.load()
        self._number = 0

    def begin(self, **fields):
        fields = {"temperature": 0.0, "max_tokens": 24, **fields}
        job = Job(**fields)
        prompt = job.prompt
        if isinstance(prompt, str):
            prompt = self.stepper.tokenise(prompt, with_special=job.adds_special)
        self._number += 1
        self.stepper.begin(self._number, job, prompt)
        return self._number

    def finish(self):
        """Number -> (bytes, scores, last step) of all that have begun."""
        ended = {}
        data, scores = {}, {}
        while not self.stepper.is_idle:
            for number, step in self.stepper.step():
                assert isinstance(step, Step), step
                data[number] = data.get(number, b"") + step.data
                scores[number] = [*scores.get(number, []), *step.scores]
                if step.finish_reason:
                    ended[number] = (data[number], scores[number], step)
        return ended

    def ask(self, **fields):
        number = self.begin(**fields)
        return self.finish()[number]

    def texts(self, *prompts, **fields):
        numbers = [self.begin(prompt=prompt, **fields) for prompt in prompts]
        ended = self.finish()
        return [ended[number][0].decode(errors="replace") for number in numbers]

    def count(self, name):
        return self.stepper.call("counters", None)[name]


@pytest.fixture(scope="module")
def smol(smollm2):
    desk = Desk(smollm2)
    yield desk
    desk.stepper.close()


@pytest.fixture(scope="module")
def tiny(tiny_model):
    desk = Desk(tiny_model)
    yield desk
    desk.stepper.close()


def same_or_near(desk, prompt, one, other):
    """Whether two greedy texts are equal, or part where two tokens were almost equally likely."""
    if one == other:
        return True
    data, scores, _ = desk.ask(prompt=prompt, logprobs=2)
    shared = len(common_beginning(data.decode(), other if data.decode() == one else one))
    end = 0
    for score in scores:
        end += len(bytes(score.bytes).decode(errors="replace"))
        if end > shared:
            best, second = score.top_logprobs
            return best.logprob - second.logprob < NEAR
    return False


def common_beginning(one, other):
    pairs = zip(one, other, strict=False)
    return one[: next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))]


async def fallback_texts(file, folder, prompts):
    settings = Settings(file=file, context_tokens=1024, slots=1, threads=1, folder=folder)
    kernel = LlamaKernel(settings)
    await kernel.start()
    try:
        texts = []
        for prompt in prompts:
            request = CompletionRequest(model="m", prompt=prompt, temperature=0.0, max_tokens=24)
            pieces = [piece async for piece in kernel.complete(prompt, request, Terms())]
            texts.append("".join(piece.text for piece in pieces))
        return texts
    finally:
        await kernel.close()


async def test_greedy_text_is_that_of_the_fallback(smol, smollm2, short_folder):
    prompts = [chat(question) for question in QUESTIONS]
    expected = await fallback_texts(smollm2, short_folder, prompts)
    got = await asyncio.to_thread(lambda: [smol.texts(prompt)[0] for prompt in prompts])
    equal = [one == other for one, other in zip(got, expected, strict=True)]
    assert sum(equal) >= len(equal) - 1
    for prompt, one, other in zip(prompts, got, expected, strict=True):
        assert same_or_near(smol, prompt, one, other), (one, other)


@pytest.mark.parametrize("memory", ["rooms", "hall"])
def test_answers_at_once_with_a_shared_beginning_are_those_alone(smollm2, memory):
    desk = Desk(smollm2, options={"memory": memory})
    prompts = [chat(POEM * 2 + question) for question in QUESTIONS[:4]]
    alone = []
    for prompt in prompts:
        alone += desk.texts(prompt)
        desk.stepper._answers._scheduler.forget()
    cached = desk.count("prompt_tokens_cached_total")
    together = desk.texts(*prompts)
    assert desk.count("prompt_tokens_cached_total") - cached > 3 * 80
    for prompt, one, other in zip(prompts, together, alone, strict=True):
        assert same_or_near(desk, prompt, one, other), (one, other)
    desk.stepper.close()


def test_answers_are_the_same_when_their_neighbours_leave(smollm2):
    desk = Desk(smollm2, slots=5)
    prompts = [chat(question) for question in QUESTIONS]
    alone = [desk.texts(prompt, max_tokens=40)[0] for prompt in prompts]
    numbers = [desk.begin(prompt=prompt, max_tokens=40) for prompt in prompts]
    got = dict.fromkeys(numbers, b"")
    for _ in range(30):
        for number, step in desk.stepper.step():
            got[number] += step.data
        if got[numbers[4]]:
            desk.stepper.cancel(numbers[1])
            desk.stepper.cancel(numbers[2])
    for number, (data, _, _) in desk.finish().items():
        got[number] += data
    for place in (0, 3, 4):
        text = got[numbers[place]].decode()
        assert same_or_near(desk, prompts[place], text, alone[place]), (text, alone[place])
    desk.stepper.close()


def test_in_a_hall_a_shared_beginning_holds_its_cells_once(tiny_model):
    desk = Desk(tiny_model, options={"memory": "hall"})
    shared = list(range(5, 260)) * 3
    for end in range(4):
        desk.begin(prompt=[*shared, 10 + end], max_tokens=8, ignores_end=True)
    most = 0
    while not desk.stepper.is_idle:
        desk.stepper.step()
        most = max(most, desk.count("kv_cells_live"))
    assert most < len(shared) + 4 * 10
    desk.stepper.close()


def test_guesses_do_not_change_a_greedy_text(smol, smollm2):
    plain = Desk(smollm2, options={"lookup": False})
    prompt = chat("Repeat this text: " + POEM)
    guessed = smol.texts(prompt, max_tokens=60)[0]
    expected = plain.texts(prompt, max_tokens=60)[0]
    assert plain.count("drafted_tokens_total") == 0
    assert smol.count("accepted_tokens_total") > 10
    assert common_beginning(guessed, expected) == expected or same_or_near(
        plain, prompt, guessed, expected
    )
    plain.stepper.close()


def test_the_same_seed_gives_the_same_text(smol):
    one, same, other = (
        smol.texts(chat(QUESTIONS[1]), temperature=1.0, seed=seed)[0] for seed in (7, 7, 8)
    )
    assert one == same != other


def test_the_likeliest_of_one_is_greedy(tiny):
    greedy = tiny.texts("once upon")
    assert tiny.texts("once upon", temperature=1.0, top_k=1) == greedy
    assert tiny.texts("once upon", temperature=1.0, top_k=0, top_p=0.0, min_p=0.0) == greedy
    assert tiny.texts("once upon", temperature=1.0, top_k=0, min_p=1.0) == greedy


def test_biases_ban_and_force_tokens(tiny):
    (wanted,) = tiny.stepper.tokenise("Q", with_special=False)
    assert tiny.texts("once", biases=[(wanted, 1000.0)], max_tokens=5) == ["QQQQQ"]
    banned = tiny.texts("once", biases=[(wanted, 1000.0), (wanted, -math.inf)])[0]
    assert "Q" not in banned


def test_penalties_make_repetition_less_likely(tiny):
    (wanted,) = tiny.stepper.tokenise("Q", with_special=False)
    fields = {"biases": [(wanted, 30.0)], "max_tokens": 8, "ignores_end": True}
    assert tiny.texts("once", **fields) == ["Q" * 8]
    for penalty in ({"presence_penalty": 100.0}, {"frequency_penalty": 100.0}):
        assert tiny.texts("once", **fields, **penalty)[0].count("Q") == 1
    assert tiny.texts("once", **fields, presence_penalty=100.0, penalty_tokens=0) == ["Q" * 8]


def test_scores_are_log_probabilities_of_the_tokens_taken(smol):
    data, scores, step = smol.ask(prompt=chat(QUESTIONS[0]), logprobs=3)
    assert b"".join(bytes(score.bytes) for score in scores) == data
    for score in scores:
        assert score.top_logprobs[0].token == score.token
        assert len(score.top_logprobs) == 3
        assert sum(math.exp(one.logprob) for one in score.top_logprobs) <= 1.0001
    assert step.completion_tokens == len(scores) + (step.finish_reason == "stop")


def test_the_counts_of_a_step_are_exact(tiny):
    prompt = list(range(5, 45))
    _, _, first = tiny.ask(prompt=prompt, max_tokens=7, ignores_end=True)
    assert (first.prompt_tokens, first.completion_tokens) == (40, 7)
    assert first.finish_reason == "length"
    _, _, again = tiny.ask(prompt=prompt, max_tokens=7, ignores_end=True)
    assert again.cached_tokens == 39


def test_marks_show_special_tokens_and_only_them(tiny):
    (mark,) = tiny.stepper.tokenise("<|im_start|>", with_special=False)
    fields = {"biases": [(mark, 1000.0)], "max_tokens": 2}
    assert tiny.texts("once", **fields) == [""]
    assert tiny.texts("once", **fields, marks=["<|im_start|>"]) == ["<|im_start|>" * 2]


SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "size": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["city", "size"],
    "additionalProperties": False,
}


def test_constrained_answers_are_valid(smol, tiny):
    for desk in (smol, tiny):
        for seed in range(3):
            constraint = Constraint(branches=[Branch(schema=SCHEMA)])
            data, _, step = desk.ask(
                prompt=chat("A city as JSON?"),
                constraint=constraint,
                temperature=1.0,
                seed=seed,
                max_tokens=100,
            )
            assert step.finish_reason == "stop"
            found = json.loads(data)
            assert found.keys() == {"city", "size"}
            assert 0 <= found["size"] <= 99


def test_branches_repeat_with_their_heads_and_tails(tiny):
    call = Branch(head="<|im_start|>call ", regex=r"[a-c]{3}", tail=";")
    constraint = Constraint(branches=[call], separator="\n", is_repeated=True)
    data, _, step = tiny.ask(
        prompt="once",
        constraint=constraint,
        marks=["<|im_start|>"],
        temperature=1.0,
        seed=3,
        max_tokens=400,
    )
    unit = r"<\|im_start\|>call [a-c]{3};"
    pattern = rf"{unit}(\n{unit})*" if step.finish_reason == "stop" else rf"{unit}\n?.*"
    assert re.fullmatch(pattern, data.decode(), re.DOTALL)


def test_a_shape_that_cannot_be_enforced_is_refused(tiny):
    for branch in (
        Branch(schema={"type": "nope"}),
        Branch(schema={"$ref": "http://elsewhere"}),
        Branch(regex="(unclosed"),
        Branch(regex="(?=x)y"),
    ):
        with pytest.raises(BadRequest, match="cannot be enforced"):
            tiny.begin(prompt="once", constraint=Constraint(branches=[branch]))
    assert tiny.stepper.is_idle


@pytest.fixture(scope="module")
def adapted(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    files = {name: str(folder / f"{name}.gguf") for name in ("one", "two")}
    for seed, file in enumerate(files.values()):
        subprocess.run([sys.executable, LORA, file, str(seed)], check=True)
    desk = Desk(tiny_model, adapters=files)
    yield desk
    desk.stepper.close()


def test_adapters_answer_side_by_side_as_each_alone(adapted):
    def texts(*names):
        numbers = [adapted.begin(prompt="once upon a time", adapter=name) for name in names]
        ended = adapted.finish()
        return [ended[number][0] for number in numbers]

    alone = [texts(name)[0] for name in ("", "one", "two")]
    assert len(set(alone)) == 3
    assert texts("", "one", "two") == alone
    assert texts("two", "", "one") == [alone[2], alone[0], alone[1]]


def test_an_adapter_can_come_later(tiny, adapted):
    with pytest.raises(ModelNotFound):
        tiny.begin(prompt="once", adapter="late")
    file = adapted.stepper._adapters["one"]
    tiny.stepper.call("adapter", {"name": "late", "file": file})
    (got,) = tiny.texts("once upon a time", adapter="late")
    assert [got] == adapted.texts("once upon a time", adapter="one")


def test_a_broken_adapter_fails_only_those_who_ask_for_it(tiny_model, tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    desk = Desk(tiny_model, adapters={"bad": str(tmp_path / "bad.gguf")})
    with pytest.raises(BrokenFile, match="bad"):
        desk.begin(prompt="once", adapter="bad")
    assert desk.texts("once", max_tokens=4)
    desk.stepper.close()


def test_a_cancelled_job_is_gone_before_the_next_step(tiny):
    number = tiny.begin(prompt="once", max_tokens=500, ignores_end=True)
    tiny.stepper.step()
    tiny.stepper.cancel(number)
    assert tiny.stepper.is_idle
    assert tiny.count("kv_cells_live") == tiny.count("requests_processing") == 0
    tiny.stepper.cancel(number)


def test_more_jobs_than_places_wait_and_all_end(tiny):
    numbers = [tiny.begin(prompt=[5 + place] * 9, ignores_end=True) for place in range(11)]
    tiny.stepper.step()
    assert tiny.count("requests_processing") == 4
    assert tiny.count("requests_deferred") == 7
    assert sorted(tiny.finish()) == numbers


def test_what_cannot_be_computed_is_refused(tiny):
    with pytest.raises(ContextTooLong):
        tiny.begin(prompt=[7] * 1024)
    for prompt in ([], [-1], [10**6]):
        with pytest.raises(BadRequest):
            tiny.begin(prompt=prompt)


def test_a_broken_file_and_a_wrong_option_are_told_apart(tmp_path, tiny_model):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(BrokenFile) as error:
        Desk(tmp_path / "bad.gguf")
    assert str(tmp_path) not in error.value.message
    with pytest.raises(CannotServe):
        Desk(tiny_model, options={"warp": 9})
    with pytest.raises(CannotServe):
        Desk(tiny_model, options={"library": str(tmp_path / "none.so")})


def test_a_quantised_cache_answers_too(smollm2):
    desk = Desk(smollm2, slots=1, options={"cache_type": "q8_0"})
    assert "Paris" in desk.texts(chat(QUESTIONS[0]))[0]
    desk.stepper.close()
