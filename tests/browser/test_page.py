"""The page in a real browser, before a real cloud: from the key to the bill, and what breaks."""

from __future__ import annotations

import re

COST = r"USD \d+\.\d{2,9}"


def test_a_wrong_key_is_refused_in_words(page):
    page.log_in("sk-hn-" + "a" * 57)
    page.until(lambda: page.one("#key-message").text != "")
    assert page.one("#key-message").text.startswith("This key does not open the cloud.")
    assert page.one("#key").get_attribute("aria-invalid") is not None


def test_what_is_no_key_is_not_even_sent(page):
    page.log_in("hunter2")
    assert "it begins with sk-hn-" in page.one("#key-message").text
    assert page.complaints() == []


def test_the_key_is_hidden_until_it_is_asked_for(page):
    assert page.one("#key").get_attribute("type") == "password"
    page.press("button[aria-pressed]")
    assert page.one("#key").get_attribute("type") == "text"


def test_an_answer_of_the_embedded_model_shows_its_cost_and_its_request(page, web):
    page.log_in()
    turn = page.ask("sky " * 440, web.model)  # leaves the answer a few hundred tokens of context
    assert page.part(turn, ".said") != ""
    facts = page.part(turn, ".facts")
    assert re.search(COST, facts)
    assert re.search(r"\d+ in .*→ [\d,]+ tokens? out", facts)
    assert "first token" in facts
    assert re.fullmatch(r"req_\w+", page.part(turn, ".id"))


def test_the_cost_is_the_tokens_times_the_price(page):
    page.log_in()
    turn = page.ask("one two", "hostile/echo")
    prompt, answer = re.search(r"(\d+) in → (\d+) tokens out", page.part(turn, ".facts")).groups()
    nano = int(prompt) * 500 + int(answer) * 1000
    assert page.part(turn, ".cost") == f"USD 0.{nano:09d}".rstrip("0")


def test_model_output_is_text_whatever_it_says(page):
    page.log_in()
    turn = page.ask("Attack.", "hostile/echo")
    assert "<img src=x onerror=" in page.part(turn, ".said")
    assert "<script>alert(1)</script>" in page.part(turn, ".said")
    assert page.part(turn, ".said strong") == "bold"
    assert page.all(".prose img, .prose script") == []
    assert page.driver.title == "Chat · haneul"


def test_the_request_id_opens_its_trace(page):
    page.log_in()
    turn = page.ask("Trace me.", "hostile/echo")
    request_id, cost = page.part(turn, ".id"), page.part(turn, ".cost")
    page.press(".turn .id")
    page.one("#trace .path")
    trace = page.one("#trace").text
    assert request_id in trace
    assert cost in trace
    assert "hostile/echo" in trace
    page.press("#trace header button")
    page.until(lambda: page.all("#trace[open]") == [])


def test_stop_ends_the_answer_and_shows_what_is_billed(page):
    page.log_in()
    page.one("#message")
    page.choose("slow/echo")
    page.say("Rain.")
    page.until(lambda: "drop" in "".join(page.texts(".said")))
    page.press('button[aria-label="Stop"]')
    page.until(lambda: re.search(COST, "".join(page.texts(".facts"))) is not None)
    assert page.one(".note").text == "Stopped. What was sent until then is billed."
    assert "drop" in page.one(".said").text


def test_an_answer_that_breaks_keeps_its_text_and_says_why(page):
    page.log_in()
    turn = page.ask("Break.", "broken/echo")
    assert page.part(turn, ".said") == "a b c"
    assert page.part(turn, ".warning").startswith("The answer was cut off.")
    assert re.search(COST, page.part(turn, ".facts"))
    assert page.part(turn, ".warning button") == "Try again"


def test_a_busy_engine_is_named_so_with_the_time_to_wait(page):
    page.log_in()
    turn = page.ask("Now!", "busy/echo")
    assert page.part(turn, ".warning").startswith("The cloud is busy")
    assert re.search(r"Try again in \d+ s\.", page.part(turn, ".warning"))
    assert page.part(turn, ".facts") == ""


def test_a_question_after_a_failed_one_is_asked_without_it(page, web):
    page.log_in()
    page.ask("Now!", "busy/echo")
    turn = page.ask("one two", "hostile/echo")
    assert page.part(turn, ".facts").startswith("USD 0.000004 2 in")


