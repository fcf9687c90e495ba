"""A bundle holds what was chosen, and one that says anything but what was signed is not taken."""

import hashlib
import io
import tarfile
import tracemalloc
from types import SimpleNamespace

import msgspec
import pytest
from bundle_homes import SHARDS, Home, model, nothing
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.base import gguf_parts
from haneul.base.errors import BrokenFile, CommandError, Conflict, NotAllowed, NotFound
from haneul.models import serving
from haneul.models.bundle import contents as form
from haneul.models.bundle import create, keys, load
from haneul.models.bundle.archive import END, Reader, Writer
from haneul.models.manifest import File
from haneul.store import audit
from haneul.store import revisions as queries
from haneul.testing.gguf import TINY, TINY_WEIGHTS, gguf_bytes


@pytest.fixture
def homes(tmp_path):
    """Two homes; the second takes the first one's bundles."""
    here, there = Home(tmp_path / "here"), Home(tmp_path / "there")
    keys.trust(there.folder / "keys", here.public, "here")
    yield SimpleNamespace(here=here, there=there)
    here.store.close()
    there.store.close()


def test_models_go_from_one_home_to_another_whole(homes):
    one = homes.here.add("tiny:1m", model())
    two = homes.here.add("shards", SHARDS, licence=None)
    data = homes.here.bundle("tiny:1m", "shards")
    placed = {each.name: each for each in homes.there.load(data)}
    assert placed["tiny:1m"].revision == one.id
    assert (placed["tiny:1m"].is_new, placed["tiny:1m"].is_served) == (True, True)
    assert (placed["shards"].revision, placed["shards"].is_served) == (two.id, False)
    assert "convert" in placed["shards"].note
    row = homes.there.rows()["tiny:1m"]
    assert (row.digest, row.licence, row.revision) == (one.digest, "apache-2.0", one.id)
    assert row.source == "huggingface by bundle of here"
    for each in (one, two):
        kept = homes.there.store.run(queries.get, each.model, each.id)
        assert (kept.manifest, kept.facts) == (each.manifest, each.facts)
    for blob in homes.here.collect("tiny:1m", "shards").blobs:
        assert homes.there.blobs.verify(blob.sha256)


def test_model_of_several_files_is_laid_out_for_its_engine(homes):
    files = {}
    for number, tensors in enumerate((TINY_WEIGHTS[:1], TINY_WEIGHTS[1:])):
        split = {"split.no": number, "split.count": 2, "split.tensors.count": len(TINY_WEIGHTS)}
        metadata = {**(TINY if number == 0 else {}), **split}
        files[f"tiny-{number + 1:05d}-of-00002.gguf"] = gguf_bytes(metadata, tensors)
    homes.here.add("split", files)
    (placed,) = homes.there.load(homes.here.bundle("split"))
    row = homes.there.rows()["split"]
    assert placed.is_served
    assert gguf_parts.check_files(row.path).parts == 2


def test_a_bundle_is_a_tar_that_other_tools_read(homes, tmp_path):
    homes.here.add("tiny", model())
    with tarfile.open(fileobj=io.BytesIO(homes.here.bundle("tiny"))) as archive:
        names = archive.getnames()
        inside = archive.extractfile(names[2]).read()
    assert names[:2] == ["bundle.json", "bundle.sig"]
    assert names[2] == f"blobs/sha256-{hashlib.sha256(inside).hexdigest()}"


def test_models_keep_the_names_that_files_had(homes):
    homes.here.add("My model (2), v1", model())
    assert homes.there.load(homes.here.bundle("My model (2), v1"))[0].is_served


def test_loading_again_changes_nothing_and_needs_no_bytes_twice(homes):
    homes.here.add("tiny", model())
    data = homes.here.bundle("tiny")
    homes.there.load(data)
    path = next((homes.there.folder / "models" / "blobs").iterdir())
    before = path.stat().st_ino
    (again,) = homes.there.load(data)
    assert (again.is_new, again.is_served) == (False, True)
    assert path.stat().st_ino == before
    assert len(homes.there.store.run(queries.of_model, "tiny")) == 1


def test_a_load_that_was_cut_means_nothing_and_the_next_goes_on(homes):
    homes.here.add("tiny", model())
    homes.here.add("shards", SHARDS)
    data = homes.here.bundle("tiny", "shards")
    with pytest.raises(BrokenFile, match="cut short"):
        homes.there.load(data[: len(data) - len(END) - 600])
    assert homes.there.rows() == {}
    kept = {
        path.name: path.stat().st_ino for path in homes.there.blobs.path("0" * 64).parent.iterdir()
    }
    assert len(kept) == 2  # the small files came whole
    assert list(homes.there.blobs.partial.iterdir()) == []
    homes.there.load(data)
    for name, inode in kept.items():
        assert (homes.there.folder / "models" / "blobs" / name).stat().st_ino == inode


