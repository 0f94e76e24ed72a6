"""Roomle: the e-mails that Roomle leaves to its receiver, since an answer of 2xx says "I send it".

SMTP_URL and MAIL_FROM say how, see `_mail.py`; without them the mails become files. A mail that is sent twice, as may
happen where a run is cut off, has the same Message-ID.
"""

import re

from inbox import Discard, Event, handles

from ._data import members
from ._mail import send

SUBJECTS = {
    "email.savedConfiguration": "Your saved configuration",
    "email.shareConfiguration": "A configuration for you",
    "email.shareConfigurationAR": "Your configuration in augmented reality",
    "email.3DExportAsset": "Your 3D export",
}


@handles("roomle", "email.*", timeout=60)
def send_email(event: Event) -> dict[str, str]:
    """Send the link to who asked for it."""
    data = members(event.payload, "data")
    if data.get("success") is False:
        raise Discard("Roomle did not succeed, so there is nothing to send")
    names = ("url", "resultUrl") if event.type == "email.3DExportAsset" else ("url",)
    links = [data[name] for name in names if re.fullmatch(r"https?://[^\s\0-\x1f\x7f]+", str(data.get(name)))]
    if not links:
        raise Discard("there is no link to send")
    subject = SUBJECTS.get(event.type, "Your configuration")
    return {"sent": send(event, to=data.get("email"), subject=subject, content="\n\n".join([f"{subject}:", *links]))}
