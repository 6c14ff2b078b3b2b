"""Starter demos: what "start from a template" offers, one of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from apps.spaces.models import SDK

FOLDER = Path(__file__).parent / "starters"


@dataclass(frozen=True)
class Starter:
    """A small demo to begin from.

    Attributes:
        key: names its folder.
        sdk: what runs it.
    """

    key: str
    title: str
    description: str
    sdk: str

    @property
    def files(self) -> dict[str, bytes]:
        """Its files by path, README.md left to the first commit."""
        root = FOLDER / self.key
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


STARTERS = (
    Starter("gradio-hello", "Hello", "One function, one text box in, one out.", SDK.GRADIO),
    Starter("gradio-chat", "Chat", "A chat that streams its answers word by word.", SDK.GRADIO),
    Starter("gradio-image", "Image filter", "An image in, the same image changed out.", SDK.GRADIO),
    Starter("gradio-plot", "Plot", "A table and a plot that follow a slider.", SDK.GRADIO),
    Starter("streamlit-explorer", "Data explorer", "A page with a chart that follows its sliders.", SDK.STREAMLIT),
    Starter("static-page", "Static page", "HTML, CSS and JavaScript, served as they are.", SDK.STATIC),
    Starter("python-server", "Any Python server", "The standard library's web server on $PORT.", SDK.PYTHON),
)


def starter(key: str) -> Starter | None:
    """The starter called `key`, if there is one."""
    return next((s for s in STARTERS if s.key == key), None)
