"""Events come out of a body whole, however it was cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import EngineFailed
from haneul.engine import sse


async def pieces(data, cuts):
    at = 0
    for cut in sorted(cuts):
        yield data[at:cut]
        at = max(at, cut)
    yield data[at:]


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1)


@given(st.lists(text.filter(lambda t: t.strip() == t and t != "[DONE]")), st.data())
async def test_any_cut_gives_the_same_events(texts, data):
    body = b"".join(f"data: {text}\n\n".encode() for text in texts) + b"data: [DONE]\n\n"
    cuts = data.draw(st.lists(st.integers(0, len(body))))
    assert [event.decode() async for event in sse.events(pieces(body, cuts))] == texts


async def test_comments_are_passed_over_and_errors_are_events():
    body = b': ping\n\ndata: {"a":1}\n\nerror: {"b":2}\n\n'
    assert [event async for event in sse.events(pieces(body, []))] == [b'{"a":1}', b'{"b":2}']


async def test_an_event_without_an_end_is_refused():
    async def endless():
        while True:
            yield b"x" * (1 << 20)

    with pytest.raises(EngineFailed):
        async for _ in sse.events(endless()):
            pass
