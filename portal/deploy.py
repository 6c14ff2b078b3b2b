"""A folder on this machine into a Space, for `portico deploy`."""

from __future__ import annotations

import os
from pathlib import Path

from django.core.exceptions import ValidationError

from apps.repos.store import Add, Delete, Operation, tree
from apps.spaces.commits import README, commit_files, first_readme
from apps.spaces.models import SDK, Space

SKIPPED_FOLDERS = {".git", "__pycache__", ".venv", "node_modules", ".gradio"}


def folder_files(folder: Path) -> dict[str, Path]:
    """Every file below `folder` by its POSIX path, without version control, caches and links."""
    found: dict[str, Path] = {}
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
        for name in sorted(names):
            path = Path(root) / name
            if path.is_file() and not path.is_symlink():
                found[path.relative_to(folder).as_posix()] = path
    return found


def guess_sdk(folder: Path) -> str:
    """The SDK of a folder whose README does not say: by what its app file imports."""
    app = next((folder / name for name in ("app.py", "streamlit_app.py", "run.py") if (folder / name).is_file()), None)
    if app is None:
        return SDK.STATIC if (folder / "index.html").is_file() else SDK.GRADIO
    text = app.read_text(errors="replace")
    if "streamlit" in text:
        return SDK.STREAMLIT
    return SDK.GRADIO if "gradio" in text else SDK.PYTHON


def deploy_folder(space: Space, folder: Path) -> str:
    """Make the Space's files those of `folder`, in one commit. Returns the revision.

    Raises:
        ValidationError: the folder is empty.
    """
    files = folder_files(folder)
    if not files:
        raise ValidationError(f"{folder} has no files.")
    operations: list[Operation] = [Add(path, source) for path, source in files.items()]
    if space.head:
        gone = {e.path for e in tree(space.repository, space.head, recursive=True) if e.kind == "file"} - set(files)
        operations += [Delete(path) for path in sorted(gone - {README})]
    else:
        operations += first_readme(space, files)
    return commit_files(space, operations, user=space.created_by, message=f"Deploy {folder.resolve().name}")
