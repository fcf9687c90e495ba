"""What a request passes between what it asks and what answers it, where rules were made for it.

Most requests meet no rule: then `concerns` is all that they cost. Otherwise what was decided is
done to the three things on which the path stands from here on: how the client is spoken to, what
the engines are asked, and which of them.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from haneul.base.units import MILLION
from haneul.services import choice, thinking
from haneul.services.ask import Ask
from haneul.services.cache.answers import HIT, MISS, Answers
from haneul.services.cache.given import giving
from haneul.services.call import Call
from haneul.services.dialect import Dialect
from haneul.services.guard.guard import MASKED, Guards
from haneul.services.guard.restoring import Restoring
from haneul.services.keys import Key
from haneul.services.limits import Account
from haneul.services.router import Plan, is_free_at
from haneul.services.rules import Caching, Rules
from haneul.services.scarcity import Scarcity
from haneul.services.targets import Target


class Way(NamedTuple):
    """How a request goes on."""

    dialect: Dialect
    ask: Ask
    plan: Plan


class Customs:
    """The rules, and what carries them out."""

    def __init__(self, rules: Rules, answers: Answers, scarcity: Scarcity) -> None:
        self._rules = rules
        self.answers = answers
        self.guards = Guards()
        self._scarcity = scarcity

    def concerns(self, ask: Ask, plan: Plan) -> bool:
        """Whether anything may have to be done to a request."""
        is_free = is_free_at(plan.targets[0])
        return not (is_free and self._rules.is_empty and ask.thinking_max is None)

    async def clear(self, call: Call, key: Key, account: Account, way: Way) -> Way:
        """The request as it may go on. Raises HaneulError where it may not."""
        names = {way.ask.model}
        for target in way.plan.targets:
            names |= {target.model, target.upstream_model}
        kept = self._rules.lossless(key.tenant_id, way.plan.targets)
        way = way._replace(plan=_only(way.plan, kept))
        names |= self._scarcity.names(way.ask.model)  # so that no smaller model goes round a rule
        if (kind := self._rules.guard(key.tenant_id, names)) is not None:
            way = await self._guarded(call, kind, way)
        way = self._bounded(call, key, names, way)
        caching = self._rules.caching(key.tenant_id)
        if caching is None:
            self.answers.without(call)
        cleared = way if caching is None else await self._cached(call, key, caching, way)
        if cleared.plan.reason == choice.CACHE or call.key is not None:  # or the cloud's own call
            return cleared
        reason = self._scarcity.reason(key, account, way.plan)
        if reason is None:
            return cleared
        ask, plan = self._scarcity.ease(call, key, way.ask, way.plan, reason)
        if ask is way.ask and plan.targets is way.plan.targets:
            return cleared._replace(plan=plan)
        return way._replace(ask=ask, plan=plan)  # what was made smaller is not kept as the whole

    async def _guarded(self, call: Call, kind: str, way: Way) -> Way:
        """Without the personal data that it holds, which comes back in its answer."""
        guarded = await self.guards.of(kind).before(way.ask)
        call.limits += MASKED % (guarded.ask.masked or 0)
        dialect = Restoring(way.dialect, guarded.values) if guarded.values else way.dialect
        return way._replace(dialect=dialect, ask=guarded.ask)

    async def _cached(self, call: Call, key: Key, caching: Caching, way: Way) -> Way:
        """To the answer that is kept, or so that its answer will be."""
        wish = self.answers.wish(call, way.ask, caching)
        if wish is None:
            return way
        kept = await self.answers.look(call, key, way.ask, way.plan, wish)
        if kept is not None:
            call.limits += HIT % kept.age_s
            self.answers.counts["hit"] += 1
            share = way.ask.share_millionths * caching.share_millionths // MILLION
            ask = replace(way.ask, share_millionths=share, shape=None)
            targets = [giving(kept.target, ask, kept.body)]
            return way._replace(ask=ask, plan=Plan(targets, choice.CACHE))
        call.limits += MISS
        self.answers.counts["miss"] += 1
        recorder = self.answers.recorder(way.dialect, key, way.ask)
        ask = replace(way.ask, shape=recorder.shape(way.ask.shape))
        return way._replace(dialect=recorder, ask=ask)

    def _bounded(self, call: Call, key: Key, names: set[str], way: Way) -> Way:
        """With as many thoughts as it may have."""
        most = thinking.bound(way.ask, self._rules.thinking_max(key.id, names))
        if most is None:
            return way
        is_kept = thinking.is_kept(way.plan.targets, most)
        if is_kept:
            call.limits += thinking.HEADER % most.most
        shape = thinking.shaped(most)
        ask = replace(way.ask, thinking_max=most.most, is_thinking_kept=is_kept, shape=shape)
        return way._replace(ask=ask, plan=_only(way.plan, thinking.able(way.plan.targets, most)))


def _only(plan: Plan, targets: list[Target]) -> Plan:
    """The plan without the targets that are left out."""
    if len(targets) == len(plan.targets):
        return plan
    reason = plan.reason if targets[0] is plan.targets[0] else choice.FALLBACK
    return Plan(targets, reason)
