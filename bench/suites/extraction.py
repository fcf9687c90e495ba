"""Facts from short letters and notes as JSON; the text is made from the facts."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from bench.suites.made import Made

SEED = 20_261_122
EACH = 16
SETTINGS = """
format = 1
name = "extraction"
version = "1.0.0"
licence = "CC0-1.0"
language = ["en"]
task = "Facts from letters, orders, notes and notices as JSON of a given form"
system = "Reply with one JSON object and nothing else."

[parameters]
max_tokens = 256
temperature = 0.0
seed = 1
"""
FIRST = ("Hana", "Lukas", "Amara", "Diego", "Yuna", "Pavel", "Nadia", "Kofi", "Elif", "Bruno")
LAST = ("Kim", "Novak", "Okafor", "Reyes", "Lindqvist", "Tanaka", "Haddad", "Mensah", "Costa")
TOWNS = ("Busan", "Porto", "Graz", "Leeds", "Tampere", "Quito", "Nantes", "Daegu", "Turin")
THINGS = ("desk lamp", "steel bottle", "road bicycle", "oak shelf", "rain jacket", "tea kettle")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September")
DEFECTS = ("a cracked lid", "a loose screw", "a missing cable", "a scratched front")
Text = {"type": "string"}
Whole = {"type": "integer"}
Facts = tuple[str, dict[str, Any], dict[str, Any], int]  # and which wording


def _person(r: random.Random) -> str:
    return f"{r.choice(FIRST)} {r.choice(LAST)}"


def _contact(r: random.Random) -> Facts:
    name, town = _person(r), r.choice(TOWNS)
    mail = f"{name.split()[0].lower()}@{r.choice(('example.com', 'example.org', 'example.net'))}"
    wording = r.randrange(3)
    text = (
        (
            f"Hello, my name is {name} and I live in {town}. You can write to me at {mail}.",
            f"Please add {name} ({mail}) from {town} to the list of guests.",
            f"New reader from {town}: {name}. Address for letters by wire: {mail}. No telephone.",
        )
    )[wording]
    facts = {"name": name, "email": mail, "town": town}
    return text, facts, dict.fromkeys(facts, Text), wording


def _order(r: random.Random) -> Facts:
    thing, count, price = r.choice(THINGS), r.randint(2, 9), r.randint(12, 90)
    number = f"{r.choice('ABCD')}{r.randint(1000, 9999)}"
    wording = r.randrange(2)
    text = (
        (
            f"Order {number}: {count} pieces of {thing}, {price} euros each. Thank you!",
            f"I ordered {count} of the {thing} for {price} euros apiece. The order's number is "
            f"{number}; last year's was C0001.",
        )
    )[wording]
    facts = {"order": number, "item": thing, "quantity": count, "unit_price": price}
    return (
        text,
        facts,
        {"order": Text, "item": Text, "quantity": Whole, "unit_price": Whole},
        wording,
    )


def _meeting(r: random.Random) -> Facts:
    month, day, hour = r.randint(1, 9), r.randint(1, 28), r.randint(9, 17)
    town, host = r.choice(TOWNS), _person(r)
    wording = r.randrange(2)
    text = (
        (
            f"{host} invites you to {town} on {day} {MONTHS[month - 1]} 2027 at {hour}:00.",
            f"We meet on {MONTHS[month - 1]} {day}, 2027, {hour}:00, in {town}. {host} is "
            "the host; bring your own lunch.",
        )
    )[wording]
    facts = {"date": f"2027-{month:02d}-{day:02d}", "hour": hour, "place": town, "host": host}
    return text, facts, {"date": Text, "hour": Whole, "place": Text, "host": Text}, wording


def _complaint(r: random.Random) -> Facts:
    thing, defect, back = r.choice(THINGS), r.choice(DEFECTS), r.random() < 0.5
    days = r.randint(2, 21)
    wish = "I want my money back." if back else "I do not want my money back, only a new one."
    text = f"The {thing} came {days} days ago with {defect}. {wish}"
    facts = {"item": thing, "defect": defect, "days_ago": days, "wants_refund": back}
    known = {"item": Text, "defect": Text, "days_ago": Whole}
    return text, facts, {**known, "wants_refund": {"type": "boolean"}}, int(back)


def _list(r: random.Random) -> Facts:
    things = r.sample(THINGS, r.randint(2, 4))
    counts = [r.randint(1, 12) for _ in things]
    rows = [f"{count} x {thing}" for count, thing in zip(counts, things, strict=True)]
    town = r.choice(TOWNS)
    text = f"To be sent to {town} by {_person(r)}: {', '.join(rows[:-1])} and {rows[-1]}."
    items = [{"item": t, "quantity": c} for t, c in zip(things, counts, strict=True)]
    facts = {"town": town, "items": items, "pieces": sum(counts)}
    item = {"type": "object", "properties": {"item": Text, "quantity": Whole}}
    item["required"] = ["item", "quantity"]
    listed = {"type": "array", "items": item}
    return text, facts, {"town": Text, "items": listed, "pieces": Whole}, len(things)


HINTS = {
    "meeting": " Write the date as YYYY-MM-DD and the hour as a number.",
    "complaint": " wants_refund is true or false.",
    "list": " items is a list of objects with item and quantity; pieces is the sum of quantities.",
}
TEMPLATES: tuple[tuple[str, int, Callable[[random.Random], Facts]], ...] = (
    ("contact", 1, _contact),
    ("order", 2, _order),
    ("meeting", 3, _meeting),
    ("complaint", 4, _complaint),
    ("list", 5, _list),
)


def make() -> Made:
    cases = []
    seen: set[str] = set()
    for name, level, draw in TEMPLATES:
        r = random.Random(f"{SEED}-{name}")
        number = 0
        while number < EACH:
            text, facts, properties, wording = draw(r)
            if text in seen:
                continue
            seen.add(text)
            number += 1
            schema = {"type": "object", "required": list(facts), "properties": properties}
            cases.append(
                {
                    "id": f"{name}-{number:02d}",
                    "cluster": f"{name}-{wording}",
                    "level": level,
                    "prompt": f"{text}\n\nGive a JSON object with the fields "
                    f"{', '.join(facts)}.{HINTS.get(name, '')}",
                    "expected": facts,
                    "checks": [{"kind": "json", "schema": schema}],
                }
            )
    return Made("extraction", SETTINGS, cases)
