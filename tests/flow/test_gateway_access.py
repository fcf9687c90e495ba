"""Who may ask what: keys in every form, scopes, models, a key's end, secrets that stay secret."""

from __future__ import annotations

import asyncio
import stat

import pytest

from haneul.base.units import now_us
from haneul.services import keys

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def models(cloud, **headers):
    """The answer to a request with just these headers; '_' stands for '-'."""
    return await cloud.ask(
        "GET", "/v1/models", **{name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(cloud, key, scheme):
    assert (await models(cloud, authorization=f"{scheme} {key.secret}")).status == 200


async def test_a_key_is_taken_from_the_header_that_other_clients_use(cloud, key):
    assert (await models(cloud, x_api_key=key.secret)).status == 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer sk-hn-",
        "Bearer ' OR 1=1 --",
        "Bearer sk-hn-" + "0" * 57,
        "Basic dXNlcjpwYXNz",
        "Bearer sk-hn-é" + "0" * 56,
        "Bearer 하늘",
        "Bearer " + "0" * 30_000,
        "{secret}",
        "Bearer {secret}x",
        "Bearer {secret} {secret}",
        "Bearer Bearer {secret}",
    ],
    ids=lambda text: text[:24].encode("ascii", "replace").decode(),
)
async def test_what_is_no_key_is_401_and_never_more(cloud, key, text):
    answer = await models(cloud, authorization=text.replace("{secret}", key.secret))
    assert (answer.status, answer.error()["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert key.secret not in answer.data.decode()


async def test_no_key_at_all_is_401(cloud):
    answer = await models(cloud)
    assert (answer.status, answer.error()["type"]) == (401, "authentication_error")


async def test_a_key_of_a_hundred_thousand_characters_is_refused_at_the_head(cloud):
    reader, writer = await asyncio.open_connection("127.0.0.1", cloud.cloud.port)
    head = f"host: localhost\r\nauthorization: Bearer {'k' * 100_000}\r\n\r\n"
    writer.write(f"GET /v1/models HTTP/1.1\r\n{head}".encode())
    answer = await reader.read(100_000)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"code":"request_head_too_large"' in answer
    assert b"x-request-id: req_" in answer


async def test_two_keys_are_refused_whichever_they_are(cloud, key):
    other = await cloud.make_key()
    for first, second in ((key, other), (key, key)):
        answer = await models(
            cloud, authorization=f"Bearer {first.secret}", x_api_key=second.secret
        )
        assert (answer.status, answer.error()["code"]) == (400, "invalid_request_error")
    reader, writer = await asyncio.open_connection("127.0.0.1", cloud.cloud.port)
    line = f"authorization: Bearer {key.secret}\r\n"
    writer.write(f"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n{line}{line}\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_a_revoked_key_ends_within_a_second_or_so(cloud, key):
    assert (await models(cloud, x_api_key=key.secret)).status == 200
    await cloud.cloud.database.call(
        lambda connection: keys.revoke(connection, key.key.name, actor="test")
    )
    began = asyncio.get_running_loop().time()

    async def is_refused():
        return (await models(cloud, x_api_key=key.secret)).status == 401

    await cloud.until(is_refused, 2, "the revocation took effect")
    assert asyncio.get_running_loop().time() - began < 3
    answer = await models(cloud, x_api_key=key.secret)
    assert "revoked" in answer.error()["message"]


async def test_a_key_ends_at_its_hour_though_it_was_believed_just_before(cloud):
    short = await cloud.make_key(expires_us=now_us() + 700_000)
    assert (await models(cloud, x_api_key=short.secret)).status == 200
    await asyncio.sleep(0.75)
    answer = await models(cloud, x_api_key=short.secret)
    assert (answer.status, "expired" in answer.error()["message"]) == (401, True)


async def test_scopes_are_held_on_every_address(cloud):
    engine = await cloud.add_engine()
    usage_only = await cloud.make_key(scopes=("usage",))
    infer_only = await cloud.make_key(scopes=("infer",))
    answer = await cloud.chat(usage_only.secret, engine.models[0])
    assert (answer.status, answer.error()["code"]) == (403, "permission_denied")
    assert engine.seen.requests == 0
    for path in ("/haneul/v1/usage", "/haneul/v1/requests/req_x"):
        assert (await cloud.ask("GET", path, secret=infer_only.secret)).status == 403
    for secret in (usage_only.secret, infer_only.secret):
        assert (await cloud.ask("GET", "/haneul/v1/status", secret=secret)).status == 403
        for path in ("/haneul/v1/models/start", "/haneul/v1/models/stop"):
            body = {"model": engine.models[0]}
            assert (await cloud.ask("POST", path, body, secret=secret)).status == 403
    admin = await cloud.make_key(scopes=("admin",))
    assert (await cloud.ask("GET", "/haneul/v1/status", secret=admin.secret)).status == 200


async def test_an_allow_list_holds_for_asking_listing_and_finding(cloud):
    mine = await cloud.add_engine(name="mine", models=("alpha",))
    other = await cloud.add_engine(name="other", models=("beta",))
    key = await cloud.make_key(models=("mine/alpha",))
    assert (await cloud.chat(key.secret, "alpha")).status == 200
    assert (await cloud.chat(key.secret, "mine/alpha")).status == 200
    for name in ("beta", "other/beta"):
        answer = await cloud.chat(key.secret, name)
        assert (answer.status, answer.error()["code"]) == (403, "permission_denied")
        assert (await cloud.ask("GET", f"/v1/models/{name}", secret=key.secret)).status == 403
    listed = (await cloud.ask("GET", "/v1/models", secret=key.secret)).json()["data"]
    assert [model["id"] for model in listed] == ["mine/alpha"]
    by_name = await cloud.make_key(models=("alpha",))
    listed = (await cloud.ask("GET", "/v1/models", secret=by_name.secret)).json()["data"]
    assert [model["id"] for model in listed] == ["mine/alpha"]
    assert (mine.seen.requests, other.seen.requests) == (2, 0)


async def test_one_key_sees_nothing_of_another(cloud, key):
    engine = await cloud.add_engine()
    answer = await cloud.chat(key.secret, engine.models[0])
    stranger = await cloud.make_key()
    usage = await cloud.ask("GET", "/haneul/v1/usage", secret=stranger.secret)
    assert (usage.json()["usage"], usage.json()["requests"]) == ([], [])
    found = await cloud.ask("GET", f"/haneul/v1/requests/{answer.id}", secret=stranger.secret)
    assert found.status == 404
    admin = await cloud.make_key(scopes=("admin", "usage"))
    found = await cloud.ask("GET", f"/haneul/v1/requests/{answer.id}", secret=admin.secret)
    assert found.json()["key_id"] == key.key.id


async def test_secrets_are_nowhere_but_with_their_owner(start_cloud, log):
    """A canary: every file of the home, every log line, every answer is searched for them."""
    cloud = await start_cloud()
    home = cloud.cloud.config.home
    key = await cloud.make_key()
    answers = []
    fine, broken = await cloud.add_engine(), await cloud.add_engine(status=500)
    prompt = "canary-prompt-text"
    for model in (fine.models[0], broken.models[0], "nope"):
        answers.append(await cloud.chat(key.secret, model, prompt, stream=True))
    typo = key.secret[:-1] + ("0" if key.secret[-1] != "0" else "1")
    for text in (typo, key.secret[:-3], key.secret + "A"):
        answers.append(await models(cloud, x_api_key=text))
    log_in = {"key": key.secret}
    session = await cloud.ask("POST", "/haneul/v1/session", log_in, **{"x-haneul-page": "1"})
    assert session.status == 200
    answers.append(session)
    for path in ("/haneul/v1/me", "/haneul/v1/usage", "/v1/models", "/metrics"):
        answers.append(await cloud.ask("GET", path, secret=key.secret))
    await cloud.settle()
    pepper = (home / "pepper").read_bytes()
    secret = key.secret.encode()
    body = secret[len("sk-hn-") + 8 : -6]
    for answer in answers:
        everything = answer.data + repr(dict(answer.headers)).encode()
        assert body not in everything
        assert pepper not in everything
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"haneul.db", "flights", "pepper"}
    for path in files:
        data = path.read_bytes()
        assert body not in data, path
        assert prompt.encode() not in data, path
        assert pepper not in data or path.name == "pepper", path
    assert log.lines, "the failures were logged"
    words = (body.decode(), prompt, pepper.hex())
    assert not any(word in line for line in log.lines for word in words)


async def test_the_files_that_must_be_private_are(cloud):
    home = cloud.cloud.config.home
    for name in ("pepper", "flights"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) & 0o077 == 0


async def test_a_cookie_opens_only_to_haneuls_own_page_and_ends_when_logged_out(cloud, key):
    page = {"x-haneul-page": "1"}
    assert (await cloud.ask("POST", "/haneul/v1/session", {"key": key.secret})).status == 403
    wrong = await cloud.ask("POST", "/haneul/v1/session", {"key": "sk-hn-no"}, **page)
    assert wrong.status == 401
    opened = await cloud.ask("POST", "/haneul/v1/session", {"key": key.secret}, **page)
    cookie = opened.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    mine = {"cookie": cookie.partition(";")[0]}
    assert (await cloud.ask("GET", "/haneul/v1/me", **mine, **page)).status == 200
    assert (await cloud.ask("GET", "/haneul/v1/me", **mine)).status == 401
    foreign = {"cookie": "haneul_session=; haneul_session=x; =; \xff"}
    assert (await cloud.ask("GET", "/haneul/v1/me", **foreign, **page)).status == 401
    assert (await cloud.ask("DELETE", "/haneul/v1/session", **mine, **page)).status == 200
    assert (await cloud.ask("GET", "/haneul/v1/me", **mine, **page)).status == 401
