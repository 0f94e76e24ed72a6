"""The pages for those who look after the inbox: `/healthz`, `/readyz`, `/metrics`."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Literal, Protocol

import structlog
from flask import Flask, Response, abort, jsonify, request

from inbox.core.errors import StoreError, StoreUnavailable
from inbox.receive.admission import AdmissionControl
from inbox.receive.statuses import RETRY_AFTER

log = structlog.get_logger("inbox.receive")

_VIA_PROXY = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")


class HealthSource(Protocol):
    """What the pages show; `inbox.operate.health.HealthSource` has it."""

    def answered(self, source: str, seconds: float) -> None:
        """Count how long an answer took."""

    def checks(self) -> dict[str, str]:
        """Return what was looked at: "ok", or what is wrong with it."""

    def metrics(self) -> bytes:
        """Return the text for a scraper. Raises StoreError."""


class Probe:
    """A Lookout that knows only whether something can be written."""

    def __init__(self, probe: Callable[[], None]) -> None:
        self._probe = probe

    def answered(self, source: str, seconds: float) -> None:
        """See HealthSource."""

    def checks(self) -> dict[str, str]:
        """See HealthSource."""
        try:
            self._probe()
        except StoreError as error:
            return {"store": str(error)}
        return {"store": "ok"}

    def metrics(self) -> bytes:
        """See HealthSource."""
        return b""


def add_pages(
    app: Flask, lookout: HealthSource, room: AdmissionControl, metrics: Literal["off", "loopback", "everyone"]
) -> None:
    """Add the pages to the application; without permission there is no page of metrics."""
    app.add_url_rule("/readyz", "readyz", _readyz(lookout, room), methods=["GET"])
    if metrics != "off":
        app.add_url_rule("/metrics", "metrics", _metrics(lookout, metrics == "everyone"), methods=["GET"])


def _readyz(lookout: HealthSource, room: AdmissionControl) -> Callable[[], Response]:
    """Return the view of `/readyz`, which is not ready if a body of a sender would find no room."""

    def readyz() -> Response:
        checks = {}
        try:
            room.check()
            checks = lookout.checks()
        except StoreUnavailable as error:
            checks = {"capacity": str(error)}
        failing = [name for name, found in checks.items() if found != "ok"]
        if not failing:
            return jsonify(status="ready", checks=checks)
        log.warning("receiver.not_ready", **{name: checks[name] for name in failing})
        response = jsonify(error="unavailable", failing=failing, checks=checks)
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_AFTER)
        return response

    return readyz


def _metrics(lookout: HealthSource, everyone: bool) -> Callable[[], Response]:
    """Return the view of `/metrics`, which for strangers looks as if it were not there."""

    def metrics() -> Response:
        if not everyone and not is_local():
            abort(404)
        return Response(lookout.metrics(), content_type=CONTENT_TYPE)

    return metrics


def is_local() -> bool:
    """Tell whether a program on this machine asks, and not a proxy on this machine for somebody else."""
    if any(name in request.headers for name in _VIA_PROXY):
        return False
    try:
        return ip_address(request.environ.get("REMOTE_ADDR") or "").is_loopback
    except ValueError:
        return False


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of the text form, https://prometheus.io/docs/instrumenting/exposition_formats/."""
