"""Rules of one part of the server, gathered by decorators and added to an application.

Every handler gets the ``State`` first, then the variables of its rule.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask

from standin.state import State

Handler = Callable[..., Any]
Decorator = Callable[[Handler], Handler]


class Routes:
    """Handlers by method and rule, and what runs before every request."""

    def __init__(self) -> None:
        self.rules: list[tuple[str, str, Handler]] = []
        self.first: list[Handler] = []

    def at(self, rule: str, *methods: str) -> Decorator:
        def keep(handler: Handler) -> Handler:
            self.rules += [(method, rule, handler) for method in methods]
            return handler

        return keep

    def get(self, rule: str) -> Decorator:
        return self.at(rule, "GET")

    def put(self, rule: str) -> Decorator:
        return self.at(rule, "PUT")

    def post(self, rule: str) -> Decorator:
        return self.at(rule, "POST")

    def delete(self, rule: str) -> Decorator:
        return self.at(rule, "DELETE")

    def before(self, handler: Handler) -> Handler:
        self.first.append(handler)
        return handler

    def add_to(self, app: Flask, state: State) -> None:
        for handler in self.first:
            app.before_request(partial(handler, state))
        for method, rule, handler in self.rules:
            view = partial(handler, state)
            app.add_url_rule(rule, f"{method} {rule}", view, methods=[method])
