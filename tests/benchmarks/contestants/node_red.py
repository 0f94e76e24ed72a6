"""Node-RED: a flow of three nodes, "http in", "change" and "http response", that answers at once; stores nothing."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.contestants.base import Contestant, Missing, run

FLOW = [
    {"id": "tab", "type": "tab", "label": "benchmark"},
    {"id": "in", "type": "http in", "z": "tab", "url": "/in/roomz", "method": "post", "wires": [["ok"]]},
    {
        "id": "ok",
        "type": "change",
        "z": "tab",
        "rules": [{"t": "set", "p": "payload", "pt": "msg", "to": '{"status": "ok"}', "tot": "json"}],
        "wires": [["out"]],
    },
    {"id": "out", "type": "http response", "z": "tab", "statusCode": "200", "wires": []},
]
SETTINGS = """module.exports = {
  uiHost: "127.0.0.1", httpAdminRoot: false, flowFile: "flows.json", credentialSecret: false,
  apiMaxLength: "5mb", logging: { console: { level: "warn", metrics: false, audit: false } }
}
"""


class NodeRed(Contestant):
    """Node-RED without its editor."""

    key = "node-red"
    name = "Node-RED"
    what = "parses JSON, answers; verifies and stores nothing"

    def install(self, scratch: Path) -> None:
        """See Contestant."""
        folder = scratch / "installed" / self.key
        if shutil.which("npm") is None or shutil.which("node") is None:
            raise Missing("npm and node are not installed")
        if not (folder / "complete").exists():
            folder.mkdir(parents=True, exist_ok=True)
            run(["npm", "install", "--no-audit", "--no-fund", "--omit=dev", "node-red"], cwd=folder)
            (folder / "complete").touch()
        self.script = folder / "node_modules" / "node-red" / "red.js"

    def prepare(self, folder: Path, port: int, secret: str) -> None:
        """See Contestant."""
        (folder / "flows.json").write_text(json.dumps(FLOW))
        (folder / "settings.js").write_text(SETTINGS)

    def commands(self, folder: Path, port: int) -> Sequence[Sequence[str]]:
        """See Contestant."""
        options = ["--settings", "settings.js", "--userDir", ".", "--port", str(port)]
        return [["node", str(self.script), *options, "flows.json"]]
