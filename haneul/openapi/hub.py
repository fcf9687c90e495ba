"""The addresses of the hub: what HF_ENDPOINT and MODELSCOPE_ENDPOINT lead to."""

from __future__ import annotations

from typing import Any

from haneul.base import errors
from haneul.openapi.operation import OPEN, Operation, Query, Schema
from haneul.services.hub import wire
from haneul.services.hub.commits import CommitLine
from haneul.services.hub.reading import MODELS, ONE, RESOLVE
from haneul.services.hub.scope import ONE as SCOPE_ONE
from haneul.services.hub.ways import FLAGS, LIMIT_MAX
from haneul.services.hub.writing import BATCH, CREATE, LFS_JSON, PUT, YAML

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"enum": list(FLAGS), "default": "false"}
BYTES = "application/octet-stream"
LIMIT = Query(
    "limit",
    "How many entries.",
    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_MAX},
)
CURSOR = Query(
    "cursor",
    "Where to go on, as `link` says.",
    {"type": "integer", "minimum": 0, "maximum": 10**9, "default": 0},
)
REVISION = Query("Revision", "A branch or a commit; `master` unless said.", TEXT)
EXPAND = Query(
    "expand",
    "Only these facts, by their names.",
    {"type": "array", "items": TEXT},
)
TOLD = ("x-error-code", "x-error-message")
KEYED = (errors.RateLimited, errors.QuotaExceeded)
MISSING = (*KEYED, errors.NotFound)
PUTTING = (*MISSING, errors.TooLarge, errors.UnsupportedValue)
FILE = (
    *TOLD,
    *("etag", "x-repo-commit", "x-linked-etag", "x-linked-size", "accept-ranges", "content-range"),
    *("cache-control", "content-disposition", "x-content-type-options"),
)
RANGES = ("range", "if-range", "if-none-match")


def _get(address: str, text: str, answer: Any, **more: Any) -> Operation:
    options = {"scope": "pull", "gives": TOLD, "errors": MISSING, "shapes": ("HubError",), **more}
    return Operation(method="GET", address=address, text=text, answer=answer, **options)


def _scope(address: str, text: str, answer: Any, **more: Any) -> Operation:
    return _get(address, text, answer, **{"shapes": ("ScopeError",), **more})


def _put(address: str, text: str, body: Any, answer: Any, **more: Any) -> Operation:
    options = {"scope": "push", "gives": TOLD, "errors": PUTTING, "shapes": ("HubError",), **more}
    return Operation(
        method="POST",
        address=address,
        text=text,
        body=body,
        others="ignored",
        answer=answer,
        **options,
    )


