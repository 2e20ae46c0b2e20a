"""Logins on the stand-in: passwords, alias tokens, sessions, guests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hospital import Client, client, hospital
from standin.server import StandIn


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with hospital(tmp_path) as found:
        yield found


def status(url: str, **cookies: str) -> int:
    return requests.get(url, cookies=cookies, timeout=20).status_code


@pytest.mark.parametrize("login", [("alice", "no"), ("nobody", "secret"), ("", "")])
def test_a_wrong_login_is_401(server: StandIn, login: tuple[str, str]) -> None:
    answer = Client(server.url, *login).get("/data/projects")
    assert answer.status_code == 401
    assert "requires user authentication" in answer.text
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert server.open_sessions == 0


def test_one_client_opens_one_session_and_closes_it(server: StandIn) -> None:
    who = client(server)
    for _ in range(3):
        assert who.get("/data/projects").status_code == 200
    assert server.open_sessions == 1
    who.send("DELETE", "/data/JSESSION")
    assert server.open_sessions == 0


def test_a_client_that_keeps_no_cookie_opens_a_session_each_time(
    server: StandIn,
) -> None:
    for _ in range(3):
        login = ("alice", "secret")
        requests.get(f"{server.url}/data/projects", auth=login, timeout=20)
    assert server.open_sessions == 3


def test_a_session_cookie_stands_for_the_user(server: StandIn) -> None:
    session = client(server).send("POST", "/data/JSESSION").text
    url = f"{server.url}/xapi/users/username"
    answer = requests.get(url, cookies={"JSESSIONID": session}, timeout=20)
    assert answer.text == "alice"
    assert status(url, JSESSIONID="unknown") == 401


def test_a_token_names_its_user_and_has_a_long_secret(server: StandIn) -> None:
    who = client(server)
    token = who.get("/data/services/tokens/issue").json()
    assert token["xdatUserId"] == "alice"
    by_token = Client(server.url, token["alias"], token["secret"])
    assert by_token.get("/data/auth").text == "User 'alice' is logged in"
    base = "/data/services/tokens"
    valid = f"{base}/validate/{token['alias']}/{token['secret']}"
    assert who.get(valid).json() == {"valid": "alice"}
    who.get(f"{base}/invalidate/{token['alias']}")
    assert who.get(valid).json() == {}
    assert by_token.get("/data/projects").status_code == 401


def test_an_expired_token_takes_its_sessions_along(server: StandIn) -> None:
    alias, secret = server.issue_token("alice")
    who = Client(server.url, alias, secret)
    assert who.get("/data/projects").status_code == 200
    server.expire_token(alias)
    assert who.get("/data/projects").status_code == 401
    assert server.open_sessions == 0


def test_only_an_administrator_issues_tokens_for_others(server: StandIn) -> None:
    path = "/data/services/tokens/issue/user/bob"
    assert client(server).get(path).status_code == 403
    assert client(server, "admin").get(path).json()["xdatUserId"] == "bob"


def test_a_guest_sees_the_login_page_and_nothing_else(server: StandIn) -> None:
    page = requests.get(server.url, timeout=20)
    assert (page.status_code, "<form" in page.text) == (200, True)
    assert status(f"{server.url}/data/projects") == 401


def test_where_guests_are_allowed_they_see_public_projects_only(
    server: StandIn,
) -> None:
    server.state.login_required = False
    url = f"{server.url}/data/projects?format=json"
    assert requests.get(url, timeout=20).json()["ResultSet"]["Result"] == []
    server.state.archive.project("OTHER").accessibility = "public"
    rows = requests.get(url, timeout=20).json()["ResultSet"]["Result"]
    assert [row["ID"] for row in rows] == ["OTHER"]
    path = f"{server.url}/data/projects/OTHER/resources/X"
    assert requests.put(path, timeout=20).status_code == 403
    auth = requests.get(f"{server.url}/data/auth", timeout=20)
    assert auth.text == "User 'guest' is logged in"


def test_requests_are_kept_with_who_asked(server: StandIn) -> None:
    client(server).get("/data/projects", format="json")
    last = server.requests[-1]
    assert (last.method, last.path, last.user) == ("GET", "/data/projects", "alice")
    assert (last.query, last.status) == ({"format": "json"}, 200)


def test_the_site_tells_its_version_and_settings(server: StandIn) -> None:
    who = client(server)
    assert who.get("/data/version").status_code == 404
    build = who.get("/xapi/siteConfig/buildInfo").json()
    assert build["version"] == "1.9.2.1"
    assert who.get("/xapi/siteConfig").status_code == 403
    site = client(server, "admin").get("/xapi/siteConfig").json()
    assert (site["initialized"], site["siteUrl"]) == (True, server.url)
