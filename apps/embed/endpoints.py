"""What a Space's app can be asked, read from its own description (`/gradio_api/info`).

The description is the app's, so nothing in it is believed: types are checked, lengths bounded, and what is malformed is
left out.
"""

from __future__ import annotations

import json
import keyword
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

MAX_ENDPOINTS = 200
MAX_PARAMETERS = 100
MAX_CHARACTERS = 4_000
FILE_COMPONENTS = frozenset(
    {
        "audio", "downloadbutton", "file", "gallery", "image", "imageeditor", "imageslider", "model3d",
        "multimodaltextbox", "uploadbutton", "video",
    }
)  # fmt: skip


def _text(value: object) -> str:
    return value[:MAX_CHARACTERS] if isinstance(value, str) else ""


def _schema(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


Text = Annotated[str, BeforeValidator(_text)]
Schema = Annotated[dict[str, Any], BeforeValidator(_schema)]


class PythonType(BaseModel):
    """Gradio's word for a type, as Python has it."""

    type: Text = ""
    description: Text = ""


class Value(BaseModel):
    """A parameter or a result.

    Attributes:
        type: its JSON schema.
        example: a value that the app gives as an example.
    """

    model_config = ConfigDict(populate_by_name=True)

    label: Text = ""
    component: Text = ""
    type: Schema = Field(default_factory=dict)
    python_type: PythonType = Field(default_factory=PythonType)

    @property
    def is_file(self) -> bool:
        return self.component.lower() in FILE_COMPONENTS


class Parameter(Value):
    """A parameter."""

    name: Text = Field(default="", alias="parameter_name")
    has_default: bool = Field(default=False, alias="parameter_has_default")
    default: Any = Field(default=None, alias="parameter_default")
    example: Any = Field(default=None, alias="example_input")

    @property
    def keyword(self) -> str:
        """Its name as a Python keyword argument; empty where it cannot be one."""
        return self.name if self.name.isidentifier() and not keyword.iskeyword(self.name) else ""

    @property
    def sample(self) -> Any:
        """What a call in a snippet gives."""
        return self.example if self.example is not None or not self.has_default else self.default

    @property
    def example_text(self) -> str:
        """The app's example as JSON, of a file its address; a dash where there is none."""
        if self.example is None:
            return "–"
        return json.dumps(_address(self.example) if self.is_file else self.example, ensure_ascii=False)

    @property
    def sample_json(self) -> str:
        """The sample as JSON text."""
        return json.dumps(self.sample, indent=2)


def _address(example: Any) -> Any:
    """Where a file's data (Gradio's `FileData`) say that it is; anything else as it is."""
    if not isinstance(example, dict):
        return example
    return next((example[key] for key in ("url", "path") if isinstance(example.get(key), str)), example)


class _Described(BaseModel):
    description: Text = ""
    parameters: list[Any] = Field(default_factory=list)
    returns: list[Any] = Field(default_factory=list)


class Endpoint(BaseModel):
    """Something the app can be asked.

    Attributes:
        name: `/predict`, or the number of a function that has no name.
    """

    name: str
    is_named: bool
    description: str
    parameters: list[Parameter]
    returns: list[Value]

    @property
    def has_address(self) -> bool:
        """Whether Gradio's `/call/` reaches it: it takes one segment for the name."""
        return self.is_named and "/" not in self.path

    @property
    def path(self) -> str:
        """Under `/gradio_api/call/`."""
        return self.name.removeprefix("/")

    @property
    def data(self) -> list[Any]:
        """The samples of its parameters, in order."""
        return [parameter.sample for parameter in self.parameters]


def endpoints(info: dict[str, Any]) -> list[Endpoint]:
    """The named endpoints, then the unnamed ones."""
    found: list[Endpoint] = []
    for key, is_named in (("named_endpoints", True), ("unnamed_endpoints", False)):
        for name, said in _schema(info.get(key)).items():
            if len(found) < MAX_ENDPOINTS and _is_name(name, is_named=is_named):
                endpoint = _endpoint(name, said, is_named=is_named)
                if endpoint is not None:
                    found.append(endpoint)
    return found


def _is_name(name: str, *, is_named: bool) -> bool:
    if is_named:
        return name.startswith("/") and 1 < len(name) <= 200 and name.isprintable()
    return name.isascii() and name.isdigit() and len(name) <= 6


def _endpoint(name: str, said: object, *, is_named: bool) -> Endpoint | None:
    try:
        read = _Described.model_validate(said)
        return Endpoint(
            name=name,
            is_named=is_named,
            description=read.description,
            parameters=[Parameter.model_validate(one) for one in read.parameters[:MAX_PARAMETERS]],
            returns=[Value.model_validate(one) for one in read.returns[:MAX_PARAMETERS]],
        )
    except ValidationError:
        return None