def test_a_new_chat_forgets_the_old_one(page):
    page.log_in()
    page.ask("Remember me.", "hostile/echo")
    page.press(".tools .quiet")
    assert page.all(".turn") == []
    page.one(".welcome")


def test_models_show_state_place_and_price(page, web):
    page.log_in()
    page.press('[data-view="models"]')
    page.until(lambda: len(page.all(".model")) == 5)
    cards = {
        card.split("\n")[0].removesuffix("default").strip(): card for card in page.texts(".model")
    }
    assert "Ready" in cards[web.model]
    assert re.search(r"[\d,]+ tokens", cards[web.model])
    assert "embedded" in cards[web.model]
    assert "USD 0.50" in cards["slow/echo"]
    assert "unknown" in cards["slow/echo"]  # nobody said how much context it has


def test_a_models_card_draws_its_family_tree(page, web):
    page.log_in()
    page.press('[data-view="models"]')
    page.until(lambda: page.all(".tree summary"))
    page.press(".tree summary")
    page.until(lambda: page.all(".family-node"))
    names = [each.text for each in page.all(".family-name")]
    assert len(names) == 1  # nothing was made of it
    assert names[0].startswith(web.model[:8])
    assert f"{web.model} is served from it" in page.one(".tree").text
    assert page.complaints() == []


def test_chat_with_a_model_from_its_card(page):
    page.log_in()
    page.press('[data-view="models"]')
    page.until(lambda: len(page.all(".model")) == 5)
    card = next(card for card in page.all(".model") if "hostile/echo" in card.text)
    card.find_element("css selector", "button").click()
    assert page.one("#model").get_attribute("value") == "hostile/echo"


def test_usage_shows_the_budget_the_sums_and_the_newest_requests(page):
    page.log_in()
    page.ask("Count me.", "hostile/echo")
    page.press('[data-view="usage"]')
    newest = page.one(".requests tbody tr").text
    assert "hostile/echo" in newest
    assert "done" in newest
    assert re.search(COST, newest)
    assert "hostile/echo" in page.one(".sums").text
    assert re.search(COST + " left", page.one(".budget").text)


def test_the_conversation_is_there_again_after_another_view(page):
    page.log_in()
    page.ask("Stay.", "hostile/echo")
    page.press('[data-view="usage"]')
    page.one(".budget")
    page.press('[data-view="chat"]')
    assert page.one(".question p").text == "Stay."


def test_log_out_leads_back_to_the_door_and_stays_there(page):
    page.log_in()
    page.one("#message")
    page.press("#log-out")
    page.one("#key")
    page.driver.get(page.web.url + "#/usage")
    page.driver.refresh()
    page.one("#key")


def test_who_was_logged_out_elsewhere_is_asked_for_the_key_and_finds_the_chat_again(page):
    page.log_in()
    page.ask("Keep this.", "hostile/echo")
    page.driver.delete_all_cookies()
    page.press('[data-view="models"]')
    assert page.one("#key-message").text == "You were logged out. Enter your key again."
    page.log_in()
    page.press('[data-view="chat"]')
    assert page.one(".question p").text == "Keep this."


def test_no_view_breaks_the_rules_the_page_is_served_with(page):
    page.log_in()
    page.ask("Anything.", "hostile/echo")
    page.press(".turn .id")
    page.one("#trace .path")
    page.press("#trace header button")
    for view in ("models", "usage", "chat"):
        page.press(f'[data-view="{view}"]')
        page.one("h1, .thread")
    assert page.complaints() == []


def test_nothing_is_wider_than_a_small_phone(page):
    page.log_in()
    page.ask("Anything.", "hostile/echo")
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        for view, shown in (("models", ".model"), ("usage", ".requests"), ("chat", ".turn")):
            page.press(f'[data-view="{view}"]')
            page.one(shown)
            width = page.driver.execute_script("return document.documentElement.scrollWidth")
            assert width == 360, view
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_korean_reader_is_spoken_to_in_korean(chrome, web):
    driver = chrome(language="ko")
    driver.get(web.url)
    assert driver.find_element("css selector", "html").get_attribute("lang") == "ko"
    driver.implicitly_wait(10)
    assert driver.find_element("css selector", ".login h1").text == "나만의 AI 클라우드"
