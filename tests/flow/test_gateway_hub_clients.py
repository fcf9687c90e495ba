"""The hubs' own clients against the hub of a haneul, over a line that breaks; and other haneuls."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from client_places import CLIENTS, python_of
from hub_models import a_name, put_model

from haneul.store import revisions, shelf
from haneul.testing.gguf import gguf_bytes

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
CARD = b"---\nlicense: mit\n---\n# A card\n"
CUT_BYTES = 14 << 20  # more than the 10 MB that Hugging Face's clients take at a time


class BreakingLine:
    """A way to a cloud on which the first answer that is long breaks off in its middle."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cuts = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.root = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reading, writing):
        to_cloud = await asyncio.open_connection("127.0.0.1", self._port)
        both = (self._pour(reading, to_cloud[1], False), self._pour(to_cloud[0], writing, True))
        with suppress(ConnectionError):
            await asyncio.gather(*both)
        for end in (writing, to_cloud[1]):
            end.transport.abort()

    async def _pour(self, source, sink, is_answer):
        poured = 0
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
            poured += len(data)
            if is_answer and poured > CUT_BYTES and not self.cuts:
                self.cuts += 1
                raise ConnectionResetError
        raise ConnectionResetError


async def run(*command, **environ):
    """What a program prints, as JSON."""
    asking = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **{name: str(value) for name, value in environ.items()}},
    )
    told, errors = await asyncio.wait_for(asking.communicate(), 120)
    assert asking.returncode == 0, errors.decode()[-3000:]
    last = told.splitlines()[-1]
    return json.loads(last if last.startswith(b"{") and last.endswith(b"}") else told)


async def a_model(cloud, content):
    name = a_name()
    made = await put_model(cloud, name, {"m.gguf": content, "README.md": CARD}, licence="mit")
    files = {file.path: file.sha256 for file in made.files}
    return name, made, files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lock", "major"), [("huggingface", "2"), ("huggingface_1", "1"), ("huggingface_0", "0")]
)
async def test_huggingfaces_client_pulls_resumes_caches_and_puts(cloud, tmp_path, lock, major):
    content = random.Random(int(major)).randbytes(24 << 20)
    name, made, files = await a_model(cloud, content)
    key = await cloud.make_key(scopes=("pull", "push"))
    (tmp_path / "folder").mkdir()
    for path in ("small.gguf", "folder/m.gguf"):
        (tmp_path / path).write_bytes(gguf_bytes())
    (tmp_path / "folder" / "README.md").write_bytes(CARD)
    (tmp_path / "folder" / ".gitattributes").write_bytes(b"* text")
    (tmp_path / "large.gguf").write_bytes(gguf_bytes(fill=content[: 1 << 20]) + bytes(2 << 20))
    async with BreakingLine(cloud.cloud.port) as line:
        told = await run(
            await asyncio.to_thread(python_of, lock),
            CLIENTS / "huggingface_client.py",
            f"haneul/{name}",
            f"acme/{name}",
            tmp_path / "small.gguf",
            tmp_path / "large.gguf",
            tmp_path / "folder",
            HF_ENDPOINT=f"{line.root}/hub",
            HF_TOKEN=key.secret,
            HF_HOME=tmp_path / "home",
            HF_HUB_DISABLE_XET="1",
        )
        assert line.cuts == 1, "it went on after the line had broken"
    missing = "EntryNotFoundError" if major == "0" else "RemoteEntryNotFoundError"
    assert told == {
        "version": major,
        "who": key.key.name.replace(" ", "-"),
        "listed": True,
        "commit": made.revision[:40],
        "same": True,
        "files": dict(sorted(files.items())),
        "one": files["README.md"],
        "local": files["README.md"],
        "branches": ["main"],
        "sizes": [len(content)],
        "licence": "mit",
        "exists": [True, False],
        "no_file": missing,
        "no_repository": "RepositoryNotFoundError",
        "no_revision": "RevisionNotFoundError",
        "history": 2,
        "large": True,
        "small": True,
        "pickle": "BadRequestError",
        "broken": "BadRequestError",
        "folder": ["README.md", "m.gguf"],
    }
    await cloud.settle()
    await cloud.cloud.hub.counts.flush()
    (row,) = await cloud.cloud.database.ask(shelf.pulls_of, name)
    assert row.pulls == 1, "the second time it came from the client's own cache"
    assert len(content) <= row.bytes < 2 * len(content), "it went on where it had stopped"


