from haneul.engine.kernel import Piece
from haneul.engine.meters import Histogram, Meters
from haneul.engine.slots import Slots
from haneul.engine.tally import Tally


def piece(completion_tokens: int) -> Piece:
    return Piece(prompt_tokens=5, cached_tokens=2, completion_tokens=completion_tokens)


def test_a_histogram_counts_each_value_under_every_bound_above_it():
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.add(value)
    assert histogram.lines("x", "an x")[2:] == [
        'haneul_engine_x_bucket{le="0.1"} 2',
        'haneul_engine_x_bucket{le="1.0"} 3',
        'haneul_engine_x_bucket{le="+Inf"} 4',
        "haneul_engine_x_sum 7.650000",
        "haneul_engine_x_count 4",
    ]


def test_each_sequence_has_one_first_token_and_gaps_after_it():
    tally = Tally(choices=2)
    for index, count in [(0, 0), (0, 1), (1, 1), (0, 2), (0, 2), (0, 5)]:
        tally.add(index, piece(count))
    assert len(tally.firsts_s) == 2
    assert len(tally.gaps_s) == 2  # to the second token, and to three at once
    assert all(second >= 0 for second in [*tally.firsts_s, *tally.gaps_s])


def test_times_of_a_request_are_seen_when_it_is_over():
    meters, tally = Meters(), Tally(choices=1)
    tally.add(0, piece(1))
    tally.add(0, piece(3))
    meters.add(tally)
    text = meters.text(Slots(slots=1, queue_max=0, wait_s=1), {"kv_cells_used": 12.0})
    assert "haneul_engine_time_to_first_token_seconds_count 1" in text
    assert "haneul_engine_inter_token_latency_seconds_count 1" in text
    assert "haneul_engine_kv_cells_used 12" in text
