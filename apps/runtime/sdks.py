"""How each SDK's app is started: its command, the environment it needs, and the path that answers once it is ready."""

from __future__ import annotations

from collections.abc import Mapping

from apps.builds.models import Deployment
from apps.sandbox import bubblewrap
from apps.sandbox.interpreters import Interpreter
from apps.spaces.models import SDK

_CACHE = f"{bubblewrap.HOME}/.cache"
_TMP = "/tmp"  # noqa: S108 inside the sandbox

_FOR_ALL = {
    "PATH": bubblewrap.PATH,
    "HOME": bubblewrap.HOME,
    "USER": "user",
    "LANG": "C.UTF-8",
    "TMPDIR": _TMP,
    "PYTHONUNBUFFERED": "1",
    # What a worker compiles is gone when it ends; Environments come compiled.
    "PYTHONDONTWRITEBYTECODE": "1",
    "XDG_CACHE_HOME": _CACHE,
    "HF_HOME": f"{_CACHE}/huggingface",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MPLCONFIGDIR": f"{_CACHE}/matplotlib",
    "NUMBA_CACHE_DIR": f"{_CACHE}/numba",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_TEMP_DIR": f"{_TMP}/gradio",
}


_GRADIO_PORT = 7860
_READ_AT_IMPORT = (
    "GRADIO_", "HF_", "HUGGINGFACE_", "TRANSFORMERS_", "STREAMLIT_", "MPL", "NUMBA_", "NUMEXPR_", "OMP_", "MKL_",
    "OPENBLAS_", "BLIS_", "VECLIB_", "TORCH_", "PYTORCH_", "CUDA_", "TF_", "KERAS_", "JAX_", "PYTHON", "LD_", "MALLOC_",
    "PATH", "HOME", "TMPDIR", "LANG", "LC_", "TZ", "SSL_", "REQUESTS_", "CURL_", "UVICORN_", "PANDAS_", "PLOTLY_",
)  # fmt: skip
"""Beginnings of variables that libraries or the interpreter read before an app's first line runs."""


def zygote_environment() -> dict[str, str]:
    """What a zygote's libraries see while they are imported: what every worker has, and no Space's own."""
    return {**_FOR_ALL, "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(_GRADIO_PORT)}


def not_forkable(deployment: Deployment, environment: Mapping[str, str]) -> str:
    """Why a fork of libraries that were imported before would not run this app as a fresh interpreter would; empty
    when it would."""
    before = zygote_environment()
    changed = [name for name, value in environment.items() if before.get(name) != value]
    for name in sorted(changed):
        if name.startswith(_READ_AT_IMPORT):
            what = f"port {environment[name]}" if name == "GRADIO_SERVER_PORT" else f"the variable {name}"
            return f"{what} must be known before its packages are imported"
    return ""


def command(deployment: Deployment, interpreter: Interpreter) -> tuple[str, ...]:
    """The argument list, as seen inside the sandbox.

    Raises:
        ValueError: this SDK has no worker.
    """
    in_environment = deployment.environment_id is not None
    python = f"{bubblewrap.ENVIRONMENT}/bin/python" if in_environment else str(interpreter.executable)
    if deployment.sdk in (SDK.GRADIO, SDK.PYTHON):
        return (python, deployment.app_file)
    if deployment.sdk == SDK.STREAMLIT:
        options = {
            "server.port": str(deployment.app_port),
            "server.address": "127.0.0.1",
            "server.headless": "true",
            # The gateway is the one that decides about origins, and a frame on another site has no XSRF cookie.
            "server.enableCORS": "false",
            "server.enableXsrfProtection": "false",
            "server.fileWatcherType": "none",
            "browser.gatherUsageStats": "false",
        }
        return (
            *(python, "-m", "streamlit", "run", deployment.app_file),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        )
    raise ValueError(f"a Space of the SDK {deployment.sdk} has no worker")


def environment(deployment: Deployment, slug: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The worker's whole environment. The owner's variables win over the defaults, not over the address to listen on.

    `SYSTEM=spaces` is not among it: it would make Gradio watch files for changes, refuse `gr.LoginButton` without
    an OAuth client and answer another configuration than the same app does at home. Nor are `GRADIO_ROOT_PATH` and
    `SPACE_HOST`: Gradio learns its address from each request, as the gateway forwards it.

    Args:
        slug: `owner/name`.
        variables: the Space's own variables and secrets.
    """
    author, _, name = slug.partition("/")
    port = str(deployment.app_port)
    return {
        **_FOR_ALL,
        "SPACE_ID": slug,
        "SPACE_AUTHOR_NAME": author,
        "SPACE_REPO_NAME": name,
        **variables,
        "PORT": port,
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": port,
    }


def health_path(deployment: Deployment) -> str:
    """An HTTP path that answers below 500 once the app is ready."""
    if deployment.sdk == SDK.STREAMLIT:
        return "/_stcore/health"
    if deployment.sdk == SDK.GRADIO:
        return "/gradio_api/app_id"  # a few bytes, with or without a login; its page takes longer to make
    return deployment.base_path or "/"
