"""The agent's commands, HTTP on a unix socket; `apps.runtime.client` is the other end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web

from apps.runtime.errors import StartRefused

if TYPE_CHECKING:
    from apps.runtime.agent.daemon import Agent

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 4 * 1024**2
"""A report of activity names every busy Space."""


def application(agent: Agent) -> web.Application:
    async def ensure(request: web.Request) -> web.Response:
        timeout = float((await request.json())["timeout"])
        keeper = agent.keeper(_space(request))
        try:
            return _answer(await keeper.ensure(timeout))
        except TimeoutError:
            return _answer({"message": f"it does not answer after {timeout:g} s"}, 504)

    async def stop(request: web.Request) -> web.Response:
        await agent.keeper(_space(request)).stop("It was told to stop.")
        return _answer({})

    async def restart(request: web.Request) -> web.Response:
        await agent.keeper(_space(request)).restart()
        return _answer({})

    async def empty_storage(request: web.Request) -> web.Response:
        await agent.empty_storage(_space(request))
        return _answer({})

    async def activity(request: web.Request) -> web.Response:
        agent.note_activity({int(space): int(count) for space, count in (await request.json()).items()})
        return _answer({})

    async def clear_storage(request: web.Request) -> web.Response:
        await agent.clear_storage()
        return _answer({})

    async def status(request: web.Request) -> web.Response:
        return _answer(agent.status())

    @web.middleware
    async def errors(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            answer: web.StreamResponse = await handler(request)
            return answer
        except StartRefused as refused:
            return _answer({"stage": str(refused.stage), "message": refused.message}, 409)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return _answer({"message": f"malformed request: {error}"}, 400)
        except Exception as error:  # told to whoever asked, who sees no log of the agent
            log.exception("request failed", path=request.path)
            return _answer({"message": repr(error)}, 500)

    app = web.Application(middlewares=[errors], client_max_size=MAX_BODY_BYTES)
    app.router.add_post(r"/spaces/{space:\d+}/ensure", ensure)
    app.router.add_post(r"/spaces/{space:\d+}/stop", stop)
    app.router.add_post(r"/spaces/{space:\d+}/restart", restart)
    app.router.add_post(r"/spaces/{space:\d+}/empty-storage", empty_storage)
    app.router.add_post("/activity", activity)
    app.router.add_post("/clear-storage", clear_storage)
    app.router.add_post("/status", status)
    return app


def _space(request: web.Request) -> int:
    return int(request.match_info["space"])


def _answer(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(body), status=status, content_type="application/json")
