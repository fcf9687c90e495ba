"""Homes that make bundles and take them in, for tests."""

from __future__ import annotations

import hashlib
import io

from haneul.models import revisions, serving
from haneul.models.bundle import create, keys, load, register
from haneul.models.bundle.archive import Reader
from haneul.models.bundle.collect import collect
from haneul.models.folder.accept import accept
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import File
from haneul.store import models as model_queries
from haneul.store.database import open_database
from haneul.testing.gguf import TINY, gguf_bytes
from haneul.testing.safetensors import safetensors_bytes

ENGINE = "embedded"
SHARDS = {
    "model.safetensors": safetensors_bytes({"a": ("F32", (4, 4))}),
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
}


def nothing(_count):
    """Where the numbers of bytes go."""


class Home:
    """A home with a store, blobs and a key."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.store = open_database("", folder)
        self.blobs = Blobs(folder / "models")
        self.blobs.open()
        self.key = keys.own_key(folder / "keys")
        self.public = keys.public(self.key)

    def put(self, data):
        digest = hashlib.sha256(data).hexdigest()
        self.blobs.path(digest).write_bytes(data)
        return digest

    def add(self, name, files, *, licence="apache-2.0", is_served=True):
        """A revision of these files, served where it can be."""
        listed = [File(path, self.put(data), len(data)) for path, data in files.items()]
        found = accept(listed, self.blobs.path, None)

        def note(connection):
            row = revisions.register(
                connection,
                name,
                found.manifest,
                digest=found.digest,
                source="huggingface",
                source_revision="main",
                licence=licence,
                facts=found.facts,
                actor="test",
            )
            if is_served and found.manifest.format == "gguf":
                serving.serve(connection, row, self.blobs)
            return row

        return self.store.run(note)

    def collect(self, *names, **options):
        return self.store.run(lambda c: collect(c, names, engine=ENGINE, **options))

    def bundle(self, *names, **options):
        """The bytes of a bundle."""
        contents = self.collect(*names, **options)
        create.check_here(contents, self.blobs)
        return self.written(contents)

    def written(self, contents):
        out = io.BytesIO()
        create.write(contents, self.key, self.blobs, out, nothing)
        return out.getvalue()

    def load(self, data, *, told=None, is_any=False, is_served=True):
        reader = Reader(io.BytesIO(data))
        known = keys.known(self.folder / "keys")
        signed = load.read_signed(reader, known, told=told, is_any=is_any)
        load.take_files(reader, signed.contents, self.blobs, nothing)
        proven = load.prove_all(signed.contents, self.blobs)
        return self.store.run(
            lambda c: register.register(
                c, signed, proven, self.blobs, is_served=is_served, actor="test"
            )
        )

    def rows(self):
        return {row.name: row for row in self.store.run(model_queries.every)}


def model(number=0):
    return {"tiny.gguf": gguf_bytes({**TINY, "general.name": f"tiny {number}"})}
