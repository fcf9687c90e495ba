"""Tenants see nothing of each other, and every budget that holds for a request holds."""

from __future__ import annotations

import asyncio

import pytest

from haneul.base.units import now_us, parse_money
from haneul.services import budgets, invoices, tenants
from haneul.services.periods import month_bounds_us, month_of, renews_us
from haneul.store import ledger, spending
from haneul.store.ledger import RequestRow

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Tenants:
    """Short ways to do what `haneul tenants`, `users` and `budgets` do."""

    def __init__(self, cloud):
        self.cloud = cloud

    async def run(self, work, *arguments, **options):
        return await self.cloud.cloud.database.call(
            lambda connection: work(connection, *arguments, **options)
        )

    async def tenant(self, tenant_id):
        return (await self.run(tenants.create, tenant_id, "", actor="test")).id

    async def user(self, tenant_id, name, role="member"):
        return (await self.run(tenants.add_user, tenant_id, name, role, actor="test")).id

    async def limit(self, tenant_id, kind, owner_id, measure, amount, period=""):
        return await self.run(
            budgets.set_limit,
            tenant_id=tenant_id,
            kind=kind,
            owner_id=owner_id,
            measure=measure,
            period=period,
            amount=amount,
            actor="test",
        )

    async def spent(self, kind, owner_id):
        await self.cloud.settle()
        return await self.run(spending.total, kind, owner_id)


@pytest.fixture
def make(cloud):
    return Tenants(cloud)


