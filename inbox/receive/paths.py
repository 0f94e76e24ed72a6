"""Where a request goes, and from where it comes, the same for every server."""

PREFIX = "/in/"


def address(path: str) -> tuple[str, str] | None:
    """Return the source that a decoded path names, and what follows its name; None if it is no `/in/<source>…`.

    Slashes at the front count as one, as Flask has them; those further behind are part of what follows.
    """
    if not path.startswith(PREFIX):
        path = "/" + path.lstrip("/")
        if not path.startswith(PREFIX):
            return None
    name, _, rest = path[len(PREFIX) :].partition("/")
    return (name, rest) if name else None


def forwarded(addresses: str, proxies: int) -> str:
    """Return the address that the first of so many believed proxies saw, "" if fewer added theirs to the list."""
    found = addresses.rsplit(",", proxies)
    return found[-proxies].strip() if 0 < proxies <= len(found) else ""
