"""The status pages, served by waitress in a thread of the supervisor."""

import threading
from importlib import import_module
from typing import Any, Self

import waitress

from plugin.errors import ConfigError
from plugin.web.settings import HttpConfig
from plugin.web.source import StatusSource


class Pages:
    """The pages from ``with`` until its end; no web framework is loaded before."""

    def __init__(self, source: StatusSource, config: HttpConfig) -> None:
        self._source = source
        self._config = config
        self._server: Any = None

    @property
    def url(self) -> str:
        """Return where the pages are."""
        host = self._server.effective_host
        return f"http://{host}:{self._server.effective_port}"

    def __enter__(self) -> Self:
        app = import_module("plugin.status").create_app(self._source, self._config)
        config = self._config
        try:
            self._server = waitress.create_server(
                app,
                host=config.address,
                port=config.port,
                threads=config.threads,
                ident=None,
            )
        except OSError as error:
            raise ConfigError(
                f"http {config.address}:{config.port}",
                found=error.strerror or type(error).__name__,
                needed="an address of this machine and a free port",
                mend="choose another address or port, or stop what holds it",
            ) from error
        threading.Thread(target=self._server.run, name="http", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
