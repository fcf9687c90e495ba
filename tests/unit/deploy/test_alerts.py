"""Every alert fires on what it is for and is silent where all is well: promtool says so."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = DEPLOY / "prometheus" / "haneul.rules.yml"
ALERTS = re.findall(r"- alert: (\w+)", RULES.read_text())
BOUNDS = ("0.5", "5.0", "10.0", "30.0", "+Inf")
HOME = '{instance="h"}'
ENGINE = '{instance="h",model="m",engine="e"}'
FIRST = 'haneul_time_to_first_token_seconds_bucket{instance="h",model="m",engine="e",le="%s"}'


def requests(failed_each_minute):
    return {
        'haneul_requests_total{instance="h",model="m",engine="e",state="done"}': "0+60x160",
        'haneul_requests_total{instance="h",model="m",engine="e",state="failed"}': (
            f"0+{failed_each_minute}x160"
        ),
    }


def first_tokens(*each_minute):
    return {FIRST % bound: f"0+{rate}x160" for bound, rate in zip(BOUNDS, each_minute, strict=True)}


def disk(free):
    return {f"haneul_disk_bytes{HOME}": "1000+0x160", f"haneul_disk_free_bytes{HOME}": free}


HEALTHY = {
    'up{job="haneul",instance="h"}': "1+0x160",
    **requests(1),
    **first_tokens(50, 60, 60, 60, 60),
    f"haneul_engine_waiting{ENGINE}": "3+0x160",
    'haneul_budget_used_ratio{instance="h",of="key"}': "0.5+0x160",
    f"haneul_ledger_waiting{HOME}": "5+0x160",
    f"haneul_ledger_failing{HOME}": "0+0x160",
    f"haneul_engine_restarts{ENGINE}": "0+0x80 1+0x80",
    **disk("900+0x160"),
    'haneul_telemetry_lost_total{instance="h",kind="spans"}': "4+0x160",
}
SICK = {
    "HaneulDown": {'up{job="haneul",instance="h"}': "0+0x160"},
    "HaneulErrors": requests(6),
    "HaneulFirstTokenSlow": first_tokens(10, 20, 30, 60, 60),
    "HaneulQueue": {f"haneul_engine_waiting{ENGINE}": "17+0x160"},
    "HaneulBudgetNearlyUsed": {'haneul_budget_used_ratio{instance="h",of="key"}': "0.93+0x160"},
    "HaneulLedgerBehind": {f"haneul_ledger_waiting{HOME}": "2000+0x160"},
    "HaneulLedgerFailing": {f"haneul_ledger_failing{HOME}": "1+0x160"},
    "HaneulEngineRestarting": {f"haneul_engine_restarts{ENGINE}": "0+0.4x160"},
    "HaneulDiskNearlyFull": disk("90+0x160"),
    "HaneulDiskFillsUp": disk("299-0.25x160"),
    "HaneulTelemetryLost": {'haneul_telemetry_lost_total{instance="h",kind="spans"}': "0+10x160"},
}
AT = "150m"


@pytest.fixture(scope="session")
def promtool():
    found = shutil.which("promtool")
    assert found, "promtool is missing: apt-get install prometheus (tests/debian.sh does)"
    return found


def run(promtool, *arguments):
    done = subprocess.run([promtool, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def case(series, *alerts):
    """One promtool test: just these alerts fire on some series."""
    given = [{"series": name, "values": values} for name, values in series.items()]
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts]
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    test = {"expr": firing, "eval_time": AT, "exp_samples": expected}
    return {"interval": "1m", "input_series": given, "promql_expr_test": [test]}


def check(promtool, tmp_path, *cases):
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": list(cases)}
    path = tmp_path / "test.yml"
    path.write_text(json.dumps(document))  # YAML has JSON in it
    return run(promtool, "test", "rules", path)


def test_every_alert_has_its_test():
    assert set(ALERTS) == set(SICK)
    assert len(ALERTS) == len(set(ALERTS))


def test_the_rules_are_well_formed(promtool):
    code, said = run(promtool, "check", "rules", RULES)
    assert code == 0, said
    assert f"{len(ALERTS)} rules" in said


def test_no_alert_fires_where_all_is_well(promtool, tmp_path):
    code, said = check(promtool, tmp_path, case(HEALTHY))
    assert code == 0, said


def test_each_alert_fires_on_what_it_is_for_and_no_other_does(promtool, tmp_path):
    cases = [case(HEALTHY | series, alert) for alert, series in SICK.items()]
    code, said = check(promtool, tmp_path, *cases)
    assert code == 0, said


def test_a_test_of_promtool_can_fail(promtool, tmp_path):
    code, said = check(promtool, tmp_path, case(HEALTHY, "HaneulDown"))
    assert code != 0, said
