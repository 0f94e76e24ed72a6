"""Who may see the pages: nobody until a password is set, then whoever knows it, over HTTPS or on this machine."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore

import pytest
from structlog.testing import capture_logs

from inbox.core.errors import StoreUnavailable
from inbox.receive.wsgi import create_app
from inbox.store.sql.accounts import SqliteAccess
from inbox.testing import Inbox
from inbox.ui.app import alone, share
from inbox.ui.services import accounts
from tests.ui.conftest import PASSWORD, Reader


def test_pages_are_off_until_a_password_is_set(inbox: Inbox) -> None:
    """Whoever is on this machine is told what to do, a stranger not; the next request finds them on."""
    reader = Reader(alone(inbox.runtime))
    here = reader.get("/inbox/")
    there = reader.get("/inbox/", environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    behind = reader.get("/inbox/", headers={"X-Forwarded-For": "192.0.2.1"})
    assert (404, 404, 404) == (here.status_code, there.status_code, behind.status_code)
    assert [True, False, False] == ["inbox admin set-password" in page.text for page in (here, there, behind)]
    assert 404 == reader.post("/inbox/login", {"user": "admin", "password": ""}, token="").status_code
    accounts.set_password(inbox.runtime, "admin", PASSWORD)
    assert "/inbox/login?next=/inbox/" == reader.get("/inbox/").location


def test_login_leads_to_where_one_wanted_to_go(stranger: Reader) -> None:
    """And the cookie is for the pages only, out of reach of scripts."""
    wanted = stranger.get("/inbox/?since=1")
    assert (302, "/inbox/login?next=/inbox/?since%3D1") == (wanted.status_code, wanted.location)
    with capture_logs() as logs:
        answer = stranger.log_in(next="/inbox/?since=1")
    assert (302, "/inbox/?since=1") == (answer.status_code, answer.location)
    (cookie,) = answer.headers.getlist("Set-Cookie")
    assert ["HttpOnly", "Path=/inbox", "SameSite=Lax"] == sorted(cookie.split("; ")[1:])
    assert [{"event": "login.begun", "user": "admin", "remote": "127.0.0.1", "log_level": "info"}] == logs
    assert 200 == stranger.get("/inbox/").status_code


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/inbox/",
        "/\\evil.example",
        "/in/roomz",
        "/inbox/\\x",
        "javascript:1",
        "//[evil",
        "//℀.example/inbox/",
        "",
    ],
)
def test_login_leads_to_no_other_site(stranger: Reader, target: str) -> None:
    """Wherever `next` points."""
    assert "/inbox/" == stranger.log_in(next=target).location


@pytest.mark.parametrize(("user", "password"), [("admin", "wrong"), ("nobody", PASSWORD), ("", ""), ("a" * 9999, "x")])
def test_wrong_password_is_told_as_one_thing(stranger: Reader, user: str, password: str) -> None:
    """403, the same words for each, a line in the log without the password."""
    with capture_logs() as logs:
        answer = stranger.log_in(password, user)
    assert (403, True) == (answer.status_code, "User or password are wrong." in answer.text)
    name = user if user == "admin" else "unknown"  # it may be a password, typed into the wrong field
    assert [{"event": "login.refused", "user": name, "remote": "127.0.0.1", "log_level": "warning"}] == logs
    assert 302 == stranger.get("/inbox/").status_code


def test_who_tries_too_often_has_to_wait(owned: Inbox) -> None:
    """The eleventh wrong password of one address in five minutes is not even looked at; others may try."""
    reader = Reader(alone(owned.runtime))
    token = reader.token()
    form = {"user": "admin", "password": "wrong"}
    tries = [reader.post("/inbox/login", form, token=token).status_code for _ in range(11)]
    assert [403] * 10 + [429] == tries
    late = reader.log_in()
    assert (429, "300", True) == (late.status_code, late.headers["Retry-After"], "Wait five minutes" in late.text)
    other = {"environ_overrides": {"REMOTE_ADDR": "192.0.2.7"}}
    assert 302 == reader.post("/inbox/login", {"user": "admin", "password": PASSWORD}, **other).status_code


def test_crowd_that_logs_in_leaves_threads_to_others(owned: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three passwords are looked at or wait for it; others are told at once to come again, and have not used a try."""
    go, begun = Event(), Semaphore(0)

    def slowly(password: str, known: str) -> bool:
        begun.release()
        return go.wait(20)

    monkeypatch.setattr("inbox.ui.services.passwords.matches", slowly)
    app = alone(owned.runtime)
    readers = [Reader(app) for _ in range(4)]
    token = [reader.token() for reader in readers]
    form = {"user": "admin", "password": PASSWORD}
    with ThreadPoolExecutor(3) as threads:
        three = [threads.submit(readers[n].post, "/inbox/login", form, token=token[n]) for n in range(3)]
        assert all(begun.acquire(timeout=20) for _ in three)
        with capture_logs() as logs:
            fourth = readers[3].post("/inbox/login", form, token=token[3])
        go.set()
        assert [302] * 3 == [one.result().status_code for one in three]
    assert (503, "5", True) == (fourth.status_code, fourth.headers["Retry-After"], "Try again" in fourth.text)
    assert ["login.crowded"] == [line["event"] for line in logs]
    assert 302 == readers[3].post("/inbox/login", form, token=token[3]).status_code


