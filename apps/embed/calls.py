"""How an endpoint is called: copy-ready, in Python, in JavaScript, with curl and over a websocket; and as OpenAPI 3.1
says it.

Each snippet runs as it is shown (tests/embed/test_calls_run.py runs them). A private Space, or one behind a password,
takes an access token, which the snippets read from the environment.
"""

from __future__ import annotations

import json
import shlex
from typing import Any
from urllib.parse import quote

from django.conf import settings

from apps.embed.endpoints import Endpoint
from apps.embed.selectors import title_of
from apps.spaces.models import Space

TOKEN = "HF_TOKEN"  # noqa: S105
"""The environment variable that the official clients read."""


def address(space: Space) -> str:
    """Where programs reach the Space, with a slash at the end: on the portal's own host, which everybody resolves."""
    return f"{settings.PORTICO_URL}/run/{space.slug}/"


def needs_token(space: Space) -> bool:
    return space.is_private or space.asks_password


def _file(value: object) -> str | None:
    """The path or address of a file's sample value."""
    match value:
        case {"meta": {"_type": "gradio.FileData"}, **rest}:
            found = rest.get("url") or rest.get("path")
            return found if isinstance(found, str) else None
    return None


def _call_of_file(value: object) -> str | None:
    """How both clients are given a file; None for any other value."""
    file = _file(value)
    return None if file is None else f"handle_file({json.dumps(file)})"


def python(space: Space, endpoint: Endpoint) -> str:
    """For `gradio_client`."""
    files = any(_file(value) is not None for value in endpoint.data)
    lines = [f"from gradio_client import Client{', handle_file' if files else ''}", ""]
    token = f', token=os.environ["{TOKEN}"]' if needs_token(space) else ""
    if token:
        lines.insert(0, "import os\n")
    lines += [f"client = Client({_python(address(space))}{token})", "result = client.predict("]
    for parameter in endpoint.parameters:
        named = f"{parameter.keyword}=" if parameter.keyword else ""
        lines.append(f"    {named}{_python(parameter.sample)},")
    lines += [
        f"    {f'api_name={json.dumps(endpoint.name)}' if endpoint.is_named else f'fn_index={endpoint.name}'},",
        ")",
        "print(result)",
    ]
    return "\n".join(lines)


def _python(value: object) -> str:
    return _call_of_file(value) or (json.dumps(value) if isinstance(value, str) else repr(value))


def javascript(space: Space, endpoint: Endpoint, *, holds: bool = False) -> str:
    """For `@gradio/client` in Node.

    Args:
        holds: whether the app keeps state for each session: the client then has a connection open to it that its
            `close()` leaves alone, and a program would not end.
    """
    files = any(_file(value) is not None for value in endpoint.data)
    token = f", {{ token: process.env.{TOKEN} }}" if needs_token(space) else ""
    values = [_javascript(value) for value in endpoint.data]
    name = json.dumps(endpoint.name) if endpoint.is_named else endpoint.name
    data = f"[\n{''.join(f'  {value},{chr(10)}' for value in values)}]" if values else "[]"
    return "\n".join(
        [
            f'import {{ Client{", handle_file" if files else ""} }} from "@gradio/client";',
            "",
            f"const client = await Client.connect({json.dumps(address(space))}{token});",
            f"const result = await client.predict({name}, {data});",
            "console.log(result.data);",
            *(["process.exit(); // an app that keeps state for its callers would hold the program open"] * holds),
        ]
    )


def _javascript(value: object) -> str:
    return _call_of_file(value) or json.dumps(value)


def curl(space: Space, endpoint: Endpoint) -> str:
    """Both steps, for a POSIX shell: the call, then its events. Only for an endpoint that `has_address`."""
    call = f"{address(space)}gradio_api/call/{quote(endpoint.path)}"
    token = f' \\\n  -H "Authorization: Bearer ${TOKEN}"' if needs_token(space) else ""
    body = shlex.quote(json.dumps({"data": endpoint.data}))
    return (
        f"EVENT_ID=$(curl -s {shlex.quote(call)}{token} \\\n"
        '  -H "Content-Type: application/json" \\\n'
        f'  -d {body} | sed \'s/.*"event_id": *"\\([^"]*\\)".*/\\1/\')\n'
        f'curl -sN {shlex.quote(call)}/"$EVENT_ID"{token}'
    )


def socket_address(space: Space) -> str:
    """Where its endpoints are run over a websocket."""
    return f"ws{settings.PORTICO_URL.removeprefix('http')}/ws/spaces/{space.slug}/run"


