"""From a revision to a deployment, step by step."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import structlog
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.builds import bundles, installer, signals
from apps.builds.locks import held
from apps.builds.models import Build, Deployment, Environment, Resolution
from apps.builds.policy import RequirementRefused, Requirements, parse_requirements
from apps.repos import store
from apps.repos.paths import BadPath
from apps.sandbox.interpreters import Interpreter, default_interpreter, find_interpreters
from apps.spaces import card as cards
from apps.spaces import events
from apps.spaces.logs import LogWriter, delete_logs
from apps.spaces.models import SDK, Space, Stage
from apps.spaces.stages import set_stage

log = structlog.get_logger(__name__)

REQUIREMENTS = "requirements.txt"
README_BYTES = 1024 * 1024
GRADIO_EXTRAS = "oauth,mcp"
KEPT_DEPLOYMENTS = 5


class BuildFailed(Exception):
    """The build cannot succeed until its author changes something.

    Attributes:
        stage: what the Space becomes.
        message: in plain words.
    """

    def __init__(self, stage: Stage, message: str) -> None:
        super().__init__(message)
        self.stage, self.message = stage, message


@dataclass(frozen=True)
class Plan:
    """What a revision says about how it runs, checked."""

    sdk: str
    app_file: str
    card: cards.Card
    interpreter: Interpreter | None
    requirements: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    """Keys of README.md that name a version of something this SDK does not have. The Hub ignores them as well."""


class BuildLog:
    """The build log: lines with the seconds since the build began, pushed as they come."""

    def __init__(self, space_id: int) -> None:
        self._writer, self._began = LogWriter(space_id, "build", fresh=True), time.monotonic()

    def say(self, line: str) -> None:
        if message := self._writer.write(f"[{time.monotonic() - self._began:6.1f} s] {line}\n".encode()):
            async_to_sync(events.push)(events.space_group(self._writer.space_id), message)

    def close(self) -> None:
        self._writer.close()


@transaction.atomic
def queue_build(space: Space, *, factory: bool = False) -> Build | None:
    """Queue the build of the Space's tip; older ones that have not begun are superseded. None without a tip."""
    if not space.head:
        set_stage(space.pk, Stage.NO_APP_FILE)
        return None
    waiting = Build.objects.filter(space=space, state=Build.State.QUEUED)
    waiting.update(state=Build.State.SUPERSEDED, ended_at=timezone.now())
    build = Build.objects.create(space=space, revision=space.head, factory=factory)
    set_stage(space.pk, Stage.BUILDING)
    return build


def run_build(build_id: int) -> None:
    """Do one queued build, whole. Does nothing when somebody else has it or it is superseded."""
    with held(str(build_id)) as is_ours:
        if not is_ours or not Build.objects.filter(pk=build_id, state=Build.State.QUEUED).update(
            state=Build.State.RUNNING, started_at=timezone.now()
        ):
            return
        build = Build.objects.select_related("space__owner").get(pk=build_id)
        build_log = BuildLog(build.space_id)
        build_log.say(f"Building {build.space.slug} at {build.revision[:12]}")
        try:
            _build(build, build_log)
        except BuildFailed as failed:
            build_log.say(f"{failed.stage.label}: {failed.message}")
            _fail(build, failed.stage, failed.message)
        except Exception as error:
            if not Space.objects.filter(pk=build.space_id).exists():
                return
            log.exception("build broke", build=build.pk)
            build_log.say("The portal itself failed; its administrator can see why.")
            _fail(
                build, Stage.BUILD_ERROR, f"The portal itself failed ({type(error).__name__}). Try a factory rebuild."
            )
        finally:
            build_log.close()


def _build(build: Build, build_log: BuildLog) -> None:
    deadline = time.monotonic() + settings.PORTICO_BUILD_SECONDS
    space = build.space
    aside = settings.PORTICO_DATA / "deployments" / f".{build.pk}.{secrets.token_hex(4)}.part"
    try:
        try:
            store.export(space.repository, build.revision, aside)
        except store.NotFound as error:
            raise BuildFailed(Stage.NO_APP_FILE, str(error)) from None
        except (store.TooLarge, BadPath) as error:
            raise BuildFailed(Stage.CONFIG_ERROR, str(error)) from None
        plan = make_plan(space, aside)
        for key in plan.ignored:
            build_log.say(f"Warning: README.md says {key}, which does nothing where sdk is {plan.sdk}")
        environment = None
        if plan.interpreter is not None:
            build_log.say(f"Python {plan.interpreter.version}, {plan.sdk}")
            environment = _environment(build, plan, plan.interpreter, build_log, deadline)
        _deploy(build, plan, environment, aside)
        build_log.say("Built.")
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def make_plan(space: Space, folder: Path) -> Plan:
    """Read and check what the files in `folder` say.

    Raises:
        BuildFailed: CONFIG_ERROR or NO_APP_FILE, with the file and line to mend.
    """
    card = _card(folder)
    sdk = card.sdk or space.sdk
    app_file = _app_file(card, sdk, folder)
    if sdk == SDK.STATIC:
        return Plan(sdk, app_file, card, None, (), _ignored(card, "sdk_version", "python_version"))
    ignored = _ignored(card, "sdk_version") if sdk == SDK.PYTHON else ()
    return Plan(sdk, app_file, card, _interpreter(card), _requirements(card, sdk, folder), ignored)


