"""What the clients of hubs send and are sent, as frozen structs.

Source: huggingface_hub 2.4 (hf_api.py, lfs.py, _commit_api.py) and modelscope-hub 0.5
(_legacy_api.py), read as the clients read answers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from haneul.services.hub.names import PART_MAX, PART_PATTERN

Path = Annotated[str, Meta(min_length=1, max_length=2048)]
Oid = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Size = Annotated[int, Meta(ge=0, le=1 << 50)]
Part = Annotated[str, Meta(min_length=1, max_length=PART_MAX, pattern=PART_PATTERN)]
PATHS_MAX = 1000


# what is sent to clients
class Lfs(Struct, frozen=True, kw_only=True, rename="camel"):
    """A file's content, as the list of a repository has it."""

    oid: str
    size: int
    pointer_size: int


class LfsOfSibling(Struct, frozen=True, kw_only=True, rename="camel"):
    """The same, as the facts of a repository have it."""

    sha256: str
    size: int
    pointer_size: int


class Sibling(Struct, frozen=True, kw_only=True, rename="camel"):
    """One file among the facts of a repository."""

    rfilename: str
    blob_id: str | UnsetType = UNSET
    size: int | UnsetType = UNSET
    lfs: LfsOfSibling | UnsetType = UNSET


class HaneulFacts(Struct, frozen=True, kw_only=True):
    """What haneul knows of a revision beside what other hubs have words for."""

    model: str
    revision: str
    format: str
    digest: str
    source: str
    parents: tuple[str, ...]