def test_unknown_and_wrong_signers_are_refused_unless_told(homes, tmp_path):
    homes.here.add("tiny", model())
    data = homes.here.bundle("tiny")
    keys.distrust(homes.there.folder / "keys", "here")
    with pytest.raises(NotAllowed, match="whom this home does not know"):
        homes.there.load(data)
    with pytest.raises(NotAllowed, match="not by ed25519:"):
        homes.there.load(data, told=homes.there.public)
    assert homes.there.rows() == {}
    (placed,) = homes.there.load(data, told=homes.here.public)
    assert placed.is_served
    homes.there.load(data, is_any=True)


def test_who_is_told_is_the_only_one_even_among_the_trusted(homes):
    homes.here.add("tiny", model())
    with pytest.raises(NotAllowed, match="not by"):
        homes.there.load(homes.here.bundle("tiny"), told="ed25519:" + "0" * 64)


def test_a_home_takes_back_what_it_made_itself(homes):
    homes.here.add("tiny", model())
    assert homes.here.load(homes.here.bundle("tiny"))[0].is_served


def test_a_changed_signature_is_refused_whoever_is_let_in(homes):
    homes.here.add("tiny", model())
    data = bytearray(homes.here.bundle("tiny"))
    at = data.index(b'"note"') if b'"note"' in data else data.index(b"haneul_bundle")
    data[at + 1 : at + 2] = b"x"
    for options in ({}, {"is_any": True}, {"told": homes.here.public}):
        with pytest.raises(BrokenFile, match="signature does not fit"):
            homes.there.load(bytes(data), **options)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A bundle, and a home that trusts its maker and has nothing."""
    folder = tmp_path_factory.mktemp("small")
    here, there = Home(folder / "here"), Home(folder / "there")
    keys.trust(there.folder / "keys", here.public, "here")
    here.add("tiny", {"tiny.gguf": gguf_bytes(weights=TINY_WEIGHTS[:1])})
    yield SimpleNamespace(data=here.bundle("tiny"), there=there, here=here)
    here.store.close()
    there.store.close()


def verified(small, data):
    reader = Reader(io.BytesIO(data))
    signed = load.read_signed(reader, keys.known(small.there.folder / "keys"))
    load.verify_files(reader, signed.contents, nothing)


def test_an_untouched_bundle_is_whole(small):
    verified(small, small.data)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_found(small, data):
    at = data.draw(st.integers(0, len(small.data) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = bytearray(small.data)
    changed[at] ^= flip
    with pytest.raises((BrokenFile, NotAllowed)):
        verified(small, bytes(changed))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_cut_and_any_addition_are_found(small, data):
    at = data.draw(st.integers(0, len(small.data) - 1))
    with pytest.raises((BrokenFile, NotAllowed)):
        verified(small, small.data[:at])
    with pytest.raises((BrokenFile, NotAllowed)):
        verified(small, small.data[:at] + b"\0" * 512 + small.data[at:])


@settings(max_examples=150, deadline=None)
@given(noise=st.binary(max_size=2000))
def test_any_bytes_are_no_bundle(small, noise):
    with pytest.raises((BrokenFile, NotAllowed)):
        verified(small, noise)


def signed_by(home, **changes):
    """A bundle of a signer who is trusted and lies: contents changed, then signed."""
    data = home.bundle("tiny")
    contents = form.read(Reader(io.BytesIO(data)).small("bundle.json", 1 << 20))
    return home.written(msgspec.structs.replace(contents, **changes))


def renamed(home, **changes):
    (model,) = home.collect("tiny").models
    return (msgspec.structs.replace(model, **changes),)


def test_even_a_trusted_signer_is_held_to_the_form(homes):
    here, there = homes.here, homes.there
    here.add("tiny", model())
    outside = File("../outside.gguf", "0" * 64, 1)
    manifest = here.collect("tiny").models[0].manifest
    for changes, reason in [
        ({"haneul_bundle": 2}, "of version 2"),
        ({"note": "red \x1b[31m"}, "signs that cannot be shown"),
        ({"models": renamed(here, name="--force")}, "is called"),
        ({"models": renamed(here, name="a\nb")}, "is called"),
        ({"models": renamed(here, name="")}, "is called"),
        ({"models": renamed(here, digest="0" * 64)}, "The weights of tiny"),
        (
            {"models": renamed(here, manifest=msgspec.structs.replace(manifest, files=(outside,)))},
            "cannot hold a file called",
        ),
        ({"models": ()}, "files are not those of its models"),
    ]:
        with pytest.raises(BrokenFile, match=reason):
            there.load(signed_by(here, **changes))
    assert there.rows() == {}


def test_files_that_no_pull_would_let_in_are_not_taken_from_a_bundle_either(homes):
    here = homes.here
    here.add("tiny", model())
    (good,) = here.collect("tiny").models
    broken = gguf_bytes({**TINY, "llama.block_count": 0})
    code = {**SHARDS, "config.json": b'{"auto_map": {"AutoModel": "modeling.Evil"}}'}
    for files, reason in [
        ({"tiny.gguf": broken}, "llama.block_count is 0"),
        (code, "make a loader import code"),
        ({**model(), "run.py": b"print()"}, "run.py is code"),
    ]:
        listed = tuple(sorted(File(path, here.put(raw), len(raw)) for path, raw in files.items()))
        lying = msgspec.structs.replace(
            good.manifest, files=listed, format="gguf" if "tiny.gguf" in files else "safetensors"
        )
        digest = listed[-1].sha256 if len(lying.weights) == 1 else lying.revision
        single = lying.weights[0].sha256 if len(lying.weights) == 1 else digest
        bad = msgspec.structs.replace(good, manifest=lying, digest=single)
        contents = msgspec.structs.replace(
            here.collect("tiny"),
            models=(bad,),
            blobs=tuple(form.Blob(file.sha256, file.bytes) for file in listed),
        )
        with pytest.raises(BrokenFile, match=reason):
            homes.there.load(here.written(contents))
        with pytest.raises(BrokenFile, match=reason):
            create.check_here(contents, here.blobs)
    assert homes.there.rows() == {}


def test_withdrawn_missing_and_damaged_models_are_not_bundled(homes):
    here = homes.here
    row = here.add("tiny", model())
    path = here.blobs.path(row.digest)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"\xff")
    with pytest.raises(BrokenFile, match="damaged"):
        here.bundle("tiny")
    path.unlink()
    with pytest.raises(NotFound, match="not here any more"):
        here.bundle("tiny")
    path.write_bytes(data)
    here.store.run(lambda c: serving.withdraw(c, row, "wrong"))
    with pytest.raises(Conflict, match="withdrawn"):
        here.bundle("tiny")


def test_loading_is_noted_with_its_signer(homes):
    homes.here.add("tiny", model())
    homes.there.load(homes.here.bundle("tiny"))
    (entry,) = [row for row in homes.there.store.run(audit.recent) if row.action == "bundle.load"]
    assert entry.detail == "here"
    assert homes.here.public in entry.after


class OneWay(io.RawIOBase):
    """A pipe: it is read once, in small pieces, and nobody goes back."""

    def __init__(self, data):
        self._data = io.BytesIO(data)

    def readable(self):
        return True

    def seekable(self):
        return False

    def read(self, count=-1):
        return self._data.read(min(count, 1000) if count >= 0 else 1000)


def test_a_bundle_is_read_from_a_pipe_too(homes):
    homes.here.add("tiny", model())
    data = homes.here.bundle("tiny")
    for _ in range(2):  # the second time its files are gone past
        reader = Reader(OneWay(data))
        signed = load.read_signed(reader, keys.known(homes.there.folder / "keys"))
        load.take_files(reader, signed.contents, homes.there.blobs, nothing)
    assert homes.there.blobs.verify(signed.contents.blobs[0].sha256)


def test_files_of_any_size_stream_through_a_mebibyte(homes, tmp_path):
    size = 96 << 20
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(size)
    sha256 = hashlib.sha256(bytes(size)).hexdigest()
    homes.here.blobs.take(path, sha256)
    written = tmp_path / "bundle"
    tracemalloc.start()
    try:
        with written.open("wb") as out, homes.here.blobs.path(sha256).open("rb") as source:
            Writer(out).blob(sha256, size, source, nothing)
        with written.open("rb") as file:
            Reader(file).blob(sha256, size, nothing, nothing)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_heads_of_files_beyond_eight_gigabytes_are_read_by_other_tools():
    out = io.BytesIO()
    with pytest.raises(BrokenFile, match="damaged"):
        Writer(out).blob("0" * 64, 1 << 40, io.BytesIO(b""), nothing)
    head = tarfile.TarInfo.frombuf(out.getvalue()[:512], "ascii", "strict")
    assert (head.size, head.name) == (1 << 40, "blobs/sha256-" + "0" * 64)


def test_lying_sizes_take_no_memory(homes):
    head = tarfile.TarInfo("bundle.json")
    head.size, head.mode, head.mtime = 15 << 20, 0o444, 0
    data = head.tobuf(tarfile.GNU_FORMAT)
    tracemalloc.start()
    try:
        with pytest.raises(BrokenFile, match="cut short"):
            Reader(io.BytesIO(data)).small("bundle.json", 16 << 20)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def half_written(path):
    with create.new_file(path, needed_bytes=1, is_forced=False) as out:
        out.write(b"half")
        raise RuntimeError


def test_file_gets_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "out" / "site.tar"
    path.parent.mkdir()
    with pytest.raises(RuntimeError):
        half_written(path)
    assert list(path.parent.iterdir()) == []
    with create.new_file(path, needed_bytes=1, is_forced=False) as out:
        out.write(b"whole")
    with (
        pytest.raises(Conflict, match="force"),
        create.new_file(path, needed_bytes=1, is_forced=False),
    ):
        pass
    with create.new_file(path, needed_bytes=1, is_forced=True) as out:
        out.write(b"again")
    assert path.read_bytes() == b"again"
    with (
        pytest.raises(CommandError, match="too full"),
        create.new_file(tmp_path / "big", needed_bytes=1 << 60, is_forced=False),
    ):
        pass
