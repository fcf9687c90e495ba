"""What a plan is asked and what it answers: models, chips, deployments, loads and predictions."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from haneul.chips.estimate import Estimate
from haneul.chips.shape import Layers

Class = Literal["dense", "experts", "latent"]
Role = Literal["aggregated", "prefill", "decode"]


class PlanModel(Struct, frozen=True, kw_only=True):
    """A model as a plan counts it; parameters are plain numbers. See plan.models.plan_model."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    key_size: int
    value_size: int
    context_tokens: int
    parameters: int
    active_parameters: int
    table_parameters: int  # looked up, not multiplied: an embedding that is not the head
    always_parameters: int  # multiplied for every token: attention, dense and shared parts, head
    expert_parameters: int  # routed experts, all of them
    head_parameters: int = 0  # of the output head, which a prompt meets once, at its end
    experts: int = 0
    experts_used: int = 0
    attended_most: int = 0  # tokens that sparse attention reads; 0: all
    is_latent: bool = False
    native: str = "bf16"  # precision in which the makers publish the weights
    memory: tuple[Layers, ...] = ()

    @property
    def kind(self) -> Class:
        """The class of architecture by which efficiencies are told apart."""
        if self.is_latent:
            return "latent"
        return "experts" if self.experts else "dense"


class PlanPrice(Struct, frozen=True, forbid_unknown_fields=True):
    """What an hour of one chip was seen to cost, USD as decimal text."""

    low: str
    mid: str
    high: str
    source: str


class PlanChip(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One chip of a data sheet; dense figures, one direction of a link; None is unknown."""

    id: str
    name: str
    vendor: str
    generation: str
    aliases: tuple[str, ...]
    source: str
    dated: str
    memory_gb: float | None = None
    bandwidth_tb_s: float | None = None
    bf16_tflops: float | None = None
    fp8_tflops: float | None = None
    int8_tops: float | None = None
    fp4_tflops: float | None = None
    link_gb_s: float | None = None  # to the chips of its domain
    domain_chips: int = 1  # that one fast fabric joins
    fabric_gb_s: float | None = None  # to chips outside
    power_w: float | None = None
    domain_power_w: float | None = None  # of a whole supernode with its hosts
    like: str | None = None  # whose unknown figures may be assumed when told to
    price: PlanPrice | None = None
    notes: str = ""


class Deployment(Struct, frozen=True, kw_only=True):
    """A model on chips. count = tp x pp x dp; experts are spread over ep of them.

    With dp above 1 and experts, attention is replicated and the experts are shared (attention-DP);
    without experts each of the dp groups is a replica of its own.
    """

    model: PlanModel
    chip: PlanChip
    count: int = 1
    tp: int = 1
    ep: int = 1
    pp: int = 1
    dp: int = 1
    precision: str = "bf16"
    kv_bits: int | None = None  # None: what the engine does by default
    engine: str = "vllm"
    role: Role = "aggregated"


class Load(Struct, frozen=True, kw_only=True):
    """What is asked of a deployment. Without batch, rate and limit: as much as fits.

    batch is sequences at once in the whole deployment; requests a burst that arrives at once.
    acceptance is the tokens a step gains by speculation beyond its own: 0.7 is 1.7 tokens a step.
    """

    isl: int
    osl: int
    batch: int | None = None
    rate: float | None = None  # requests per second
    requests: int | None = None
    cache_hit: float = 0.0
    ttft_s: float | None = None
    tpot_s: float | None = None
    acceptance: float = 0.0
    longest: float = 1.0  # output of a burst over its mean: chats differ, made-up loads do not
    is_static: bool = False  # one batch from beginning to end, as older tables are measured


class Memory(Struct, frozen=True, kw_only=True):
    """Bytes on the fullest chip, and how many sequences of this load the deployment can hold."""

    weights_bytes: int
    kv_bytes: int
    work_bytes: int
    capacity_bytes: int
    most_users: int

    @property
    def headroom_bytes(self) -> int:
        """What is left; below zero it does not fit."""
        return self.capacity_bytes - self.weights_bytes - self.kv_bytes - self.work_bytes


class Prediction(Struct, frozen=True, kw_only=True):
    """The answer. tokens_per_s counts output tokens, for the role prefill input tokens.

    terms are the seconds of one decode step (of one prefill pass in the role prefill) by name;
    binding is the largest of them. batch is sequences at once in the whole deployment.
    """

    tokens_per_s: Estimate
    tokens_per_s_per_chip: Estimate
    prefill_tokens_per_s: Estimate
    ttft: Estimate
    tpot: Estimate
    batch: int
    memory: Memory
    terms: dict[str, float]
    binding: str
    power_w: float | None
    assumptions: tuple[str, ...] = field(default_factory=tuple)
