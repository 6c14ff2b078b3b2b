"""The front door: a request goes by its Host to the portal's pages or to the gateway."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope, WebSocketScope
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

from apps.embed.routing import looks_at_origins
from apps.gateway.asgi import gateway, is_for_gateway
from portal.routing import websocket_urlpatterns

websockets: ASGI3Application = AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
of_pages: ASGI3Application = AllowedHostsOriginValidator(websockets)


async def websocket(scope: WebSocketScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    await (websockets if looks_at_origins(scope["path"]) else of_pages)(scope, receive, send)


portal: ASGI3Application = ProtocolTypeRouter({"http": django_application, "websocket": websocket})


async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    await (gateway if is_for_gateway(scope) else portal)(scope, receive, send)
