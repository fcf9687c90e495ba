"""Usage is exact for any number of prompts and choices, in any order of arrival."""

from hypothesis import given
from hypothesis import strategies as st

from haneul.engine.kernel import Piece
from haneul.engine.tally import Tally


@given(st.data(), st.integers(1, 4), st.integers(1, 4))
def test_prompts_count_once_and_completions_add_up(data, prompts, choices):
    lengths = data.draw(st.lists(st.integers(1, 99), min_size=prompts, max_size=prompts))
    made = data.draw(
        st.lists(st.integers(1, 9), min_size=prompts * choices, max_size=prompts * choices)
    )
    steps = [(index, step + 1) for index, count in enumerate(made) for step in range(count)]
    order = data.draw(st.permutations(range(len(steps))))
    tally = Tally(choices=choices)
    seen = [0] * len(made)
    for place in order:  # sequences arrive interleaved; each in its own order
        index = steps[place][0]
        seen[index] += 1
        tally.add(
            index,
            Piece(
                prompt_tokens=lengths[index // choices],
                cached_tokens=0,
                completion_tokens=seen[index],
            ),
        )
    usage = tally.usage()
    assert usage["prompt_tokens"] == sum(lengths)
    assert usage["completion_tokens"] == sum(made)
    assert usage["total_tokens"] == sum(lengths) + sum(made)


def test_cached_tokens_are_those_of_the_first_choice_to_speak():
    tally = Tally(choices=2)
    tally.add(1, Piece(prompt_tokens=9, cached_tokens=2, completion_tokens=1))
    tally.add(0, Piece(prompt_tokens=9, cached_tokens=8, completion_tokens=1))
    assert tally.usage()["prompt_tokens_details"] == {"cached_tokens": 2}


def test_reasoning_tokens_are_those_until_the_thought_ended():
    tally = Tally(choices=1)
    for count, thought in ((1, "a"), (2, "b"), (3, ""), (4, "")):
        tally.add(
            0,
            Piece(reasoning=thought, prompt_tokens=1, cached_tokens=0, completion_tokens=count),
        )
    assert tally.usage()["completion_tokens_details"] == {"reasoning_tokens": 2}
