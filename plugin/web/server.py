"""The app on a port, by waitress."""

import socket
import threading
from types import TracebackType
from typing import Any, Final, Self

from flask import Flask
from waitress.server import create_server
from waitress.wasyncore import close_all

from plugin.errors import ConfigError
from plugin.web.settings import HttpConfig

CONNECTIONS: Final = 100
SILENT_S: Final = 30
FINISH_S: Final = 5
"""How long answers under way may take once the end has come."""
BODY_BYTES: Final = 64 << 10
HEADER_BYTES: Final = 16 << 10


class StatusServer:
    """Serves an app in threads of its own from ``with`` until its end."""

    def __init__(self, app: Flask, config: HttpConfig) -> None:
        self._open: dict[int, Any] = {}
        self._server = create_server(
            app,
            self._open,
            sockets=[_listening(config)],
            threads=config.threads,
            connection_limit=CONNECTIONS,
            channel_timeout=SILENT_S,
            max_request_body_size=BODY_BYTES,
            max_request_header_size=HEADER_BYTES,
            # Kept: who may read without a token depends on their absence.
            clear_untrusted_proxy_headers=False,
            ident=None,
        )
        self._thread = threading.Thread(
            target=self._server.run, name="http-status", daemon=True
        )

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        return int(self._server.effective_port)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.task_dispatcher.shutdown(timeout=FINISH_S)
        # In the loop's own thread, with all connections that browsers keep open: the
        # loop ends with the last of them.
        self._server.trigger.pull_trigger(lambda: close_all(self._open))
        self._thread.join()


def _listening(config: HttpConfig) -> socket.socket:
    """Return a socket on the configured address; waitress would leave it open."""
    family = socket.AF_INET6 if ":" in config.address else socket.AF_INET
    try:
        return socket.create_server((config.address, config.port), family=family)
    except OSError as error:
        raise ConfigError(
            f"{config.address}:{config.port}",
            found=error.strerror or type(error).__name__,
            needed="an address of this machine and a free port",
            mend="choose another address or port, or stop what holds it",
        ) from error
