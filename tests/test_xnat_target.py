import pytest

from plugin.errors import ConfigError
from plugin.xnat.target import is_xnat, parse_target

LOGIN = {"XNAT_USER": "alias", "XNAT_PASS": "planted-secret"}
HOST = {"XNAT_HOST": "https://xnat.example/"}


def test_a_project_on_the_host_of_the_container() -> None:
    target = parse_target("xnat:BREAST", LOGIN | HOST)
    assert (target.host, target.project) == ("https://xnat.example", "BREAST")


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("xnat+https://x.org/P", "https://x.org"),
        ("xnat+https://x.org:8443/xnat/P/", "https://x.org:8443/xnat"),
        ("xnat+http://127.0.0.1:80/P", "http://127.0.0.1:80"),
    ],
)
def test_a_project_on_a_named_host(uri: str, host: str) -> None:
    target = parse_target(uri, LOGIN | HOST)
    assert (target.host, target.project) == (host, "P")


@pytest.mark.parametrize("uri", ["xnat:", "xnat:P?x=1", "xnat+ftp://h/P", "xnat:a/b/c"])
def test_another_form_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="needed xnat:PROJECT"):
        parse_target(uri, LOGIN | HOST)


def test_a_login_inside_the_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as error:
        parse_target("xnat+https://me:hush@x.org/P", LOGIN)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize("name", ["XNAT_HOST", "XNAT_USER", "XNAT_PASS"])
def test_a_missing_variable_is_named(name: str) -> None:
    environ = LOGIN | HOST | {name: ""}
    with pytest.raises(ConfigError, match=name):
        parse_target("xnat:P", environ)


def test_no_text_shows_the_secret() -> None:
    assert "planted-secret" not in repr(parse_target("xnat:P", LOGIN | HOST))


def test_only_xnat_schemes_mean_xnat() -> None:
    assert is_xnat("xnat:P")
    assert is_xnat("xnat+https://x/P")
    assert not is_xnat("xnatural/folder")