class RepositoryInfo(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A repository at one revision."""

    id: str
    internal_id: str = field(name="_id")
    model_id: str | UnsetType = UNSET
    author: str | UnsetType = UNSET
    sha: str | UnsetType = UNSET
    last_modified: str | UnsetType = UNSET
    created_at: str | UnsetType = UNSET
    private: bool | UnsetType = UNSET
    gated: bool | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    downloads: int | UnsetType = UNSET
    downloads_all_time: int | UnsetType = UNSET
    likes: int | UnsetType = UNSET
    library_name: str | UnsetType = field(default=UNSET, name="library_name")
    tags: list[str] | UnsetType = UNSET
    card_data: dict[str, Any] | UnsetType = UNSET
    used_storage: int | UnsetType = UNSET
    siblings: list[Sibling] | UnsetType = UNSET
    haneul: HaneulFacts | UnsetType = UNSET


class LastCommit(Struct, frozen=True, kw_only=True):
    id: str
    title: str
    date: str


class TreeEntry(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A file or a folder of a repository."""

    type: str
    oid: str
    size: int
    path: str
    lfs: Lfs | UnsetType = UNSET
    last_commit: LastCommit | UnsetType = UNSET


class Ref(Struct, frozen=True, kw_only=True, rename="camel"):
    """A name of a revision."""

    name: str
    ref: str
    target_commit: str


class Refs(Struct, frozen=True, kw_only=True, rename="camel"):
    branches: list[Ref]
    converts: list[Ref] = []
    tags: list[Ref] = []
    pull_requests: list[Ref] = []


class CommitAuthor(Struct, frozen=True, kw_only=True):
    user: str


class CommitShown(Struct, frozen=True, kw_only=True):
    """A revision, as a list of commits has it."""

    id: str
    title: str
    message: str
    authors: list[CommitAuthor]
    date: str


class AccessToken(Struct, frozen=True, kw_only=True, rename="camel"):
    display_name: str
    role: str


class TokenFacts(Struct, frozen=True, kw_only=True, rename="camel"):
    type: str
    access_token: AccessToken


class OrganisationShown(Struct, frozen=True, kw_only=True, rename="camel"):
    type: str
    id: str
    name: str
    fullname: str
    role_in_org: str


class WhoAmI(Struct, frozen=True, kw_only=True, rename="camel"):
    """The key that asks, as a user."""

    type: str
    id: str
    name: str
    fullname: str
    is_pro: bool
    orgs: list[OrganisationShown]
    auth: TokenFacts


class MadeRepository(Struct, frozen=True, kw_only=True):
    """A repository that may be put to."""

    url: str
    name: str
    id: str


class UploadMode(Struct, frozen=True, kw_only=True, rename="camel"):
    """How a file is to be sent."""

    path: str
    upload_mode: str
    should_ignore: bool
    oid: str | None = None


class UploadModes(Struct, frozen=True, kw_only=True):
    files: list[UploadMode]


class LfsAction(Struct, frozen=True, kw_only=True):
    href: str
    header: dict[str, str] = {}
    expires_in: int = 0


class LfsActions(Struct, frozen=True, kw_only=True):
    upload: LfsAction


class LfsError(Struct, frozen=True, kw_only=True):
    code: int
    message: str


class LfsTold(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be done about one object; nothing where it is here."""

    oid: str
    size: int
    authenticated: bool | UnsetType = UNSET
    actions: LfsActions | UnsetType = UNSET
    error: LfsError | UnsetType = UNSET


class LfsAnswer(Struct, frozen=True, kw_only=True):
    transfer: str
    objects: list[LfsTold]
    hash_algo: str = "sha256"


class Committed(Struct, frozen=True, kw_only=True, rename="camel"):
    """A revision that was made."""

    success: bool
    commit_url: str
    commit_oid: str
    hook_output: str = ""


class CardChecked(Struct, frozen=True, kw_only=True):
    """What is wrong with a card's head: its text is kept as it is."""

    errors: list[str] = []
    warnings: list[str] = []


# what clients send
class NewRepository(Struct, frozen=True, kw_only=True):
    """POST /hub/api/repos/create."""

    name: Part
    organization: Part | None = None
    type: Literal["model"] | None = None


class Offered(Struct, frozen=True, kw_only=True):
    """A file that somebody wants to send."""

    path: Path
    size: Size
    sample: Annotated[str, Meta(max_length=4096)] | None = None


class Preupload(Struct, frozen=True, kw_only=True, rename="camel"):
    """POST …/preupload/{revision}."""

    files: Annotated[list[Offered], Meta(max_length=PATHS_MAX)]
    git_ignore: str | None = None


class LfsWanted(Struct, frozen=True, kw_only=True):
    oid: Oid
    size: Size


class LfsBatch(Struct, frozen=True, kw_only=True):
    """POST …/info/lfs/objects/batch."""

    operation: Literal["upload"]
    objects: Annotated[list[LfsWanted], Meta(max_length=PATHS_MAX)]
    transfers: list[str] | None = None
    hash_algo: Literal["sha256"] | None = None
    ref: dict[str, Any] | None = None


class PathsWanted(Struct, frozen=True, kw_only=True):
    """POST …/paths-info/{revision}."""

    paths: Annotated[list[Path], Meta(max_length=PATHS_MAX)]
    expand: bool = False


class Card(Struct, frozen=True, kw_only=True, rename="camel"):
    """POST /hub/api/validate-yaml."""

    content: Annotated[str, Meta(max_length=1 << 20)]
    repo_type: str | None = None


# ModelScope
class ScopeFile(Struct, frozen=True, kw_only=True, rename="pascal"):
    """One file or folder, as ModelScope's clients list it."""

    path: str
    name: str
    type: str
    size: int
    revision: str
    committed_date: int
    sha256: str = ""
    is_lfs: bool = field(default=False, name="IsLFS")


class ScopeFiles(Struct, frozen=True, kw_only=True, rename="pascal"):
    files: list[ScopeFile]


class ScopeListing(Struct, frozen=True, kw_only=True, rename="pascal"):
    data: ScopeFiles
    code: int = 200
    message: str = "success"
    success: bool = True


class ScopeRef(Struct, frozen=True, kw_only=True, rename="pascal"):
    revision: str
    created_at: int


class ScopeMap(Struct, frozen=True, kw_only=True, rename="pascal"):
    branches: list[ScopeRef]
    tags: list[ScopeRef]


class ScopeRefs(Struct, frozen=True, kw_only=True, rename="pascal"):
    revision_map: ScopeMap


class ScopeRevisions(Struct, frozen=True, kw_only=True, rename="pascal"):
    data: ScopeRefs
    code: int = 200
    message: str = "success"
    success: bool = True


class ScopeModel(Struct, frozen=True, kw_only=True, rename="pascal"):
    """A repository, as ModelScope's clients know it."""

    id: str
    name: str
    path: str
    revision: str
    license: str | None
    downloads: int
    storage_size: int
    created_time: int
    last_updated_time: int


class ScopeInfo(Struct, frozen=True, kw_only=True, rename="pascal"):
    data: ScopeModel
    code: int = 200
    message: str = "success"
    success: bool = True
