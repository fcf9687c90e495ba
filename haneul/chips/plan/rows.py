"""Published measurements as questions: a row of measured.csv becomes a deployment and a load."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from importlib.resources import files

from msgspec import Struct

from haneul.base.errors import BadRequest, HaneulError, NotFound
from haneul.chips.plan.chipfiles import find_chip
from haneul.chips.plan.models import typical_model
from haneul.chips.plan.terms import Deployment, Load, PlanChip, PlanModel, Role

ROWS_MOST = 100_000
NEEDED = ("model", "chip", "isl", "osl", "tier")
WIDE_CHIPS = 16  # above which a recorded tensor-parallel degree is a rack
CHATS_LONGEST = 4.0  # of ShareGPT's answers over their mean
USERS = re.compile(r"_c(\d+)_tp")  # in the name of a row: users of all its chips
BURST_LEAST = 16  # requests; fewer are a limit on how many run at once (means show more were run)
VLLM_LARGE_GB = 70
MAX_BATCH = 4096  # sequences that a replica of TensorRT-LLM's offline tables takes
PARTS = re.compile(r"(?<![A-Za-z-])(TP|EP|PP|DEP|DP)(\d+)", re.IGNORECASE)
MIXTURE = re.compile(r"MoE-TP(\d+) EP(\d+)", re.IGNORECASE)
SPECULATED = re.compile(r"MTP 1 token, 70|simulated MTP", re.IGNORECASE)


class Row(Struct, frozen=True, kw_only=True):
    """One measurement: what was run and what was seen; None was not published."""

    id: str
    source: str
    tier: str
    notes: str
    deployment: Deployment
    load: Load
    batch_most: int  # that the engine takes at once, whatever memory there is
    tokens_per_s: float | None  # of all chips, counted as Prediction counts them
    ttft_s: float | None
    tpot_s: float | None

    @property
    def group(self) -> tuple[str, str]:
        """The chip and the model: what a forecast must do without when it is scored."""
        return (self.deployment.chip.id, self.deployment.model.name)


class Unread(Struct, frozen=True):
    """A row no question could be made of, and why."""

    id: str
    tier: str
    reason: str


def published() -> str:
    """The measurements that ship with haneul, as CSV."""
    return (files("haneul.chips.plan") / "data" / "measured.csv").read_text("utf-8")


def read_rows(
    text: str, chips: Mapping[str, PlanChip], models: Mapping[str, PlanModel]
) -> tuple[list[Row], list[Unread]]:
    """Every row of a CSV in the format of measured.csv. Raises BadRequest if it is none."""
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
    if missing:
        raise BadRequest(f"The file has no column {', '.join(missing)}.")
    rows: list[Row] = []
    unread: list[Unread] = []
    for number, record in enumerate(reader):
        if number >= ROWS_MOST:
            raise BadRequest(f"The file has more than {ROWS_MOST:,} rows.")
        facts = {name: (value or "").strip() for name, value in record.items() if name}
        try:
            rows.append(_row(facts, chips, models))
        except (HaneulError, ValueError) as cause:
            ident = facts.get("id") or f"row {number + 1}"
            unread.append(Unread(ident, facts.get("tier", ""), str(cause)))
    return rows, unread


def _row(
    facts: dict[str, str], chips: Mapping[str, PlanChip], models: Mapping[str, PlanModel]
) -> Row:
    chip, model = find_chip(chips, facts["chip"]), _model(facts, models)
    notes, phase = facts.get("notes", ""), facts.get("phase", "")
    count, tp, ep, pp, dp = parallelism(facts, model)
    engine = facts.get("engine", "").lower() or "vllm"
    isl, osl = _number(facts, "isl"), _number(facts, "osl")
    if isl is None or (osl is None and phase == "mixed"):
        raise BadRequest("its input or output length was not published")
    roles: dict[str, Role] = {"prefill": "prefill", "decode": "decode"}
    is_alone = "first token" in notes or "llama-bench" in notes
    role = "aggregated" if is_alone else roles.get(phase, "aggregated")
    tpot_ms, ttft_ms = _number(facts, "tpot_ms"), _number(facts, "ttft_ms")
    batch = _batch(facts, count)
    recorded = int(_number(facts, "n_chips") or 0) or count
    users = USERS.search(facts.get("id", ""))
    if users and batch and int(users[1]) == batch * tp > batch and "ADP0" in facts["parallelism"]:
        batch, tp, ep, dp = batch * tp, 1, tp, tp  # a batch for each rank of attention-DP
    elif batch is not None and is_rack(facts):
        batch = max(1, round(batch * count / recorded))
    is_burst = "infinite rate" in notes and (batch or 0) >= BURST_LEAST
    deployment = Deployment(
        model=model,
        chip=chip,
        count=count,
        tp=tp,
        ep=ep,
        pp=pp,
        dp=dp,
        precision=facts.get("precision", "") or "bf16",
        kv_bits=16 if "FP16 KV" in notes else None,
        engine=engine,
        role=role,
    )
    load = Load(
        isl=round(isl),
        osl=max(0, round(osl if osl is not None else (phase == "decode") * 512)),
        batch=None if is_burst else batch,
        requests=batch if is_burst else None,
        acceptance=0.7 if SPECULATED.search(notes) else 0.0,
        tpot_s=tpot_ms / 1e3 if tpot_ms and batch is None else None,
        longest=CHATS_LONGEST if is_burst and _are_chats(notes, osl) else 1.0,
        is_static="static batch" in notes or is_alone,
    )
    return Row(
        id=facts.get("id", ""),
        source=facts.get("source", ""),
        tier=facts.get("tier", ""),
        notes=notes,
        deployment=deployment,
        load=load,
        batch_most=_taken_most(deployment),
        tokens_per_s=_throughput(facts, count),
        ttft_s=ttft_ms / 1e3 if ttft_ms else None,
        tpot_s=tpot_ms / 1e3 if tpot_ms else None,
    )


def _taken_most(deployment: Deployment) -> int:
    """Sequences that the engine of a row takes at once: all tables keep its default.

    vLLM takes 1,024 on servers' chips since Hopper and 256 elsewhere (its EngineArgs).
    """
    if not deployment.engine.lower().startswith("vllm"):
        return MAX_BATCH * deployment.dp
    chip = deployment.chip
    is_large = (chip.memory_gb or 0) >= VLLM_LARGE_GB and chip.generation != "ampere"
    return (1024 if is_large else 256) * deployment.dp


def _model(facts: dict[str, str], models: Mapping[str, PlanModel]) -> PlanModel:
    name = facts["model"]
    lower = {each.lower(): model for each, model in models.items()}
    if name.lower() in lower:
        return lower[name.lower()]
    total, active = _number(facts, "total_params_b"), _number(facts, "active_params_b")
    if not total:
        raise NotFound(f"No model is called {name!r} and its size was not published.")
    return typical_model(name, parameters=total * 1e9, active_parameters=(active or total) * 1e9)


def _are_chats(notes: str, osl: float | None) -> bool:
    """Whether answers differ in length. The mean of a thousand chats is no whole number: where it
    is one, all answers were asked to be as long, whatever a note calls the load."""
    return "ShareGPT" in notes and osl is not None and not float(osl).is_integer()


def parallelism(facts: Mapping[str, str], model: PlanModel) -> tuple[int, int, int, int, int]:
    """Chips, tp, ep, pp and dp of a row's words, such as 'TP8 ADP1 MoE-TP8 EP1' or 'DEP4'."""
    words = facts.get("parallelism", "")
    chips = int(_number(dict(facts), "n_chips") or 0)
    named = {key.upper(): int(value) for key, value in reversed(PARTS.findall(words))}
    experts = MIXTURE.search(words)
    if experts is not None:
        across, spread = int(experts[1]), int(experts[2])
        tp = named.get("TP", 1)
        if across == spread > 1 and tp == across * spread:  # recorded as the product of the two
            return across, across, spread, 1, 1
        if tp > WIDE_CHIPS:
            return _wide(facts, tp)
        return max(1, tp), max(1, tp), max(1, spread), 1, 1
    pp = named.get("PP", 1)
    spread = named.get("DEP", 0)
    if spread or (model.experts and ("DP" in words.upper() or words.upper().startswith("EP"))):
        count = chips or spread or named.get("EP", 1)
        return count, 1, count, 1, count
    tp = named.get("TP", max(1, chips // pp))
    count = chips or tp * pp
    ep = tp if "EP" in words.upper() and model.experts else 1
    return tp * pp * max(1, count // (tp * pp)), tp, ep, pp, max(1, count // (tp * pp))


def is_rack(facts: Mapping[str, str]) -> bool:
    """Whether a row names a whole rack as one tensor-parallel group."""
    experts = MIXTURE.search(facts.get("parallelism", ""))
    return experts is not None and experts[2] == "1" and int(experts[1]) > WIDE_CHIPS


def _wide(facts: Mapping[str, str], chips: int) -> tuple[int, int, int, int, int]:
    """A rack: experts over all of it, or, for few users, several small groups side by side."""
    users = _number(dict(facts), "batch_or_concurrency") or 0
    if users < 4 * chips:
        return 8, 8, 8, 1, 1
    return chips, 1, chips, 1, chips


def _batch(facts: dict[str, str], chips: int) -> int | None:
    text = facts.get("batch_or_concurrency", "")
    found = re.match(r"(\d+)( per )?", text)
    if found is None or "tokens" in text:
        return None
    return int(found[1]) * (chips if found[2] else 1)


def _throughput(facts: dict[str, str], chips: int) -> float | None:
    """Tokens per second of all chips, output only where a source counts both."""
    each, whole = (
        _number(facts, "throughput_tok_s_per_chip"),
        _number(facts, "throughput_tok_s_total"),
    )
    found = each * chips if each else whole
    if found and "counts input+output" in facts.get("notes", ""):
        isl, osl = _number(facts, "isl") or 0, _number(facts, "osl") or 0
        return found * osl / (isl + osl) if isl + osl else None
    return found or None


def _number(facts: dict[str, str], name: str) -> float | None:
    """A figure of a row; an empty cell is unknown. Raises ValueError for words."""
    text = facts.get(name, "")
    if not text:
        return None
    found = re.match(r"[\d.]+", text)
    if found is None:
        return None
    value = float(found[0])
    return value if math.isfinite(value) else None
