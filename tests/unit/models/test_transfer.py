"""A file over several connections from servers with bad manners: the right bytes, or none."""

import asyncio
import hashlib
import random
from itertools import pairwise
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haneul.base.errors import FetchFailed
from haneul.models.pulling.fetch import Fetcher, WrongBytes
from haneul.models.pulling.mirrors import Mirrors
from haneul.models.pulling.partial import Partial, State
from haneul.models.pulling.piece import Piece
from haneul.models.pulling.spans import SHARE_BYTES, SILENT_S
from haneul.models.pulling.transfer import key, transfer
from haneul.testing.rough import Lie, Manners, RoughServer

DATA = random.Random(3).randbytes(9 * SHARE_BYTES + 12_345)
SHA256 = hashlib.sha256(DATA).hexdigest()
LIES = get_args(Lie)
HARMLESS = {"ignores ranges", "shorter"}


@pytest.fixture
def served(tmp_path):
    """Starts servers of the file; each is stopped in the end."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "data.bin").write_bytes(DATA)
    running = []

    def start(**manners):
        server = RoughServer(folder, Manners(**manners)).__enter__()
        running.append(server)
        return server

    yield start
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "partial"


def piece(server, *, is_pinned=True):
    url = f"{server.url}/data.bin"
    return Piece(url=url, bytes=len(DATA), sha256=SHA256) if is_pinned else Piece(url=url)


async def fetch(folder, *servers, is_pinned=True, **options):
    mirrors = Mirrors((server.url, piece(server, is_pinned=is_pinned)) for server in servers)
    trusted = [server.url for server in servers]
    async with Fetcher(trusted_hosts=trusted, connect_s=5, idle_s=10) as fetcher:
        return await transfer(fetcher, mirrors, folder, **options)


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_connections_share_a_file_and_nothing_is_sent_twice(served, folder):
    server = served(rate_bytes_s=3e6)
    arrived = await fetch(folder, server, connections=6)
    assert arrived.path.read_bytes() == DATA
    assert (arrived.sha256, arrived.bytes, arrived.source) == (SHA256, len(DATA), server.url)
    assert len(server.asked) >= 6
    # What was on its way to a connection whose end another took over is all that is lost.
    assert server.sent_bytes < len(DATA) + 6 * SHARE_BYTES


async def test_progress_never_goes_back_and_ends_with_the_whole(served, folder):
    seen = []
    await fetch(folder, served(), on_bytes=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (len(DATA), len(DATA))


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("lie", LIES)
async def test_server_that_lies_gives_the_right_bytes_or_none(served, folder, lie, share):
    liar = served(lies=(lie,), lie_share=share)
    try:
        arrived = await fetch(folder, liar)
    except FetchFailed:
        assert lie not in HARMLESS
        return
    assert arrived.path.read_bytes() == DATA


@pytest.mark.parametrize("lie", LIES)
async def test_honest_server_makes_up_for_one_that_lies(served, folder, lie):
    liar, honest = served(lies=(lie,)), served()
    arrived = await fetch(folder, liar, honest)
    assert arrived.path.read_bytes() == DATA
    assert arrived.sha256 == SHA256


@pytest.mark.parametrize("lie", sorted(set(LIES) - {"wrong byte", "shifted bytes"}))
@pytest.mark.parametrize("etag", ["", '"one"', 'W/"one"'])
async def test_lie_about_a_file_of_unknown_hash_is_seen_where_it_can_be(served, folder, lie, etag):
    liar = served(lies=(lie,), lie_share=0.5, etag=etag)
    try:
        arrived = await fetch(folder, liar, is_pinned=False)
    except FetchFailed:
        return
    assert arrived.path.read_bytes() == DATA


async def test_file_of_unknown_hash_comes_over_one_connection_unless_a_tag_tells_it(served, folder):
    plain, tagged = served(rate_bytes_s=2e7), served(rate_bytes_s=4e6, etag='"one"')
    assert (await fetch(folder, plain, is_pinned=False)).sha256 == SHA256
    assert len(plain.asked) == 1
    assert (await fetch(folder, tagged, is_pinned=False)).sha256 == SHA256
    assert len(tagged.asked) > 1


async def test_tag_that_changes_between_two_answers_is_another_file(served, folder):
    server = served(rate_bytes_s=4e6, etag='"one"')
    task = asyncio.create_task(fetch(folder, server, is_pinned=False))
    await until(lambda: server.asked)
    await asyncio.sleep(0.1)
    server.manners = Manners(etag='"two"')
    assert (await task).sha256 == SHA256
    assert server.asked[-1].start == 0 or len(server.asked) > 2


async def test_answers_cut_at_any_byte_are_continued_there(served, folder):
    server = served(cut_bytes=(100_000, 1_500_000))
    assert (await fetch(folder, server)).path.read_bytes() == DATA
    assert server.sent_bytes < 2 * len(DATA)


async def test_transfer_called_off_goes_on_with_what_is_missing(served, folder):
    server = served(rate_bytes_s=2e6)
    came = 0

    def note(done, total):
        nonlocal came
        came = done

    task = asyncio.create_task(fetch(folder, server, on_bytes=note, connections=4))
    await until(lambda: came >= len(DATA) // 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again = served()
    assert (await fetch(folder, again)).path.read_bytes() == DATA
    assert again.sent_bytes <= len(DATA) - came


async def test_another_server_goes_on_in_the_middle_of_a_file(served, folder):
    silent = served(silent_after_bytes=2_000_000)
    whole = served(rate_bytes_s=2e7)
    arrived = await fetch(folder, silent, whole, connections=2)
    assert arrived.path.read_bytes() == DATA
    assert whole.sent_bytes < len(DATA)


@pytest.mark.slow
async def test_server_that_takes_its_time_to_answer_is_not_given_up(served, folder):
    server = served(answers_after_s=SILENT_S + 0.5)
    assert (await fetch(folder, server, connections=3)).sha256 == SHA256


@pytest.mark.parametrize("size", [None, 0])
async def test_empty_file_is_a_file(served, folder, tmp_path, size):
    server = served()
    (tmp_path / "served" / "data.bin").write_bytes(b"")
    empty = Piece(url=f"{server.url}/data.bin", bytes=size)
    async with Fetcher(trusted_hosts=[server.url]) as fetcher:
        arrived = await transfer(fetcher, empty, folder)
    assert (arrived.bytes, arrived.path.read_bytes()) == (0, b"")


async def test_fastest_server_gives_most(served, folder):
    slow, fast = served(rate_bytes_s=2e5), served(rate_bytes_s=1e7)
    arrived = await fetch(folder, slow, fast, connections=3)
    assert arrived.source == fast.url
    assert slow.sent_bytes < len(DATA) / 4


async def test_server_that_comes_later_takes_part(served, folder):
    slow, fast = served(rate_bytes_s=3e5), served()
    mirrors = Mirrors([("slow", piece(slow))])
    async with Fetcher(trusted_hosts=[slow.url, fast.url]) as fetcher:
        task = asyncio.create_task(transfer(fetcher, mirrors, folder, connections=2))
        await asyncio.sleep(0.5)
        mirrors.add("other", Piece(url=f"{fast.url}/data.bin", bytes=len(DATA), sha256="0" * 64))
        mirrors.add("fast", piece(fast))
        arrived = await task
    assert arrived.sha256 == SHA256
    assert arrived.source == "fast"


async def test_server_that_bears_few_connections_is_asked_over_few(served, folder):
    server = served(connections_max=3, rate_bytes_s=1e7)
    assert (await fetch(folder, server, connections=8)).path.read_bytes() == DATA


async def test_server_that_is_away_for_a_moment_is_waited_for(served, folder):
    server = served(rate_bytes_s=4e6)
    task = asyncio.create_task(fetch(folder, server, connections=2))
    await until(lambda: server.sent_bytes >= SHARE_BYTES)
    server.manners = Manners(cut_bytes=(0, 0))
    await asyncio.sleep(0.5)
    server.manners = Manners()
    assert (await task).sha256 == SHA256


async def test_two_at_once_fetch_it_once(served, tmp_path, folder):
    server = served(rate_bytes_s=1e7)
    first, second = await asyncio.gather(fetch(folder, server), fetch(folder, server))
    assert first.sha256 == second.sha256 == SHA256
    assert server.sent_bytes < len(DATA) * 3 // 2


async def test_bytes_of_a_mixture_that_is_wrong_are_fetched_from_each_alone(served, folder):
    liar, honest = served(lies=("wrong byte",), rate_bytes_s=1e7), served(rate_bytes_s=1e7)
    arrived = await fetch(folder, liar, honest, connections=4)
    assert arrived.path.read_bytes() == DATA
    with pytest.raises(WrongBytes, match="SHA-256"):
        await fetch(folder.with_name("other"), liar)
    assert list(folder.with_name("other").iterdir()) == []


# what is kept

CHUNKS = st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=400)), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(min_size=1, max_size=3000), st.randoms(), st.booleans())
def test_file_written_in_any_order_is_hashed_in_its_own(tmp_path, data, dice, is_reopened):
    path = tmp_path / "x.partial"
    path.unlink(missing_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)
    told = Piece(url="http://x.example/", bytes=len(data))
    partial = Partial(path, told)
    cuts = sorted({0, len(data), *(dice.randrange(len(data)) for _ in range(5))})
    pieces = list(pairwise(cuts))
    dice.shuffle(pieces)
    for start, end in pieces:
        gaps = tuple(partial.held.gaps(start, end))
        middle = (start + end) // 2
        partial.write(start, [data[start:middle], data[middle:end]], gaps)
        partial.held.add(start, end)
        partial.hash(partial.held.head)
        if is_reopened:
            partial.close()
            partial = Partial(path, told)
    partial.hash(len(data))
    assert partial.sha256 == hashlib.sha256(data).hexdigest()
    assert path.read_bytes() == data
    partial.close()


def test_what_is_held_is_never_written_again(tmp_path):
    partial = Partial(tmp_path / "x.partial", Piece(url="http://x.example/"))
    partial.write(0, [b"abc"], ((0, 3),))
    partial.held.add(0, 3)
    partial.write(0, [b"XXXdef"], tuple(partial.held.gaps(0, 6)))
    partial.close()
    assert (tmp_path / "x.partial").read_bytes() == b"abcdef"


@pytest.mark.parametrize(("boot", "believed"), [(None, 3000), ("of before the power cut", 1000)])
def test_after_a_power_cut_only_what_was_synced_is_believed(tmp_path, boot, believed):
    told = Piece(url="http://x.example/", bytes=5000)
    partial = Partial(tmp_path / "x.partial", told)
    partial.write(0, [bytes(3000)], ((0, 3000),))
    partial.sync([(0, 1000)])
    partial.held.add(0, 3000)
    partial.close()
    noted = tmp_path / "x.json"
    state = msgspec.json.decode(noted.read_bytes(), type=State)
    if boot is not None:
        noted.write_bytes(msgspec.json.encode(msgspec.structs.replace(state, boot=boot)))
    if not state.boot:
        pytest.skip("this kernel has no boot id, and what was not synced is never believed")
    again = Partial(tmp_path / "x.partial", told)
    assert again.held.bytes == believed
    again.close()


@pytest.mark.parametrize(
    "noted",
    [b"", b"{", b'{"url": 1}', b'{"url": "x", "written": [[5, 2]]}', b'{"url": "x", "etag": []}'],
)
def test_note_that_says_nothing_sensible_is_as_none(tmp_path, noted):
    (tmp_path / "x.partial").write_bytes(bytes(100))
    (tmp_path / "x.json").write_bytes(noted)
    partial = Partial(tmp_path / "x.partial", Piece(url="http://x.example/"))
    assert partial.held.bytes == 0
    partial.close()


def test_same_bytes_have_one_partial_file_wherever_they_are():
    first = Piece(url="http://a.example/f", sha256=SHA256)
    assert key(first) == key(Piece(url="http://b.example/g", sha256=SHA256)) == SHA256
    assert key(Piece(url="http://a.example/f")) != key(Piece(url="http://b.example/f"))
    assert Path(key(Piece(url="http://a.example/../f"))).name == key(
        Piece(url="http://a.example/../f")
    )
