"""A model's configuration without what would make a loader import code of its repository.

transformers takes from `auto_map` the classes to import, and diffusers from `custom_pipelines`;
both are dropped at every depth, also where a key stands twice. Other files stay as they are.
"""

from __future__ import annotations

import json
from typing import Any

from haneul.base.errors import FetchFailed

HOOKS = ("auto_map", "custom_pipelines", "trust_remote_code")


def without_code(raw: bytes, path: str) -> tuple[bytes, list[str]]:
    """The JSON with its hooks dropped, and their names; the same bytes where it has none.

    Raises FetchFailed for what is not a JSON object.
    """
    dropped: list[str] = []

    def kept(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        dropped.extend(key for key, _ in pairs if key in HOOKS)
        return {key: value for key, value in pairs if key not in HOOKS}

    try:
        document = json.loads(raw, object_pairs_hook=kept)
    except (ValueError, RecursionError) as cause:
        raise FetchFailed(f"{path} is not JSON.") from cause
    if not isinstance(document, dict):
        raise FetchFailed(f"{path} is not a JSON object.")
    if not dropped:
        return raw, []
    clean = json.dumps(document, indent=2) + "\n"
    return clean.encode("ascii"), list(dict.fromkeys(dropped))
