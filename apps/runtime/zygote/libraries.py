"""Which libraries a zygote imports: its SDK's own, and of the well-known heavy ones those that its Spaces import.

Well-known ones alone: a zygote runs no package that only one Space chose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from pathlib import Path

ALWAYS = (
    "httpx", "uvicorn", "fastapi", "gradio", "gradio.http_server", "uvicorn.lifespan.on", "uvicorn.loops.auto",
    "uvicorn.loops.asyncio", "uvicorn.protocols.http.auto", "uvicorn.protocols.http.h11_impl",
    "uvicorn.protocols.websockets.auto", "multiprocessing.synchronize", "encodings.idna", "streamlit",
    "streamlit.web.cli", "streamlit.web.bootstrap",
)  # fmt: skip
"""What every app of an SDK imports before it answers, where an Environment has it."""
HEAVY: dict[str, tuple[str, ...]] = {
    "numpy": ("numpy", "numpy.random"),
    "pandas": ("pandas",),
    "PIL": ("PIL.Image", "PIL.ImageDraw", "PIL.ImageFilter", "PIL.ImageOps"),
    "matplotlib": ("matplotlib", "matplotlib.pyplot"),
    "seaborn": ("seaborn",),
    "plotly": ("plotly.express", "plotly.graph_objects"),
    "altair": ("altair",),
    "bokeh": ("bokeh.plotting",),
    "scipy": ("scipy",),
    "sklearn": ("sklearn",),
    "skimage": ("skimage",),
    "cv2": ("cv2",),
    "networkx": ("networkx",),
    "statsmodels": ("statsmodels.api",),
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "transformers": ("transformers",),
    "diffusers": ("diffusers",),
    "requests": ("requests",),
    "bs4": ("bs4",),
    "openai": ("openai",),
    "datasets": ("datasets",),
}
"""By the name under which they are imported, the modules that take most of the time."""
MAX_FILES, MAX_FILE_BYTES = 100, 256 * 1024
_IMPORT = re.compile(rb"^[ \t]*(?:import[ \t]+([\w., \t]{1,400})|from[ \t]+(\w{1,100})[\w.]*[ \t]+import\b)", re.M)


@lru_cache(maxsize=10_000)
def used_by(folder: Path) -> frozenset[str]:
    """The heavy libraries that the Python files below `folder`, a deployment's, import, by a look at their text:
    nothing of it is run. At most `MAX_FILES` files are read, of each `MAX_FILE_BYTES`; no link is followed."""
    found: set[str] = set()
    for path in islice((p for p in folder.rglob("*.py") if not p.is_symlink() and p.is_file()), MAX_FILES):
        try:
            with path.open("rb") as file:
                text = file.read(MAX_FILE_BYTES)
        except OSError:
            continue
        for listed, single in _IMPORT.findall(text):
            names = [part.strip().partition(b" ")[0].partition(b".")[0] for part in listed.split(b",")] + [single]
            found.update(name.decode() for name in names)
    return frozenset(found & HEAVY.keys())


def modules(used: Iterable[str]) -> list[str]:
    """What to import, in order, for Spaces that use these of `HEAVY`."""
    wanted = set(used)
    return [*ALWAYS, *(module for name, parts in HEAVY.items() if name in wanted for module in parts)]
