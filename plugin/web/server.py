"""The app on a port, by waitress."""

import threading
from types import TracebackType
from typing import Self

from flask import Flask
from waitress.server import create_server

from plugin.errors import ConfigError
from plugin.web.settings import HttpConfig

CONNECTIONS = 100
SILENT_S = 30
BODY_BYTES = 64 << 10
HEADER_BYTES = 16 << 10


class StatusServer:
    """Serves an app in threads of its own from ``with`` until its end."""

    def __init__(self, app: Flask, config: HttpConfig) -> None:
        self._thread: threading.Thread | None = None
        try:
            self._server = create_server(
                app,
                host=config.address,
                port=config.port,
                threads=config.threads,
                connection_limit=CONNECTIONS,
                channel_timeout=SILENT_S,
                max_request_body_size=BODY_BYTES,
                max_request_header_size=HEADER_BYTES,
                # Kept: who may read without a token depends on their absence.
                clear_untrusted_proxy_headers=False,
                ident=None,
            )
        except OSError as error:
            raise ConfigError(
                f"{config.address}:{config.port}",
                found=error.strerror or type(error).__name__,
                needed="an address of this machine and a free port",
                mend="choose another address or port, or stop what holds it",
            ) from error

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        return int(self._server.effective_port)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.run, name="http-status", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        if self._thread is not None:
            self._thread.join(timeout=SILENT_S)
