"""The scheme that believes everything."""

import pytest

from inbox.core.models import Request, Secret, Verified
from inbox.verify.schemes.unsigned import UnsignedScheme


def test_everything_is_believed() -> None:
    """There is nothing to prove, to write or to hide."""
    request = Request(body=b"\xff")
    assert Verified("unsigned") == UnsignedScheme().verify(request, [], at=0.0)
    assert request is UnsignedScheme().sign(request, Secret(b""), at=0.0)
    assert request is UnsignedScheme().redact(request, [])


def test_secrets_are_an_error() -> None:
    """A secret would have no effect, and its owner would not know."""
    UnsignedScheme().check([])
    with pytest.raises(ValueError, match="no effect"):
        UnsignedScheme().check([Secret("s")])
