"""Rules and kept answers in the store: replaced, found, bounded, forgotten."""

from __future__ import annotations

from haneul.store import cached, rules
from haneul.store.cached import CachedRow
from haneul.store.rules import RuleRow


def row(name, *, tenant="t", size=10, created=5, used=5):
    body = name.encode()
    return CachedRow(
        digest=body, tenant_id=tenant, body=body, bytes=size, created_us=created, used_us=used
    )


def found(database, *names, tenant="t", since=0):
    digests = [name.encode() for name in names]
    rows = database.run(lambda c: cached.find(c, tenant, digests, since_us=since))
    return [each.body.decode() for each in rows]


def test_an_answer_is_found_by_its_own_tenant_while_it_is_young(database):
    database.run(cached.put, row("a", created=5))
    database.run(cached.put, row("b", created=9))
    assert found(database, "a", "b", "c") == ["b", "a"]
    assert found(database, "a", "b", since=6) == ["b"]
    assert found(database, "a", tenant="other") == []
    database.run(cached.put, row("a", size=3, created=20))
    assert found(database, "a", since=20) == ["a"]
    assert database.run(cached.held) == (2, 13)


def test_what_is_old_goes_and_then_what_was_not_used_for_longest(database):
    for used, name in enumerate("abcd"):
        database.run(cached.put, row(name, used=used, created=used))
    database.run(cached.used, {b"b": 50})
    database.run(lambda c: cached.prune(c, before_us=1, most_bytes=20))
    assert sorted(found(database, *"abcd")) == ["b", "d"]
    database.run(lambda c: cached.prune(c, before_us=0, most_bytes=0))
    assert database.run(cached.held) == (0, 0)


def test_a_tenants_answers_are_forgotten_together(database):
    database.run(cached.put, row("a"))
    database.run(cached.put, row("b", tenant="u"))
    database.run(cached.forget_tenant, "t")
    assert database.run(cached.held) == (1, 10)
    assert found(database, "b", tenant="u") == ["b"]


def test_a_rule_is_replaced_and_taken_back(database):
    def rule(value):
        return RuleRow(owner_kind="key", owner_id="k", name="n", value=value, created_us=1)

    database.run(rules.put, rule("1"))
    database.run(rules.put, rule("2"))
    assert [each.value for each in database.run(rules.every)] == ["2"]
    assert database.run(rules.remove, "key", "k", "n")
    assert not database.run(rules.remove, "key", "k", "n")
