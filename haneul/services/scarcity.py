"""What is tried when all that could answer is busy, before a bare 503; always announced.

    thinking   thoughts are bounded, so that the answer comes sooner and others wait less
    model      a smaller model answers at once: one that the route names as `scarce`
    queue      the request waits, and is told for how long
    batch      503, with the offer to answer it as a line of a batch
    refuse     503 at once

A key's rule goes before its tenant's, that before the configuration. The steps are taken in the
order that is said: thoughts are bounded beside what follows, each other step ends the search. The
answer's head says `x-haneul-scarcity`, the ledger the reason, and the answer's `model` which model
it was. Where a tenant says so, a budget that is nearly spent is scarcity too: then thoughts are
bounded and a smaller model answers, but nobody waits for it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from msgspec.structs import replace

from haneul.base.config import Config
from haneul.base.errors import NotAllowed, Overloaded
from haneul.base.units import now_us
from haneul.services import choice, openai, thinking
from haneul.services.ask import Ask, answered_by
from haneul.services.call import Call
from haneul.services.keys import Key
from haneul.services.limits import Account
from haneul.services.promise import (
    RETRY_MAX_S,
    is_late,
    promised,
    retry_after_s,
    within_s,
)
from haneul.services.router import Plan, Router, is_free_at
from haneul.services.rules import BATCH, QUEUE, SMALLER, THINKING, Rules
from haneul.services.targets import EMBEDDED, Target
from haneul.services.thinking import NONE, Bound

BUSY, WAKING, BUDGET = "busy", "waking", "budget"
HEADER = "x-haneul-scarcity: {steps}; reason={reason}\r\n"
BATCH_ROUTES = ("chat", "completions", "embeddings", "responses")
BATCH_PATH, BATCH_WINDOW = "/v1/batches", "24h"


class Eased(NamedTuple):
    """A request after the steps that were taken for it."""

    ask: Ask
    plan: Plan


class Scarcity:
    """The steps of each key and tenant."""

    def __init__(self, config: Config, rules: Rules, router: Router) -> None:
        self._rules = rules
        self._router = router
        self._steps = tuple(config.scarcity.split(","))
        self._spill_wait_s = config.spill_wait_s
        self._thinking_tokens = config.scarcity_thinking_tokens
        self._batch_price_share = config.batch_price_share

    def reason(self, key: Key, account: Account, plan: Plan) -> str | None:
        """Why there is scarcity for this request; None where there is none."""
        if is_busy(plan, self._spill_wait_s):
            return BUSY if plan.targets[0].is_ready else WAKING
        share = self._rules.scarcity_budget(key.id, key.tenant_id)
        if share is None:
            return None
        left = account.left(key, at_us=now_us())
        return BUDGET if any(each.nano < share * each.limit.amount for each in left) else None

    def names(self, model: str) -> set[str]:
        """The models that may answer in the place of one."""
        every = self._router.scarce(model)
        return {*every, *(target.model for targets in every.values() for target in targets)}

    def ease(self, call: Call, key: Key, ask: Ask, plan: Plan, reason: str) -> Eased:
        """The request as it goes on. Raises Overloaded where the steps end with a refusal."""
        rule = self._rules.scarcity(key.id, key.tenant_id)
        steps = self._steps if rule is None else tuple(rule.split(","))
        taken: list[str] = []
        eased = Eased(ask, plan)
        for step in steps:
            if step == THINKING and (bounded := self._thinking(ask, plan)) is not None:
                eased = Eased(bounded, plan._replace(reason=choice.SCARCE_THINKING))
                taken.append(f"{THINKING}={self._thinking_tokens}")
            elif step == SMALLER and (smaller := self._smaller(key, ask)) is not None:
                name, found = smaller
                found = found._replace(reason=choice.SCARCE_MODEL)
                eased = Eased(answered_by(eased.ask, name), found)
                return self._told(call, eased, [*taken, SMALLER], reason)
            elif step == QUEUE and reason != BUDGET and _may_wait(call, plan):
                eased = eased._replace(plan=plan._replace(reason=choice.SCARCE_QUEUE))
                return self._told(call, eased, [*taken, QUEUE], reason)
            elif step == BATCH and reason != BUDGET and ask.name in BATCH_ROUTES:
                call.limits += _line([BATCH], reason)
                raise self._refusal(plan, offer=self._offer())
        if reason != BUDGET and not taken:
            call.limits += _line(["refuse"], reason)
            raise self._refusal(plan)
        return self._told(call, eased, taken, reason) if taken else eased

    def _smaller(self, key: Key, ask: Ask) -> tuple[str, Plan] | None:
        """A smaller model that lost no more against its parent than the tenant allows."""
        for name, plan in self._router.smaller(key, ask):
            with suppress(NotAllowed):
                kept = self._rules.lossless(key.tenant_id, plan.targets)
                return name, plan._replace(targets=kept)
        return None

    def _thinking(self, ask: Ask, plan: Plan) -> Ask | None:
        """With fewer thoughts, where its model thinks and its engine can be told; else None."""
        most = self._thinking_tokens
        able = [target for target in plan.targets if _can_be_told(target)]
        if ask.route is not openai.CHAT or not able:
            return None
        if not self._router.thinks(ask.model) and ask.thinking_max is None:
            return None
        if ask.thinking_max is not None and ask.thinking_max <= most:
            return None
        return replace(ask, thinking_max=most, shape=thinking.shaped(Bound(most, is_law=False)))

    def _told(self, call: Call, eased: Eased, steps: list[str], reason: str) -> Eased:
        call.limits += _line(steps, reason)
        return eased

    def _offer(self) -> dict[str, Any]:
        return {
            "batch": {
                "path": BATCH_PATH,
                "completion_window": BATCH_WINDOW,
                "price_share": self._batch_price_share,
            }
        }

    def _refusal(self, plan: Plan, **facts: Any) -> Overloaded:
        also = " It can be sent as a batch." if facts else ""
        first = plan.targets[0]
        if first.awake is not None and not first.is_ready:
            first.awake.wake(RETRY_MAX_S)  # so that it is there when the client comes again
        promises = [promise for each in plan.targets if (promise := promised(each)) is not None]
        soonest_s = [target.gate.retry_after_s for target in plan.targets if target.is_ready]
        soonest_s += [retry_after_s(promise) for promise in promises]
        return Overloaded(
            f"All hardware for this model is busy.{also}",
            retry_after_s=min(soonest_s, default=RETRY_MAX_S),
            **facts,
        )


def is_busy(plan: Plan, spill_wait_s: float) -> bool:
    """Whether what is asked first would keep the request waiting for long, and nothing is free."""
    first = plan.targets[0]
    if is_free_at(first):
        return False
    gate = first.gate
    if not gate.is_full:
        promise = promised(first)
        if promise is None or promise.mid <= spill_wait_s:
            return False
    return not any(is_free_at(target) for target in plan.targets)


def _can_be_told(target: Target) -> bool:
    return target.engine == EMBEDDED or target.thinking_field not in (None, NONE)


def _may_wait(call: Call, plan: Plan) -> bool:
    """Whether there is room in the queue and the client waits long enough."""
    first = plan.targets[0]
    return not first.gate.is_full and not is_late(promised(first), within_s(call))


def _line(steps: list[str], reason: str) -> bytes:
    return HEADER.format(steps=", ".join(steps), reason=reason).encode()
