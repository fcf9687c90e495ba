"""The fetcher speaks to the public internet and the operator's own hosts, and to nobody else."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import FetchFailed
from haneul.models.pulling.addresses import is_public
from haneul.models.pulling.fetch import Fetcher
from haneul.testing.hub import FakeHub

TOKEN = {"Authorization": "Bearer secret"}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://127.1.2.3/x",
        "http://0.0.0.0/x",
        "http://10.0.0.1/x",
        "http://192.168.1.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://100.100.100.200/latest",
        "http://168.63.129.16/x",
        "http://[::1]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://[64:ff9b::a00:1]/x",
        "http://[fe80::1]/x",
        "http://[fd00:ec2::254]/x",
        "http://localhost/x",
        "http://LOCALHOST./x",
        "http://printer.local/x",
        "http://metadata.google.internal/x",
        "http://2130706433/x",
        "http://0x7f000001/x",
        "file:///etc/passwd",
        "ftp://example.com/x",
        "http://user:password@example.com/x",
        "http:///x",
    ],
)
async def test_private_places_and_other_schemes_are_refused(url):
    async with Fetcher() as fetcher:
        with pytest.raises(FetchFailed):
            await fetcher.get_text(url)


async def test_hub_on_a_private_address_is_refused_unless_the_operator_named_it(hub):
    async with Fetcher() as fetcher:
        with pytest.raises(FetchFailed, match="Refused for safety"):
            await fetcher.get_text(f"{hub.url}/files/tiny.gguf")
        assert hub.seen == []
        fetcher.trust(hub.url)
        assert (await fetcher.get_text(f"{hub.url}/files/tiny.gguf")).body[:4] == b"GGUF"


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:9/x",
        "http://localhost:9/x",
        "file:///etc/passwd",
        "http://a:b@example.com/x",
        "//[::1]:9/x",
    ],
)
async def test_redirect_to_a_private_place_is_refused(hub, fetcher, target):
    hub.faults["url"].redirect_to = target
    with pytest.raises(FetchFailed):
        await fetcher.get_text(f"{hub.url}/files/tiny.gguf")
    assert len(hub.seen) == 1


async def test_redirects_without_end_are_given_up(hub, fetcher):
    hub.faults["url"].redirect_to = f"{hub.url}/files/again.gguf"
    with pytest.raises(FetchFailed, match="more than 5 times"):
        await fetcher.get_text(f"{hub.url}/files/tiny.gguf")
    assert len(hub.seen) == 6


async def test_credentials_stay_with_their_host(hub, fetcher, tmp_path):
    async with FakeHub(tmp_path / "hub") as other:
        fetcher.trust(other.url)
        hub.faults["url"].redirect_to = f"{other.url}/files/tiny.gguf"
        await fetcher.get_text(f"{hub.url}/files/tiny.gguf", credentials=TOKEN)
        assert hub.seen[0].headers["Authorization"] == "Bearer secret"
        assert "Authorization" not in other.seen[0].headers


async def test_name_that_leads_to_a_private_address_is_refused(hub):
    port = hub.url.rpartition(":")[2]
    async with Fetcher() as fetcher:
        with pytest.raises(FetchFailed, match="Refused for safety"):
            await fetcher.get_text(f"http://127.0.0.1.:{port}/files/tiny.gguf")
    assert hub.seen == []


@pytest.mark.parametrize(
    ("status", "words"), [(404, "no such model"), (429, "asks to wait"), (500, "failed")]
)
async def test_status_becomes_words_a_person_understands(hub, fetcher, status, words):
    hub.faults["url"].download_status = status
    with pytest.raises(FetchFailed, match=words) as caught:
        await fetcher.get_text(f"{hub.url}/files/tiny.gguf")
    assert caught.value.retry_after_s == (7.0 if status == 429 else None)


async def test_answer_that_is_packed_too_large_or_no_json_is_refused(hub, fetcher):
    url = f"{hub.url}/files/tiny.gguf"
    with pytest.raises(FetchFailed, match="more than 1000 bytes"):
        await fetcher.get_text(url, limit_bytes=1000)
    with pytest.raises(FetchFailed, match="JSON"):
        await fetcher.get_json(url)
    hub.faults["url"].packs = True
    with pytest.raises(FetchFailed, match="packed"):
        await fetcher.get_text(url)


async def test_silence_ends_at_the_deadline(hub, fetcher):
    hub.faults["url"].download_hangs = True
    with pytest.raises(FetchFailed, match="sent nothing for 1 s"):
        await fetcher.get_text(f"{hub.url}/files/tiny.gguf")


async def test_closed_port_and_unknown_name_are_told_apart(hub):
    async with Fetcher(trusted_hosts=["http://127.0.0.1:9"]) as fetcher:
        with pytest.raises(FetchFailed, match="cannot be reached"):
            await fetcher.get_text("http://127.0.0.1:9/x")
        with pytest.raises(FetchFailed, match="cannot be found"):
            await fetcher.get_text("http://no-such-host.invalid/x")


async def test_proxy_of_the_environment_is_used(hub, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", hub.url)
    monkeypatch.setenv("http_proxy", hub.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with Fetcher() as fetcher:
        text = await fetcher.get_text("http://models.example/files/tiny.gguf")
        assert text.body[:4] == b"GGUF"
        assert hub.seen[0].headers["Host"] == "models.example"
        with pytest.raises(FetchFailed, match="Refused for safety"):
            await fetcher.get_text("http://169.254.169.254/files/tiny.gguf")


private_ranges = st.sampled_from(
    ["10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"]
).map(ipaddress.ip_network)


@given(private_ranges, st.integers(0, (1 << 24) - 1), st.sampled_from(["", "::ffff:", "64:ff9b::"]))
def test_private_address_stays_private_in_every_disguise(network, number, disguise):
    address = network[number % network.num_addresses]
    assert not is_public(f"{disguise}{address}")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address):
    assert is_public(address)
