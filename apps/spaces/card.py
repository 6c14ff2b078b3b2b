"""README.md's front matter: what a Space says about itself, as on the Hugging Face Hub.

The keys are those of the Hub's Spaces configuration reference. A block between two `---` lines at the very top of
README.md, YAML. What is not known is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from yaml.nodes import MappingNode, ScalarNode

MAX_BYTES = 64 * 1024
MAX_DEPTH = 10
FRONT_MATTER = re.compile(
    r"\A\ufeff?---[ \t]*\r?\n(?P<yaml>.*?)(?:\r?\n)?^---[ \t]*$(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE
)
OPENED = re.compile(r"\A\ufeff?---[ \t]*\r?\n")
VERSION = re.compile(r"\d+(\.\d+){1,3}((a|b|rc|\.post|\.dev)\d+)?")
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
CROSS_ORIGIN_HEADERS = {
    "cross-origin-embedder-policy": {"unsafe-none", "require-corp", "credentialless"},
    "cross-origin-opener-policy": {"unsafe-none", "same-origin-allow-popups", "same-origin", "noopener-allow-popups"},
    "cross-origin-resource-policy": {"same-site", "same-origin", "cross-origin"},
}
TEXT_KEYS = {"title", "emoji", "short_description", "python_version", "sdk_version", "app_file", "base_path"}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class CardError(ValueError):
    """What is wrong with the front matter, for its author.

    Attributes:
        message: in plain words.
        line: of README.md, from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(f"README.md, line {line}: {message}")
        self.message, self.line = message, line


def _duration(value: Any) -> Any:
    """`30m`, `1h`, `90s` or a number of seconds."""
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+)\s*([smhd]?)", value.strip())
        if not found:
            raise ValueError("write a time as 30m, 1h or 90s")
        return int(found[1]) * SECONDS[found[2] or "s"]
    return value


def _version(value: Any) -> Any:
    if isinstance(value, str) and not VERSION.fullmatch(value):
        raise ValueError(f"“{value[:40]}” is not a version")
    return value


