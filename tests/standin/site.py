"""The site itself: its front page, version, plugins, schemas and search elements."""

from flask import Response, g, jsonify

from standin.accounts import GUEST
from standin.refused import Refused
from standin.rights import require_admin
from standin.routes import Routes
from standin.schemas import schema
from standin.state import State
from standin.tables import result_set

LOGIN_PAGE = (
    '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01 Transitional//EN">\n'
    "<html><head><title>XNAT</title></head><body>"
    '<form name="form1" method="post" action="/login">'
    '<input name="username"><input type="password" name="password"></form>'
    "</body></html>\n"
)
FRONT_PAGE = (
    "<html><head><title>XNAT</title></head><body>"
    '<span id="user_info">Logged in as: {who}</span></body></html>\n'
)
GUEST_NAME = '<span style="color:red;">Guest</span>'
ELEMENTS = {
    "xnat:projectData": ("Project", "Projects"),
    "xnat:subjectData": ("Subject", "Subjects"),
    "xnat:mrSessionData": ("MR Session", "MR Sessions"),
}


routes = Routes()


@routes.get("/")
def front(state: State) -> Response:
    if g.user == GUEST and state.login_required:
        return Response(LOGIN_PAGE, mimetype="text/html")
    named = f'&nbsp;<a id="user" href="/app/action/XDATUser">{g.user}</a>'
    who = GUEST_NAME if g.user == GUEST else named
    return Response(FRONT_PAGE.format(who=who), mimetype="text/html")


@routes.get("/data/version")
def version(state: State) -> Response:
    """Refuse, as XNAT 1.7 and newer do."""
    raise Refused(404, "Not Found")


@routes.get("/xapi/siteConfig/buildInfo")
def build(state: State) -> Response:
    return jsonify({"version": state.version, "buildNumber": "0", "isDirty": "false"})


@routes.get("/xapi/siteConfig")
def config(state: State) -> Response:
    require_admin(state)
    return jsonify(_site(state))


@routes.get("/xapi/siteConfig/<name>")
def preference(state: State, name: str) -> Response:
    found = _site(state)
    if name not in found:
        raise Refused(404)
    return jsonify(found[name])


@routes.get("/xapi/plugins")
def plugins(state: State) -> Response:
    """Return a map keyed by plugin id, no list."""
    return jsonify({key: _plugin(key) for key in sorted(state.plugins)})


@routes.get("/xapi/plugins/<key>")
def plugin(state: State, key: str) -> Response:
    if key not in state.plugins:
        raise Refused(404)
    return jsonify(_plugin(key))


@routes.get("/xapi/schemas")
def schemas(state: State) -> Response:
    return jsonify(["xdat", "xnat"])


@routes.get("/xapi/schemas/<name>")
def one_schema(state: State, name: str) -> Response:
    text = schema(name)
    if text is None:
        raise Refused(404)
    return Response(text, mimetype="application/xml")


@routes.get("/data/search/elements")
def elements(state: State) -> Response:
    return result_set(
        {
            "ELEMENT_NAME": name,
            "SINGULAR": one,
            "PLURAL": many,
            "SECURED": "true",
            "COUNT": "0",
        }
        for name, (one, many) in ELEMENTS.items()
    )


@routes.get("/data/search/elements/<name>")
def element(state: State, name: str) -> Response:
    if name not in ELEMENTS:
        raise Refused(404)
    return result_set([_search_field(name)])


def _search_field(name: str) -> dict[str, str]:
    return {
        "FIELD_ID": "LAST_MODIFIED",
        "HEADER": "Last modified",
        "SUMMARY": "Last modified",
        "TYPE": "string",
        "REQUIRES_VALUE": "false",
        "DESC": "",
        "ELEMENT_NAME": name,
        "SRC": "0",
    }


def _plugin(key: str) -> dict[str, str]:
    return {"id": key, "name": key, "version": "3.7.2"}


def _site(state: State) -> dict[str, object]:
    return {
        "initialized": True,
        "siteId": "XNAT",
        "siteUrl": state.url,
        "processingUrl": state.preferences.get("processingUrl", ""),
        "aliasTokenTimeout": "2 days",
        "requireLogin": state.login_required,
        "checksums": state.checksums,
    }
