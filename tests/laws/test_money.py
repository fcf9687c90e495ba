"""The laws of money: whole nano-units, one rounding for each request, never more than was held."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from haneul.base.ids import new_id
from haneul.base.units import MILLION, NANO, parse_money, show_money, token_cost
from haneul.services.flights import Counters, Opened, terminal
from haneul.services.prices import Rates, affordable_tokens, cost_nano, worst_nano
from haneul.store.ledger import RequestRow

TOKENS = st.integers(0, (1 << 31) - 1)
NANO_PER_MILLION = st.integers(0, 10**15)
RATES = st.builds(
    Rates,
    NANO_PER_MILLION,
    NANO_PER_MILLION,
    NANO_PER_MILLION,
    st.none() | NANO_PER_MILLION,
    st.just(MILLION) | st.integers(0, MILLION),
)


@st.composite
def uses(draw):
    """Tokens of one request: what is cached is part of the prompt."""
    prompt = draw(TOKENS)
    return prompt, draw(st.integers(0, prompt)), draw(TOKENS)


def exact(rates, prompt, cached, completion):
    """The cost before it is rounded."""
    total = (
        (prompt - cached) * rates.input_nano
        + cached * rates.cached_nano
        + completion * rates.output_nano
    )
    return Fraction(total * rates.share_millionths, MILLION * MILLION)


@given(RATES, uses())
def test_a_cost_is_a_whole_number_within_half_a_nano_unit_of_the_true_one(rates, use):
    prompt, cached, completion = use
    cost = cost_nano(rates, prompt=prompt, cached=cached, completion=completion)
    assert type(cost) is int
    assert cost >= 0
    assert abs(cost - exact(rates, *use)) <= Fraction(1, 2)


@given(RATES, st.lists(uses(), min_size=1, max_size=20))
def test_a_bill_is_off_by_at_most_half_a_nano_unit_for_each_request(rates, requests):
    billed = sum(cost_nano(rates, prompt=p, cached=c, completion=a) for p, c, a in requests)
    true = sum(exact(rates, *request) for request in requests)
    assert abs(billed - true) <= Fraction(len(requests), 2)


@given(RATES, uses(), uses())
def test_more_tokens_never_cost_less(rates, use, more):
    prompt, cached, completion = use
    less = cost_nano(rates, prompt=prompt, cached=cached, completion=completion)
    assert cost_nano(rates, prompt=prompt + more[0], cached=cached, completion=completion) >= less
    assert cost_nano(rates, prompt=prompt, cached=cached, completion=completion + more[2]) >= less


@given(RATES, uses(), st.data())
def test_no_request_costs_more_than_was_set_aside_for_it(rates, use, data):
    prompt, cached, completion = use
    most_prompt = data.draw(st.integers(prompt, prompt + 1000))
    most_answer = data.draw(st.integers(completion, completion + 1000))
    worst = worst_nano(rates, prompt_max=most_prompt, completion_max=most_answer)
    assert cost_nano(rates, prompt=prompt, cached=cached, completion=completion) <= worst


@given(RATES, uses(), st.data())
def test_reasoning_costs_its_own_price_where_one_is_set_and_never_more_than_was_held(
    rates, use, data
):
    prompt, cached, completion = use
    reasoning = data.draw(st.integers(0, completion))
    cost = cost_nano(
        rates, prompt=prompt, cached=cached, completion=completion, reasoning=reasoning
    )
    own = rates.output_nano if rates.reasoning_nano is None else rates.reasoning_nano
    dearer = Fraction(reasoning * (own - rates.output_nano), MILLION)
    true = exact(rates, *use) + dearer * rates.share_millionths / MILLION
    assert abs(cost - true) <= Fraction(1, 2)
    assert cost <= worst_nano(rates, prompt_max=prompt, completion_max=completion)
    more_than_all = cost_nano(
        rates, prompt=prompt, cached=cached, completion=completion, reasoning=completion + 5
    )
    assert more_than_all == cost_nano(
        rates, prompt=prompt, cached=cached, completion=completion, reasoning=completion
    )


@given(RATES, st.integers(0, 1 << 20), st.integers(0, 10**18), st.integers(1, 1 << 20))
def test_what_a_budget_pays_for_can_be_set_aside_and_hardly_a_token_less(
    rates, prompt_max, remaining, limit
):
    tokens = affordable_tokens(rates, prompt_max=prompt_max, remaining_nano=remaining, limit=limit)
    assert 0 <= tokens <= limit
    if tokens:
        assert worst_nano(rates, prompt_max=prompt_max, completion_max=tokens) <= remaining
    dearest = rates.dearest_output_nano * rates.share_millionths
    if tokens < limit and dearest:
        two_nano_units = -(-2 * MILLION * MILLION // dearest)
        beyond = tokens + two_nano_units + 1
        assert worst_nano(rates, prompt_max=prompt_max, completion_max=beyond) >= remaining


@given(RATES, uses(), st.integers(0, 10**15), st.integers(0, 10**12))
def test_a_record_holds_what_was_counted_at_the_price_that_was_agreed(
    rates, use, hour_nano, busy_us
):
    prompt, cached, completion = use
    row = RequestRow(
        id=new_id("req"),
        key_id="k",
        route="chat",
        state="aborted",
        status=499,
        currency="USD",
        received_us=1,
        finished_us=1,
    )
    counters = Counters(
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=completion,
        busy_us=busy_us,
    )
    ended = terminal(Opened(row=row, rates=rates, hour_nano=hour_nano), counters, state="done")
    assert (ended.prompt_tokens, ended.cached_tokens) == (prompt, cached)
    assert ended.cost_nano == cost_nano(rates, prompt=prompt, cached=cached, completion=completion)
    true_hour = Fraction(hour_nano * busy_us, 3_600_000_000)
    assert abs(ended.hour_nano - true_hour) <= max(1, true_hour / 10**12)


@given(st.integers(0, 10**9 * NANO))
def test_an_amount_that_is_shown_is_read_back_as_it_was(nano):
    assert parse_money(show_money(nano, "USD").removeprefix("USD ")) == nano


@given(st.lists(st.tuples(TOKENS, NANO_PER_MILLION), max_size=5))
def test_a_sum_is_rounded_once(pairs):
    total = sum(tokens * price for tokens, price in pairs)
    assert abs(token_cost(pairs) - Fraction(total, MILLION)) <= Fraction(1, 2)
