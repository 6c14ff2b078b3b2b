"""What a zygote imports, told from the code of the Spaces that it is for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from apps.runtime.zygote import libraries, pool
from apps.runtime.zygote.pool import Key, Zygote
from apps.sandbox.cgroups import Hierarchy
from apps.sandbox.egress.node import Egress
from apps.sandbox.interpreters import Interpreter

CODE = """
import gradio as gr, numpy as np
import matplotlib.pyplot as plt, os.path
from scipy.signal import chirp
def lazily():
    from PIL import Image
    text = "import torch"
from . import pandas
import plotlyish
"""


def test_heavy_libraries_are_found_in_the_code_wherever_it_imports_them(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(CODE)
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "one.py").write_bytes(b"import sklearn.svm\r\n\xff\xfe")
    (tmp_path / "notes.txt").write_text("import bokeh")
    assert libraries.used_by(tmp_path) == {"numpy", "matplotlib", "scipy", "PIL", "sklearn"}


def test_no_link_is_followed_and_the_work_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.py").write_text("import torch\n")
    (inside / "link.py").symlink_to(tmp_path / "secret.py")
    (inside / "zero.py").symlink_to("/dev/zero")
    (inside / "long.py").write_text("import " + "a," * 10**6 + "\n" * 10**6 + "import bokeh\n")
    assert libraries.used_by(inside) == frozenset()


def test_a_zygote_imports_what_its_sdk_needs_and_what_its_spaces_use_of_the_heavy_ones() -> None:
    assert libraries.modules([]) == list(libraries.ALWAYS)
    assert libraries.modules(["matplotlib", "os"])[len(libraries.ALWAYS) :] == ["matplotlib", "matplotlib.pyplot"]


@pytest.fixture
def zygote(tmp_path: Path) -> Zygote:
    interpreter = Interpreter("3.13.0", Path("/usr/bin/python3"), Path("/usr"))
    return Zygote(
        Key(tmp_path, interpreter.executable),
        interpreter,
        Hierarchy(0),
        tmp_path,
        egress=Egress(wanted=False),
        used=frozenset({"numpy"}),
    )


def test_a_zygote_is_stale_once_its_spaces_use_something_else(zygote: Zygote) -> None:
    assert zygote.why_stale() == ""
    zygote.wanted |= {"scipy", "numpy"}
    assert zygote.why_stale() == "Spaces import scipy"


def test_a_zygote_is_stale_when_it_is_old(zygote: Zygote) -> None:
    zygote._started_at = time.monotonic() - pool.OLD_SECONDS - 1
    assert zygote.why_stale() == "old"


def test_a_zygote_is_stale_when_it_has_grown(zygote: Zygote, tmp_path: Path) -> None:
    from apps.sandbox.cgroups import Cgroup

    (tmp_path / "memory.stat").write_text(f"anon {400 * 1024**2}\nfile 1\n")
    zygote._cgroup, zygote._ready_bytes = Cgroup(2, {"memory": tmp_path}), 200 * 1024**2
    assert zygote.why_stale().startswith("grown from")
    (tmp_path / "memory.stat").write_text(f"anon {300 * 1024**2}\nfile 1\n")
    assert zygote.why_stale() == ""
