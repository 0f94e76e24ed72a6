"""The alert rules, as Prometheus' own tool reads and runs them, on series such as the inbox exposes."""

import subprocess
from pathlib import Path

import pytest

from inbox.core.config.alarm_settings import AlarmSettings
from inbox.core.config.settings import ServerSettings, Settings
from inbox.tools.deploy.prometheus import rules
from tests.cli.conftest import Cli
from tests.support.needs import program

QUIET = """
      - {series: 'up{job="webhook-inbox"}', values: '1x120'}
      - {series: 'inbox_process_sign_age_seconds{process="worker"}', values: '3x120'}
      - {series: 'inbox_backlog_oldest_age_seconds', values: '299x120'}
      - {series: 'inbox_deliveries_ended_total{handler="h.f",status="dead"}', values: '2x120'}
      - {series: 'inbox_events_total{source="roomz",outcome="accepted"}', values: '0+10x120'}
      - {series: 'inbox_events_total{source="roomz",outcome="quarantined"}', values: '0+1x120'}
      - {series: 'inbox_refusals_total{source="roomz",code="not_authentic",reason="mismatch"}', values: '0+5x120'}
      - {series: 'inbox_refusals_total{source="other",code="unknown_source",reason="other"}', values: '0+999x120'}
      - {series: 'inbox_disk_free_bytes', values: '9e9x120'}
      - {series: 'inbox_disk_min_free_bytes', values: '6e7x120'}
      - {series: 'inbox_answer_deadline_seconds{source="roomz"}', values: '30x120'}
      - {series: 'inbox_answer_duration_seconds_bucket{source="roomz",le="0.1"}', values: '0+10x120'}
      - {series: 'inbox_answer_duration_seconds_bucket{source="roomz",le="+Inf"}', values: '0+10x120'}
      - {series: 'inbox_alarm_active{alarm="silence",subject="roomz"}', values: '0x120'}
"""
LOUD = """
      - {series: 'up{job="webhook-inbox"}', values: '0x120'}
      - {series: 'inbox_process_sign_age_seconds{process="worker"}', values: '0+60x120'}
      - {series: 'inbox_backlog_oldest_age_seconds', values: '301x120'}
      - {series: 'inbox_deliveries_ended_total{handler="h.f",status="dead"}', values: '2x80 3x40'}
      - {series: 'inbox_events_total{source="roomz",outcome="accepted"}', values: '0+10x120'}
      - {series: 'inbox_events_total{source="roomz",outcome="quarantined"}', values: '0+3x120'}
      - {series: 'inbox_refusals_total{source="roomz",code="not_authentic",reason="mismatch"}', values: '0+14x120'}
      - {series: 'inbox_disk_free_bytes', values: '3e8x120'}
      - {series: 'inbox_disk_min_free_bytes', values: '67108864x120'}
      - {series: 'inbox_answer_deadline_seconds{source="roomz"}', values: '30x120'}
      - {series: 'inbox_answer_duration_seconds_bucket{source="roomz",le="15"}', values: '0+1x120'}
      - {series: 'inbox_answer_duration_seconds_bucket{source="roomz",le="30"}', values: '0+10x120'}
      - {series: 'inbox_answer_duration_seconds_bucket{source="roomz",le="+Inf"}', values: '0+10x120'}
      - {series: 'inbox_alarm_active{alarm="silence",subject="roomz"}', values: '1x120'}
"""
ALERTS = [
    "InboxAnswersSlow",
    "InboxBacklogOld",
    "InboxDeadDeliveries",
    "InboxDiskLow",
    "InboxDown",
    "InboxQuarantine",
    "InboxRefusals",
    "InboxSourceSilent",
    "InboxWorkerGone",
]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The rules of an inbox with the default settings, in a folder of their own."""
    (tmp_path / "inbox-rules.yml").write_text(rules(Settings(tmp_path)))
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("promtool", "prometheus"), *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_promtool_accepts_the_rules(written: Path) -> None:
    """Each rule is one that Prometheus loads."""
    done = run(written, "check", "rules", "inbox-rules.yml")
    assert (0, True) == (done.returncode, f"{len(ALERTS)} rules found" in done.stdout), done.stdout + done.stderr


@pytest.mark.parametrize(("series", "firing"), [(QUIET, []), (LOUD, ALERTS)], ids=["quiet", "loud"])
def test_rules_fire_when_they_should(written: Path, series: str, firing: list[str]) -> None:
    """Nothing fires just below the thresholds, all of them fire above; noise of unknown sources never does."""
    samples = "".join(f"\n          - {{labels: '{{alertname=\"{name}\"}}', value: 1}}" for name in firing)
    (written / "test.yml").write_text(f"""
rule_files: [inbox-rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series: {series}
    promql_expr_test:
      - expr: 'count by (alertname) (ALERTS{{alertstate="firing"}})'
        eval_time: 100m
        exp_samples: {samples or "[]"}
""")
    done = run(written, "test", "rules", "test.yml")
    assert 0 == done.returncode, done.stdout + done.stderr


def test_rules_have_the_owners_thresholds_and_address(tmp_path: Path) -> None:
    """What is set in [alarms] and [server] is what the file says."""
    text = rules(
        Settings(
            tmp_path,
            server=ServerSettings(host="0.0.0.0", port=9443, tls_cert="cert.pem", tls_key="key.pem"),
            alarms=AlarmSettings(backlog_age=77.0, process_gone=88.0, refused_share=0.9),
        )
    )
    for said in ("127.0.0.1:9443", "scheme: https", "seconds > 77", "> 88", ">= 0.9"):
        assert said in text
    (tmp_path / "inbox-rules.yml").write_text(text)
    assert 0 == run(tmp_path, "check", "rules", "inbox-rules.yml").returncode


def test_command_prints_the_rules(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file on standard output; that /metrics is off is told beside it."""
    monkeypatch.chdir(tmp_path)
    toml = tmp_path / "inbox.toml"
    toml.write_text("[alarms]\nbacklog_age = 77\n")
    off = cli("deploy", "prometheus")
    assert (True, True) == ("seconds > 77" in off.stdout, 'warning: metrics = "off"' in off.stderr)
    toml.write_text('[server]\nmetrics = "loopback"\n')
    assert "" == cli("deploy", "prometheus").stderr
