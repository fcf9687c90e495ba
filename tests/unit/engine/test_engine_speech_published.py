"""Published templates: their prompts as they were, and their own calls read back.

The golden prompts were compared, text by text, with `apply_chat_template` of transformers 5.23 on
the same templates: 199 are equal, 25 it refuses to render, and 19 differ where they should: tools
are told to templates that do not show them, and ids of calls have the form that the model knows.
HANEUL_WRITE_GOLDEN=1 writes the prompts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from datetime import datetime
from pathlib import Path

import pytest

from haneul.engine.speech.reader import Reader

GOLDEN = Path(__file__).parents[2] / "golden" / "speech"
SHORT_CHARS = 700  # longer prompts are kept as their hash
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "parts": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["city"],
        },
    },
}
ARGUMENTS = {"city": 'Seoul 서울 "x" <b>\n\\n', "days": 3, "parts": ["a", "b"]}
CALL = {
    "id": "call_0001",
    "type": "function",
    "function": {"name": "get_weather", "arguments": json.dumps(ARGUMENTS, ensure_ascii=False)},
}
SYSTEM = {"role": "system", "content": "Be brief."}
DEVELOPER = {"role": "developer", "content": "Be brief."}
USER = {"role": "user", "content": "서울 날씨는? 天气"}
AGAIN = {"role": "user", "content": "And tomorrow?"}
ANSWER = {"role": "assistant", "content": "Sunny <b>.", "reasoning_content": "They ask."}
CALLED = {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": '{"sky": "맑음"}', "tool_call_id": "call_0001"}
CASES = {
    "user": ([USER], {}, None),
    "system": ([SYSTEM, USER], {}, None),
    "developer": ([DEVELOPER, USER], {}, None),
    "turns": ([SYSTEM, USER, ANSWER, AGAIN], {}, None),
    "thinking": ([USER], {}, True),
    "not thinking": ([USER], {}, False),
    "tools": ([SYSTEM, USER], {"tools": [TOOL]}, None),
    "result": ([USER, CALLED, RESULT], {"tools": [TOOL]}, None),
    "after result": ([USER, CALLED, RESULT, ANSWER, AGAIN], {"tools": [TOOL]}, False),
}
MODELS = {  # whose template, and the format it tells of
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen-QwQ-32B": "hermes",
    "Qwen-Qwen3-Coder-30B-A3B-Instruct": "qwen3-coder",
    "Qwen-Qwen3.5-0.8B": "qwen3-coder",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "deepseek-r1",
    "tencent-DeepSeek-V3.1-Terminus-W4AFP8": "deepseek-v3.1",
    "deepseek-ai-DeepSeek-V3.2": "deepseek-v3.2",
    "deepseek-ai-DeepSeek-V4": "deepseek-v4",
    "moonshotai-Kimi-K2-Instruct": "kimi-k2",
    "moonshotai-Kimi-K2-Thinking": "kimi-k2",
    "GLM-4.6": "glm",
    "unsloth-GLM-4.5-Air": "glm",
    "MiniMaxAI-MiniMax-M1-80k": "generic",
    "MiniMaxAI-MiniMax-M2": "minimax-m2",
    "meta-llama-Llama-3.1-8B-Instruct": "llama-3",
    "meta-llama-Llama-3.2-3B-Instruct": "llama-3",
    "google-gemma-2-2b-it": "generic",
    "unsloth-gemma-3-270m-it": "generic",
    "google-gemma-4-31B-it": "gemma-4",
    "HuggingFaceTB-SmolLM2-135M-Instruct": "generic",
    "HuggingFaceTB-SmolLM3-3B": "generic",
    "openai-gpt-oss-120b": "gpt-oss",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "hermes",
    "NousResearch-Hermes-4-14B": "hermes",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral",
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral-named",
}
ENDS = re.compile(  # of an assistant's turn
    r"<\|im_end\|>|<｜end▁of▁sentence｜>|<\|eot_id\|>|</s>|\[e~\[|<end_of_sentence>|<end_of_turn>"
    r"|<\|observation\|>|<turn\|>|<\|tool_response>|<\|start\|>functions\."
)


def undated(text: str) -> str:
    """Without what a template says of today."""
    today = datetime.now()
    for form in ("%Y-%m-%d", "%d %b %Y", "%d %B %Y", "%B %d, %Y", "%A, %B %d, %Y"):
        text = text.replace(today.strftime(form), "TODAY")
    return text


@pytest.mark.parametrize("name", MODELS)
def test_the_prompts_of_a_published_template_are_as_they_were(published, ask, name):
    template = published(name)
    shown = {"format": template.format.name, "special": template.format.special}
    for case, (messages, fields, thinking) in CASES.items():
        text = undated(template.render(ask(*messages, **fields), thinking=thinking))
        digest = hashlib.sha256(text.encode()).hexdigest()
        shown[case] = text if len(text) <= SHORT_CHARS else f"sha256 {digest} of {len(text)}"
    written = json.dumps(shown, indent=1, ensure_ascii=False) + "\n"
    path = GOLDEN / f"{name}.json"
    if os.environ.get("HANEUL_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(written)
    assert written == path.read_text()
    assert template.format.name == MODELS[name]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("content", ["Let me see.", None])
def test_a_call_in_the_history_is_read_back_as_it_was(published, ask, name, content):
    template = published(name)
    called = {**CALLED, "content": content}
    before = template.render(ask(USER, tools=[TOOL]), thinking=None)
    after = template.render(ask(USER, called, RESULT, tools=[TOOL]), thinking=None)
    pairs = enumerate(zip(before, after, strict=False))
    start = next((place for place, (a, b) in pairs if a != b), len(before))
    start = after.rfind("<", 0, start) if "<" in after[max(0, start - 3) : start] else start
    turn = after[start:]
    end = ENDS.search(turn, turn.find("get_weather"))
    assert end, turn
    reader = Reader(template.format, tools=[TOOL])
    said = reader.add(turn[: end.start()]) + reader.end()
    deltas = [delta for one in said for delta in one.tool_calls]
    assert deltas[0]["function"]["name"] == "get_weather"
    assert {delta["index"] for delta in deltas} == {0}
    arguments = "".join(delta["function"]["arguments"] for delta in deltas)
    assert json.loads(arguments) == ARGUMENTS
    words = "".join(one.text for one in said)
    assert "get_weather" not in words
    assert "tool" not in words


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_hardly_any_published_template_is_unusable(template_folder):
    """Of some 800 templates those few that want other things than messages may refuse."""
    from haneul.engine.speech.template import ChatTemplate

    refused = [
        path.stem
        for path in sorted(template_folder.glob("*.jinja"))
        if ChatTemplate(path.read_text(), bos="<s>", eos="</s>").problem
    ]
    assert len(refused) <= 8, refused
