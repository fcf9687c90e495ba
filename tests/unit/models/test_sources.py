"""Who is asked for a model, with which right, and what each offers: against honest fakes."""

import hashlib
import json
import shutil
from contextlib import aclosing
from types import SimpleNamespace

import pytest

from haneul.base.errors import CommandError, FetchFailed
from haneul.models.pulling.pull import pull
from haneul.models.pulling.race import offers
from haneul.models.pulling.supply import Supply
from haneul.models.reference import parse, show
from haneul.models.sources import hub_settings
from haneul.models.sources.ask import Sources
from haneul.models.sources.modelscope import ModelScope
from haneul.models.sources.offer import Wanted
from haneul.testing import repositories
from haneul.testing.hub import FakeHub
from haneul.testing.safetensors import safetensors_bytes

CONFIG = {"model_type": "llama", "auto_map": {"AutoModel": "evil.Model"}, "hidden_size": 8}
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.fixture
def tensors(hub):
    """A repository of safetensors beside the GGUF one, with a pickle and code in it."""
    folder = hub.folder / "models" / "org" / "tensors"
    folder.mkdir()
    for number, name in enumerate(SHARDS):
        (folder / name).write_bytes(safetensors_bytes({f"w{number}": ("F32", [4])}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    return folder


@pytest.fixture
def asking(hub, fetcher):
    """Asks every source for a reference; the offers as they came, and the failures' words."""

    async def go(text, environ=None, **options):
        failures = []
        sources = Sources(fetcher, {**hub.environ, **(environ or {})})
        asks = await sources.asks([Wanted(parts=(parse(text),))], **options)
        async with aclosing(offers(asks, failures)) as found:
            return SimpleNamespace(
                offers=[offer async for offer in found],
                said=" ".join(failure.message for failure in failures),
            )

    return go


def paths(offer):
    return [file.path for file in offer.files]


# hubs


@pytest.mark.parametrize("text", ["hf:org/tensors", "modelscope:org/tensors"])
async def test_repository_of_safetensors_is_offered_whole_and_cleaned(asking, tensors, text):
    (offer,) = (await asking(text)).offers
    assert offer.format == "safetensors"
    assert paths(offer) == [*SHARDS, "config.json", "tokenizer.json"]
    config = next(file for file in offer.files if file.path == "config.json")
    content = config.parts[0].content
    assert b"auto_map" not in content
    assert hashlib.sha256(content).hexdigest() == config.sha256
    assert config.bytes == len(content)
    left_out = {entry.path for entry in offer.left_out}
    assert left_out == {"modeling_evil.py", "pytorch_model.bin", "config.json: auto_map"}


@pytest.mark.parametrize("faults", [{"lists_no_sizes": True, "page_entries": 2}, {}])
async def test_hub_without_sizes_is_asked_for_the_tree_page_by_page(hub, asking, tensors, faults):
    for name, value in faults.items():
        setattr(hub.faults["huggingface"], name, value)
    (offer,) = (await asking("hf:org/tensors")).offers
    assert paths(offer)[:2] == SHARDS
    sizes = {name: (tensors / name).stat().st_size for name in SHARDS}
    assert {file.path: file.bytes for file in offer.files[:2]} == sizes
    assert all(file.sha256 for file in offer.files[:2])
    pages = [seen for seen in hub.seen if "/tree/" in seen.path]
    assert len(pages) == (3 if faults else 0)


async def test_listing_that_goes_on_at_another_host_is_not_followed(hub, asking, tensors):
    hub.faults["huggingface"].lists_no_sizes = True
    hub.faults["huggingface"].page_entries = 1
    hub.faults["huggingface"].continues_at = "http://elsewhere.example"
    found = await asking("hf:org/tensors")
    assert found.offers == []
    assert "continues its listing at another host" in found.said


async def test_revision_is_the_one_that_is_named_and_downloads_are_pinned_to_its_commit(
    hub, asking, model
):
    branch = hub.folder / "models" / "org" / "repo@v1"
    (branch / "tiny.Q4_K_M.gguf").write_bytes(model.data[:-1] + b"x")
    main = (await asking("hf:org/repo")).offers[0]
    old = (await asking("hf:org/repo@v1")).offers[0]
    assert old.files[0].sha256 == repositories.sha256(branch / "tiny.Q4_K_M.gguf")
    assert old.files[0].sha256 != main.files[0].sha256
    assert f"/resolve/{old.revision}/" in old.files[0].parts[0].piece.url
    by_commit = (await asking(f"hf:org/repo@{old.revision}")).offers[0]
    assert by_commit.files == old.files
    assert (await asking("modelscope:org/repo@v1")).offers[0].files[0].sha256 == old.files[0].sha256


async def test_unknown_repository_revision_and_gate_are_told_apart(hub, asking):
    assert "has no model org/none" in (await asking("hf:org/none")).said
    assert "no revision 'v9'" in (await asking("hf:org/repo@v9")).said
    hub.tokens["org/repo"] = "hf_right"
    assert "needs a token (HF_TOKEN)" in (await asking("hf:org/repo")).said
    hub.is_gated = True
    gated = (await asking("hf:org/repo")).said
    assert f"accept its conditions at {hub.url}/org/repo" in gated
    assert (await asking("hf:org/repo", {"HF_TOKEN": "hf_right\n"})).offers


async def test_token_that_a_login_left_is_used(hub, asking, tmp_path):
    hub.tokens["org/repo"] = "hf_right"
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface" / "token").write_text("hf_right\n")
    assert (await asking("hf:org/repo", {"HF_HOME": str(tmp_path / "huggingface")})).offers
    assert (await asking("hf:org/repo", {"XDG_CACHE_HOME": str(tmp_path)})).offers
    declined = {"XDG_CACHE_HOME": str(tmp_path), "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    assert (await asking("hf:org/repo", declined)).offers == []


async def test_modelscope_takes_its_token_in_a_cookie_and_tells_the_licence(hub, asking):
    hub.tokens["org/repo"] = "ms right"
    assert (await asking("modelscope:org/repo")).offers == []
    hub.tokens["org/repo"] = "ms%20right"
    (offer,) = (await asking("modelscope:org/repo", {"MODELSCOPE_API_TOKEN": "ms right"})).offers
    assert offer.licence == "mit"


async def test_listing_of_modelscope_that_was_cut_is_walked_folder_by_folder(hub, fetcher):
    folder = hub.folder / "models" / "org" / "large"
    names = {f"d{n}/{name}" for n in range(3) for name in ("a.txt", "b.txt", "sub/c.txt")}
    for name in names | {"z/tiny-Q8_0.gguf"}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    hub.faults["modelscope"].cut_entries = 6
    settings = hub_settings.modelscope(hub.environ)
    listing = await ModelScope(fetcher, settings, cut_at=6).listing(parse("modelscope:org/large"))
    assert {file.path for file in listing.files} == names | {"z/tiny-Q8_0.gguf"}


NONSENSE = [
    b"",
    b"null",
    b"[]",
    b"{",
    b"[" * 100_000,
    b'{"sha": 1}',
    b'{"sha": "../..", "siblings": []}',
    b'{"sha": "x", "siblings": [{"rfilename": 1}]}',
    b'{"sha": "x", "siblings": [{"rfilename": "a.gguf", "size": -1}]}',
    b'{"sha": "x", "siblings": [{"rfilename": "a.gguf", "size": 1e400}]}',
    b'{"sha": "x", "siblings": [{"rfilename": "../../a.gguf", "size": 1}]}',
    b'{"Code": 200, "Data": {"Files": [{"Path": "a.gguf", "Size": -1}]}}',
    b'{"Code": 200, "Data": {"Files": [{"Path": "/a.gguf", "Size": 1}]}}',
    b'{"Code": 200, "Data": 3}',
    b'{"Code": 10990101007, "Message": "no such model", "Data": null}',
]


@pytest.mark.parametrize("said", NONSENSE)
@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
async def test_nonsense_for_a_listing_is_no_offer_but_a_reason(hub, asking, source, said):
    hub.faults[source].says = said
    found = await asking(f"{source}:org/repo")
    assert found.offers == []
    assert found.said


async def test_error_of_ours_is_not_taken_for_a_refusal():
    async def ask():
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        async with Supply([ask()], []) as supply:
            assert [offer async for offer in supply] == []


# caches of the hubs' own clients


@pytest.fixture
def cached(hub, tmp_path):
    """Writes what huggingface_hub leaves of org/repo after a download."""
    cache = tmp_path / "cache" / "models--org--repo"

    def write(data=None):
        source = hub.folder / "models" / "org" / "repo"
        files = repositories.files_of(source)
        commit = repositories.commit_of(files)
        snapshot = cache / "snapshots" / commit
        for folder in (snapshot, cache / "blobs", cache / "refs"):
            folder.mkdir(parents=True, exist_ok=True)
        for name, path in files.items():
            blob = cache / "blobs" / repositories.etag(path).strip('"')
            blob.write_bytes(path.read_bytes() if data is None else data)
            (snapshot / name).symlink_to(f"../../blobs/{blob.name}")
        (cache / "refs" / "main").write_text(commit)
        return {"HF_HUB_CACHE": str(cache.parent)}

    return write


def state(folder):
    """Every path below with its bytes, time and kind."""
    return {
        path: (path.lstat().st_mtime_ns, path.is_symlink(), path.is_file() and path.read_bytes())
        for path in sorted(folder.rglob("*"))
    }


async def test_file_in_the_clients_cache_is_not_downloaded_and_the_cache_stays_as_it_was(
    hub, cached, fetcher, blobs, model, tmp_path
):
    environ = {**hub.environ, **cached()}
    before = state(tmp_path / "cache")
    pulled = await pull(parse("hf:org/repo"), blobs=blobs, fetcher=fetcher, environ=environ)
    assert (pulled.sha256, pulled.path.read_bytes()) == (model.sha256, model.data)
    assert "its cache here" in pulled.source
    assert hub.downloads() == []
    assert state(tmp_path / "cache") == before


async def test_cache_serves_when_the_hub_cannot_be_reached_or_may_not_be_asked(
    hub, cached, asking, model, fetcher, blobs
):
    environ = cached()
    for away in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        (offer,) = (await asking("hf:org/repo", {**environ, **away})).offers
        assert offer.files[0].sha256 == model.sha256
        assert offer.files[0].parts[0].path.read_bytes() == model.data
        assert offer.source == "Hugging Face's cache"
    environ = {**hub.environ, **environ, "HF_HUB_OFFLINE": "1"}
    pulled = await pull(parse("hf:org/repo"), blobs=blobs, fetcher=fetcher, environ=environ)
    assert not pulled.path.is_symlink()
    assert pulled.path.read_bytes() == model.data


async def test_older_state_in_the_cache_is_not_taken_for_the_present_one(hub, cached, asking):
    environ = cached()
    path = hub.folder / "models" / "org" / "repo" / "tiny.Q4_K_M.gguf"
    path.write_bytes(path.read_bytes() + b"new")
    (offer,) = (await asking("hf:org/repo", environ)).offers
    assert offer.source == "huggingface"
    assert offer.files[0].parts[0].piece is not None


async def test_damaged_file_in_a_cache_gives_way_to_the_hub(hub, cached, fetcher, blobs, model):
    environ = {**hub.environ, **cached(data=b"x" * model.size)}
    pulled = await pull(parse("hf:org/repo"), blobs=blobs, fetcher=fetcher, environ=environ)
    assert (pulled.sha256, pulled.source) == (model.sha256, "huggingface")


async def test_model_that_is_gone_from_the_hub_is_not_taken_from_the_cache(hub, cached, asking):
    environ = cached()
    shutil.rmtree(hub.folder / "models" / "org" / "repo")
    found = await asking("hf:org/repo", environ)
    assert found.offers == []
    assert "has no model org/repo" in found.said


@pytest.mark.parametrize(
    "place",
    ["models/org--repo/snapshots/master", "models/org/repo", "hub/models/org/repo", "org/repo"],
)
async def test_every_layout_of_modelscopes_cache_is_read(
    hub, fetcher, blobs, model, tmp_path, place
):
    shutil.copytree(hub.folder / "models" / "org" / "repo", tmp_path / "ms" / place)
    environ = {**hub.environ, "MODELSCOPE_CACHE": str(tmp_path / "ms")}
    pulled = await pull(parse("modelscope:org/repo"), blobs=blobs, fetcher=fetcher, environ=environ)
    assert pulled.sha256 == model.sha256
    assert "its cache here" in pulled.source
    assert hub.downloads() == []


# folders, other haneul


async def test_folder_of_safetensors_becomes_a_revision_and_stays_as_it_was(
    tensors, fetcher, blobs, tmp_path
):
    before = state(tensors)
    pulled = await pull(parse(f"{tensors}/"), blobs=blobs, fetcher=fetcher, environ={})
    assert pulled.manifest.format == "safetensors"
    kept = {file.path for file in pulled.manifest.files}
    assert kept == {*SHARDS, "config.json", "tokenizer.json"}
    assert b"auto_map" not in (pulled.path.parent / "config.json").read_bytes()
    assert state(tensors) == before
    (tensors / "tokenizer.json").write_text('{"changed": 1}')
    again = await pull(parse(f"{tensors}/"), blobs=blobs, fetcher=fetcher, environ={})
    assert again.sha256 != pulled.sha256


async def test_folder_that_is_not_there_is_said(fetcher, blobs, tmp_path):
    with pytest.raises(FetchFailed, match="There is no folder"):
        await pull(parse(f"{tmp_path}/none/"), blobs=blobs, fetcher=fetcher, environ={})


@pytest.fixture
async def peer(tmp_path, model):
    """Another haneul that has two models; a key of it is needed."""
    models = tmp_path / "peer" / "models"
    for name in ("org/repo-Q4_K_M", "haneul/tiny-1m"):
        (models / name).mkdir(parents=True)
        (models / name / "tiny.Q4_K_M.gguf").write_bytes(model.data)
    async with FakeHub(tmp_path / "peer") as served:
        served.tokens = dict.fromkeys(("org/repo-Q4_K_M", "haneul/tiny-1m"), "sk-hn-key")
        yield served


def pointing(peer):
    # a path in the address stands as it is: the fake has its hub at the root
    return {"HANEUL_PEERS": f"{peer.url}/.", "HANEUL_PEER_KEY": "sk-hn-key"}


@pytest.mark.parametrize("text", ["hf:org/repo:Q4_K_M", "modelscope:org/repo:Q4_K_M"])
async def test_what_another_haneul_pulled_from_a_hub_comes_from_there(asking, peer, model, text):
    offer = (await asking(text, pointing(peer))).offers[0]
    assert offer.source == "haneul at 127.0.0.1"
    assert offer.files[0].sha256 == model.sha256
    assert offer.files[0].parts[0].piece.url.startswith(peer.url)


async def test_model_of_another_haneul_is_named_as_in_the_catalogue(asking, peer, model):
    for text in ("haneul:tiny:1m", "haneul:haneul/tiny-1m"):
        (offer,) = (await asking(text, pointing(peer))).offers
        assert offer.files[0].sha256 == model.sha256
        assert parse(show(parse(text))) == parse(text)


async def test_haneul_without_the_model_leaves_it_to_the_hub(asking, peer):
    found = await asking("hf:org/repo@v1", pointing(peer))
    assert [offer.source for offer in found.offers] == ["huggingface"]


async def test_no_configured_haneul_and_an_address_that_is_none_are_said(asking):
    assert "set HANEUL_PEERS" in (await asking("haneul:tiny:1m")).said
    with pytest.raises(CommandError, match="is not an address such as"):
        await asking("haneul:tiny:1m", {"HANEUL_PEERS": "box.local"})


async def test_key_of_another_haneul_goes_to_no_hub(hub, asking, peer):
    await asking("hf:org/repo:Q4_K_M", pointing(peer))
    assert "sk-hn-key" not in str(hub.seen)
    assert peer.seen