@pytest.mark.slow
async def test_modelscopes_client_pulls_and_resumes(cloud, tmp_path):
    name, _, files = await a_model(cloud, random.Random(9).randbytes(24 << 20))
    key = await cloud.make_key(scopes=("pull",))
    async with BreakingLine(cloud.cloud.port) as line:
        told = await run(
            await asyncio.to_thread(python_of, "modelscope"),
            CLIENTS / "modelscope_client.py",
            f"haneul/{name}",
            MODELSCOPE_ENDPOINT=f"{line.root}/hub",
            MODELSCOPE_API_TOKEN=key.secret,
            MODELSCOPE_CACHE=tmp_path / "cache",
            MODELSCOPE_HOME=tmp_path / "home",
        )
        assert line.cuts == 1
    assert "There is no file 'none' there." in told.pop("no_file")
    assert "There is no repository 'no/such' here." in told.pop("no_repository")
    assert told == {
        "version": "1",
        "files": dict(sorted(files.items())),
        "one": files["README.md"],
        "listed": sorted(files),
        "licence": "mit",
    }


async def haneul(*words, home, **environ):
    """What a command prints, as JSON."""
    command = (sys.executable, "-m", "haneul", *words, "--json")
    return await run(*command, HANEUL_HOME=home, **environ)


async def test_a_revision_has_one_name_wherever_it_was_put_and_pulled(start_cloud, tmp_path):
    here, there = await start_cloud(), await start_cloud()
    home = here.cloud.config.home
    content = gguf_bytes(fill=random.Random(4).randbytes(1 << 16))
    made = await put_model(
        here, "support:8b", {"m.gguf": content, "README.md": CARD}, licence="mit"
    )
    key = await there.make_key(scopes=("push", "pull"))
    (tmp_path / "key").write_text(key.secret)
    push = ("models", "push", "support:8b", there.root, "--key-file", str(tmp_path / "key"))
    told = await haneul(*push, home=home)
    assert told["commit"] == made.revision[:40]
    assert (told["repository"], told["is_new"]) == ("haneul/support-8b", True)
    assert told["sent_bytes"] == made.bytes
    again = await haneul(*push, home=home)
    assert (again["is_new"], again["sent_bytes"]) == (False, 0)
    (row,) = await there.cloud.database.ask(revisions.every)
    assert (row.model, row.id, row.licence) == ("support:8b", made.revision, "mit")
    pulled = await haneul(
        "pull",
        "hf:haneul/support-8b",
        home=tmp_path / "third",
        HF_ENDPOINT=f"{there.root}/hub",
        HF_TOKEN=key.secret,
    )
    assert pulled["digest"] == hashlib.sha256(content).hexdigest()
    assert await asyncio.to_thread(Path(pulled["path"]).read_bytes) == content
    await there.settle()
    await there.cloud.hub.counts.flush()
    (told,) = await haneul("models", "pulls", "support:8b", home=there.cloud.config.home)
    assert (told["key_id"], told["model"]) == (key.key.id, "support:8b")
    assert told["bytes"] >= len(content)


async def test_a_push_sends_only_what_the_other_side_lacks(start_cloud):
    here, there = await start_cloud(), await start_cloud()
    home = here.cloud.config.home
    content = gguf_bytes(fill=random.Random(5).randbytes(1 << 16))
    await put_model(here, "m", {"m.gguf": content})
    newer = await put_model(here, "m", {"m.gguf": content, "README.md": CARD})
    key = await there.make_key(scopes=("push", "pull"))
    first = await haneul(
        "models",
        "push",
        f"m@{(await here.cloud.database.ask(revisions.of_model, 'm'))[1].id[:12]}",
        there.root,
        home=home,
        HF_TOKEN=key.secret,
    )
    assert first["sent_bytes"] == len(content)
    second = await haneul("models", "push", "m", there.root, home=home, HF_TOKEN=key.secret)
    assert (second["sent_bytes"], second["commit"]) == (len(CARD), newer.revision[:40])
    elsewhere = await haneul(
        "models", "push", "m", f"{there.root}/hub/acme/other", home=home, HF_TOKEN=key.secret
    )
    assert (elsewhere["repository"], elsewhere["sent_bytes"]) == ("acme/other", 0)


async def test_a_push_that_is_refused_says_why_and_sends_nothing(start_cloud):
    here, there = await start_cloud(), await start_cloud()
    await put_model(here, "m", {"m.gguf": b"not a model"})
    keys = [await there.make_key(scopes=scopes) for scopes in (("pull",), ("pull", "push"))]
    for key, reason in zip(keys, ("scope 'push'", "m.gguf"), strict=True):
        with pytest.raises(AssertionError, match=reason):
            await haneul(
                "models",
                "push",
                "m",
                there.root,
                home=here.cloud.config.home,
                HF_TOKEN=key.secret,
            )
    assert await there.cloud.database.ask(revisions.every) == []
