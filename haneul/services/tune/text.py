"""The fixed text that setups are held together by, and fresh prompts that are cut from it."""

from __future__ import annotations

import secrets

PIECE_WORDS = range(5, 13)  # that a prompt takes from one place of the text

TEXT = """\
The road left the harbour behind the old customs house and climbed in long bends towards the \
pass. In spring the lower fields were under water for a week or two, and the farmers moved \
their sheep to the terraces above the mill. Nobody remembered who had built the terraces. The \
walls were of grey stone without mortar, and every winter a few metres of them fell down and \
were put up again.
At the mill the miller's daughter kept a book in which she wrote the height of the river, \
morning and evening, for thirty-one years. From it one can read that the flood of March 1887 \
stood 2.4 m above the sill, that the summer of 1893 was dry, and that the ice broke on the 9th \
of April in an average year. She gave no opinion on any of this. When the engineers came to \
measure for the dam they asked to copy the book, and she allowed it on the condition that they \
would correct the two mistakes on page forty.
A dam changes a river in three ways. First, it evens out the flow, so that there is less water \
in spring and more in autumn. Second, it holds back the sand and the gravel that the river \
would have carried to the sea; the bed below the dam is washed out and becomes deeper. Third, \
the water that leaves the lake from its depth is cold in summer and warm in winter, and the \
fish that need a sign of the season to begin their journey no longer get it. None of these \
effects was unknown at the time, but they were thought to be small when compared with the price \
of coal.
def mean(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values)
The function above fails for an empty list, because it divides by zero. A caller who may have \
no values should ask first, or the function should raise an error that says what is wrong. In \
most programs the second way is better: the rule is then written once, next to the reason for \
it.
"""


def fresh_words(count: int) -> str:
    """So many words in pieces from random places: English to look at, and no cache has seen it.

    Words in random order would be read alike, but guessed and written otherwise than text is.
    """
    source = TEXT.split()
    found: list[str] = []
    while len(found) < count:
        begin = secrets.randbelow(len(source) - PIECE_WORDS.stop)
        found += source[begin : begin + secrets.choice(PIECE_WORDS)]
    return " ".join(found[:count])