def websocket(space: Space, endpoint: Endpoint) -> str:
    """For Python's `websockets`."""
    closed = needs_token(space)
    name = endpoint.name if endpoint.is_named else int(endpoint.name)
    message = {"endpoint": name, "data": endpoint.data}
    header = f'headers = {{"Authorization": f"Bearer {{os.environ[\'{TOKEN}\']}}"}}\n'
    return (
        f"import json\n{'import os' + chr(10) if closed else ''}\n"
        "from websockets.sync.client import connect\n\n"
        f"{header if closed else ''}"
        f"with connect({_python(socket_address(space))}, max_size=None"
        f"{', additional_headers=headers' if closed else ''}) as socket:\n"
        f"    socket.send(json.dumps({message!r}))\n"
        "    for text in socket:\n"
        "        message = json.loads(text)\n"
        "        print(message)\n"
        '        if message["type"] in ("result", "error", "cancelled"):\n'
        "            break"
    )


def openapi(space: Space, endpoints: list[Endpoint], version: str) -> dict[str, Any]:
    """The endpoints that have an address as an OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1).

    Args:
        space: with its owner.
        endpoints: of its app.
        version: of the deployment: its revision.
    """
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        if endpoint.has_address:
            path = f"/gradio_api/call/{quote(endpoint.path)}"
            paths[path] = {"post": _call(endpoint)}
            paths[f"{path}/{{event_id}}"] = {"get": _events(endpoint)}
    paths["/gradio_api/upload"] = {"post": UPLOAD}
    document: dict[str, Any] = {
        "openapi": "3.1.1",
        "info": {"title": title_of(space), "version": version, "description": space.short_description},
        "servers": [{"url": address(space).rstrip("/")}],
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }
    if needs_token(space):
        document["security"] = [{"token": []}]
    return document


def _operation(endpoint: Endpoint, what: str) -> str:
    return f"{what}_{quote(endpoint.path, safe='').replace('%', '_')}"


def inputs(endpoint: Endpoint) -> list[dict[str, Any]]:
    """The schema of each of its parameters."""
    return [_schema(value.type, value.label) for value in endpoint.parameters]


def _call(endpoint: Endpoint) -> dict[str, Any]:
    values = inputs(endpoint)
    required = len(endpoint.parameters)
    while required and endpoint.parameters[required - 1].has_default:
        required -= 1
    data = {"type": "array", "prefixItems": values, "minItems": required, "maxItems": len(values)}
    if not values:
        del data["prefixItems"]
    body = {"type": "object", "required": ["data"], "properties": {"data": data}}
    return {
        "operationId": _operation(endpoint, "call"),
        "summary": f"Call {endpoint.name}",
        "description": endpoint.description,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body, "example": {"data": endpoint.data}}},
        },
        "responses": {
            "200": {
                "description": "The call is queued.",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["event_id"],
                            "properties": {"event_id": {"type": "string"}},
                        }
                    }
                },
            }
        },
    }


def _events(endpoint: Endpoint) -> dict[str, Any]:
    results = ", ".join(f"{value.label or 'value'} ({value.component})" for value in endpoint.returns)
    return {
        "operationId": _operation(endpoint, "events"),
        "summary": f"Follow a call of {endpoint.name}",
        "parameters": [{"name": "event_id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": {
            "200": {
                "description": "Server-sent events: `generating` with partial results, `heartbeat`, then `complete` or "
                f"`error`. The data of a result is a JSON array: {results or 'empty'}.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            }
        },
    }


def _schema(schema: dict[str, Any], label: str) -> dict[str, Any]:
    """A parameter's own schema, if it can stand alone: definitions that it refers to are elsewhere."""
    is_whole = "$ref" not in json.dumps(schema)
    kept = schema if is_whole and isinstance(schema.get("type"), str) and schema["type"] in JSON_TYPES else {}
    return {**({"type": kept["type"]} if kept else {}), **({"title": label} if label else {})}


JSON_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})

UPLOAD: dict[str, Any] = {
    "operationId": "upload",
    "summary": "Upload files",
    "description": "Answers with their paths, which stand for them in `data`: "
    '`{"path": "...", "meta": {"_type": "gradio.FileData"}}`.',
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                        }
                    },
                }
            }
        },
    },
    "responses": {
        "200": {
            "description": "Their paths.",
            "content": {"application/json": {"schema": {"type": "array", "items": {"type": "string"}}}},
        }
    },
}
