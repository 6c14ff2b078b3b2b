"""What a revision says about how it runs: believed when it is right, told when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.builds.services import BuildFailed, make_plan
from apps.sandbox.interpreters import find_interpreters
from apps.spaces.models import Space, Stage


def plan_of(space: Space, folder: Path, files: dict[str, str]):  # type: ignore[no-untyped-def]
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return make_plan(space, folder)


def front(**values: str) -> str:
    return "---\n" + "".join(f"{key}: {value}\n" for key, value in values.items()) + "---\n"


def failed(space: Space, folder: Path, files: dict[str, str]) -> BuildFailed:
    with pytest.raises(BuildFailed) as caught:
        plan_of(space, folder, files)
    return caught.value


def test_front_matter_decides(space: Space, tmp_path: Path) -> None:
    plan = plan_of(
        space, tmp_path, {"README.md": front(sdk="gradio", app_file="src/x.py", sdk_version="6.0.0"), "src/x.py": ""}
    )
    assert (plan.sdk, plan.app_file, plan.requirements) == ("gradio", "src/x.py", ("gradio[oauth,mcp]==6.0.0",))


def test_without_front_matter_the_usual_names_are_found(space: Space, tmp_path: Path) -> None:
    assert plan_of(space, tmp_path, {"main.py": ""}).app_file == "main.py"


def test_the_default_version_is_added_unless_requirements_name_one(space: Space, tmp_path: Path, settings) -> None:  # type: ignore[no-untyped-def]
    settings.PORTICO_GRADIO_VERSION = "6.30.0"
    files = {"README.md": front(sdk="gradio"), "app.py": "", "requirements.txt": "numpy"}
    assert plan_of(space, tmp_path, files).requirements == ("numpy", "gradio[oauth,mcp]==6.30.0")
    files["requirements.txt"] = "gradio==5.0"
    assert plan_of(space, tmp_path, files).requirements == ("gradio==5.0", "gradio[oauth,mcp]")


def test_a_python_version_that_is_here_is_taken(space: Space, tmp_path: Path) -> None:
    for minor, interpreter in find_interpreters().items():
        files = {"README.md": front(sdk="python", python_version=minor), "app.py": ""}
        assert plan_of(space, tmp_path, files).interpreter == interpreter


def test_a_python_version_that_is_not_here_is_refused_with_those_that_are(space: Space, tmp_path: Path) -> None:
    error = failed(space, tmp_path, {"README.md": front(sdk="python", python_version="2.7"), "app.py": ""})
    assert error.stage == Stage.CONFIG_ERROR
    assert all(i.version in error.message for i in find_interpreters().values())


@pytest.mark.parametrize(
    ("sdk", "ignored"),
    [("static", ("sdk_version", "python_version")), ("python", ("sdk_version",)), ("gradio", ()), ("streamlit", ())],
)
def test_a_version_of_what_its_sdk_does_not_have_is_noted(
    sdk: str, ignored: tuple[str, ...], space: Space, tmp_path: Path
) -> None:
    minor = next(iter(find_interpreters()))
    readme = front(sdk=sdk, sdk_version="6.0.0", python_version=f"'{minor}'")
    assert plan_of(space, tmp_path, {"README.md": readme, "app.py": "", "index.html": ""}).ignored == ignored


@pytest.mark.parametrize(
    ("files", "stage", "words"),
    [
        ({"README.md": "---\ntitle: a\nsdk: docker\n---\n"}, Stage.CONFIG_ERROR, "README.md, line 3"),
        ({"README.md": front(app_file="gone.py"), "other.py": ""}, Stage.CONFIG_ERROR, "other.py"),
        (
            {"README.md": front(sdk="gradio", sdk_version="latest"), "app.py": ""},
            Stage.CONFIG_ERROR,
            "README.md, line 3",
        ),
        ({"README.md": front(sdk="gradio", sdk_version="'>=5; x'"), "app.py": ""}, Stage.CONFIG_ERROR, "sdk_version"),
        ({"notes.txt": ""}, Stage.NO_APP_FILE, "app.py"),
        ({"README.md": front(sdk="static"), "app.py": ""}, Stage.NO_APP_FILE, "index.html"),
        ({"app.py": "", "requirements.txt": "numpy\n-e ."}, Stage.CONFIG_ERROR, "requirements.txt, line 2"),
    ],
)
def test_a_mistake_names_the_file_and_what_to_do(
    files: dict[str, str], stage: Stage, words: str, space: Space, tmp_path: Path
) -> None:
    error = failed(space, tmp_path, files)
    assert (error.stage, words in error.message) == (stage, True), error.message
