"""Arithmetic from one digit to three steps; each answer is computed beside its question."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from bench.suites.made import Made
from haneul.quality.numbers import numbers

SEED = 20_261_122
EACH = 10  # of one template
SETTINGS = """
format = 1
name = "arithmetic"
version = "1.1.0"
licence = "CC0-1.0"
language = ["en"]
task = "Numbers from single digits to word problems of three steps"
system = "Work step by step where you need to. Write the result alone on the last line."

[parameters]
max_tokens = 256
temperature = 0.0
seed = 1

[[checks]]
kind = "numeric"
take = "last"
tolerance = 0.005
"""
NAMES = ("Mina", "Jonas", "Priya", "Tomás", "Aiko", "Lena", "Omar", "Ruth", "Wei", "Sofia")
GOODS = ("pencils", "apples", "notebooks", "tickets", "candles", "cups", "ribbons", "stamps")
Draw = Callable[[random.Random], tuple[str, Any]]


def _small_sum(r: random.Random) -> tuple[str, Any]:
    a, b = r.randint(2, 9), r.randint(2, 9)
    return f"What is {a} + {b}?", a + b


def _sum(r: random.Random) -> tuple[str, Any]:
    a, b = r.randint(24, 480), r.randint(24, 480)
    return f"What is {a} + {b}?", a + b


def _large_sum(r: random.Random) -> tuple[str, Any]:
    a, b, c = (r.randint(1200, 98_000) for _ in range(3))
    return f"Add {a:,}, {b:,} and {c:,}.", a + b + c


def _difference(r: random.Random) -> tuple[str, Any]:
    a, b = r.randint(15, 99), r.randint(2, 14)
    return f"Subtract {b} from {a}.", a - b


def _below_zero(r: random.Random) -> tuple[str, Any]:
    a, b = r.randint(11, 95), r.randint(120, 480)
    return f"What is {a} - {b}?", a - b


def _table(r: random.Random) -> tuple[str, Any]:
    a, b = r.randint(2, 9), r.randint(3, 12)
    return f"What is {a} times {b}?", a * b


def _product(r: random.Random) -> tuple[str, Any]:
    a, b = r.randint(13, 78), r.randint(12, 49)
    return f"Multiply {a} by {b}.", a * b


def _quotient(r: random.Random) -> tuple[str, Any]:
    b, c = r.randint(3, 12), r.randint(4, 25)
    return f"What is {b * c} divided by {b}?", c


def _percent(r: random.Random) -> tuple[str, Any]:
    share, whole = r.choice((5, 10, 15, 20, 25, 40, 75)), 20 * r.randint(3, 45)
    return f"What is {share} % of {whole}?", float(Fraction(share * whole, 100))


def _order(r: random.Random) -> tuple[str, Any]:
    a, b, c = r.randint(2, 40), r.randint(2, 12), r.randint(2, 12)
    return f"Compute {a} + {b} × {c}.", a + b * c


def _shop(r: random.Random) -> tuple[str, Any]:
    name, goods = r.choice(NAMES), r.choice(GOODS)
    count, price, paid = r.randint(3, 9), r.randint(2, 8), r.choice((50, 80, 100))
    text = (
        f"{name} buys {count} {goods} at {price} dollars each and pays with {paid} dollars. "
        "How many dollars does the shop give back? Answer with a number."
    )
    return text, paid - count * price


def _trip(r: random.Random) -> tuple[str, Any]:
    speed, hours, rest = r.choice((40, 60, 80, 90)), r.randint(2, 5), r.randint(15, 90)
    text = (
        f"A bus drives {hours} hours at {speed} kilometres an hour and then another {rest} "
        "kilometres. How many kilometres does it drive in all? Answer with a number."
    )
    return text, speed * hours + rest


def _shares(r: random.Random) -> tuple[str, Any]:
    people, each, kept = r.randint(3, 8), r.randint(4, 15), r.randint(5, 30)
    name, goods = r.choice(NAMES), r.choice(GOODS)
    text = (
        f"{name} has {people * each + kept} {goods}, keeps {kept} and shares the rest evenly among "
        f"{people} friends. How many does each friend get? Answer with a number."
    )
    return text, each


def _discount(r: random.Random) -> tuple[str, Any]:
    price, share, count = 20 * r.randint(2, 12), r.choice((10, 20, 25, 30, 50)), r.randint(2, 4)
    text = (
        f"A chair costs {price} dollars. It is sold at {share} % off. What do {count} chairs cost "
        "then, in dollars? Answer with a number."
    )
    return text, float(count * Fraction(price * (100 - share), 100))


TEMPLATES: tuple[tuple[str, int, Draw], ...] = (
    ("small-sum", 1, _small_sum),
    ("times-table", 1, _table),
    ("difference", 1, _difference),
    ("sum", 2, _sum),
    ("quotient", 2, _quotient),
    ("percent", 3, _percent),
    ("order", 3, _order),
    ("below-zero", 3, _below_zero),
    ("shop", 4, _shop),
    ("trip", 4, _trip),
    ("shares", 4, _shares),
    ("product", 5, _product),
    ("large-sum", 5, _large_sum),
    ("discount", 5, _discount),
)


def make() -> Made:
    cases = []
    seen: set[str] = set()
    for name, level, draw in TEMPLATES:
        r = random.Random(f"{SEED}-{name}")
        number = 0
        while number < EACH:
            text, result = draw(r)
            echoes = float(numbers(text)[-1].value) == result  # the question would pass as answer
            if text not in seen and not echoes:
                seen.add(text)
                number += 1
                case = {"id": f"{name}-{number:02d}", "cluster": name, "level": level}
                cases.append({**case, "prompt": text, "expected": result})
    return Made("arithmetic", SETTINGS, cases)
