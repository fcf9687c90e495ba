"""What people do with modelscope, against a haneul: REPOSITORY.

The environment points it there (MODELSCOPE_ENDPOINT, MODELSCOPE_API_TOKEN, MODELSCOPE_CACHE).
Prints what came of it as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import modelscope
from modelscope.hub.api import HubApi
from modelscope.hub.file_download import model_file_download
from modelscope.hub.snapshot_download import snapshot_download

(REPOSITORY,) = sys.argv[1:]


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def failing(job, *arguments):
    """What it says when it fails."""
    try:
        job(*arguments)
    except Exception as error:  # noqa: BLE001
        return str(error).splitlines()[0]
    return "none"


folder = Path(snapshot_download(REPOSITORY))
api = HubApi()
print(
    json.dumps(
        {
            "version": modelscope.__version__.split(".")[0],
            "files": {path.name: digest(path) for path in sorted(folder.glob("*.*"))},
            "one": digest(model_file_download(REPOSITORY, "README.md")),
            "listed": sorted(file["Path"] for file in api.get_model_files(REPOSITORY)),
            "licence": api.get_model(REPOSITORY)["License"],
            "no_file": failing(model_file_download, REPOSITORY, "none"),
            "no_repository": failing(snapshot_download, "no/such"),
        }
    )
)
