"""Whether OpenVINO's reader gets a model file right, told from the header before any slow load.

The reader (openvino.genai 2026.4, gguf_utils) knows three architectures and takes no notice of what
it does not know: partial rotation, experts, further tensors. It would then answer nonsense in good
faith, so what it overlooks and we do not put right (weights.py, rotation.py) is refused here.
"""

from __future__ import annotations

import math
import re

from msgspec import Struct

from haneul.base.gguf import Header
from haneul.engine.gguf_blocks import WHOLE
from haneul.engine.openvino.rotation import check_rotation
from haneul.engine.openvino.weights import PLAIN
from haneul.engine.worker.stepper import CannotServe

ARCHITECTURES = frozenset({"llama", "qwen2", "qwen3"})
FORMATS = frozenset(PLAIN) | frozenset(WHOLE)  # of matrices
HEAD_STEP = 64  # narrower heads were seen to crash in bfloat16 (OpenVINO 2026.4, AMX)
COLUMNS_STEP = 64  # two blocks of the stand-in that the reader is shown
_TENSORS = re.compile(
    r"rope_freqs\.weight|token_embd\.weight|output_norm\.weight|output\.weight"
    r"|blk\.\d+\.(attn_norm|ffn_norm|attn_q|attn_k|attn_v|attn_output|ffn_gate|ffn_up|ffn_down"
    r"|attn_q_norm|attn_k_norm)\.weight"
    r"|blk\.\d+\.attn_[qkv]\.bias"
)


class Measures(Struct, frozen=True, kw_only=True):
    """What a model is made of, as far as planning needs it."""

    layers: int
    width: int  # of an embedding
    heads: int
    kv_heads: int
    head_width: int
    trained_context_tokens: int
    parameters: int
    rows: int  # of the embedding table: the vocabulary with its padding

    @property
    def even_depth_tokens(self) -> float:
        """At how many tokens of context attention costs as much as all matrices."""
        return 2 * self.parameters / (4 * self.layers * self.heads * self.head_width)


def measures(header: Header) -> Measures:
    """The model's measures, when OpenVINO reads it right. Raises CannotServe with the reason."""
    architecture = str(header.metadata["general.architecture"])
    if architecture not in ARCHITECTURES:
        raise CannotServe(f"OpenVINO does not read the architecture {architecture} from GGUF.")
    if header.parts > 1:
        raise CannotServe("OpenVINO reads a model from one file, not from several.")
    for tensor in header.tensors:
        if not _TENSORS.fullmatch(tensor.name):
            raise CannotServe(f"OpenVINO's reader takes no notice of {tensor.name}.")
        if tensor.type not in (FORMATS if len(tensor.dims) > 1 else {"F32", "F16"}):
            raise CannotServe(f"OpenVINO cannot hold {tensor.type}, the format of {tensor.name}.")
        if len(tensor.dims) > 1 and (len(tensor.dims) > 2 or tensor.dims[0] % COLUMNS_STEP):
            raise CannotServe(f"OpenVINO does not read the shape of {tensor.name}.")
    if "general.file_type" not in header.metadata:
        raise CannotServe("OpenVINO does not read a file without general.file_type.")
    found = _found(header, architecture)
    check_rotation(header, found.head_width)
    _check_heads(header, architecture, found)
    _check_biases(header, architecture)
    if found.head_width % HEAD_STEP:
        raise CannotServe(f"OpenVINO has crashed on heads of {found.head_width}.")
    return found


def _found(header: Header, architecture: str) -> Measures:
    def number(name: str, default: int) -> int:
        value = header.metadata.get(f"{architecture}.{name}", default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise CannotServe(f"OpenVINO reads one number as {architecture}.{name}, not several.")
        return value

    width, heads = number("embedding_length", 0), number("attention.head_count", 0)
    if not heads:
        raise CannotServe("The file does not say how many heads attention has.")
    table = next((one for one in header.tensors if one.name == "token_embd.weight"), None)
    if table is None:
        raise CannotServe("The file has no table of embeddings.")
    if not isinstance(
        header.metadata.get(f"{architecture}.attention.layer_norm_rms_epsilon"), float
    ):
        raise CannotServe("The file does not say the epsilon of its norms.")
    return Measures(
        layers=number("block_count", 0),
        width=width,
        heads=heads,
        kv_heads=number("attention.head_count_kv", heads),
        head_width=number("attention.key_length", width // heads),
        trained_context_tokens=number("context_length", 2048),
        parameters=sum(math.prod(tensor.dims) for tensor in header.tensors),
        rows=table.dims[-1],
    )


def _check_heads(header: Header, architecture: str, found: Measures) -> None:
    values = header.metadata.get(f"{architecture}.attention.value_length", found.head_width)
    if values != found.head_width:
        raise CannotServe("OpenVINO reads heads whose keys and values are equally wide.")
    for name in ("expert_count", "attention.sliding_window"):
        if header.metadata.get(f"{architecture}.{name}", 0):
            raise CannotServe(f"OpenVINO's reader takes no notice of {architecture}.{name}.")


def _check_biases(header: Header, architecture: str) -> None:
    names = {tensor.name for tensor in header.tensors}
    if architecture == "qwen3" and "blk.0.attn_q_norm.weight" not in names:
        raise CannotServe("The file lacks the norms of queries that its architecture has.")