def _ignored(card: cards.Card, *keys: str) -> tuple[str, ...]:
    return tuple(key for key in keys if getattr(card, key) is not None)


def _card(folder: Path) -> cards.Card:
    readme = folder / "README.md"
    if not readme.is_file():
        return cards.Card()
    with readme.open("rb") as file:
        text = file.read(README_BYTES).decode(errors="replace")
    try:
        return cards.parse(text)
    except cards.CardError as error:
        raise BuildFailed(Stage.CONFIG_ERROR, str(error)) from None


def _app_file(card: cards.Card, sdk: str, folder: Path) -> str:
    there = sorted(p.name for p in folder.iterdir() if p.is_file())
    if card.app_file:
        if (folder / card.app_file).is_file():
            return card.app_file
        raise BuildFailed(
            Stage.CONFIG_ERROR,
            f"README.md says app_file: {card.app_file}, but there is no such file. There is: {_some(there)}.",
        )
    found = cards.find_app_file(sdk, there)
    if found is None:
        wanted = " or ".join(cards.APP_FILES[sdk][:2])
        raise BuildFailed(
            Stage.NO_APP_FILE, f"There is no {wanted}. Add one, or name yours as app_file in README.md's front matter."
        )
    return found


def _some(names: list[str], count: int = 10) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def _interpreter(card: cards.Card) -> Interpreter:
    if card.python_version is None:
        try:
            return default_interpreter()
        except LookupError as error:
            raise BuildFailed(Stage.BUILD_ERROR, f"The portal has no suitable Python: {error}.") from None
    interpreters = find_interpreters()
    minor = ".".join(card.python_version.split(".")[:2])
    found = interpreters.get(minor)
    if found is None or card.python_version not in {minor, found.version}:
        have = ", ".join(i.version for i in interpreters.values())
        wanted = f"README.md says python_version: {card.python_version}"
        raise BuildFailed(Stage.CONFIG_ERROR, f"{wanted}, but this portal has Python {have}. Write one of them.")
    return found


def _requirements(card: cards.Card, sdk: str, folder: Path) -> tuple[str, ...]:
    path = folder / REQUIREMENTS
    try:
        named = parse_requirements(path.read_bytes()) if path.is_file() else Requirements((), frozenset())
    except RequirementRefused as error:
        raise BuildFailed(Stage.CONFIG_ERROR, f"{error}.") from None
    return (*named.lines, *_sdk_requirement(card, sdk, named))


def _sdk_requirement(card: cards.Card, sdk: str, named: Requirements) -> tuple[str, ...]:
    if sdk == SDK.GRADIO:
        package, default = f"gradio[{GRADIO_EXTRAS}]", settings.PORTICO_GRADIO_VERSION
    elif sdk == SDK.STREAMLIT:
        package, default = "streamlit", settings.PORTICO_STREAMLIT_VERSION
    else:
        return ()
    if card.sdk_version:
        return (f"{package}=={card.sdk_version}",)
    return (package,) if named.pins(sdk) else (f"{package}=={default}",)


def _environment(
    build: Build, plan: Plan, interpreter: Interpreter, build_log: BuildLog, deadline: float
) -> Environment:
    try:
        lock = _lock(build, plan, interpreter, build_log, deadline)
        installed = installer.install(interpreter, lock, build_log.say, deadline=deadline)
    except installer.InstallError as error:
        raise BuildFailed(Stage.BUILD_ERROR, str(error)) from error
    build_log.say(f"Environment {installed.key[:12]} {'reused' if installed.reused else 'installed'}")
    environment, created = Environment.objects.get_or_create(
        key=installed.key,
        defaults={
            "python_version": interpreter.version,
            "lock": lock,
            "gradio_version": bundles.version_in(lock),
            "size_bytes": installed.size_bytes,
        },
    )
    if not created:
        Environment.objects.filter(pk=environment.pk).update(used_at=timezone.now())
    return environment


