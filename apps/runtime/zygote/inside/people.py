"""`request.username` in a Gradio app, from what the gateway says of who asks.

Gradio itself fills it where the app asks for passwords (`launch(auth=...)`), and otherwise leaves it empty. A function
of `auth_dependency` would shut out everybody without an account, so the name is put into the request that the app's
functions get, where Gradio found none. The gateway takes the header away from what visitors send.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

HEADER = "x-portico-user"


def install() -> None:
    """Have `gr.Request` know the name, where it is as it was when this was written."""
    routes = sys.modules.get("gradio.route_utils")
    if routes is None:
        return
    make = routes.Request.__init__
    if list(inspect.signature(make).parameters)[:4] != ["self", "request", "username", "session_hash"]:
        raise RuntimeError("gr.Request is made in another way")

    @functools.wraps(make)
    def made(self: Any, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        headers = getattr(self.request, "headers", None)
        if self.username is None and headers is not None:
            self.username = headers.get(HEADER)

    routes.Request.__init__ = made
