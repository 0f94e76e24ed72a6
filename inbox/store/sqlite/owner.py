"""Files that a command made as root belong to whoever owns the database."""

import os
from pathlib import Path


def give_to_owner(file: int, database: Path) -> None:
    """Give an open file to the owner of the database, or of its folder if there is no database yet."""
    if os.geteuid() == 0:
        owner = (database if database.exists() else database.parent).stat()
        os.fchown(file, owner.st_uid, owner.st_gid)