OPERATIONS = (
    _get(
        "/hub/api/whoami-v2",
        "The key that asks, as a user of a hub.",
        wire.WhoAmI,
        scope="any key",
        errors=KEYED,
    ),
    _get(
        MODELS,
        "The repositories that the key may see.",
        list[wire.RepositoryInfo],
        query=(
            Query("search", "Only those whose id has it.", TEXT),
            Query("author", "Only of that organisation.", TEXT),
            Query("filter", "Only with these tags.", TEXT),
            Query(
                "sort", "`downloads`, `lastModified`, `createdAt`: the most or last first.", TEXT
            ),
            Query("direction", "Without effect.", TEXT),
            Query("full", "All facts.", FLAG),
            Query("cardData", "Without effect.", TEXT),
            Query("config", "Without effect.", TEXT),
            EXPAND,
            LIMIT,
            CURSOR,
        ),
        gives=(*TOLD, "link"),
        errors=(*KEYED, errors.UnknownField),
    ),
    _get(
        ONE,
        "The facts of a repository at its newest revision.",
        wire.RepositoryInfo,
        query=(Query("blobs", "With the size and digest of each file.", FLAG), EXPAND),
    ),
    _get(
        ONE + "/revision/{revision}",
        "The same at a branch or a commit.",
        wire.RepositoryInfo,
        query=(Query("blobs", "With the size and digest of each file.", FLAG), EXPAND),
    ),
    _get(
        ONE + "/tree/{revision}",
        "The files and folders of a revision.",
        list[wire.TreeEntry],
        query=(
            Query("recursive", "Those in folders too.", FLAG),
            Query("expand", "With the last commit of each.", FLAG),
            LIMIT,
            CURSOR,
        ),
        gives=(*TOLD, "link", "x-repo-commit"),
    ),
    _get(
        ONE + "/tree/{revision}/{path}",
        "The same below a folder.",
        list[wire.TreeEntry],
        query=(
            Query("recursive", "Those in folders too.", FLAG),
            Query("expand", "With the last commit of each.", FLAG),
            LIMIT,
            CURSOR,
        ),
        gives=(*TOLD, "link", "x-repo-commit"),
    ),
    _get(ONE + "/refs", "The names of a repository's revisions.", wire.Refs),
    _get(
        ONE + "/commits/{revision}",
        "A revision and those before it.",
        list[wire.CommitShown],
        query=(LIMIT, CURSOR),
        gives=(*TOLD, "link"),
    ),
    _put(
        ONE + "/paths-info/{revision}",
        "What is at some paths of a revision; a form with the same fields is taken too.",
        wire.PathsWanted,
        list[wire.TreeEntry],
        scope="pull",
    ),
    _get(
        RESOLVE,
        "A file, or a part of it. Its entity tag is its SHA-256.",
        bytes,
        media=BYTES,
        also=(206,),
        empty=(304,),
        takes=RANGES,
        gives=FILE,
        errors=(*MISSING, errors.RangeNotSatisfiable),
    ),
    _put(
        CREATE,
        "A repository to put to; it is there with its first revision.",
        wire.NewRepository,
        wire.MadeRepository,
        errors=(*PUTTING, errors.Conflict),
    ),
    _put(
        YAML,
        "Whether a card is well-formed: its text is kept as it is.",
        wire.Card,
        wire.CardChecked,
        scope="any key",
        errors=(*KEYED, errors.TooLarge),
    ),
    _put(
        BATCH,
        "Where large files are put (Git LFS): by an address of their own, for some hours.",
        wire.LfsBatch,
        wire.LfsAnswer,
        media=LFS_JSON.decode(),
    ),
    Operation(
        method="PUT",
        address=PUT,
        text="A large file, to the address that was given for it; its SHA-256 must be the one "
        "announced.",
        scope=OPEN,
        answer=dict[str, Any],
        gives=TOLD,
        errors=(errors.NotFound, errors.TooLarge),
        shapes=("HubError",),
    ),
    _put(
        ONE + "/preupload/{revision}",
        "How each file is to be sent: in the commit, or put before it.",
        wire.Preupload,
        wire.UploadModes,
    ),
    _put(
        ONE + "/commit/{revision}",
        "A revision of the files before it and those that come: a JSON object a line, a `header` "
        "and operations. It is made once every file is proven as a pull's are.",
        CommitLine,
        wire.Committed,
        errors=(*PUTTING, errors.Conflict),
    ),
    _scope(SCOPE_ONE, "What a repository is.", wire.ScopeInfo),
    _scope(SCOPE_ONE + "/revisions", "The names of its revisions.", wire.ScopeRevisions),
    _scope(
        SCOPE_ONE + "/repo/files",
        "The files of a revision.",
        wire.ScopeListing,
        query=(
            REVISION,
            Query("Recursive", "Those in folders too.", FLAG),
            Query("Root", "Only below that folder.", TEXT),
        ),
    ),
    _scope(
        SCOPE_ONE + "/repo",
        "A file, or a part of it.",
        bytes,
        media=BYTES,
        also=(206,),
        empty=(304,),
        query=(REVISION, Query("FilePath", "Which one.", TEXT)),
        takes=RANGES,
        gives=FILE,
        errors=(*MISSING, errors.RangeNotSatisfiable),
    ),
)
FIELDS: dict[type, dict[str, str]] = {
    wire.NewRepository: {
        "name": "The repository's, without its organisation.",
        "organization": "Whose it is; `haneul` unless said.",
        "type": "`model`.",
    },
    wire.Preupload: {
        "files": "The path and size of each; the sample is not looked at.",
        "gitIgnore": "Without effect.",
    },
    wire.LfsBatch: {
        "operation": "`upload`.",
        "objects": "The SHA-256 and size of each file.",
        "transfers": "Without effect: it is `basic`.",
        "hash_algo": "`sha256`.",
        "ref": "Without effect.",
    },
    wire.PathsWanted: {
        "paths": "Of files or folders.",
        "expand": "With the last commit of each.",
    },
    wire.Card: {"content": "The card.", "repoType": "Without effect."},
    CommitLine: {
        "key": "Which operation the line is.",
        "value": "`header`: summary, description, parentCommit; of another haneul also model and "
        "licence. `file`: path, content, encoding. `lfsFile`: path, oid, size. `deletedFile`, "
        "`deletedFolder`: path.",
    },
}
