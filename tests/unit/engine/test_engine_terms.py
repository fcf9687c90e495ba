import pytest

from haneul.base.errors import BadRequest
from haneul.engine.kernel import Terms
from haneul.engine.terms import OWNER_MAX_CHARS, terms_of


def test_a_request_without_headers_is_interactive_and_nobodys():
    assert terms_of([(b"host", b"x")]) == Terms(owner="", priority=0)


@pytest.mark.parametrize(("name", "rank"), [(b"interactive", 0), (b"batch", 1), (b"research", 2)])
def test_the_headers_name_owner_and_urgency(name, rank):
    headers = [(b"x-haneul-owner", b"key-7"), (b"x-haneul-priority", name)]
    assert terms_of(headers) == Terms(owner="key-7", priority=rank)


def test_an_urgency_that_does_not_exist_is_refused_by_name():
    with pytest.raises(BadRequest) as refused:
        terms_of([(b"x-haneul-priority", b"urgent")])
    assert refused.value.param == "x-haneul-priority"


def test_an_owner_is_cut_to_a_length():
    assert len(terms_of([(b"x-haneul-owner", b"a" * 9999)]).owner) == OWNER_MAX_CHARS
