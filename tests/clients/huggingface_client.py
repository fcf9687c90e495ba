"""What people do with huggingface_hub, against a haneul: REPOSITORY NEW GGUF LARGE FOLDER.

The environment points it there (HF_ENDPOINT, HF_TOKEN, HF_HOME). Prints what came of it as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import huggingface_hub
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.utils import disable_progress_bars

REPOSITORY, NEW, GGUF, LARGE, FOLDER = sys.argv[1:]
disable_progress_bars()
api = HfApi()


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def failing(job, *arguments, **options):
    """The name of the error that it ends with."""
    try:
        job(*arguments, **options)
    except Exception as error:  # noqa: BLE001
        return type(error).__name__
    return "none"


try:
    folder = Path(snapshot_download(REPOSITORY))
except Exception:  # noqa: BLE001 - before 1.0 a line that breaks ends it: it goes on when asked again
    folder = Path(snapshot_download(REPOSITORY))
again = snapshot_download(REPOSITORY)
told = {
    "version": huggingface_hub.__version__.split(".")[0],
    "who": api.whoami()["name"],
    "listed": REPOSITORY in [model.id for model in api.list_models(search="model")],
    "commit": folder.name,
    "same": str(folder) == str(again),
    "files": {path.name: digest(path) for path in sorted(folder.iterdir())},
    "one": digest(hf_hub_download(REPOSITORY, "README.md")),
    "local": digest(hf_hub_download(REPOSITORY, "README.md", local_dir=FOLDER + "-local")),
    "branches": [ref.name for ref in api.list_repo_refs(REPOSITORY).branches],
    "sizes": [file.size for file in api.get_paths_info(REPOSITORY, ["m.gguf", "none"])],
    "licence": api.model_info(REPOSITORY, files_metadata=True).card_data["license"],
    "exists": [api.file_exists(REPOSITORY, name) for name in ("m.gguf", "none")],
    "no_file": failing(hf_hub_download, REPOSITORY, "none"),
    "no_repository": failing(snapshot_download, "no/such"),
    "no_revision": failing(snapshot_download, REPOSITORY, revision="v9"),
}
api.create_repo(NEW, exist_ok=True, private=True)
first = api.upload_file(path_or_fileobj=GGUF, path_in_repo="m.gguf", repo_id=NEW)
second = api.upload_file(path_or_fileobj=LARGE, path_in_repo="m.gguf", repo_id=NEW)
api.create_repo(NEW, exist_ok=True)
told |= {
    "history": len(api.list_repo_commits(NEW)),
    "large": digest(hf_hub_download(NEW, "m.gguf")) == digest(LARGE),
    "small": digest(
        hf_hub_download(NEW, "m.gguf", revision=api.list_repo_commits(NEW)[1].commit_id)
    )
    == digest(GGUF),
    "pickle": failing(
        api.upload_file, path_or_fileobj=b"x", path_in_repo="pytorch_model.bin", repo_id=NEW
    ),
    "broken": failing(
        api.upload_file, path_or_fileobj=b"GGUF" * 99, path_in_repo="m.gguf", repo_id=NEW
    ),
}
api.upload_folder(folder_path=FOLDER, repo_id=NEW + "-folder")
told["folder"] = sorted(api.list_repo_files(NEW + "-folder"))
print(json.dumps(told))
