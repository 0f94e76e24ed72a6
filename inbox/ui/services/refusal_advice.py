"""What to do about a refusal: a sentence per code and reason that names what to change, and where. Pure."""

_CODES = {
    "unknown_source": (
        "Add a [sources.NAME] table for this address to inbox.toml and restart, or correct the address at the sender; "
        "if nobody of yours sends there, it is a stranger who tries addresses, and nothing is to be done."
    ),
    "method_not_allowed": (
        "Let the sender use a method that the source takes, or add this one to `methods` of [sources.{source}]."
    ),
    "body_too_large": "Raise `max_body` of [sources.{source}], and the limit of the proxy in front if there is one.",
    "incomplete_body": (
        "The connection broke before the body was whole; most senders try again by themselves. If it happens often, "
        "look at the time limits of the proxy in front."
    ),
    "body_too_slow": (
        "Raise `body_timeout` in [server] if the sender is slow by nature; if it happens often, look at the network "
        "and the proxy in front."
    ),
    "malformed": (
        "The body is no JSON. Ask the sender for JSON, or set "
        '`on_invalid = "quarantine"` in [sources.{source}] to keep such requests as events that are not run.'
    ),
    "invalid": (
        'Correct the schema in the folder of schemas, or set `on_invalid = "quarantine"` in [sources.{source}] to keep '
        "such requests as events that are not run; what was refused has to be sent again."
    ),
}
_REASONS = {
    "missing": (
        "Set the secret or the signature at the sender, or let the proxy in front pass the header on (nginx drops "
        "names with underscores unless `underscores_in_headers on` is set). `inbox sources --providers` says what this "
        "provider expects; without any, nobody of yours sent it."
    ),
    "malformed": (
        "What came as proof is not what this provider sends: check `provider` of [sources.{source}] and, of a generic "
        "one, `header`, `prefix` and `encoding`."
    ),
    "mismatch": (
        "Copy the secret from the sender once more into the variable that `secrets` of [sources.{source}] names, and "
        "restart; while it is being changed, list the old and the new one. Is it right, then something on the way "
        "changes the body."
    ),
    "stale": (
        "Check the clock of this machine with `inbox doctor`. Does the sender retry with the old time, raise "
        "`tolerance` of [sources.{source}]."
    ),
    "forbidden": (
        "What came proves nothing, or less than [sources.{source}] asks for: have the sender use a scheme that "
        "`schemes` there allows."
    ),
}


def advice(code: str, reason: str, source: str) -> str:
    """Return what to do about a refusal of a source; "" for a code that nobody knows."""
    text = _REASONS.get(reason, "") if code == "not_authentic" else _CODES.get(code, "")
    return text.format(source=source or "NAME")
