"""What a demo answers to the official Python client, in a form that two runs can be compared by."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from gradio_client import Client, handle_file


def answers(url: str, folder: Path, **client_options: Any) -> list[Any]:
    """Call the demo at `url` as `folder/calls.json` says; `answers_to` describes it."""
    return answers_to(url, json.loads((folder / "calls.json").read_text()), folder, **client_options)


def answers_to(url: str, calls: list[dict[str, Any]], folder: Path, **client_options: Any) -> list[Any]:
    """Make `calls` of the demo at `url`, in order, in one session.

    A call is `{"endpoint": "/name", "args": [...]}`; an argument `{"path": "file"}` is a file of `folder`;
    `"stream": true` keeps every partial answer, not only the last.
    """
    with tempfile.TemporaryDirectory() as downloads:
        client = Client(url, auth=login_of(calls), verbose=False, download_files=downloads, **client_options)
        try:
            return [one_answer(client, folder, call) for call in calls if "endpoint" in call]
        finally:
            client.close()


def own_login(folder: Path) -> tuple[str, str] | None:
    """Name and password of somebody whom the demo itself lets in; None when it lets in everybody."""
    return login_of(json.loads((folder / "calls.json").read_text()))


def login_of(calls: list[dict[str, Any]]) -> tuple[str, str] | None:
    return next(((call["auth"][0], call["auth"][1]) for call in calls if "auth" in call), None)


def one_answer(client: Client, folder: Path, call: dict[str, Any]) -> Any:
    job = client.submit(*(argument(folder, a) for a in call["args"]), api_name=call["endpoint"])
    result = job.result(timeout=120)
    return [comparable(part) for part in job.outputs()] if call.get("stream") else comparable(result)


def argument(folder: Path, value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"path"}:
        return handle_file(str(folder / value["path"]))
    if isinstance(value, list):
        return [argument(folder, item) for item in value]
    return value


def comparable(value: Any) -> Any:
    """`value` with every downloaded file replaced by a digest of its bytes."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items() if key not in {"url", "orig_name"}}
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    if isinstance(value, str) and value.startswith("/") and Path(value).is_file():
        return f"sha256:{hashlib.sha256(Path(value).read_bytes()).hexdigest()}"
    return value
