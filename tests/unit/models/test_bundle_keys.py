"""Keys that sign bundles: made once, kept from others, shown and trusted by their public half."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from haneul.base.errors import BadRequest, BrokenFile, CommandError, NotFound
from haneul.models.bundle import keys

OTHER = "ed25519:" + "ab" * 32


def test_a_home_makes_one_key_that_only_its_owner_reads(tmp_path):
    folder = tmp_path / "keys"
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: keys.public(keys.own_key(folder)), range(16)))
    assert len(made) == 1
    assert keys.PUBLIC.fullmatch(made.pop())
    assert stat.S_IMODE((folder / "bundle.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.listdir(folder) == ["bundle.key"]


def test_a_key_that_others_can_read_or_that_is_a_link_is_not_used(tmp_path):
    keys.own_key(tmp_path)
    path = tmp_path / "bundle.key"
    path.chmod(0o640)
    with pytest.raises(CommandError, match="Others can read"):
        keys.own_key(tmp_path)
    path.chmod(0o600)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CommandError, match="Others can read"):
        keys.own_key(tmp_path)


def test_a_damaged_key_is_said_and_not_replaced(tmp_path):
    keys.own_key(tmp_path)
    (tmp_path / "bundle.key").write_text("nonsense")
    with pytest.raises(CommandError, match="not a key"):
        keys.own_key(tmp_path)


def test_a_signature_holds_for_its_bytes_and_its_key_alone(tmp_path):
    key = keys.own_key(tmp_path / "one")
    public, signature = keys.public(key), keys.sign(key, b"bytes")
    keys.check(public, b"bytes", signature)
    for who, data, mark in [
        (public, b"other", signature),
        (keys.public(keys.own_key(tmp_path / "two")), b"bytes", signature),
        (public, b"bytes", bytes(64)),
        (public, b"bytes", signature[:-1]),
        ("ed25519:" + "00" * 32, b"bytes", bytes(64)),
        (public, b"bytes", key.sign(b"bytes").signature),  # of the bytes, but not as a bundle
    ]:
        with pytest.raises(BrokenFile):
            keys.check(who, data, mark)


def test_trusted_keys_are_kept_by_name_and_can_be_taken_back(tmp_path):
    assert keys.trusted(tmp_path) == ()
    keys.trust(tmp_path, OTHER.upper().replace("ED25519", "ed25519"), "site B")
    keys.trust(tmp_path, OTHER, "site C")  # the same key has one name
    keys.trust(tmp_path, OTHER.replace("ab", "cd"), "headquarters")
    assert [each.name for each in keys.trusted(tmp_path)] == ["headquarters", "site C"]
    assert keys.distrust(tmp_path, "site C").key == OTHER
    assert [each.name for each in keys.trusted(tmp_path)] == ["headquarters"]
    with pytest.raises(NotFound):
        keys.distrust(tmp_path, "site C")


def test_no_name_or_key_is_taken_that_could_pass_for_another_line(tmp_path):
    keys.trust(tmp_path, OTHER, "site")
    for key, name in [
        ("ed25519:xyz", "a"),
        (OTHER[:-2], "a"),
        (OTHER.replace("ab", "cd"), "site"),
        (OTHER.replace("ab", "cd"), f"a\n{OTHER} b"),
        (OTHER.replace("ab", "cd"), ""),
    ]:
        with pytest.raises(BadRequest):
            keys.trust(tmp_path, key, name)
    (tmp_path / "trusted").write_text(f"{OTHER} site\nnonsense\n")
    with pytest.raises(CommandError, match="no key and name"):
        keys.trusted(tmp_path)


def test_a_home_takes_its_own_bundles_and_makes_no_key_to_look(tmp_path):
    assert keys.known(tmp_path) == ()
    own = keys.public(keys.own_key(tmp_path))
    keys.trust(tmp_path, OTHER, "site")
    assert [(each.key, each.name) for each in keys.known(tmp_path)] == [
        (own, "this home"),
        (OTHER, "site"),
    ]
