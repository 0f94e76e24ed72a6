"""[alarms] → a file of alert rules for Prometheus, with how to scrape the inbox in its head.

The thresholds are those of the alarms that are built in; silence is taken from them, as Prometheus has not learned it.
"""

from inbox.core.config.settings import Settings

_HEAD = """\
# Alert rules for webhook-inbox, made by `inbox deploy prometheus` from the thresholds in [alarms].
# Set `metrics = "loopback"` in [server] (Prometheus on this machine), and put into prometheus.yml:
#
#   rule_files: ["inbox-rules.yml"]
#   scrape_configs:
#     - job_name: webhook-inbox
#       static_configs: [{{targets: ["{target}"]}}]{https}
#
# `promtool check rules inbox-rules.yml` checks this file.
groups:
  - name: webhook-inbox
    rules:
"""
_HTTPS = """
#       scheme: https
#       tls_config: {server_name: "the name in your certificate"}"""
_AUTHENTIC = 'sum by (source) (increase(inbox_events_total{source!="other"}[15m]))'
_REFUSED = 'sum by (source) (increase(inbox_refusals_total{source!="other"}[15m]))'
_BAD = 'sum by (source) (increase(inbox_events_total{outcome="quarantined",source!="other"}[15m]))'
_P99 = "histogram_quantile(0.99, sum by (source, le) (increase(inbox_answer_duration_seconds_bucket[15m])))"


def rules(settings: Settings) -> str:
    """Return the file."""
    server = settings.server
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(server.host, server.host)  # noqa: S104
    head = _HEAD.format(target=f"{host}:{server.port}", https=_HTTPS if server.tls_cert else "")
    return head + "".join(_rule(*found) for found in _alerts(settings))


def _alerts(settings: Settings) -> list[tuple[str, str, str, str, str]]:
    """Return (name, expression, for how long, severity, summary) of each rule."""
    alarms = settings.alarms
    gone = f'inbox_process_sign_age_seconds{{process="worker"}} > {alarms.process_gone:g}'
    refused = f"{_REFUSED} / ({_REFUSED} + ({_AUTHENTIC})) >= {alarms.refused_share:g} and {_REFUSED} >= 10"
    bad = f"{_BAD} / {_AUTHENTIC} >= {alarms.quarantined_share:g} and {_BAD} >= 5"
    slow = f"{_P99} > on (source) inbox_answer_deadline_seconds * {alarms.deadline_share:g}"
    room = f"inbox_disk_free_bytes < inbox_disk_min_free_bytes + {alarms.disk_headroom}"
    dead = 'increase(inbox_deliveries_ended_total{status="dead"}[1h]) > 0'
    silent = 'inbox_alarm_active{alarm="silence"} == 1'
    return [
        ("InboxDown", 'up{job="webhook-inbox"} == 0', "2m", "critical", "The receiver does not answer."),
        ("InboxWorkerGone", gone, "1m", "critical", "No worker gives a sign of life: events are kept and wait."),
        ("InboxBacklogOld", f"inbox_backlog_oldest_age_seconds > {alarms.backlog_age:g}", "2m", "warning",
         "Work waits for {{ $value | humanizeDuration }}."),
        ("InboxDeadDeliveries", dead, "0m", "warning", "{{ $labels.handler }} gave up; `inbox events --status dead`."),
        ("InboxRefusals", refused, "5m", "warning",
         "{{ $value | humanizePercentage }} from {{ $labels.source }} refused; `inbox refusals {{ $labels.source }}`."),
        ("InboxQuarantine", bad, "5m", "warning",
         "{{ $value | humanizePercentage }} from {{ $labels.source }} do not match their schema."),
        ("InboxDiskLow", room, "5m", "critical", "{{ $value | humanize1024 }}B free: below the reserve 503."),
        ("InboxAnswersSlow", slow, "5m", "warning", "Answers to {{ $labels.source }} come close to its deadline."),
        ("InboxSourceSilent", silent, "0m", "warning", "{{ $labels.subject }} is silent."),
    ]  # fmt: skip


def _rule(name: str, expression: str, wait: str, severity: str, summary: str) -> str:
    return f"""\
      - alert: {name}
        expr: '{expression}'
        for: {wait}
        labels: {{severity: {severity}}}
        annotations: {{summary: '{summary}'}}
"""
