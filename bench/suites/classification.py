"""Sorting short texts: written by hand, each for its label; harder ones hint at another too."""

from __future__ import annotations

from typing import Any

from bench.suites.made import Made

SETTINGS = """
format = 1
name = "classification"
version = "1.0.0"
licence = "CC0-1.0"
language = ["en"]
task = "Topics, moods, wishes of customers, urgency and spam: one label for a short text"
system = "You sort texts. Reply with exactly one of the given labels and nothing else."

[parameters]
max_tokens = 24
temperature = 0.0
seed = 1
"""
# Of each task: what is asked, its labels, and texts with their level by label.
TOPIC = {
    "sports": (
        (1, "The goalkeeper saved two penalties and the team reached the final."),
        (1, "She ran the marathon in under three hours, a record for her club."),
        (3, "After the trainer left, the club lost four matches in a row."),
        (4, "The stadium's new owner, a bank, promised to buy a striker before the winter break."),
    ),
    "science": (
        (1, "Astronomers found a planet that circles two stars."),
        (1, "The biologists counted the cells under the microscope."),
        (3, "A new method shows how proteins fold within milliseconds."),
        (4, "Physicists measured how a football spins in a wind tunnel to test their equations."),
    ),
    "cooking": (
        (1, "Fry the onions in butter, then add the flour and the milk."),
        (1, "Let the dough rest for an hour before you bake the bread."),
        (3, "A pinch of salt brings out the sweetness of ripe tomatoes."),
        (4, "The chemistry is simple: brown the meat hot and dry, and stir the sauce last."),
    ),
    "finance": (
        (1, "The bank raised its interest rate by a quarter of a percent."),
        (1, "Shares fell as investors sold their bonds."),
        (3, "The company's debt is now twice its yearly profit."),
        (4, "The football club issued shares at nine euros, and its bonds lost a tenth at once."),
    ),
    "travel": (
        (1, "From the harbour a ferry takes you to the island in forty minutes."),
        (1, "Book the hotel early: in August every room in the old town is taken."),
        (3, "Keep your passport at hand; the border is only an hour by train."),
        (4, "After the cooking course our guide showed us two beaches and the night bus home."),
    ),
}
MOOD = {
    "positive": (
        (1, "What a wonderful film, I smiled the whole evening!"),
        (1, "The staff were kind and the room was spotless."),
        (3, "I expected little and left delighted."),
        (3, "Not bad at all: I would buy it again tomorrow."),
        (5, "I wanted to hate this phone. I failed."),
        (5, "My only complaint is that I did not find this place years ago."),
    ),
    "negative": (
        (1, "Terrible service, we waited two hours for cold soup."),
        (1, "The chair broke on the first day. I am very disappointed."),
        (3, "It looks nice, but it stopped working after a week."),
        (3, "I cannot recommend this hotel to anybody."),
        (5, "Great, another update that deletes my photos."),
        (5, "The best part of the concert was the way to the exit."),
    ),
    "neutral": (
        (1, "The parcel weighs two kilograms and is made of paper."),
        (1, "The shop opens at nine and closes at six."),
        (3, "The new model has the same size as the old one."),
        (3, "I bought the blue version on Tuesday."),
        (5, "Some visitors like the music, others do not; it plays until ten."),
        (5, "The film lasts two hours and tells of a terrible war."),
    ),
}
WISH = {
    "refund": (
        (1, "Please give me my money back for the broken kettle."),
        (2, "I returned the shoes last week. When do I get what I paid?"),
        (4, "You charged me twice for one ticket; one of the two payments must come back to me."),
    ),
    "cancellation": (
        (1, "I want to cancel my subscription from next month."),
        (2, "Please end my contract, I am moving abroad."),
        (
            4,
            "I have had enough of reminders to pay: stop the service on the first of May for good.",
        ),
    ),
    "delivery": (
        (1, "Where is my parcel? It should have come on Monday."),
        (2, "The tracking page has said 'on its way' for nine days."),
        (4, "I do not want a refund, I want the table that I ordered, and I want to know the day."),
    ),
    "technical": (
        (1, "The app crashes whenever I open the settings."),
        (2, "My router shows a red light and there is no connection."),
        (4, "Since the last delivery of your software the printer answers with error 31."),
    ),
    "account": (
        (1, "I forgot my password and cannot log in."),
        (2, "How do I change the e-mail address of my profile?"),
        (4, "My late father's user name is still listed; please pass his profile on to me."),
    ),
}
URGENCY = {
    "high": (
        (1, "Help, water is running out of the ceiling onto the servers right now!"),
        (2, "The payment system is down and no customer can pay."),
        (2, "There is smoke in the machine room."),
        (4, "No hurry with the coffee machine, but the fire door cannot be opened from inside."),
        (
            4,
            "Our only login server ends its certificate in ten minutes; after that nobody gets in.",
        ),
    ),
    "low": (
        (1, "When you have time, could you change the colour of the logo?"),
        (2, "It would be nice to have a second plant in the hall some day."),
        (2, "For next year's plan we could think about new chairs."),
        (4, "URGENT!!! Whenever you like, some time this year: a new photo for the wall."),
        (
            4,
            "The alarm in the title is only the name of the band; please file the poster some day.",
        ),
    ),
}
SPAM = {
    "spam": (
        (1, "Congratulations!!! You won a free car, click here to claim your prize!"),
        (1, "Cheap watches, 90 % off, only today, buy now!"),
        (3, "Dear friend, I am a prince and need your account to move ten million dollars."),
        (3, "Your parcel is held. Pay a fee of 1.99 within two hours at this strange address."),
        (5, "Hi, as we discussed, your wallet must be verified tonight; send me the twelve words."),
        (5, "Our doctors hate it: the root that melts fat. Reply STOP to get more offers."),
    ),
    "ham": (
        (1, "Hi Anna, shall we have lunch on Thursday?"),
        (1, "Attached are the minutes of yesterday's meeting."),
        (3, "Your appointment with the dentist is on 4 May at 9:30."),
        (3, "The library reminds you that two books are due on Friday."),
        (5, "I won the free ticket in the raffle at work! Do you want to come along?"),
        (5, "Please do not click on the mail about the prize; it came from a stolen account."),
    ),
}
TASKS: tuple[tuple[str, str, dict[str, tuple[tuple[int, str], ...]]], ...] = (
    ("topic", "What is the topic of the text?", TOPIC),
    ("mood", "What is the mood of the writer?", MOOD),
    ("wish", "What does the customer's message concern?", WISH),
    ("urgency", "How urgent is the message?", URGENCY),
    ("spam", "Is the message spam or ham (a message that is wanted)?", SPAM),
)


def make() -> Made:
    cases: list[dict[str, Any]] = []
    for task, question, texts in TASKS:
        labels = list(texts)
        for label, rows in texts.items():
            for number, (level, text) in enumerate(rows, 1):
                prompt = f"{question} Labels: {', '.join(labels)}.\n\nText: {text}"
                cases.append(
                    {
                        "id": f"{task}-{label}-{number}",
                        "level": level,
                        "prompt": prompt,
                        "expected": label,
                        "checks": [{"kind": "label", "labels": labels}],
                    }
                )
    return Made("classification", SETTINGS, cases)
