"""An app that says what reached it, for the tests of front servers."""

import asyncio
import os

from aiohttp import WSMsgType, web

state = {"go": asyncio.Event(), "received": 0, "left": 0}


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    headers = [[name.lower(), value] for name, value in request.headers.items()]
    said = {"method": request.method, "target": request.raw_path, "headers": headers, "size": len(body)}
    return web.json_response(said)


async def events(request: web.Request) -> web.StreamResponse:
    """One event at once, the other after `/go`."""
    state["go"].clear()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "yes"})
    await response.prepare(request)
    await response.write(b"data: first\n\n")
    try:
        await state["go"].wait()
    except asyncio.CancelledError:
        state["left"] += 1
        raise
    await response.write(b"data: second\n\n")
    return response


async def go(request: web.Request) -> web.Response:
    state["go"].set()
    return web.Response(text="ok")


async def left(request: web.Request) -> web.Response:
    """How many went away before the second event."""
    return web.json_response(state["left"])


async def upload(request: web.Request) -> web.Response:
    state["received"] = 0
    async for chunk in request.content.iter_any():
        state["received"] += len(chunk)
    return web.json_response({"size": state["received"]})


async def received(request: web.Request) -> web.Response:
    return web.json_response(state["received"])


async def download(request: web.Request) -> web.FileResponse:
    return web.FileResponse(__file__)


async def cookies(request: web.Request) -> web.Response:
    response = web.Response(text="ok")
    response.headers.add("Set-Cookie", "a=1; Domain=spaces.example.net; Path=/; HttpOnly")
    response.headers.add("Set-Cookie", "b=2; Path=/")
    return response


async def hostile(request: web.Request) -> web.Response:
    """Asks the front server for a file of the portal's, and for much else that is not an app's to say."""
    headers = {"X-Accel-Redirect": request.query["file"], "X-Sendfile": "/etc/passwd", "X-Accel-Charset": "utf-7"}
    return web.Response(text="the app's own words", headers=headers)


async def status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["code"]), text="the app's own error")


async def large_headers(request: web.Request) -> web.Response:
    return web.Response(text="ok", headers={"X-Large": "x" * 40_000})


async def socket(request: web.Request) -> web.WebSocketResponse:
    response = web.WebSocketResponse(protocols=("b", "a"))
    await response.prepare(request)
    async for message in response:
        if message.type == WSMsgType.BINARY:
            await response.send_bytes(message.data[::-1])
        elif message.data == "bye":
            await response.close(code=4001)
        else:
            await response.send_str(message.data.upper())
    return response


app = web.Application(client_max_size=1024**3)
app.router.add_get("/events", events)
app.router.add_get("/go", go)
app.router.add_get("/left", left)
app.router.add_route("*", "/upload", upload)
app.router.add_get("/received", received)
app.router.add_get("/download", download)
app.router.add_get("/cookies", cookies)
app.router.add_get("/hostile", hostile)
app.router.add_get("/status/{code}", status)
app.router.add_get("/large-headers", large_headers)
app.router.add_get("/socket", socket)
app.router.add_route("*", "/{any:.*}", echo)
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None, handler_cancellation=True)
