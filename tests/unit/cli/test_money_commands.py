"""The commands of money: tenants, users, keys, budgets, prices, invoices, on a home of its own."""

from __future__ import annotations

import csv
import io
import json

import pytest
from click.testing import CliRunner

from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.cli.main import haneul
from haneul.services.periods import month_bounds_us, month_of
from haneul.store import audit, ledger
from haneul.store.database import open_database
from haneul.store.ledger import RequestRow

MONTH = month_of(month_bounds_us(month_of(now_us()))[0] - 1)  # the last one that is over


class Commands:
    """Runs commands on one home."""

    def __init__(self, home):
        self.home = home

    def __call__(self, line, *, code=0):
        environ = {"HANEUL_HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home)}
        done = CliRunner().invoke(haneul, line.split(), env=environ)
        assert done.exit_code == code, done.output
        return done.output

    def json(self, line):
        return json.loads(self(f"{line} --json"))

    def store(self, work, *arguments):
        opened = open_database("", self.home)
        try:
            return opened.run(work, *arguments)
        finally:
            opened.close()


@pytest.fixture
def run(tmp_path):
    return Commands(tmp_path)


def row(key_id, cost_nano, tenant_id="acme", **fields):
    since_us, _ = month_bounds_us(MONTH)
    return RequestRow(
        id=new_id("req"),
        key_id=key_id,
        tenant_id=tenant_id,
        route="chat",
        model="m",
        engine="e",
        state="done",
        status=200,
        currency="USD",
        cost_nano=cost_nano,
        received_us=since_us,
        finished_us=since_us,
        **fields,
    )


def test_a_tenant_its_users_and_their_keys_are_made_shown_and_ended(run):
    assert "Created the tenant acme" in run("tenants create acme --name Acme")
    assert {row["id"] for row in run.json("tenants ls")} == {"default", "acme"}
    ada = run.json("users add ada --tenant acme --role member")
    made = run.json("keys create one --tenant acme --user ada --role viewer --app shop")
    assert (made["tenant_id"], made["user_id"], made["app"]) == ("acme", ada["id"], "shop")
    assert made["scopes"] == ["usage"]
    assert made["key"].startswith("sk-hn-")
    run("keys create one")  # the same name in another tenant
    assert len(run.json("keys ls")) == 2
    assert [key["id"] for key in run.json("keys ls --tenant acme")] == [made["id"]]
    assert "Several tenants" in run("keys revoke one", code=1)
    assert made["id"] in run("keys revoke one --tenant acme")
    assert "billing" in run("users role ada billing --tenant acme")
    assert run.json("users ls --tenant acme")[0]["role"] == "billing"
    run("users rm ada --tenant acme")
    assert run.json("users ls")[0]["removed_us"] is not None
    assert "cannot be closed" in run("tenants close default", code=1)
    assert "Closed" in run("tenants close acme")
    assert "no tenant 'acme'" in run("keys create two --tenant acme", code=1)
    assert "already, or was one" in run("tenants create acme", code=1)
    assert "only for the tenant" in run("users add eve --tenant acme --role operator", code=1)


def test_budgets_are_set_changed_shown_with_what_was_spent_and_ended(run):
    run("tenants create acme")
    made = run.json("keys create one --tenant acme")
    run.store(ledger.append, [row(made["id"], 700)])
    run("budgets set tenant acme --total 5 --month 2.5 --rpm 60 --concurrency 4")
    run("budgets set tenant acme --total 6")
    run("budgets set key one --tenant acme --day 1")
    run("budgets set app shop --tenant acme --week 1 --tpm 1000")
    found = {(b["owner_kind"], b["measure"], b["period"]): b for b in run.json("budgets ls")}
    assert len(found) == 7
    assert found["tenant", "money", "total"]["amount"] == 6_000_000_000
    assert found["tenant", "money", "total"]["spent_nano"] == 700
    assert found["tenant", "money", "month"]["spent_nano"] == 0, "it was last month"
    assert "USD 0.0000007" in run("budgets ls")
    used = {name: run.json(f"usage --days 60 --tenant {name}") for name in ("acme", "default")}
    assert [each["cost_nano"] for each in used["acme"]["usage"]] == [700]
    assert used["default"]["usage"] == []
    run(f"budgets rm {found['key', 'money', 'day']['id']}")
    assert len(run.json("budgets ls --tenant acme")) == 6
    for wrong in ("set key nobody --day 1", "set tenant nobody --day 1", "rm bdg_x", "set key one"):
        run(f"budgets {wrong}", code=1)


def test_prices_are_set_from_now_or_later_and_listed(run):
    now = run.json("prices set m --engine e --in 1 --cached 0.1 --out 4 --reasoning 2")
    later = run.json("prices set m --engine e --in 2 --out 8 --from 2999-01-01")
    assert (now["input_nano"], now["reasoning_nano"]) == (1_000_000_000, 2_000_000_000)
    assert later["cached_nano"] == later["input_nano"]
    states = {each["price"]["id"]: each["state"] for each in run.json("prices ls")}
    assert states == {now["id"]: "holds", later["id"]: "later"}
    newest = run.json("prices set m --engine e --in 3 --out 9")
    states = {each["price"]["id"]: each["state"] for each in run.json("prices ls --all")}
    assert (states[now["id"]], states[newest["id"]]) == ("past", "holds")
    assert "past" in run("prices set m --in 1 --out 1 --from 2020-01-01", code=1)
    assert "not a time" in run("prices set m --in 1 --out 1 --from soon", code=1)
    assert "2999-01-01" in run("prices ls --model m")


def test_an_invoice_is_issued_shown_three_ways_and_corrected(run):
    run("tenants create acme")
    made = run.json("keys create =one --tenant acme")
    run.store(ledger.append, [row(made["id"], 700), row(made["id"], 50), row("gone", 5)])
    assert f"acme-000001, USD 0.000000755 for {MONTH}" in run(
        f"invoices issue {MONTH} --tenant acme"
    )
    assert "left to invoice" in run(f"invoices issue {MONTH} --tenant acme", code=1)
    shown = run.json("invoices show 1 --tenant acme")
    assert sum(line["cost_nano"] for line in shown["lines"]) == shown["head"]["total_nano"] == 755
    lines = list(csv.DictReader(io.StringIO(run("invoices show 1 --tenant acme --csv"))))
    assert sum(int(line["cost_nano"]) for line in lines) == 755
    assert {line["key_name"] for line in lines} == {"'=one", ""}, "no spreadsheet runs a name"
    assert "USD 0.00000075" in run("invoices show 1 --tenant acme")
    heard = row("ear", 9, "default", unit="audio_us", units=61_500_000)
    run.store(ledger.append, [heard])
    run(f"invoices issue {MONTH} --tenant default")
    assert "61.5 s of sound" in run("invoices show 1 --tenant default")
    run("invoices credit 1 --tenant acme --amount 0.0000007 --reason outage")
    assert [each["total_nano"] for each in run.json("invoices ls --tenant acme")] == [755, -700]
    assert "credit of 1" in run("invoices ls")
    run("invoices credit 1 --tenant acme --amount 1 --reason more", code=1)
    run("invoices show 2 --tenant default", code=1)


def test_every_administrative_act_is_written_down_with_who_did_it(run):
    run("tenants create acme")
    run("users add ada --tenant acme")
    run("users role ada owner --tenant acme")
    run("users rm ada --tenant acme")
    run("keys create one --tenant acme")
    run("keys revoke one")
    budget = run.json("budgets set tenant acme --month 5")[0]["id"]
    run(f"budgets rm {budget}")
    run("prices set m --in 1 --out 1")
    run.store(ledger.append, [row("k", 1)])
    run(f"invoices issue {MONTH} --tenant acme")
    run("invoices credit 1 --tenant acme --reason outage")
    run("tenants close acme")
    notes = run.store(audit.recent)
    assert {note.actor.split()[0] for note in notes} == {"cli"}
    assert {note.origin for note in notes} <= {"terminal"} or "ssh" in str(notes[0].origin)
    assert {note.action for note in notes} == {
        *("tenant.create", "tenant.close", "user.add", "user.role", "user.remove"),
        *("key.create", "key.revoke", "budget.set", "budget.end"),
        *("price.set", "invoice.issue", "invoice.credit"),
    }
