"""What a caller may say over the websocket of a Space's runs. `apps.embed.asyncapi` tells callers of it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

from apps.embed.runs import Refused

MAX_MESSAGE_BYTES = 1024**2
MAX_DEPTH = 64
MAX_NAME = 64


class Message(BaseModel):
    """What a caller may say. What is misspelt is refused rather than left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def names(self) -> dict[str, str]:
        """What the run that it is about is called, as far as it says that."""
        return self.model_dump(include={"run", "id"}, exclude_none=True)


Id = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class Start(Message):
    """Run an endpoint."""

    type: Literal["run"] = "run"
    endpoint: Annotated[str, Field(max_length=200)] | int = Field(
        description="Its name, or the number of a function without one."
    )
    data: list[Any] = Field(default_factory=list, description="A value for each of its parameters.")
    id: Id | None = Field(default=None, description="What you call the run; told in each of its messages.")


class Cancel(Message):
    """Give a run up, by its own or the caller's name for it."""

    type: Literal["cancel"]
    run: Id | None = Field(default=None, description="As the messages of the run name it.")
    id: Id | None = Field(default=None, description="As you called it; counts on the socket that it was begun on.")


class Resume(Message):
    """Follow a run further, also over another socket, within a minute after the former one has gone."""

    type: Literal["resume"]
    run: Id = Field(description="As the messages of the run name it.")
    event_id: int = Field(default=0, ge=0, description="Of the last message that you have.")


class Authorize(Message):
    """Say what lets you in, where a header cannot. One of the three is enough."""

    type: Literal["auth"]
    token: str = Field(default="", max_length=200, description="An access token.")
    password: str = Field(default="", max_length=128, description="The Space's password.")
    link: str = Field(default="", max_length=500, description="`__sign` in the address of a link to the Space.")


def _kind(said: Any) -> str:
    return str(said.get("type", "run"))


MESSAGES: TypeAdapter[Start | Cancel | Resume | Authorize] = TypeAdapter(
    Annotated[
        Annotated[Start, Tag("run")]
        | Annotated[Cancel, Tag("cancel")]
        | Annotated[Resume, Tag("resume")]
        | Annotated[Authorize, Tag("auth")],
        Discriminator(_kind),
    ]
)


def read(text: str) -> Start | Cancel | Resume | Authorize:
    """A message of a caller's.

    Raises:
        Refused: it is none; the text says why.
    """
    if len(text) > MAX_MESSAGE_BYTES or len(text.encode()) > MAX_MESSAGE_BYTES:
        raise Refused("too_large", f"A message may have at most {MAX_MESSAGE_BYTES // 1024**2} MiB; upload files.")
    try:
        said = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refused("bad_message", "This message is not JSON.") from None
    if not isinstance(said, dict):
        raise Refused("bad_message", "A message is a JSON object.")
    if _is_deep(said):
        raise Refused("bad_message", f"This message is nested deeper than {MAX_DEPTH} levels.")
    try:
        return MESSAGES.validate_python(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "union_tag_invalid":
            raise Refused("bad_message", "The type of a message is run, cancel, resume or auth.") from None
        where = ".".join(str(part) for part in first["loc"][1:])[:100]
        raise Refused("bad_message", f"{where}: {first['msg']}." if where else f"{first['msg']}.") from None


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _is_deep(said: Any) -> bool:
    layer = [said]
    for _ in range(MAX_DEPTH):
        parts = [part for value in layer for part in (value.values() if isinstance(value, dict) else value)]
        layer = [part for part in parts if isinstance(part, dict | list)]
    return bool(layer)
