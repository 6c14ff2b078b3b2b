"""The websocket of a Space's runs as AsyncAPI 3.0 says it (https://www.asyncapi.com/docs/reference/specification/v3.0.0).

What callers say is read from `apps.embed.messages`; what they are told is what `apps.embed.runs` tells.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from apps.embed import calls
from apps.embed.endpoints import Endpoint
from apps.embed.messages import MAX_NAME, Authorize, Cancel, Message, Resume, Start
from apps.embed.selectors import title_of
from apps.spaces.models import Space

Schema = dict[str, Any]
NUMBER: Schema = {"type": ["number", "null"]}
TEXT: Schema = {"type": "string"}
DATA: Schema = {"type": "array", "description": "A value for each of the endpoint's results."}


def _told(kind: str, what: str, **more: Schema) -> Schema:
    """A message about a run."""
    properties: Schema = {
        "type": {"const": kind},
        "run": {"type": "string", "description": "Names the run; nobody can guess it."},
        "event_id": {"type": "integer", "minimum": 1, "description": "Counts up; for `resume`."},
        "id": {"type": "string", "description": "What the caller called the run."},
    }
    required = ["type", "run", "event_id", *(name for name, schema in more.items() if not schema.get("optional"))]
    stated = {name: {k: v for k, v in schema.items() if k != "optional"} for name, schema in more.items()}
    return {
        "type": "object",
        "description": what,
        "required": required,
        "properties": properties | stated,
        "additionalProperties": False,
    }


UNIT: Schema = {
    "type": "object",
    "required": ["index", "length", "unit", "progress", "desc"],
    "properties": {
        "index": NUMBER,
        "length": NUMBER,
        "unit": {"type": ["string", "null"]},
        "progress": {**NUMBER, "description": "The share that is done, from 0 to 1."},
        "desc": {"type": ["string", "null"]},
    },
}

TOLD: dict[str, Schema] = {
    "status": _told(
        "status",
        "How far the run is. `eta`: how many seconds it is expected to take.",
        status={"enum": ["pending", "waking", "queued", "running"]},
        eta={**NUMBER, "optional": True},
    ),
    "queue": _told(
        "queue",
        "Its place among those that wait for the app; 1 is next. `eta`: seconds until its result is expected.",
        position={"type": ["integer", "null"]},
        size=NUMBER,
        eta=NUMBER,
    ),
    "progress": _told("progress", "The app's progress bars.", progress={"type": "array", "items": UNIT}),
    "log": _told(
        "log",
        "The app tells its user something.",
        level={"enum": ["info", "warning", "success", "error"]},
        title=TEXT,
        message=TEXT,
    ),
    "partial": _told("partial", "A partial result: whole values, in place of those before.", data=DATA),
    "result": _told("result", "The run has ended well. `duration` is in seconds.", data=DATA, duration=NUMBER),
    "cancelled": _told("cancelled", "The run was given up, and the app told to stop."),
}
TOLD["error"] = {
    **_told(
        "error",
        "The run has failed; without `run`, a message or the caller was refused.",
        code={"type": "string", "description": "For programs: `app_error` for an error of the app's own."},
        message={"type": "string", "description": "In plain words."},
        stage={"type": "string", "description": "Of the Space, where it is the reason.", "optional": True},
    ),
    "required": ["type", "code", "message"],
}
TOLD["authorized"] = {
    "type": "object",
    "description": "What was sent as `auth` lets the caller in.",
    "required": ["type"],
    "properties": {"type": {"const": "authorized"}},
    "additionalProperties": False,
}
SAID: dict[str, type[Message]] = {"run": Start, "cancel": Cancel, "resume": Resume, "auth": Authorize}


def _said(message: type[Message]) -> Schema:
    return {**message.model_json_schema(), "title": message.__name__}


def _start(endpoint: Endpoint) -> Schema:
    name = endpoint.name if endpoint.is_named else int(endpoint.name)
    values = calls.inputs(endpoint)
    data: Schema = {"type": "array", "minItems": len(values), "maxItems": len(values)}
    if values:
        data["items"] = values
    return {
        "type": "object",
        "required": ["endpoint", "data"] if values else ["endpoint"],
        "properties": {
            "type": {"const": "run"},
            "endpoint": {"const": name},
            "data": data,
            "id": {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
        },
        "additionalProperties": False,
    }


def document(space: Space, endpoints: list[Endpoint], version: str) -> dict[str, Any]:
    """The document of one Space.

    Args:
        space: with its owner.
        endpoints: of its app.
        version: of the deployment: its revision.
    """
    messages: dict[str, Any] = {
        f"start_{quote(endpoint.path, safe='').replace('%', '_')}": {
            "title": f"Run {endpoint.name}",
            "description": endpoint.description,
            "payload": _start(endpoint),
            "examples": [{"payload": {"endpoint": endpoint.name, "data": endpoint.data}}],
        }
        for endpoint in endpoints
        if endpoint.is_named
    }
    messages |= {f"say_{kind}": {"payload": _said(message)} for kind, message in SAID.items()}
    says = list(messages)
    messages |= {f"told_{kind}": {"payload": schema} for kind, schema in TOLD.items()}
    there = urlsplit(calls.socket_address(space))
    server: dict[str, Any] = {"host": there.netloc, "protocol": there.scheme}
    if calls.needs_token(space):
        server["security"] = [{"$ref": "#/components/securitySchemes/token"}]

    def operation(action: str, summary: str, names: list[str]) -> dict[str, Any]:
        named = [{"$ref": f"#/channels/run/messages/{name}"} for name in names]
        return {"action": action, "summary": summary, "channel": {"$ref": "#/channels/run"}, "messages": named}

    return {
        "asyncapi": "3.0.0",
        "info": {"title": title_of(space), "version": version, "description": space.short_description},
        "defaultContentType": "application/json",
        "servers": {"portal": server},
        "channels": {
            "run": {
                "address": there.path,
                "title": "Runs",
                "servers": [{"$ref": "#/servers/portal"}],
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "say": operation("receive", "The Space is asked to run, to stop, or to go on telling.", says),
            "tell": operation("send", "The Space tells how runs go.", [name for name in messages if name not in says]),
        },
        "components": {
            "messages": messages,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
