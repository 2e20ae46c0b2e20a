"""Who may see and change what: hosts, tokens, sessions, forms, proxies, headers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from status_inputs import BEARER, LOCAL, TOKEN, Service, sign_in, study_uid, words

from plugin.errors import ConfigError
from plugin.status import HttpConfig, read_token
from plugin.web.login import inside
from plugin.web.sessions import LIFETIME_S, MOST_SESSIONS, Sessions
from plugin.web.settings import digest
from plugin.web.slowdown import FREE_TRIES, LONGEST_WAIT_S, MOST_ADDRESSES, Slowdown

WIDE = HttpConfig(
    address="0.0.0.0", token_sha256=digest(TOKEN), hosts=("brs.hospital.example",)
)
PROXIED = HttpConfig(
    token_sha256=digest(TOKEN),
    proxy_user_header="X-Forwarded-User",
    proxy_addresses=("10.0.0.0/24",),
)
READABLE = ("/", "/jobs", "/annotation", "/training", "/metrics", "/api/v1/jobs")
FROM_AFAR = {"REMOTE_ADDR": "10.0.0.7"}


@pytest.fixture
def service(tmp_path: Path) -> Service:
    made = Service(tmp_path)
    made.health()
    return made


@pytest.fixture
def client(service: Service) -> Iterator[FlaskClient]:
    with service.client() as client:
        yield client


def status(client: FlaskClient, address: str = "/", **more: Any) -> int:
    return client.get(address, **more).status_code


@pytest.mark.parametrize("address", READABLE)
def test_pages_are_read_on_this_machine_without_a_token(
    client: FlaskClient, address: str
) -> None:
    assert status(client, address) == 200


@pytest.mark.parametrize("address", READABLE)
@pytest.mark.parametrize(
    "more",
    [
        {"environ_overrides": FROM_AFAR},
        {"headers": {"X-Forwarded-For": "203.0.113.5"}},
        {"headers": {"Forwarded": "for=203.0.113.5"}},
        {"headers": {"Via": "1.1 proxy"}},
        {"headers": {"Host": "192.0.2.1"}},
    ],
)
def test_nobody_else_reads_without_a_token(
    client: FlaskClient, address: str, more: dict[str, Any]
) -> None:
    answer = client.get(address, **more)
    for_machines = address.startswith(("/api", "/metrics"))
    assert answer.status_code == (401 if for_machines else 303)
    if for_machines:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json is not None
        assert answer.json["error"]["status"] == 401
    else:
        assert answer.location.startswith("/login?next=")


@pytest.mark.parametrize("config", [WIDE, PROXIED, HttpConfig(behind_tls=True)])
def test_a_wide_or_proxied_service_asks_also_this_machine(
    service: Service, config: HttpConfig
) -> None:
    with service.client(config) as client:
        assert status(client) == 303


@pytest.mark.parametrize("address", ["/healthz", "/login", "/static/status.css"])
def test_some_addresses_are_for_everybody(service: Service, address: str) -> None:
    client = service.client(WIDE)
    with client.get(address, environ_overrides=FROM_AFAR) as answer:
        assert answer.status_code == 200


def test_the_token_opens_everything_to_programs(service: Service) -> None:
    with service.client(WIDE) as client:
        for address in READABLE:
            assert (
                status(client, address, headers=BEARER, environ_overrides=FROM_AFAR)
                == 200
            )


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "ü" * 20])
def test_a_wrong_token_is_refused_also_where_none_is_needed(
    client: FlaskClient, token: str
) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    assert status(client, "/api/v1/jobs", headers=headers) == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "", "[", "a b"],
)
def test_a_foreign_name_is_refused(client: FlaskClient, host: str) -> None:
    assert status(client, "/", headers={"Host": host}) == 400
    assert status(client, "/api/v1/jobs", headers={"Host": host, **BEARER}) == 400


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST"]
)
def test_this_machines_names_are_known(client: FlaskClient, host: str) -> None:
    assert status(client, "/", headers={"Host": host}) == 200


def test_configured_names_and_addresses_are_known(service: Service) -> None:
    with service.client(WIDE) as client:
        for host in ("brs.hospital.example", "10.1.2.3:8080"):
            assert status(client, "/jobs", headers={"Host": host, **BEARER}) == 200


def test_signing_in_needs_the_token_and_goes_back(client: FlaskClient) -> None:
    wrong = client.post("/login", data={"token": "wrong", "next": "/jobs"})
    assert wrong.status_code == 401
    assert "That is not the token." in words(wrong.get_data(as_text=True))
    right = client.post("/login", data={"token": TOKEN, "next": "/jobs?state=done"})
    assert (right.status_code, right.location) == (303, "/jobs?state=done")
    cookie = right.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie


def test_behind_tls_cookies_are_for_https_alone(service: Service) -> None:
    config = HttpConfig(token_sha256=digest(TOKEN), behind_tls=True)
    with service.client(config) as client:
        answer = client.post("/login", data={"token": TOKEN})
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Host-brs=")
        assert "Secure" in cookie
        assert "Path=/" in cookie
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_signing_out_ends_the_session_also_for_a_copied_cookie(
    service: Service,
) -> None:
    app = service.app(WIDE)
    client, thief = app.test_client(), app.test_client()
    csrf = sign_in(client)
    cookie = client.get_cookie("brs")
    assert cookie is not None
    thief.set_cookie("brs", cookie.value)
    assert status(thief) == 200
    client.post("/logout", data={"csrf": csrf})
    assert (status(client), status(thief)) == (303, 303)


def test_a_forged_or_foreign_cookie_is_nobody(service: Service) -> None:
    with service.client(WIDE) as other:
        sign_in(other)
        cookie = other.get_cookie("brs")
        assert cookie is not None
    with service.client(WIDE) as client:
        for value in (cookie.value, "x", cookie.value[:-1]):
            client.set_cookie("brs", value)
            assert status(client) == 303


CHANGES = ("/jobs/{}/rerun", "/jobs/{}/park", "/logout", "/annotation/decision")


@pytest.mark.parametrize("address", CHANGES)
def test_no_form_works_without_its_own_token(service: Service, address: str) -> None:
    address = address.format(service.queued("a"))
    with service.client() as client:
        assert client.post(address).status_code == 403
        csrf = sign_in(client)
        for data in ({}, {"csrf": ""}, {"csrf": csrf[:-1]}, {"csrf": "ü"}):
            assert client.post(address, data=data).status_code == 403
        across = {"Sec-Fetch-Site": "cross-site"}
        answer = client.post(address, data={"csrf": csrf}, headers=across)
        assert answer.status_code == 403
        assert client.get(address).status_code == 405


def test_one_browsers_form_is_not_anothers(service: Service) -> None:
    job_id = service.queued("a")
    app = service.app()
    one, two = app.test_client(), app.test_client()
    sign_in(one)
    csrf = sign_in(two)
    answer = one.post(f"/jobs/{job_id}/park", data={"csrf": csrf})
    assert answer.status_code == 403


def test_a_bearer_is_no_way_into_a_form_nor_a_cookie_into_the_api(
    service: Service,
) -> None:
    job_id = service.queued("a")
    with service.client() as client:
        form = client.post(f"/jobs/{job_id}/park", headers=BEARER)
        assert form.status_code == 403
        csrf = sign_in(client)
        api = client.post(f"/api/v1/jobs/{job_id}/park", data={"csrf": csrf})
        assert api.status_code == 401
    listed = service.queue.find(job_id)
    assert listed is not None
    assert listed.state == "queued"


def test_without_a_configured_token_nobody_changes_anything(service: Service) -> None:
    job_id = service.queued("a")
    with service.client(HttpConfig()) as client:
        assert status(client) == 200
        for token in ("", "x" * 20):
            headers = {"Authorization": f"Bearer {token}"}
            answer = client.post(f"/api/v1/jobs/{job_id}/park", headers=headers)
            assert answer.status_code == 401
        assert client.post("/login", data={"token": ""}).status_code == 401
        assert "no token is set" in words(client.get("/login").get_data(as_text=True))


def test_the_proxys_user_reads_and_sees_identifiers_but_changes_nothing(
    service: Service,
) -> None:
    job_id = service.queued("a")
    known = {"headers": {"X-Forwarded-User": "olga"}, "environ_overrides": FROM_AFAR}
    with service.client(PROXIED) as client:
        answer = client.get(f"/jobs/{job_id}", **known)
        assert study_uid("a") in answer.get_data(as_text=True)
        assert client.post(f"/jobs/{job_id}/park", **known).status_code == 403
        assert client.post(f"/api/v1/jobs/{job_id}/park", **known).status_code == 401


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.1.7", "::1"])
def test_the_user_header_of_anybody_else_is_not_believed(
    service: Service, peer: str
) -> None:
    with service.client(PROXIED) as client:
        headers = {"X-Forwarded-User": "olga"}
        answer = client.get(
            "/", headers=headers, environ_overrides={"REMOTE_ADDR": peer}
        )
        assert answer.status_code == 303


def test_failed_tries_are_slowed_down_even_with_the_right_token(
    client: FlaskClient,
) -> None:
    for _ in range(FREE_TRIES + 1):
        assert client.post("/login", data={"token": "wrong"}).status_code == 401
    answer = client.post("/login", data={"token": TOKEN})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert status(client, "/api/v1/jobs", headers=BEARER) == 429
    assert status(client) == 200, "who reads without a token is not concerned"


def test_behind_a_proxy_failures_count_for_the_sender_it_names(
    service: Service,
) -> None:
    with service.client(PROXIED) as client:

        def tried(sender: str, token: str) -> int:
            headers = {"X-Forwarded-For": f"spoofed, {sender}"}
            return client.post(
                "/login",
                data={"token": token},
                headers=headers,
                environ_overrides=FROM_AFAR,
            ).status_code

        for _ in range(FREE_TRIES + 1):
            tried("203.0.113.5", "wrong")
        assert tried("203.0.113.5", TOKEN) == 429
        assert tried("203.0.113.6", TOKEN) == 303


def test_the_wait_doubles_up_to_a_minute_and_is_forgotten() -> None:
    now = [0.0]
    slow = Slowdown(lambda: now[0])
    waits = []
    for _ in range(FREE_TRIES + 8):
        slow.failed("192.0.2.1")
        waits.append(slow.wait_s("192.0.2.1"))
    assert waits == [0] * FREE_TRIES + [1, 2, 4, 8, 16, 32, LONGEST_WAIT_S, 60]
    assert slow.wait_s("192.0.2.2") == 0
    now[0] = 901.0
    slow.failed("192.0.2.1")
    assert slow.wait_s("192.0.2.1") == 0


def test_one_ipv6_site_is_one_sender_and_memory_is_bounded() -> None:
    slow = Slowdown(lambda: 0.0)
    for at in range(FREE_TRIES + 1):
        slow.failed(f"2001:db8:1:2::{at}")
    assert slow.wait_s("2001:db8:1:2:ffff::1") == 1
    assert slow.wait_s("2001:db8:1:3::1") == 0
    for at in range(MOST_ADDRESSES):
        slow.failed(f"10.0.{at // 250}.{at % 250}")
    assert slow.wait_s("2001:db8:1:2::1") == 0


def test_sessions_end_by_time_and_by_number() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    first = sessions.open()
    assert sessions.csrf(first)
    for _ in range(MOST_SESSIONS):
        last = sessions.open()
    assert sessions.csrf(first) is None
    now[0] = LIFETIME_S
    assert sessions.csrf(last) is None


@pytest.mark.parametrize("address", [*READABLE, "/nothing", "/login", "/healthz"])
def test_every_answer_has_the_security_headers(
    client: FlaskClient, address: str
) -> None:
    headers = client.get(address).headers
    policy = dict(part.split(" ", 1) for part in headers[CSP].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers[CSP]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Server" not in headers
    assert "Strict-Transport-Security" not in headers


CSP = "Content-Security-Policy"


def test_no_page_holds_an_inline_style_or_script(
    service: Service, client: FlaskClient
) -> None:
    job_id = service.done("a")
    for address in ("/", "/jobs", f"/jobs/{job_id}", "/annotation", "/login"):
        html = client.get(address).get_data(as_text=True)
        assert " style=" not in html
        assert "<style" not in html
        assert "<script>" not in html
        assert " onclick" not in html


@given(
    st.text() | st.from_regex(r"[/\\]{0,3}[a-z.:@]{0,12}[/\\?#a-z]*", fullmatch=True)
)
def test_the_way_back_from_the_login_stays_on_this_site(target: str) -> None:
    back = inside(target, otherwise="/")
    assert back.startswith("/")
    assert not back.replace("\\", "/").startswith("//")
    assert back.isprintable()


def test_a_problem_of_ours_is_told_without_its_text(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("PLANTED^NAME")

    monkeypatch.setattr(service.queue, "jobs", broken)
    with service.client() as client:
        for address in ("/jobs", "/api/v1/jobs"):
            answer = client.get(address)
            assert answer.status_code == 500
            assert "PLANTED" not in answer.get_data(as_text=True)
    assert "RuntimeError" in caplog.text
    assert "PLANTED" not in caplog.text


# settings


def test_the_token_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert read_token({}) == ""
    assert read_token({"BRS_HTTP_TOKEN": TOKEN}) == digest(TOKEN)
    assert read_token({}, path) == digest(TOKEN)
    other = read_token({"BRS_HTTP_TOKEN": "y" * 16}, path)
    assert other == digest("y" * 16), "the environment comes first"


@pytest.mark.parametrize("content", [b"hush-hush", b"", b"x" * 15, b"\xff" * 20, None])
def test_a_short_or_unreadable_token_is_refused(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_token({}, path)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"address": "0.0.0.0"},
        {"address": "::"},
        {"address": "brs.example"},
        {"port": 70_000},
        {"threads": 0},
        {"hosts": ("https://brs.example",)},
        {"token_sha256": "abc"},
        {"proxy_user_header": "X-User"},
        {"proxy_user_header": "X User", "proxy_addresses": ("10.0.0.1",)},
        {"proxy_addresses": ("proxy.example",)},
    ],
)
def test_a_setting_that_is_unsafe_or_wrong_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        HttpConfig(**values)


def test_a_secret_is_not_in_what_is_logged_of_the_settings() -> None:
    assert digest(TOKEN) not in repr(LOCAL)