def _lock(build: Build, plan: Plan, interpreter: Interpreter, build_log: BuildLog, deadline: float) -> str:
    asked = "\n".join([installer.PLATFORM, interpreter.version, *sorted(plan.requirements)])
    key = hashlib.sha256(asked.encode()).hexdigest()
    known = None if build.factory else Resolution.objects.filter(key=key).first()
    if known is not None:
        return known.lock
    build_log.say(f"Resolving {', '.join(plan.requirements) or 'nothing'}"[:500])
    lock = installer.resolve(interpreter, plan.requirements, build_log.say, deadline=deadline)
    Resolution.objects.update_or_create(key=key, defaults={"lock": lock, "created_at": timezone.now()})
    return lock


@transaction.atomic
def _deploy(build: Build, plan: Plan, environment: Environment | None, aside: Path) -> None:
    space = Space.objects.select_for_update().select_related("owner").get(pk=build.space_id)
    if _is_superseded(build):
        Build.objects.filter(pk=build.pk).update(state=Build.State.SUPERSEDED, ended_at=timezone.now())
        return
    Deployment.objects.filter(space=space, is_current=True).update(is_current=False)
    deployment = Deployment.objects.create(
        space=space,
        build=build,
        revision=build.revision,
        environment=environment,
        sdk=plan.sdk,
        app_file=plan.app_file,
        app_port=plan.card.app_port or 7860,
        base_path=plan.card.base_path or "/",
        startup_seconds=plan.card.startup_duration_timeout or settings.PORTICO_STARTUP_SECONDS,
        custom_headers=plan.card.custom_headers or {},
    )
    aside.rename(settings.PORTICO_DATA / "deployments" / str(deployment.pk))
    Build.objects.filter(pk=build.pk).update(state=Build.State.SUCCEEDED, ended_at=timezone.now())
    if not space.is_withheld and space.paused_at is None:
        set_stage(space.pk, Stage.RUNNING if plan.sdk == SDK.STATIC else Stage.APP_STARTING)
    else:
        set_stage(space.pk, Stage.STOPPED if space.is_withheld else Stage.PAUSED)
    events.route_changed(space.pk)
    signals.deployment_created.send(Deployment, deployment=deployment)


@transaction.atomic
def _fail(build: Build, stage: Stage, message: str) -> None:
    Build.objects.filter(pk=build.pk).update(state=Build.State.FAILED, message=message, ended_at=timezone.now())
    if not _is_superseded(build):
        set_stage(build.space_id, stage, message)


def _is_superseded(build: Build) -> bool:
    return Build.objects.filter(space=build.space_id, pk__gt=build.pk).exists()


def lost_builds() -> list[int]:
    """Builds to ring the bell for again: those queued, and those whose process died, put back into the queue."""
    for build in Build.objects.filter(state=Build.State.RUNNING):
        with held(str(build.pk)) as is_free:
            if is_free:
                Build.objects.filter(pk=build.pk, state=Build.State.RUNNING).update(state=Build.State.QUEUED)
    return list(Build.objects.filter(state=Build.State.QUEUED).order_by("pk").values_list("pk", flat=True))


def sweep() -> None:
    """Delete what nobody needs any more: all but the last few deployments of each Space, folders without a row,
    halves of installations, and Environments that no deployment uses and nobody asked for in a month, with the bundles
    of Gradio that were theirs."""
    installer.sweep_leftovers()
    for space_id in Deployment.objects.values_list("space", flat=True).distinct():
        newest = list(Deployment.objects.filter(space=space_id).order_by("-pk").values_list("pk", flat=True))
        old = Deployment.objects.filter(pk__in=newest[KEPT_DEPLOYMENTS:], is_current=False)
        old.exclude(workers__state__in=["starting", "ready", "stopping"]).delete()
    known = {str(pk) for pk in Deployment.objects.values_list("pk", flat=True)}
    folder = settings.PORTICO_DATA / "deployments"
    for path in folder.glob("[0-9]*") if folder.is_dir() else ():
        if path.name not in known:
            shutil.rmtree(path, ignore_errors=True)
    month_ago = timezone.now() - timedelta(days=30)
    for environment in Environment.objects.filter(deployments=None, used_at__lt=month_ago):
        with contextlib.suppress(IntegrityError):
            environment.delete()
            shutil.rmtree(installer.environments_folder() / environment.key, ignore_errors=True)
    bundles.sweep()


def delete_files(space_id: int, repository: str, deployments: list[int]) -> None:
    """Remove what a deleted Space has left on disk."""
    store.delete(UUID(repository))
    for pk in deployments:
        shutil.rmtree(settings.PORTICO_DATA / "deployments" / str(pk), ignore_errors=True)
    delete_logs(space_id)
