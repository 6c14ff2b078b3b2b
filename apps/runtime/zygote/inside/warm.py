"""Work that libraries do at their start and that is the same for every worker, done before the fork.

Two kinds. Caches that the libraries keep themselves are filled by using them once. Where a library does something
more than once and throws it away, or makes something new each time that could have been made before, it is given what
was made before: `_DeferredApps` and `_httpx` below. Neither changes what an app sees, only when the work is done, and
each is left out when the library is not as it was when this was written. So is `quiet`, for what they do when idle.
`people` alone adds something: the visitor's name, for Spaces whose owner wants it told.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys
import time
from collections.abc import Iterator
from typing import Any

import people
import quiet


def up() -> dict[str, float]:
    """Warm what was imported. Returns the seconds spent on each part."""
    spent: dict[str, float] = {}
    for name, work in (
        ("matplotlib", _matplotlib),
        ("gradio", _gradio),
        ("httpx", _httpx),
        ("idleness", quiet.install),
        ("request.username", people.install),
    ):
        began = time.perf_counter()
        try:
            work()
        except Exception as error:  # the app will do this work itself
            print(f"zygote: {name} is not warmed: {error!r}", file=sys.stderr, flush=True)
        spent[name] = round(time.perf_counter() - began, 3)
    return spent


def _matplotlib() -> None:
    if "matplotlib.pyplot" in sys.modules:
        from matplotlib import font_manager

        font_manager.findfont("DejaVu Sans")


def _gradio() -> None:
    """Declare Gradio's routes and answer first requests once: FastAPI, pydantic, Jinja and Starlette keep what they
    compile."""
    gradio = sys.modules.get("gradio")
    if gradio is None:
        return
    import inspect

    import dependants
    import signatures
    from gradio.context import Context
    from starlette.testclient import TestClient

    known = [found for found in (dependants.Known.install(), signatures.Known.install()) if found is not None]
    for component in _subclasses(gradio.blocks.Block):
        inspect.signature(component.__init__)
        inspect.getfullargspec(inspect.unwrap(component.__init__))
    numbered = Context.id
    with _event_loop_of_its_own():
        with gradio.Blocks() as blocks:
            gradio.Textbox()
        Context.id = numbered  # an app's components have the numbers `python app.py` gives: styles name `#component-3`
        client = TestClient(gradio.routes.App.create_app(blocks))
        for path in ("/config", "/gradio_api/info"):
            client.get(path)
    for found in known:
        found.learned()
    gradio.routes.templates.get_template("frontend/index.html")
    _DeferredApps.install(gradio)


@contextlib.contextmanager
def _event_loop_of_its_own() -> Iterator[None]:
    """Gradio sets one for the thread. A child would find it with its descriptors closed, where an interpreter that has
    just started has none."""
    former, policy = asyncio.get_event_loop_policy(), asyncio.DefaultEventLoopPolicy()
    asyncio.set_event_loop_policy(policy)
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # there is none
            policy.get_event_loop().close()
        asyncio.set_event_loop_policy(former)


def _subclasses(of: type) -> set[type]:
    return {of}.union(*(_subclasses(one) for one in of.__subclasses__()))


class _DeferredApps:
    """`Blocks.app`, made when somebody looks at it.

    Gradio makes an application when a `Blocks` is closed and again when its queue is set up; `launch` makes the one
    that is used. Each declares some eighty routes anew.
    """

    def __init__(self, create: Any) -> None:
        self._create = create

    @classmethod
    def install(cls, gradio: Any) -> None:
        create = gradio.routes.App.create_app

        def create_app(blocks: Any, *arguments: Any, **options: Any) -> Any:
            # As `Blocks.__exit__` and `Blocks.queue` call it; whoever else does gets an application.
            caller = sys._getframe(1).f_code.co_name
            if not arguments and options == {"mcp_server": False} and caller in ("__exit__", "queue"):
                return cls(lambda: create(blocks, mcp_server=False))
            return create(blocks, *arguments, **options)

        def get(blocks: Any) -> Any:
            try:
                app = blocks.__dict__["app"]
            except KeyError:
                raise AttributeError("app") from None
            if isinstance(app, cls):
                app = blocks.__dict__["app"] = app._create()
            return app

        def put(blocks: Any, app: Any) -> None:
            blocks.__dict__["app"] = app

        gradio.routes.App.create_app = staticmethod(create_app)
        gradio.Blocks.app = property(get, put)


TLS_CONTEXTS = 4


def _httpx() -> None:
    """TLS contexts for clients with default options: to read the certificates takes tens of milliseconds, and a Gradio
    app makes such clients while it starts. Each is handed out once; then httpx makes them itself again."""
    if "httpx" not in sys.modules:
        return
    from httpx._transports import default

    create = default.create_ssl_context
    stock: list[ssl.SSLContext] = [create() for _ in range(TLS_CONTEXTS)]

    def create_ssl_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        elsewhere = trust_env and (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"))
        if stock and verify is True and cert is None and not elsewhere:
            return stock.pop()
        context: ssl.SSLContext = create(verify=verify, cert=cert, trust_env=trust_env)
        return context

    default.create_ssl_context = create_ssl_context
