"""Every act of administration by a command leaves its row: a walk over all commands.

A command that is in none of the tables below fails, as does one that acts without a row, and one
that only reads and leaves one.
"""

from __future__ import annotations

import json

from cli_reference import walk
from click.testing import CliRunner

from haneul.cli.main import haneul

PRICES = "--price-in 0.1 --price-out 0.4"
COMMANDS = {  # in their order: what each leaves
    "keys create k": ["key.create"],
    "keys revoke k": ["key.revoke"],
    "tenants create acme": ["tenant.create"],
    "users add ada --tenant acme": ["user.add"],
    "users role ada billing --tenant acme": ["user.role"],
    "budgets set user ada --tenant acme --month 5": ["budget.set"],
    "users rm ada --tenant acme": ["user.remove"],
    "budgets rm {budget}": ["budget.end"],
    "prices set m --in 1 --out 2": ["price.set"],
    "engines add near http://127.0.0.1:1 --model m " + PRICES: ["engine.add", "price.set"],
    "engines rm near": ["engine.remove"],
    "routes set r a b": ["route.set"],
    "keys create l": ["key.create"],
    "keys set l --thinking-max 9": ["key.rule"],
    "tenants set acme --guard mask": ["tenant.rule"],
    "routes rules r --guard mask": ["model.rule"],
    "routes rm r": ["route.remove"],
    "pull {model}": ["revision.add", "model.pull"],
    "models alias tiny@prod": ["alias.move"],
    "bundle create {folder}/one.tar tiny": ["bundle.create"],
    "bundle trust {signer} --name ada": ["bundle.trust"],
    "models alias tiny@prod --remove": ["alias.move"],
    "rm tiny": ["model.remove"],
    "pull {model} --json": ["model.pull"],
    "models withdraw tiny --reason old --anyway": ["revision.withdraw"],
    "tenants close acme": ["tenant.close"],
}
ELSEWHERE = {  # their rows are looked at in other tests: they take a cloud, a month or minutes
    *("up", "run", "chat", "ps", "stop", "invoices issue", "invoices credit", "tune engine"),
    *("models gc", "models push", "bundle load", "chips matrix import"),
    *("eval run",),
    *("models convert", "models quantize", "models merge", "models measure"),
    *("plan calibrate",),
}
READING = {
    *("ls", "keys ls", "tenants ls", "users ls", "budgets ls", "prices ls", "engines ls"),
    *("routes ls", "invoices ls", "invoices show", "usage", "trace", "tune ls", "doctor"),
    *("audit", "rules", "models search", "models pulls", "bundle key", "eval list"),
}
READING_OF = {  # what they read has to be there
    *("eval show", "eval board"),
    *("models info", "models show", "models revisions", "models lineage", "models check"),
    *("bundle verify", "plan serve", "plan compare", "plan train", "plan fleet"),
    *("plan backtest", "chips matrix export"),
}


def commands():
    every = [name.removeprefix("haneul ") for name, it in walk("haneul", haneul)]
    groups = {
        name.removeprefix("haneul ")
        for name, it in walk("haneul", haneul)
        if hasattr(it, "commands")
    }
    return {name for name in every if name not in groups}


def test_every_command_is_in_one_of_the_tables():
    acting = {name for name in commands() for line in COMMANDS if f"{line} ".startswith(f"{name} ")}
    assert commands() - acting - ELSEWHERE - READING - READING_OF == set(), (
        "does it act? then it leaves a row"
    )
    assert (ELSEWHERE | READING | READING_OF) - commands() == set(), "there is no such command"


def test_every_acting_command_leaves_its_rows(tmp_path, tiny_model):
    environ = {"HANEUL_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "USER": "ada"}
    known = {"model": str(tiny_model), "folder": str(tmp_path), "signer": "ed25519:" + "ab" * 32}

    def run(line):
        environ_now = {**environ, "LOGNAME": "ada", "SSH_CONNECTION": "10.1.2.3 5 10.0.0.1 22"}
        done = CliRunner().invoke(haneul, line.split(), env=environ_now)
        assert done.exit_code == 0, (line, done.output)
        return done.output

    for line, actions in COMMANDS.items():
        before = json.loads(run("audit --limit 1000 --json"))
        output = run(line.format(**known) + (" --json" if line.startswith("budgets set") else ""))
        if line.startswith("budgets set"):
            known["budget"] = json.loads(output)[0]["id"]
        rows = json.loads(run("audit --limit 1000 --json"))
        new = rows[: len(rows) - len(before)]
        assert [row["action"] for row in new][::-1] == actions, line
        assert {(row["actor"], row["origin"]) for row in new} == {("cli ada", "ssh 10.1.2.3")}
        assert all(row["before"] or row["after"] for row in new), line
    table = run("audit --action engine")
    assert "engine.remove" in table
    assert "key.create" not in table
    assert "Nothing that fits" in run("audit --actor nobody")


def test_reading_commands_leave_no_row(tmp_path):
    environ = {"HANEUL_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    for line in sorted(READING - {"trace", "invoices show", "doctor"}):
        done = CliRunner().invoke(haneul, line.split(), env=environ)
        assert done.exit_code == 0, (line, done.output)
    done = CliRunner().invoke(haneul, ["audit", "--json"], env=environ)
    assert json.loads(done.output) == []
