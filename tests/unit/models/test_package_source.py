"""The source archive of a release, found where pip would find it."""

from __future__ import annotations

import pytest

from haneul.base.errors import FetchFailed
from haneul.models.pulling.fetch import Fetcher
from haneul.models.sources.package_index import PackageIndex

SHA256 = "ab" * 32
PAGE = f"""<a href="../../files/some_thing-1.2-py3-none-any.whl">w</a>
<a href="../../files/some_thing-1.1.tar.gz">old</a>
<a href="../../files/some_thing-1.2.tar.gz#sha256={SHA256}">source</a>"""


async def find(environ, version="1.2"):
    async with Fetcher() as fetcher:
        return await PackageIndex(fetcher, environ).find_source("some-thing", version)


@pytest.fixture
def index(tmp_path):
    folder = tmp_path / "simple" / "some-thing"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(PAGE)
    return {"PIP_INDEX_URL": f"file://{tmp_path}/simple"}


async def test_the_source_of_a_release_is_found_beside_its_wheels(index, tmp_path):
    part = await find(index)
    assert part.path == tmp_path / "files" / "some_thing-1.2.tar.gz"


async def test_a_folder_of_packages_comes_first(index, tmp_path):
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "some_thing-1.2.tar.gz").touch()
    (loose / "some_thing-1.2-py3-none-any.whl").touch()
    part = await find({**index, "PIP_FIND_LINKS": str(loose)})
    assert part.path == loose / "some_thing-1.2.tar.gz"


async def test_a_release_without_source_is_not_found(index):
    with pytest.raises(FetchFailed, match="no source of some-thing 9"):
        await find(index, "9")
