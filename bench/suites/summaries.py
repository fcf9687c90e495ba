"""Summaries of reports that are made from facts: the main facts must be there, wrong ones not.

Pairs for judges are made alike: the better summary has the report's facts, the worse one has one
of them changed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from bench.suites.made import Made

SEED = 20_261_122
EACH = 12
PAIRS_EACH = 5
SETTINGS = """
format = 1
name = "summaries"
version = "1.1.0"
licence = "CC0-1.0"
language = ["en"]
task = "Short summaries with the main facts, not copied; only a judge sees what they invent"
system = "You summarise. Use your own words and leave out what does not matter."

[parameters]
max_tokens = 128
temperature = 0.0
seed = 1

[judge]
rubric = "Compare two summaries. The better one says nothing that is not in the report."
pairs = "pairs.jsonl"
"""
TOWNS = ("Porto", "Graz", "Leeds", "Tampere", "Quito", "Nantes", "Daegu", "Turin", "Varna", "Cork")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
CAUSES = ("a broken pump", "a burst pipe", "a fallen tree", "a failed switch", "heavy snow")
NAMES = ("Ines Duarte", "Paul Weber", "Mira Shah", "Oskar Lind", "Rosa Vega", "Jin Park")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FILLER = (
    "Some people had brought umbrellas, others had not.",
    "A photograph of the day hangs in the town hall.",
    "The coffee machine in the hall was out of order, as it often is.",
    "Nobody could say who had ordered the flowers.",
    "The printed version of this report has a blue cover.",
)
# A report's text, its main facts as the check wants them, and a good and a wrong summary.
Report = tuple[str, list[list[str]], str, str]


def _other(r: random.Random, words: tuple[str, ...], word: str) -> str:
    return r.choice([each for each in words if each != word])


def _spelled(number: int, unit: str) -> list[str]:
    return [f"{number} {unit}", f"{WORDS[number]} {unit}"]


def _thousand(number: int) -> list[str]:
    return [f"{number}000", *_spelled(number, "thousand")]


def _share(percent: int) -> list[str]:
    return [f"{percent}{unit}" for unit in (" percent", " per cent", "%", " %")]


def _outage(r: random.Random) -> Report:
    town, day, cause, homes = r.choice(TOWNS), r.choice(DAYS), r.choice(CAUSES), r.randint(2, 9)
    text = (
        f"On {day} morning the water supply of {town} failed. {r.choice(FILLER)} The waterworks "
        f"found {cause} to be the reason. About {homes},000 homes had no water until the evening. "
        "The company brought tanks to three squares and apologised to everybody."
    )
    good = f"{cause.capitalize()} left {homes},000 homes in {town} without water on {day}."
    other = (
        f"{cause.capitalize()} left {homes},000 homes in {_other(r, TOWNS, town)} without water."
    )
    return text, [[town], [cause.split()[-1]], _thousand(homes)], good, other


def _match(r: random.Random) -> Report:
    home, guest = r.sample(TOWNS, 2)
    ours, theirs, name = r.randint(3, 5), r.randint(0, 2), r.choice(NAMES)
    text = (
        f"{home} won the match against {guest} by {ours} to {theirs}. {name} scored twice in the "
        f"first half. {r.choice(FILLER)} The trainer of {guest} said that his players were tired "
        "after the long journey. The next match is in two weeks."
    )
    good = f"{home} beat {guest} {ours}-{theirs}; {name} scored two goals."
    wrong = f"{guest} beat {home} {ours}-{theirs}; {name} scored two goals."
    return text, [[home], [guest], [name.split()[1]]], good, wrong


def _council(r: random.Random) -> Report:
    town, name, cost = r.choice(TOWNS), r.choice(NAMES), r.randint(2, 9)
    year = r.randint(2027, 2031)
    text = (
        f"The council of {town} met for three hours. {r.choice(FILLER)} After a long debate it "
        f"decided to build a new library for {cost} million euros. {name}, who leads the council, "
        f"said that the old one is too small. The library is to open in {year}. Two members voted "
        "against it because of the cost."
    )
    good = f"{town} will build a library for {cost} million euros, to open in {year}."
    wrong = f"{town} will build a library for {cost + 10} million euros, to open in {year}."
    return text, [[town], ["library"], _spelled(cost, "million"), [str(year)]], good, wrong


def _study(r: random.Random) -> Report:
    people, hours, share = 50 * r.randint(4, 18), r.randint(6, 9), r.randint(11, 38)
    text = (
        f"Researchers watched {people} adults for a year. Those who slept at least {hours} hours a "
        f"night made {share} percent fewer mistakes in a test of attention. {r.choice(FILLER)} The "
        "authors warn that they cannot say which is the cause and which the effect. They want to "
        "repeat the study with older people."
    )
    good = f"Adults who slept {hours} hours or more made {share} percent fewer mistakes."
    wrong = f"Adults who slept {hours} hours or more made {share} percent more mistakes."
    return (
        text,
        [[*_spelled(hours, "hour"), *_spelled(hours, "or more")], _share(share)],
        good,
        wrong,
    )


def _firm(r: random.Random) -> Report:
    town, name, jobs, share = (
        r.choice(TOWNS),
        r.choice(NAMES),
        10 * r.randint(3, 24),
        r.randint(4, 19),
    )
    text = (
        f"The maker of bicycles in {town} sold {share} percent more than in the year before. "
        f"{r.choice(FILLER)} Its head, {name}, wants to hire {jobs} people by the summer. The firm "
        "was founded in a garage and makes its own frames. A second hall is being built."
    )
    good = f"A bicycle maker in {town} sold {share} percent more and will hire {jobs} people."
    wrong = f"A bicycle maker in {town} sold {share} percent less and will dismiss {jobs} people."
    return text, [[town], _share(share), [str(jobs)]], good, wrong


TEMPLATES: tuple[tuple[str, Callable[[random.Random], Report]], ...] = (
    ("match", _match),
    ("outage", _outage),
    ("firm", _firm),
    ("study", _study),
    ("council", _council),
)
# How it is asked, how hard that is, and what is looked at beside the facts.
TASKS: tuple[tuple[int, str, dict[str, Any]], ...] = (
    (1, "Summarise the report in at most three sentences.", {"sentences_max": 3}),
    (3, "Summarise the report in at most two sentences.", {"sentences_max": 2}),
    (5, "Summarise the report in one sentence of at most 25 words.", {"words_max": 25}),
)


def make() -> Made:
    cases, pairs = [], []
    for name, draw in TEMPLATES:
        r = random.Random(f"{SEED}-{name}")
        for number in range(1, EACH + 1):
            level, task, length = TASKS[number % len(TASKS)]
            text, facts, good, _ = draw(r)
            checks = [
                {"kind": "contains", "all": facts},
                {"kind": "length", "words_min": 6} | length,
            ]
            checks.append({"kind": "copied", "words_max": 10})
            case = {"id": f"{name}-{number:02d}", "cluster": f"{name}-{level}", "level": level}
            case |= {"prompt": f"{task}\n\n{text}", "checks": checks, "reference": good}
            cases.append(case)
        for number in range(1, PAIRS_EACH + 1):
            text, _, good, wrong = draw(r)
            pair = {"id": f"{name}-{number}", "question": f"Summarise the report.\n\n{text}"}
            pairs.append({**pair, "better": good, "worse": wrong})
    return Made("summaries", SETTINGS, cases, {"pairs.jsonl": pairs})