Version = Annotated[str, BeforeValidator(_version)]
Text = Annotated[str, Field(max_length=300)]
Seconds = Annotated[int, BeforeValidator(_duration), Field(ge=1, le=86400)]
Colour = Literal["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]


class Card(BaseModel):
    """A Space's front matter. Unknown keys are kept in `model_extra`."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, strict=False)

    title: Annotated[str, Field(max_length=200)] | None = None
    emoji: Annotated[str, Field(max_length=16)] | None = None
    colorFrom: Colour | None = None
    colorTo: Colour | None = None
    sdk: Literal["gradio", "streamlit", "static", "python"] | None = None
    python_version: Version | None = None
    sdk_version: Version | None = None
    suggested_hardware: Text | None = None
    suggested_storage: Text | None = None
    app_file: Annotated[str, Field(max_length=500)] | None = None
    app_build_command: Text | None = None
    app_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    base_path: Annotated[str, Field(max_length=200)] | None = None
    fullWidth: bool | None = None
    header: Literal["mini", "default"] | None = None
    short_description: Text | None = None
    models: list[Text] | None = None
    datasets: list[Text] | None = None
    tags: list[Text] | None = None
    thumbnail: Annotated[str, Field(max_length=1000)] | None = None
    pinned: bool | None = None
    hf_oauth: bool | None = None
    hf_oauth_scopes: list[Text] | None = None
    hf_oauth_expiration_minutes: Annotated[int, Field(ge=1, le=43200)] | None = None
    hf_oauth_authorized_org: str | list[str] | None = None
    disable_embedding: bool | None = None
    startup_duration_timeout: Seconds | None = None
    custom_headers: dict[str, str] | None = None
    preload_from_hub: list[str] | None = None

    @field_validator("sdk", mode="before")
    @classmethod
    def _known_sdk(cls, value: Any) -> Any:
        if value == "docker":
            raise ValueError("this portal does not run Docker Spaces; use gradio, streamlit, static or python")
        if value is not None and value not in {"gradio", "streamlit", "static", "python"}:
            raise ValueError(f"“{str(value)[:40]}” is not an SDK; use gradio, streamlit, static or python")
        return value

    @field_validator("colorFrom", "colorTo", mode="before")
    @classmethod
    def _known_colour(cls, value: Any) -> Any:
        if value is not None and value not in COLOURS:
            raise ValueError(f"use one of {', '.join(COLOURS)}")
        return value

    @field_validator("app_file")
    @classmethod
    def _relative(cls, value: str | None) -> str | None:
        from apps.repos.paths import clean_path

        return value if value is None else clean_path(value.removeprefix("./"))

    @field_validator("base_path")
    @classmethod
    def _rooted(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"/(?!/)[\w./~%?=&+-]*", value):
            raise ValueError("a base path begins with one “/”")
        return value

    @field_validator("custom_headers")
    @classmethod
    def _only_cross_origin(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for name, setting in (value or {}).items():
            allowed = CROSS_ORIGIN_HEADERS.get(name.lower())
            if allowed is None:
                raise ValueError(f"only {', '.join(CROSS_ORIGIN_HEADERS)} can be set, not “{name[:60]}”")
            if setting not in allowed:
                raise ValueError(f"{name} may be {', '.join(sorted(allowed))}")
        return value


class _Loader(yaml.SafeLoader):
    """YAML without aliases, so that a few bytes stay a few values, and without silent duplicates."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "anchors and aliases are not allowed", mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "it is nested too deeply", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse(text: str) -> Card:
    """Return the front matter of README.md's `text`; an empty card when it has none.

    Raises:
        CardError: with the line of README.md.
    """
    found = FRONT_MATTER.match(text)
    if found is None:
        if OPENED.match(text):
            raise CardError("the front matter that begins here is never closed by another “---”.", 1)
        return Card()
    block = found["yaml"]
    if len(block.encode()) > MAX_BYTES:
        raise CardError(f"the front matter is larger than {MAX_BYTES // 1024} KiB.", 1)
    values, lines = _load(block)
    try:
        return Card.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        raise CardError(f"{key}: {message[0].lower()}{message[1:].rstrip('.')}.", lines.get(key, 2)) from None


def _load(block: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The values by key, and the line of README.md of each key."""
    loader = None
    try:
        loader = _Loader(block)
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        if not isinstance(node, MappingNode):
            raise CardError("the front matter must be “key: value” lines.", 2)
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 2
            if not isinstance(key, ScalarNode):
                raise CardError("a key must be a word.", line)
            if key.value in lines:
                raise CardError(f"“{key.value[:60]}” stands here a second time.", line)
            lines[key.value] = line
            # Text stays text, whatever it looks like: YAML takes 3.10 for the number 3.1.
            if key.value in TEXT_KEYS and isinstance(value, ScalarNode) and not value.tag.endswith(":null"):
                value.tag = "tag:yaml.org,2002:str"
        values = loader.construct_document(node)
    except CardError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or "this is not YAML"
        raise CardError(f"{problem}.", (mark.line if mark else 0) + 2) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CardError(f"this is not YAML ({str(error).splitlines()[0][:100]}).", 2) from None
    finally:
        if loader is not None:
            loader.dispose()
    return {str(k): v for k, v in values.items()}, lines


def render(card: Card, body: str = "") -> str:
    """Return README.md: the card's front matter, as huggingface_hub writes it, then `body`."""
    values = card.model_dump(exclude_none=True, exclude_unset=True)
    block = yaml.dump(values, sort_keys=False, allow_unicode=True, line_break="\n")
    return f"---\n{block}---\n{body}" if not body or body.startswith("\n") else f"---\n{block}---\n\n{body}"


EMOJI = ("🚀", "🌊", "🌿", "🔭", "🎛️", "🧭", "🪄", "🦉", "🍊", "🎈")


def starter(name: str, sdk: str, *, sdk_version: str | None = None, app_file: str | None = None) -> Card:
    """The card of a new Space that brought none, with looks chosen by its name."""
    seed = sum(name.encode())
    values: dict[str, Any] = {
        "title": name.replace("-", " ").replace("_", " ").strip().title()[:200],
        "emoji": EMOJI[seed % len(EMOJI)],
        "colorFrom": COLOURS[seed % len(COLOURS)],
        "colorTo": COLOURS[(seed // 3 + 3) % len(COLOURS)],
        "sdk": sdk,
    }
    if sdk_version:
        values["sdk_version"] = sdk_version
    if app_file:
        values["app_file"] = app_file
    return Card.model_validate(values)


APP_FILES = {
    "gradio": ("app.py", "run.py", "main.py", "demo.py"),
    "streamlit": ("app.py", "streamlit_app.py", "main.py"),
    "python": ("app.py", "main.py", "server.py"),
    "static": ("index.html",),
}


def find_app_file(sdk: str, paths: Iterable[str]) -> str | None:
    """The file that a Space without `app_file` most likely means: one of the usual names, or the only Python file."""
    there = set(paths)
    usual = next((name for name in APP_FILES[sdk] if name in there), None)
    if usual or sdk == "static":
        return usual
    scripts = [p for p in there if p.endswith(".py") and "/" not in p]
    return scripts[0] if len(scripts) == 1 else None
