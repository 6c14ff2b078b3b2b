"""A server with the habits, good and bad, that apps have."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import WSMsgType, web


def make_app(seen: dict[str, Any]) -> web.Application:
    """Args:
    seen: is told what arrived: `cancelled`, `streaming`, `body`, `closed`."""

    async def echo(request: web.Request) -> web.Response:
        body = await request.read()
        return web.json_response(
            {
                "method": request.method,
                "target": request.raw_path,
                "headers": [[k.lower(), v] for k, v in request.headers.items()],
                "body": body.decode("latin-1"),
            }
        )

    async def events(request: web.Request) -> web.StreamResponse:
        """Says one event, and another each time the test lets it."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        seen["go"] = asyncio.Queue()
        await response.write(b"data: 0\n\n")
        try:
            while (text := await seen["go"].get()) is not None:
                await response.write(text)
        except asyncio.CancelledError:
            seen["cancelled"] = True
            raise
        return response

    async def upload(request: web.Request) -> web.Response:
        """Reads chunk by chunk and says so."""
        seen["chunks"] = asyncio.Queue()
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
            seen["chunks"].put_nowait(chunk)
        return web.json_response({"size": size})

    async def hang(request: web.Request) -> web.Response:
        seen["hanging"] = True
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen["cancelled"] = True
            raise
        return web.Response()

    async def cookies(request: web.Request) -> web.Response:
        response = web.Response(text="ok")
        response.headers.add("Set-Cookie", "a=1; Domain=localhost; Path=/; HttpOnly")
        response.headers.add("Set-Cookie", "b=2; path=/; domain=.spaces.localhost")
        response.headers.add("Set-Cookie", "portico_session=stolen; Path=/")
        response.headers.add("Set-Cookie", "portico_access=forged; Path=/")
        return response

    async def headers(request: web.Request) -> web.Response:
        """Sends every header that is not an app's to say."""
        return web.Response(
            text="ok",
            headers={
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Expose-Headers": "x",
                "X-Frame-Options": "DENY",
                "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
                "X-Accel-Redirect": "/etc/passwd",
                "Clear-Site-Data": '"cookies"',
                "Strict-Transport-Security": "max-age=1",
                "Alt-Svc": 'h3=":443"',
                "Server": "app/1",
                "Connection": "close, X-Hop",
                "X-Hop": "1",
                "X-Kept": "yes",
                "X-Request-ID": "the-apps-own-id",
                "Vary": "Accept",
            },
        )

    async def page(request: web.Request) -> web.Response:
        headers = {"Content-Type": request.query.get("type", "text/html")}
        return web.Response(body=b"<script>alert(1)</script>", headers=headers)

    async def download(request: web.Request) -> web.Response:
        disposition = request.query.get("disposition", "attachment; filename=a.html")
        return web.Response(
            text="<script>alert(1)</script>", content_type="text/html", headers={"Content-Disposition": disposition}
        )

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async def nothing(request: web.Request) -> web.Response:
        return web.Response(status=int(request.query["status"]), headers={"ETag": '"x"'})

    async def coded(request: web.Request) -> web.Response:
        return web.Response(body=b"\x1f\x8bnot really gzip", headers={"Content-Encoding": "gzip"})

    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async def vanish(request: web.Request) -> web.Response:
        """Closes the connection instead of answering, the first `times` times."""
        seen["asked"] = seen.get("asked", 0) + 1
        if seen["asked"] <= int(request.query.get("times", 1)):
            assert request.transport is not None
            request.transport.close()
        return web.Response(text="here")

    async def socket(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse(protocols=("second", "first"))
        await response.prepare(request)
        seen["handshake"] = {k.lower(): v for k, v in request.headers.items()}
        async for message in response:
            if message.type == WSMsgType.BINARY:
                await response.send_bytes(message.data[::-1])
            elif message.data.startswith("close "):
                await response.close(code=int(message.data[6:]))
            else:
                await response.send_str(message.data.upper())
        seen["closed"] = response.close_code
        return response

    async def pinging(request: web.Request) -> web.WebSocketResponse:
        """Pings, and says whether a pong came."""
        response = web.WebSocketResponse(autoping=False)
        await response.prepare(request)
        await response.ping(b"app")
        message = await response.receive(timeout=10)
        await response.send_str(f"{message.type.name} {bytes(message.data).decode()}")
        await response.close()
        return response

    async def closing(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        await response.close(code=int(request.query["code"]), message=request.query["reason"].encode())
        return response

    async def closed(request: web.Request) -> web.WebSocketResponse:
        """Remembers what the client closes with."""
        response = web.WebSocketResponse()
        await response.prepare(request)
        message = await response.receive()
        seen["goodbye"] = (response.close_code, message.extra)
        return response

    async def flood(request: web.Request) -> web.WebSocketResponse:
        """Sends as much as is taken of it, up to 1000 messages."""
        response = web.WebSocketResponse()
        await response.prepare(request)
        seen["sent"] = 0
        for _ in range(1000):
            await response.send_bytes(bytes(65536))
            seen["sent"] += 1
        await response.close()
        return response

    async def deaf(request: web.Request) -> web.WebSocketResponse:
        """Reads nothing until it is let."""
        response = web.WebSocketResponse()
        await response.prepare(request)
        seen["heard"] = 0
        while not seen.get("listen"):
            await asyncio.sleep(0.05)
        async for _ in response:
            seen["heard"] += 1
        return response

    async def dying(request: web.Request) -> web.WebSocketResponse:
        """Its connection is reset."""
        response = web.WebSocketResponse()
        await response.prepare(request)
        await response.send_str("here")
        assert request.transport is not None
        request.transport.abort()
        return response

    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_get("/events", events)
    app.router.add_post("/upload", upload)
    app.router.add_get("/hang", hang)
    app.router.add_get("/cookies", cookies)
    app.router.add_get("/headers", headers)
    app.router.add_get("/page", page)
    app.router.add_get("/download", download)
    app.router.add_get("/redirect", redirect)
    app.router.add_get("/nothing", nothing)
    app.router.add_get("/coded", coded)
    app.router.add_get("/break-off", break_off)
    app.router.add_route("*", "/vanish", vanish)
    app.router.add_get("/socket", socket)
    for handler in (pinging, closing, closed, flood, deaf, dying):
        app.router.add_get(f"/{handler.__name__}", handler)
    app.router.add_route("*", "/{any:.*}", echo)
    return app