def test_store_that_cannot_tell_its_secret_is_a_page(owned: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first who asks has it written; while that cannot be there is a 503, and afterwards there is the form."""
    reader = Reader(alone(owned.runtime))

    def locked(self: SqliteAccess) -> bytes:
        raise StoreUnavailable("the database is locked")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(SqliteAccess, "secret", locked)
        page, answer = reader.get("/inbox/login"), reader.get("/inbox/api/events")
    assert (503, "text/html", "no-store") == (page.status_code, page.mimetype, page.headers["Cache-Control"])
    assert (503, "unavailable") == (answer.status_code, answer.json and answer.json["error"])
    assert "the database is locked" == logs[0]["error"]
    assert 200 == reader.get("/inbox/login").status_code


def test_half_an_ipv6_address_is_one_address(owned: Inbox) -> None:
    """Whoever has a network of their own has as many tries as others."""
    reader = Reader(alone(owned.runtime))
    token = reader.token()
    from_there = [{"environ_overrides": {"REMOTE_ADDR": f"2001:db8::{number}"}} for number in range(11)]
    form = {"user": "admin", "password": "wrong"}
    found = [reader.post("/inbox/login", form, token=token, **place).status_code for place in from_there]
    assert [403] * 10 + [429] == found


def test_ipv4_addresses_that_a_server_on_both_sees_are_several(owned: Inbox) -> None:
    """On `[::]` an IPv4 address comes as ::ffff:192.0.2.1; a stranger must not use up the tries of all others."""
    reader = Reader(alone(owned.runtime))
    token = reader.token()
    form, there = {"user": "admin", "password": "wrong"}, {"REMOTE_ADDR": "::ffff:192.0.2.1"}
    for _ in range(10):
        assert 403 == reader.post("/inbox/login", form, token=token, environ_overrides=there).status_code
    assert 429 == reader.post("/inbox/login", form, token=token, environ_overrides=there).status_code
    other = {"REMOTE_ADDR": "::ffff:192.0.2.2"}
    assert 403 == reader.post("/inbox/login", form, token=token, environ_overrides=other).status_code


def test_log_out_ends_the_login_wherever_its_cookie_is(reader: Reader, owned: Inbox) -> None:
    """A copy of the cookie is worth nothing afterwards."""
    copied = Reader(reader.client.application)
    cookie = reader.client.get_cookie("inbox_session", path="/inbox")
    assert cookie is not None
    copied.client.set_cookie("inbox_session", cookie.value, path="/inbox")
    assert 200 == copied.get("/inbox/").status_code
    assert "/inbox/login" == reader.post("/inbox/logout", {}, token=reader.token("/inbox/")).location
    assert [302, 302] == [one.get("/inbox/").status_code for one in (reader, copied)]


def test_login_is_over_after_its_time_and_with_a_new_password(reader: Reader, owned: Inbox) -> None:
    """Twelve hours unless `session_lifetime` says otherwise."""
    owned.clock.now += 43_199
    assert 200 == reader.get("/inbox/").status_code
    owned.clock.now += 1
    assert 302 == reader.get("/inbox/").status_code
    reader.log_in()
    accounts.set_password(owned.runtime, "admin", PASSWORD)
    assert 302 == reader.get("/inbox/").status_code


def test_forged_cookie_is_none(owned: Inbox) -> None:
    """One that nobody signed, or that names a login that never was."""
    app = alone(owned.runtime)
    reader = Reader(app)
    reader.client.set_cookie("inbox_session", "eyJsb2dpbiI6IngifQ.aaaaaa.bbbb", path="/inbox")
    assert 302 == reader.get("/inbox/").status_code
    with reader.client.session_transaction("/inbox/", base_url="http://localhost") as session:
        session["login"] = "never was"
    assert 302 == reader.get("/inbox/").status_code


@pytest.mark.parametrize("token", ["", "wrong", "IjAi.aaaaaa.bbbb"])
def test_forms_of_other_sites_change_nothing(reader: Reader, token: str) -> None:
    """400, and the login goes on."""
    answer = reader.post("/inbox/logout", {}, token=token)
    assert (400, True) == (answer.status_code, "CSRF" in answer.text)
    assert 200 == reader.get("/inbox/").status_code


def test_login_form_of_another_site_logs_nobody_in(stranger: Reader) -> None:
    """Else somebody could be made to work in an inbox that is not theirs."""
    answer = stranger.post("/inbox/login", {"user": "admin", "password": PASSWORD}, token="")
    assert 400 == answer.status_code
    assert 302 == stranger.get("/inbox/").status_code


@pytest.mark.parametrize(
    ("base", "status"),
    [
        ("https://hooks.example.com", 302),
        ("http://hooks.example.com", 403),
        ("http://127.0.0.1:8000", 302),
        ("http://[::1]:8000", 302),
        ("http://localhost:8000", 302),
        ("http://localhost.evil.example", 403),
        ("http://192.168.1.5:8000", 403),
    ],
)
def test_no_password_crosses_a_network_in_the_clear(owned: Inbox, base: str, status: int) -> None:
    """Over plain HTTP from elsewhere there is no form to type it into."""
    reader = Reader(alone(owned.runtime), base)
    answer = reader.get("/inbox/")
    assert (status, status == 403) == (answer.status_code, "HTTPS is needed" in answer.text)


def test_cookie_of_https_stays_on_https(owned: Inbox) -> None:
    """Secure, unless the browser is on this machine."""
    answer = Reader(alone(owned.runtime), "https://hooks.example.com").log_in()
    assert "Secure" in answer.headers["Set-Cookie"].split("; ")


def test_every_page_says_what_a_browser_may_do_with_it(stranger: Reader) -> None:
    """No script but ours, no frame, no cache, no address for other sites."""
    for path in ("/inbox/", "/inbox/login", "/inbox/nowhere", "/inbox/static/inbox.js"):
        page = stranger.get(path)
        headers = page.headers
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert ("'none'", "'self'", "'none'") == (
            policy["default-src"],
            policy["script-src"],
            policy["frame-ancestors"],
        )
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert ("DENY", "nosniff") == (headers["X-Frame-Options"], headers["X-Content-Type-Options"])
        assert path.endswith(".js") or "no-store" == headers["Cache-Control"]
        page.close()


def test_nothing_is_shown_to_strangers(stranger: Reader) -> None:
    """Each address leads to the login, whether something is there or not; only looks and script are for everybody."""
    app = stranger.client.application
    open_ = ("pages.login", "pages.log_in", "pages.static", "healthz", "root")
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in open_ and "GET" in (rule.methods or ()):
            path = rule.rule.replace("<int:number>", "1").replace("<path:rest>", "x")
            assert stranger.get(path).status_code in (302, 401, 404), rule
    with stranger.get("/inbox/static/inbox.css") as looks:
        assert 200 == looks.status_code


def test_forms_have_a_limit(reader: Reader) -> None:
    """413 with a page; nothing of it is kept."""
    answer = reader.post("/inbox/actions", {"kind": "replay", "why": "x" * 2_000_000}, token=reader.token("/inbox/"))
    assert 413 == answer.status_code


def test_limit_of_forms_is_none_of_the_endpoint(owned: Inbox) -> None:
    """A WSGI server that has both takes bodies as large as the source allows."""
    owned.runtime.settings.sources["open"].options["max_body"] = 3_000_000  # type: ignore[index]
    app = create_app(owned.runtime.receiver)
    share(app, owned.runtime)
    body = b'{"id": "large", "type": "x", "text": "%s"}' % (b"x" * 2_000_000)
    assert 200 == app.test_client().post("/in/open", data=body).status_code
    assert "/inbox/login?next=/inbox/" == app.test_client().get("/inbox/").location