async def app_chat(cloud, secret, model, app, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": "say it"}], **fields}
    path = "/v1/chat/completions"
    return await cloud.ask("POST", path, body, secret=secret, **{"x-haneul-app": app})


async def test_what_is_another_tenants_is_not_there(cloud, make):
    engine = await cloud.add_engine()
    secrets, asked = {}, {}
    for tenant in ("north", "south"):
        await make.tenant(tenant)
        made = await cloud.make_key(tenant_id=tenant, role="owner")
        answer = await cloud.chat(made.secret, engine.models[0])
        asked[tenant] = (answer.id, answer.json()["id"])
        secrets[tenant] = made.secret
    for ours, theirs in (("north", "south"), ("south", "north")):
        for request_id in asked[ours][:1]:
            path = f"/haneul/v1/requests/{request_id}"
            assert (await cloud.ask("GET", path, secret=secrets[ours])).status == 200
        for request_id in asked[theirs][:1]:
            answer = await cloud.ask(
                "GET", f"/haneul/v1/requests/{request_id}", secret=secrets[ours]
            )
            assert (answer.status, answer.error()["code"]) == (404, "not_found")
        usage = (await cloud.ask("GET", "/haneul/v1/usage", secret=secrets[ours])).json()
        assert {row["tenant_id"] for row in usage["requests"]} == {ours}
        assert sum(row["requests"] for row in usage["usage"]) == 1


async def test_a_tenant_sees_its_own_invoices_and_no_others(cloud, make):
    month = month_of(month_bounds_us(month_of(now_us()))[0] - 1)
    since_us, _ = month_bounds_us(month)
    heads = {}
    for tenant, cost in (("east", 7), ("west", 11), ("west", 13)):
        if tenant not in heads:
            await make.tenant(tenant)
        row = RequestRow(
            id=f"req_{tenant}{cost}",
            key_id="gone",
            tenant_id=tenant,
            route="chat",
            state="done",
            status=200,
            currency="USD",
            cost_nano=cost,
            received_us=since_us,
            finished_us=since_us,
        )
        await make.run(ledger.append, [row])
        (made,) = await make.run(invoices.issue, tenant, month, at_us=now_us(), actor="test")
        heads[tenant] = made.head
    east = (await cloud.make_key(tenant_id="east", role="billing")).secret
    member = (await cloud.make_key(tenant_id="east", role="member")).secret
    listed = (await cloud.ask("GET", "/haneul/v1/invoices", secret=east)).json()["invoices"]
    assert [row["total_nano"] for row in listed] == [7]
    one = (await cloud.ask("GET", "/haneul/v1/invoices/1", secret=east)).json()
    assert [line["cost_nano"] for line in one["lines"]] == [7]
    assert heads["west"].number == 2
    for number in ("2", "3", "999999999"):
        answer = await cloud.ask("GET", f"/haneul/v1/invoices/{number}", secret=east)
        assert answer.status == 404, answer.data
    for bad in ("x", "-1", "1/2", "9" * 30):
        answer = await cloud.ask("GET", f"/haneul/v1/invoices/{bad}", secret=east)
        assert answer.status == 400, answer.data
    answer = await cloud.ask("GET", "/haneul/v1/invoices", secret=member)
    assert (answer.status, answer.error()["code"]) == (403, "permission_denied")


async def test_fifty_at_once_never_overdraw_any_of_the_nested_budgets(cloud, make):
    """Key, user, tenant and app: whichever is tightest refuses, and none is ever overdrawn."""
    engine = await cloud.add_engine(delay_s=0.002)
    tenant = await make.tenant("nested")
    ada, bob = await make.user(tenant, "ada"), await make.user(tenant, "bob")
    a_request = cloud.cost(2, 4)
    limits = {
        ("user", ada, "day"): 60 * a_request,
        ("tenant", tenant, "month"): 90 * a_request,
        ("app", "shop", "week"): 40 * a_request,
    }
    for (kind, owner, period), amount in limits.items():
        await make.limit(tenant, kind, owner, "money", amount, period)
    keys = [
        await cloud.make_key(tenant_id=tenant, user_id=user, budget_nano=45 * a_request)
        for user in (ada, ada, bob)
    ]
    statuses = []
    for _ in range(4):
        asked = [
            app_chat(cloud, keys[n % 3].secret, engine.models[0], ("shop", "desk")[n % 2],
                     max_tokens=4)
            for n in range(50)
        ]  # fmt: skip
        answers = await asyncio.gather(*asked)
        statuses += [answer.status for answer in answers]
        assert {answer.status for answer in answers} <= {200, 429}
        assert {answer.error()["code"] for answer in answers if answer.status == 429} <= {
            "insufficient_quota"
        }
        for (kind, owner, _), amount in limits.items():
            name = f"{tenant}/{owner}" if kind == "app" else owner
            assert await make.spent(kind, name) <= amount
        for made in keys:
            assert await make.spent("key", made.key.id) <= 45 * a_request
    assert statuses.count(200) * a_request == await make.spent("tenant", tenant)
    assert statuses.count(200) > 10
    assert statuses.count(429) > 10
    for made in keys:
        me = await cloud.me(made.secret)
        rows = await cloud.rows(made.key.id)
        assert (me["spent_nano"], me["reserved_nano"]) == (sum(r.cost_nano for r in rows), 0)


async def test_a_refusal_names_the_budget_what_is_left_and_when_it_renews(cloud, make):
    engine = await cloud.add_engine()
    tenant = await make.tenant("poor")
    await make.limit(tenant, "tenant", tenant, "money", cloud.cost(800, 0), "month")
    made = await cloud.make_key(tenant_id=tenant)
    answer = await cloud.chat(made.secret, engine.models[0], max_tokens=100_000)
    error = answer.error()
    assert (answer.status, error["code"]) == (429, "insufficient_quota")
    assert error["budget"] == {
        "of": "tenant",
        "period": "month",
        "left_nano": cloud.cost(800, 0),
    }
    assert error["renews_us"] == renews_us("month", now_us())
    assert "tenant 'poor'" in error["message"]
    assert "retry-after" not in answer.headers, "the next month would not pay for it either"
    while (answer := await cloud.chat(made.secret, engine.models[0], max_tokens=20)).status == 200:
        pass
    seconds = (renews_us("month", now_us()) - now_us()) / 1e6
    assert abs(int(answer.headers["retry-after"]) - seconds) < 30
    left = (await cloud.me(made.secret))["budgets"]
    assert [(each["of"], each["period"]) for each in left] == [("tenant", "month")]
    assert 0 < left[0]["left_nano"] == cloud.cost(800, 0) - await make.spent("tenant", tenant)


async def test_requests_at_once_are_limited_for_the_whole_tenant_and_come_back(cloud, make):
    engine = await cloud.add_engine(hang_after=1)
    tenant = await make.tenant("busy")
    await make.limit(tenant, "tenant", tenant, "concurrency", 2)
    one, two = [await cloud.make_key(tenant_id=tenant) for _ in range(2)]
    running = [
        asyncio.create_task(cloud.chat(made.secret, engine.models[0], stream=True))
        for made in (one, two)
    ]
    await cloud.until(lambda: engine.seen.requests == 2)
    answer = await cloud.chat(one.secret, engine.models[0])
    assert (answer.status, answer.error()["code"]) == (429, "rate_limit_exceeded")
    assert "2 requests running at once" in answer.error()["message"]
    assert int(answer.headers["retry-after"]) >= 1
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await cloud.settle()
    quick = await cloud.add_engine()
    assert (await cloud.chat(two.secret, quick.models[0])).status == 200


async def test_a_limit_that_is_set_holds_within_a_second_for_what_was_used_before(cloud, make):
    engine = await cloud.add_engine()
    tenant = await make.tenant("watched")
    made = await cloud.make_key(tenant_id=tenant)
    for _ in range(3):
        assert (await cloud.chat(made.secret, engine.models[0])).status == 200
    row = await make.limit(tenant, "tenant", tenant, "money", 2 * cloud.cost(2, 4), "day")
    await asyncio.sleep(1.1)
    answer = await cloud.chat(made.secret, engine.models[0])
    assert answer.error()["code"] == "insufficient_quota"
    await make.run(budgets.end_limit, row.id, actor="test")
    await asyncio.sleep(1.1)
    assert (await cloud.chat(made.secret, engine.models[0])).status == 200


async def test_a_role_that_shrinks_takes_the_users_keys_along(cloud, make):
    engine = await cloud.add_engine()
    tenant = await make.tenant("team")
    user = await make.user(tenant, "eve", "member")
    made = await cloud.make_key(tenant_id=tenant, user_id=user)
    assert (await cloud.chat(made.secret, engine.models[0])).status == 200
    await make.run(tenants.change_role, tenant, "eve", "viewer", actor="test")
    await asyncio.sleep(1.1)
    answer = await cloud.chat(made.secret, engine.models[0])
    assert (answer.status, answer.error()["code"]) == (403, "permission_denied")
    await make.run(tenants.remove_user, tenant, "eve", actor="test")
    await asyncio.sleep(1.1)
    assert (await cloud.chat(made.secret, engine.models[0])).status == 401


async def test_a_closed_tenant_ends_all_its_keys(cloud, make):
    engine = await cloud.add_engine()
    tenant = await make.tenant("closing")
    made = await cloud.make_key(tenant_id=tenant)
    assert (await cloud.chat(made.secret, engine.models[0])).status == 200
    await make.run(tenants.close, tenant, actor="test")
    await asyncio.sleep(1.1)
    assert (await cloud.chat(made.secret, engine.models[0])).status == 401


async def test_no_key_of_a_tenant_runs_the_cloud_whatever_was_asked_for(cloud, make):
    tenant = await make.tenant("eager")
    made = await cloud.make_key(tenant_id=tenant, scopes=("infer", "admin"))
    assert made.key.scopes == {"infer"}
    assert (await cloud.ask("GET", "/haneul/v1/status", secret=made.secret)).status == 403


async def test_a_key_for_one_app_is_for_that_app_alone(cloud, make):
    engine = await cloud.add_engine()
    made = await cloud.make_key(app="shop")
    answer = await cloud.chat(made.secret, engine.models[0])
    assert (await cloud.row(answer.id)).app == "shop"
    other = await app_chat(cloud, made.secret, engine.models[0], "desk")
    assert (other.status, other.error()["code"]) == (403, "permission_denied")
    for bad in ("a" * 65, "\x80"):
        answer = await app_chat(cloud, made.secret, engine.models[0], bad)
        assert (answer.status, answer.error()["param"]) == (400, "x-haneul-app")


async def test_a_tenant_looks_after_its_own_keys_and_sees_no_others(cloud, make):
    engine = await cloud.add_engine()
    admins = {}
    for tenant in ("rock", "sand"):
        await make.tenant(tenant)
        await make.user(tenant, "ada", "member")
        admins[tenant] = await cloud.make_key(tenant_id=tenant, role="admin")
    rock, sand = admins["rock"].secret, admins["sand"].secret
    wanted = {"name": "research", "user": "ada", "budget": "5", "models": [engine.models[0]]}
    made = (await cloud.ask("POST", "/haneul/v1/keys", wanted, secret=rock)).json()
    assert (made["budget_nano"], made["scopes"]) == (parse_money("5"), ["infer", "usage"])
    assert (await cloud.chat(made["key"], engine.models[0])).status == 200
    again = await cloud.ask("POST", "/haneul/v1/keys", wanted, secret=rock)
    assert (again.status, again.error()["code"]) == (409, "conflict")
    same_name = await cloud.ask("POST", "/haneul/v1/keys", wanted, secret=sand)
    assert same_name.status == 200, "a name of another tenant is free"
    listed = (await cloud.ask("GET", "/haneul/v1/keys", secret=sand)).json()["keys"]
    assert made["id"] not in {each["id"] for each in listed}
    assert "key" not in listed[0]
    path = f"/haneul/v1/keys/{made['id']}"
    foreign = await cloud.ask("DELETE", path, secret=sand)
    never = await cloud.ask("DELETE", "/haneul/v1/keys/Nobody00", secret=sand)
    assert (foreign.status, never.status) == (404, 404)
    assert (await cloud.ask("DELETE", path, secret=made["key"])).status == 403
    assert (await cloud.ask("DELETE", path, secret=rock)).status == 200
    await asyncio.sleep(1.1)
    assert (await cloud.chat(made["key"], engine.models[0])).status == 401


async def test_nobody_makes_a_key_that_may_more_than_they_may(cloud, make):
    tenant = await make.tenant("steps")
    admin = await cloud.make_key(tenant_id=tenant, role="admin")
    for wanted in (
        {"name": "a", "role": "owner"},
        {"name": "b", "scopes": ["billing", "manage", "admin", "infer"]},
    ):
        made = (await cloud.ask("POST", "/haneul/v1/keys", wanted, secret=admin.secret)).json()
        me = await cloud.me(made["key"])
        assert me["tenant"] == tenant
        assert set(me["scopes"]) <= admin.key.scopes, wanted
    for wrong in (
        {},
        {"name": ""},
        {"name": "c", "role": "king"},
        {"name": "c", "user": "nobody"},
        {"name": "c", "budget": "-1"},
        {"name": "c", "tenant_id": "default"},
        {"name": "c", "expires_s": 0},
        [],
    ):
        answer = await cloud.ask("POST", "/haneul/v1/keys", wrong, secret=admin.secret)
        assert answer.status in (400, 404), wrong
        assert answer.error()["message"]
