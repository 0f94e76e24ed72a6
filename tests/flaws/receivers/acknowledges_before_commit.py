"""The answer goes out while the row is in a transaction that is committed once a second."""

import threading
import time
from typing import Any

from _base import Receiver, serve


class Flawed(Receiver):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sql("BEGIN")
        threading.Thread(target=self.commit_every_second, daemon=True).start()

    def commit_every_second(self) -> None:
        while True:
            time.sleep(1)
            with self.lock:
                self.sql("COMMIT")
                self.sql("BEGIN")


serve(Flawed)
