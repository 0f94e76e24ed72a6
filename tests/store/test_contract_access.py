"""The contract of Access: users, logins and tokens, of which the store keeps digests only."""

from inbox.store.protocols_accounts import Login
from tests.support.stores import SqliteStore, in_threads

DAY = 86_400.0


def test_there_is_nobody_at_first(store: SqliteStore) -> None:
    """The pages are off until a password is set."""
    assert ([], [], None) == (store.access.users(), store.access.tokens(), store.access.password("admin"))


def test_secret_is_made_once(store: SqliteStore) -> None:
    """32 bytes, the same for everybody and after a restart."""
    found = set(in_threads([store.access.secret] * 4))
    store.close()
    assert ({store.access.secret()}, 32) == (found, len(store.access.secret()))


def test_new_password_ends_the_logins_of_this_user_only(store: SqliteStore) -> None:
    """Whoever had the old password is out."""
    for user in ("admin", "other"):
        store.access.set_password(user, "old", 100.0)
        store.access.log_in(user, "old", user.encode(), at=100.0, expires_at=100.0 + DAY)
    store.access.set_password("admin", "new", 200.0)
    assert ("new", None) == (store.access.password("admin"), store.access.login(b"admin", 200.0))
    assert Login("other", 100.0 + DAY, b"other") == store.access.login(b"other", 200.0)
    assert [("admin", 200.0, 100.0), ("other", 100.0, 100.0)] == [tuple(row.values()) for row in store.access.users()]


def test_no_login_begins_with_a_password_that_was_changed_meanwhile(store: SqliteStore) -> None:
    """Looking at a password takes time; a new password, or the end of the user, must hold for who was looked at."""
    store.access.set_password("admin", "old", 100.0)
    store.access.set_password("admin", "new", 200.0)
    hashes = [("admin", "old"), ("nobody", "new"), ("admin", "new")]
    begun = [store.access.log_in(*who, bytes([n]), at=200.0, expires_at=300.0) for n, who in enumerate(hashes)]
    assert [False, False, True] == begun
    assert [None, None, Login("admin", 300.0, b"\2")] == [store.access.login(bytes([n]), 201.0) for n in range(3)]


def test_login_ends_at_its_time_and_with_the_log_out(store: SqliteStore) -> None:
    """And what is over is forgotten with the next."""
    store.access.set_password("admin", "hash", 0.0)
    for name in (b"one", b"two"):
        store.access.log_in("admin", "hash", name, at=0.0, expires_at=10.0)
    store.access.log_out(b"two")
    assert [True, False] == [store.access.login(b"one", at) is not None for at in (9.9, 10.0)]
    assert store.access.login(b"two", 1.0) is None
    store.access.log_in("admin", "hash", b"three", at=11.0, expires_at=20.0)
    assert store.access.login(b"one", 9.9) is None


def test_removed_user_is_out(store: SqliteStore) -> None:
    """With all logins; the second time there is nobody to remove."""
    store.access.set_password("admin", "hash", 0.0)
    store.access.log_in("admin", "hash", b"one", at=0.0, expires_at=10.0)
    assert [True, False] == [store.access.remove_user("admin") for _ in range(2)]
    assert ([], None) == (store.access.users(), store.access.login(b"one", 1.0))


def test_token_is_found_by_its_digest_until_it_is_removed(store: SqliteStore) -> None:
    """Its use is remembered to the hour; a name is taken once."""
    assert [True, False] == [store.access.add_token("ci", digest, 100.0) for digest in (b"one", b"two")]
    assert ["ci", None] == [store.access.token(digest, 200.0) for digest in (b"one", b"two")]
    store.access.token(b"one", 300.0)
    assert [("ci", 100.0, 200.0)] == [tuple(row.values()) for row in store.access.tokens()]
    store.access.token(b"one", 200.0 + 3600)
    assert 3800.0 == store.access.tokens()[0]["last_used_at"]
    assert [True, False] == [store.access.remove_token("ci") for _ in range(2)]
    assert store.access.token(b"one", 400.0) is None
