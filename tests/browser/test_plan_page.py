"""The plan view in a real browser: the question by keyboard, the whole answer, refusals, narrow."""

from __future__ import annotations

import re

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from haneul.console.pages import FOLDER

PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
NAMES = """
return [...document.querySelectorAll('.plan-form input, .plan-form select')]
  .filter((e) => e.checkVisibility())
  .filter((e) => !e.getAttribute('aria-label') && !e.labels.length).length
"""


@pytest.fixture
def plan(page):
    page.log_in()
    page.one("#message")
    page.press('[data-view="plan"]')
    page.one("#plan-model")
    return page


def ask(page, model, *, chip="h100", many="", tpot="50"):
    """Fills the form, leaves one row of chips, and sends it from the keyboard."""
    while len(page.all(".plan-chips .plan-chip")) > 1:
        page.press(".plan-chips .quiet")
    Select(page.one(".plan-chips select")).select_by_value(chip)
    count = page.one(".plan-chips input")
    count.clear()
    count.send_keys(many)
    limit = page.one("#plan-tpot")
    limit.clear()
    limit.send_keys(tpot)
    field = page.one("#plan-model")
    field.clear()
    field.send_keys(model + Keys.ENTER)
    page.until(lambda: bool(page.all("#plan-answer, .refused")) and not page.all("[aria-busy]"))


def test_the_whole_answer_stands_below_the_question(plan):
    ask(plan, "Llama-3.1-8B")
    assert "H100 SXM" in plan.one("#plan-answer .figure").text
    assert "USD/1M" in plan.one("#plan-answer").text
    rows = plan.texts(".plan-options tbody tr")
    assert "the answer" in rows[0]
    assert all("dearer by" in row for row in rows[1:])
    assert len(plan.all(".plan-bars li")) >= 3
    assert len(plan.all(".plan-bars .binding")) == 1
    assert len(plan.all(".plan-card .track span")) == 4
    assert len(plan.all(".plan-curve circle")) > 2
    assert len(plan.all(".plan-nearest tbody tr")) == 3
    assert plan.one(".plan-card .code pre").text.startswith("vllm serve meta-llama/Llama-3.1-8B")
    assert any("an hour of H100 SXM" in text for text in plan.texts(".plan-list li"))
    assert plan.one("#announcer").get_attribute("textContent").count("H100 SXM")
    assert plan.complaints() == []


def test_a_load_that_nothing_serves_is_told_why(plan):
    ask(plan, "Llama-3.1-405B", chip="l4", many="1")
    assert "does not fit 1 x L4" in plan.one(".refused").text
    assert plan.all("#plan-answer") == []


def test_a_field_that_is_wrong_is_named_and_gets_the_focus(plan):
    ask_for = plan.one("#plan-isl")
    ask_for.clear()
    ask_for.send_keys("0" + Keys.ENTER)
    plan.until(lambda: "Input tokens" in plan.one(".plan-form .message").text)
    assert plan.driver.switch_to.active_element.get_attribute("id") == "plan-isl"


def test_an_amount_of_load_that_was_emptied_is_asked_for_while_it_counts(plan):
    demand = Select(plan.one("#plan-demand"))
    for chosen, wrong in (("rate", ""), ("rate", "0"), ("users", "2.5")):
        demand.select_by_value(chosen)
        amount = plan.one("#plan-amount")
        amount.clear()
        amount.send_keys(wrong + Keys.ENTER)
        plan.until(lambda: "How much load" in plan.one(".plan-form .message").text)
        assert plan.all("#plan-answer") == []
    demand.select_by_value("most")
    ask(plan, "Llama-3.1-8B")
    assert plan.all("#plan-answer")


def test_every_field_has_a_name_and_a_phone_needs_no_sideways_scrolling(plan):
    ask(plan, "Llama-3.1-8B")
    assert plan.driver.execute_script(NAMES) == 0
    plan.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        width = plan.driver.execute_script("return document.documentElement.scrollWidth")
    finally:
        plan.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width == PHONE["width"]


def test_every_word_of_the_view_is_there_in_korean():
    text = (FOLDER / "plan_words.js").read_text("utf-8")
    english, korean = (
        re.findall(r"^  (\w+):", part, re.MULTILINE) for part in text.split("};")[:2]
    )
    assert english == korean
    used = set()
    for file in FOLDER.glob("plan*.js"):
        used |= set(re.findall(r'\bt\("(\w+)"', file.read_text("utf-8")))
    rest = set(re.findall(r"^  (\w+):", (FOLDER / "i18n.js").read_text("utf-8"), re.MULTILINE))
    assert used <= {*english, *rest}
