"""The web process: the portal and its Spaces behind one of two ASGI servers, by `PORTICO_SERVER`."""

from __future__ import annotations

import resource
from typing import Protocol

import structlog
from asgiref.typing import ASGI3Application
from django.conf import settings

log = structlog.get_logger(__name__)


class Server(Protocol):
    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""


def server(application: ASGI3Application, bind: str, port: int) -> Server:
    """A server for `application`, not yet running."""
    if settings.PORTICO_SERVER == "uvicorn":
        from portal import uvicorn_server

        return uvicorn_server.server(application, bind, port)
    from portal import daphne_server

    return daphne_server.server(application, bind, port)


def serve() -> None:
    """Serve the portal and its Spaces at `PORTICO_BIND:PORTICO_PORT` until SIGTERM or SIGINT."""
    from portal.asgi import application

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (hard, hard)
    )  # an open stream is two descriptors; the usual 1024 are few
    made = server(application, settings.PORTICO_BIND, settings.PORTICO_PORT)
    log.info("web listens", bind=settings.PORTICO_BIND, port=settings.PORTICO_PORT, server=settings.PORTICO_SERVER)
    made.run()
