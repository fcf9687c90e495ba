"""Personal data: what is found, what stands for it, and that the way back is exact."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import PersonalData, UnsupportedValue
from haneul.services import openai
from haneul.services.flights import Counters
from haneul.services.guard.finding import KINDS, Finder
from haneul.services.guard.guard import PersonalGuard
from haneul.services.guard.masks import PLACEHOLDER, Masks, Restorer, restore
from haneul.services.guard.restoring import Restoring

FINDER = Finder()
PERSONAL = [
    ("EMAIL", "bob@x.co.kr"),
    ("EMAIL", "ann.lee+news@mail.example.com"),
    ("EMAIL", "홍길동@회사.한국"),
    ("PHONE", "010-1234-5678"),
    ("PHONE", "02-123-4567"),
    ("PHONE", "+82 10 1234 5678"),
    ("PHONE", "(415) 555-2671"),
    ("PHONE", "+44 20 7946 0958"),
    ("CARD", "4111 1111 1111 1111"),
    ("CARD", "5500-0000-0000-0004"),
    ("CARD", "340000000000009"),
    ("IBAN", "GB82 WEST 1234 5698 7654 32"),
    ("IBAN", "DE89370400440532013000"),
    ("RRN", "900101-1234568"),
    ("RRN", "0212314123456"),
    ("IP", "192.168.10.7"),
    ("IP", "2001:db8::8a2e:370:7334"),
]
NOTHING = [
    "at 12:30:45 on 2026-11-22",
    "order 12345678, version 1.2.3, 3.14159265",
    "4111 1111 1111 1112",
    "DE89370400440532013001",
    "901301-1234568",
    "999.1.1.1",
    "std::vector<int> and a::b",
    "me@home, @name, a @ b.c",
    "call_8fk2Lq01",
]


@pytest.mark.parametrize(("kind", "text"), PERSONAL)
def test_each_kind_is_found_whole_between_other_words(kind, text):
    for before, after in (("", ""), ("It is ", "."), ("(", ")"), ("그의 ", "입니다"), ('"', '", ')):
        found = FINDER.find(f"{before}{text}{after}")
        shown = [(each.kind, f"{before}{text}{after}"[each.begin : each.end]) for each in found]
        if kind in ("EMAIL", "IBAN", "PHONE") and after == "입니다":
            assert [each.kind for each in found] in ([kind], [])  # letters join what stands there
            continue
        assert shown == [(kind, text)], shown


@pytest.mark.parametrize("text", NOTHING)
def test_what_only_looks_like_it_is_left_alone(text):
    assert FINDER.find(text) == []


def test_several_in_one_line_are_told_apart():
    text = "; ".join(value for _, value in PERSONAL)
    assert [each.kind for each in FINDER.find(text)] == [kind for kind, _ in PERSONAL]
    run = "02-123-4567 010 1234 5678  +82 10-1234-5679, 01012345670"
    assert [each.kind for each in FINDER.find(run)] == ["PHONE"] * 4
    for kinds, text in (
        (["PHONE", "RRN"], "+82 10 1234 5678 900101-1234568"),
        (["PHONE", "CARD"], "010-1234-5678 4111 1111 1111 1111"),
        (["PHONE"], "12 010-1234-5678 7"),
    ):
        assert [each.kind for each in FINDER.find(text)] == kinds, text


@given(st.text(max_size=200))
def test_any_text_is_looked_through(text):
    spans = FINDER.find(text)
    assert all(0 <= each.begin < each.end <= len(text) for each in spans)
    assert all(one.end <= other.begin for one, other in itertools.pairwise(spans))


WORDS = st.lists(
    st.one_of(
        st.sampled_from([value for _, value in PERSONAL]),
        st.sampled_from(["[EMAIL_1]", "[PHONE_2]", "[", "[EM", "]", " ", ", ", "and"]),
        st.text(alphabet="ab [가]", max_size=6),
    ),
    max_size=12,
)


@given(WORDS)
def test_the_way_back_is_exact_whatever_the_text_says(words):
    text = " ".join(words)
    masks = Masks(FINDER, text.encode())
    masked = masks.mask(text)
    assert restore(masked, masks.values) == text
    assert not [each for each in FINDER.find(masked) if each.kind != "IP"] or "[" in text
    assert set(masks.values).isdisjoint(PLACEHOLDER.findall(text))


@given(WORDS, st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_however_an_answer_is_cut_it_is_restored_the_same(words, sizes):
    text = " ".join(words)
    masks = Masks(FINDER, text.encode())
    masked = masks.mask(text)
    restorer, out, at = Restorer(masks.values), [], 0
    while at < len(masked):
        size = sizes[len(out) % len(sizes)]
        out.append(restorer.add(masked[at : at + size]))
        said = sum(map(len, out))
        assert said or at < 16, "no more than a placeholder is held back"
        at += size
    assert "".join(out) + restorer.end() == text


def ask(content, **fields):
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **fields}
    return openai.read(openai.CHAT, msgspec.json.encode(body))


async def test_the_same_piece_has_one_placeholder_and_others_have_others():
    guard = PersonalGuard("mask", FINDER)
    text = "bob@x.io wrote to ann@x.io; bob@x.io again. [EMAIL_2] stands here."
    guarded = await guard.before(ask(text, user="bob@x.io", max_tokens=5))
    sent = msgspec.json.decode(openai.upstream_body(guarded.ask, "up", completion_max=None))
    said = "[EMAIL_1] wrote to [EMAIL_3]; [EMAIL_1] again. [EMAIL_2] stands here."
    assert sent["messages"][0]["content"] == said
    assert sent["user"] == "[EMAIL_1]"
    assert sent["max_tokens"] == 5
    assert guarded.ask.masked == 2
    assert guarded.values == {"[EMAIL_1]": "bob@x.io", "[EMAIL_3]": "ann@x.io"}


async def test_every_text_of_a_request_is_looked_through():
    guard = PersonalGuard("mask", FINDER)
    body = {
        "model": "m",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "a@b.io"}]},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": '"a@b.io"'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c", "content": "c@b.io"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d@b.io"}}],
        "stop": ["e@b.io"],
        "metadata": {"who": "f@b.io"},
    }
    guarded = await guard.before(openai.read(openai.CHAT, msgspec.json.encode(body)))
    assert b"@b.io" not in guarded.ask.body.replace()
    assert guarded.ask.masked == 5
    large = ask("x " * 10_000 + "a@b.io")  # looked through beside the event loop
    assert (await guard.before(large)).ask.masked == 1


async def test_a_refusal_says_kinds_and_numbers_and_nothing_of_what_was_found():
    guard = PersonalGuard("refuse", FINDER)
    with pytest.raises(PersonalData, match=r"1 CARD, 2 EMAIL") as refused:
        await guard.before(ask("a@b.io c@b.io 4111 1111 1111 1111"))
    assert "b.io" not in refused.value.message
    assert (await guard.before(ask("nothing here"))).ask.masked == 0


async def test_what_cannot_be_looked_into_is_refused_by_name():
    guard = PersonalGuard("mask", FINDER)
    tokens = openai.read(openai.COMPLETIONS, b'{"model": "m", "prompt": [[1, 2]]}')
    with pytest.raises(UnsupportedValue, match="'prompt' must be text"):
        await guard.before(tokens)
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    with pytest.raises(UnsupportedValue, match="cannot look into"):
        await guard.before(ask(picture))


def events(*deltas, finish="stop"):
    chunks = [{"id": "c", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    return b"".join(b"data: %b\n\n" % msgspec.json.encode(one) for one in chunks)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.booleans())
def test_a_stream_is_restored_however_its_bytes_are_cut(sizes, is_open):
    values = {"[EMAIL_1]": "bob@x.io", "[PHONE_1]": "010-1234-5678"}
    pieces = ["Write ", "[EM", "AIL_", "1] or", " call [PHONE_1", "].", " [EMAIL_9] [EMA"]
    arguments = ['{"to": "[EMAI', 'L_1]"}']
    data = events(
        *({"content": piece} for piece in pieces),
        *({"tool_calls": [{"index": 0, "function": {"arguments": a}}]} for a in arguments),
        {"reasoning_content": "[PHONE_1] it is"},
    )
    data = data[: data.rindex(b"data:")] if is_open else data
    wanted = ask("x", stream=True)
    told = Restoring(openai.OpenAI(openai.CHAT), values).stream(wanted, Counters())
    out, at, turn = b"", 0, 0
    whole = data + b"data: [DONE]\n\n"
    while at < len(whole):
        size = sizes[turn % len(sizes)]
        out, at, turn = out + told.feed(whole[at : at + size]), at + size, turn + 1
    deltas = [
        choice.get("delta", choice)
        for event in out.split(b"\n\n")
        if event.startswith(b"data: {")
        for choice in msgspec.json.decode(event[6:])["choices"]
    ]
    text = "".join(delta.get("content") or "" for delta in deltas)
    assert text == "Write bob@x.io or call 010-1234-5678. [EMAIL_9] [EMA"
    calls = [call for delta in deltas for call in delta.get("tool_calls") or []]
    assert "".join(call["function"]["arguments"] for call in calls) == '{"to": "bob@x.io"}'
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == (
        "010-1234-5678 it is"
    )
    assert told.is_done
    assert told.failure is None


def test_kinds_have_names_that_models_repeat():
    assert all(PLACEHOLDER.fullmatch(f"[{kind}_12]") for kind in KINDS)
