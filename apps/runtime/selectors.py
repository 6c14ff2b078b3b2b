"""Questions about what runs and what may be started."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Count

from apps.builds.models import Build, Deployment
from apps.runtime import sdks
from apps.runtime.errors import StartRefused
from apps.runtime.models import Storage, Worker
from apps.runtime.spawner import WorkerSpec
from apps.runtime.storage import image_of
from apps.sandbox import volumes
from apps.sandbox.cgroups import Limits
from apps.sandbox.interpreters import Interpreter, default_interpreter, find_interpreters
from apps.spaces import plans
from apps.spaces.encryption import decrypt
from apps.spaces.models import SDK, Plan, Space, Stage
from apps.spaces.runs import RunFacts

BY_A_VISIT = frozenset({Stage.RUNNING, Stage.SLEEPING, Stage.APP_STARTING})
"""Stages from which a request may start a Space; from the others only its owner's doing starts it again."""


@dataclass(frozen=True)
class StartPlan:
    """What to start for a Space, read from the database in one go.

    Attributes:
        spec: one worker.
        owner_id: the Namespace whose turn a start takes.
        deployment_id: what it runs.
        revision: of the repository.
        sleep_seconds: without use, after which it sleeps; 0 for never.
        given: plan and limits, for the worker's row.
        replicas: workers it has at once while it is awake.
    """

    spec: WorkerSpec
    owner_id: int
    deployment_id: int
    revision: str
    sleep_seconds: int
    given: dict[str, object]
    replicas: int = 1


def start_plan(space_id: int, *, stages: frozenset[Stage] | None = None) -> StartPlan:
    """What the Space's current deployment needs to run.

    Args:
        stages: refuse unless the Space is in one of these.

    Raises:
        StartRefused: it is gone, withheld, paused, not in one of `stages`, without a deployment, static, or what it was
            built with is no longer there, or what it keeps cannot be had here.
    """
    space = Space.objects.select_related("owner", "plan").filter(pk=space_id).first()
    if space is None:
        raise StartRefused(Stage.DELETING, "This Space does not exist any more.")
    if space.is_withheld:
        raise StartRefused(Stage.STOPPED, "This Space was taken down by the moderators.")
    if space.paused_at is not None:
        raise StartRefused(Stage.PAUSED, space.stage_message or "This Space is paused.")
    if stages is not None and space.stage not in stages:
        raise StartRefused(
            space.stage, space.stage_message or f"This Space is in the stage {space.get_stage_display()}."
        )
    deployment = current_deployment(space_id)
    if deployment is None:
        raise StartRefused(Stage.NO_APP_FILE, "Nothing has been built for this Space yet.")
    if deployment.sdk == SDK.STATIC:
        raise StartRefused(Stage.RUNNING, "A static Space needs no worker.")
    environment, interpreter = _environment(deployment)
    variables = sdks.environment(deployment, space.slug, _variables(space))
    plan = plans.plan_of(space)
    spec = WorkerSpec(
        worker_id=uuid.uuid4(),
        space_id=space.pk,
        deployment_folder=deployment_folder(deployment.pk),
        environment_folder=environment,
        interpreter=interpreter,
        argv=sdks.command(deployment, interpreter),
        environment=variables,
        port=deployment.app_port,
        health_path=sdks.health_path(deployment),
        limits=worker_limits(plan),
        startup_seconds=deployment.startup_seconds,
        not_forkable=sdks.not_forkable(deployment, variables),
        storage=_storage(space) if plan.storage_bytes else None,
        egress=plan.egress,
    )
    return StartPlan(
        spec,
        space.owner_id,
        deployment.pk,
        deployment.revision,
        sleep_seconds=plans.sleep_seconds(space, plan),
        given={"plan": plan.slug, **plans.resources(plan)},
        replicas=plan.replicas,
    )


def current_deployment(space_id: int) -> Deployment | None:
    return Deployment.objects.select_related("environment").filter(space=space_id, is_current=True).first()


def deployment_folder(deployment_id: int) -> Path:
    return Path(settings.PORTICO_DATA) / "deployments" / str(deployment_id)


def worker_limits(plan: Plan) -> Limits:
    """What a worker may use; where the plan says nothing, the portal's settings."""
    given = plans.resources(plan)
    return Limits(
        memory_bytes=int(given["memory_bytes"]),
        processes=int(given["processes"]),
        cpus=given["cpus"],
        disk_bytes=int(given["disk_bytes"]),
        storage_bytes=plan.storage_bytes,
    )


def run_facts(space: Space) -> RunFacts:
    """For the Space's pages: its newest worker, one that runs if any does, and what it keeps."""
    facts = RunFacts()
    workers = Worker.objects.filter(space=space)
    running = list(workers.filter(state__in=(Worker.State.STARTING, Worker.State.READY)))
    if worker := running[0] if running else workers.first():
        ready = sum(w.state == Worker.State.READY for w in running)
        facts = replace(
            facts,
            started_at=worker.started_at,
            is_running=bool(running),
            way=_way(worker.spawner_state),
            given=worker.given,
            replicas=min(ready, int(worker.given.get("replicas", 1))),  # those just replaced answer a little longer
        )
    if kept := Storage.objects.filter(space=space).first():
        facts = replace(
            facts,
            storage_used_bytes=kept.used_bytes,
            storage_measured_at=kept.measured_at,
            storage_is_being_emptied=kept.is_to_be_emptied,
        )
    return facts


def _way(state: Mapping[str, Any]) -> str:
    """How a worker was started, in words for its owner; empty while that is not known."""
    if state.get("way") == "fork":
        return "by a fork of a process that had imported its packages already, the quick way"
    if state.get("way") == "fresh":
        why = state.get("why_fresh")
        return f"by a fresh interpreter: {why}" if why else "by a fresh interpreter"
    return ""


def true_stage(space: Space) -> tuple[Stage, str]:
    """The stage and message of a Space of which nothing runs or is about to. Needs `owner` loaded."""
    if space.is_withheld:
        return Stage.STOPPED, space.stage_message
    if space.paused_at is not None:
        return Stage.PAUSED, ""
    deployment = current_deployment(space.pk)
    build = Build.objects.filter(space=space.pk).exclude(state=Build.State.SUPERSEDED).first()
    if build is not None and build.state in (Build.State.QUEUED, Build.State.RUNNING):
        return Stage.BUILDING, ""
    if build is not None and build.state == Build.State.FAILED:
        failed = space.stage if space.stage in (Stage.CONFIG_ERROR, Stage.NO_APP_FILE) else Stage.BUILD_ERROR
        return Stage(failed), build.message
    if deployment is None:
        return Stage.NO_APP_FILE, ""
    return (Stage.RUNNING if deployment.sdk == SDK.STATIC else Stage.SLEEPING), ""


def spec_of_former(worker: Worker) -> WorkerSpec:
    """Enough of a spec for a spawner to find and end a worker that a former agent left."""
    return WorkerSpec(
        worker_id=worker.pk,
        space_id=worker.space_id,
        deployment_folder=deployment_folder(worker.deployment_id),
        environment_folder=None,
        interpreter=Interpreter("", Path(), Path("/usr")),
        argv=(),
        environment={},
        port=worker.port,
        health_path="/",
        limits=worker_limits(Plan()),
        startup_seconds=0,
    )


def deployments_of(environment: str, limit: int) -> list[Path]:
    """The files of the newest current deployments with the Environment of this key."""
    current = Deployment.objects.filter(is_current=True, environment__key=environment).order_by("-pk")
    return [deployment_folder(pk) for pk in current.values_list("pk", flat=True)[:limit]]


def environments_most_in_use(limit: int) -> list[tuple[Path, Interpreter]]:
    """The `limit` Environments that most Spaces would wake with, and their interpreters."""
    current = Deployment.objects.filter(
        is_current=True, environment__isnull=False, space__paused_at=None, space__taken_down_at=None,
        space__owner__suspended_at=None,
    )  # fmt: skip
    counted = current.values("environment", "environment__python_version").annotate(spaces=Count("space"))
    found = []
    for row in counted.order_by("-spaces", "environment")[:limit]:
        interpreter = find_interpreters().get(".".join(row["environment__python_version"].split(".")[:2]))
        folder = Path(settings.PORTICO_DATA) / "environments" / row["environment"]
        if interpreter is not None and folder.is_dir():
            found.append((folder, interpreter))
    return found


def _storage(space: Space) -> Path:
    """The image of what it keeps.

    Raises:
        StartRefused: it cannot be had on this machine: the app would write what would be lost.
    """
    if why := volumes.unsupported():
        raise StartRefused(
            Stage.RUNTIME_ERROR,
            f"Its hardware keeps files at /data, which this machine cannot do: {why}. It is not started without, since "
            "what it wrote there would be lost. Choose hardware without storage, or ask the administrator.",
        )
    kept = Storage.objects.filter(space=space).first()
    if kept is not None and kept.node != settings.PORTICO_NODE:
        raise StartRefused(
            Stage.RUNTIME_ERROR, f"What it keeps at /data is on the node {kept.node}, and it cannot run elsewhere."
        )
    return image_of(space.repository)


def _variables(space: Space) -> dict[str, str]:
    found: dict[str, str] = {}
    for variable in space.variables.all():
        try:
            found[variable.key] = decrypt(bytes(variable.secret)) if variable.secret is not None else variable.value
        except ValueError:
            raise StartRefused(
                Stage.RUNTIME_ERROR, f"The secret {variable.key} cannot be decrypted any more; set it again."
            ) from None
    return found


def _environment(deployment: Deployment) -> tuple[Path | None, Interpreter]:
    """The folder of the deployment's packages and the Python they were installed for."""
    if deployment.environment is None:
        try:
            return None, default_interpreter()
        except LookupError as error:
            raise StartRefused(Stage.RUNTIME_ERROR, f"It cannot be started: {error}.") from None
    version = deployment.environment.python_version
    interpreter = find_interpreters().get(".".join(version.split(".")[:2]))
    folder = Path(settings.PORTICO_DATA) / "environments" / deployment.environment.key
    if interpreter is None or not folder.is_dir():
        what = f"Python {version}" if interpreter is None else "its installed packages"
        raise StartRefused(
            Stage.RUNTIME_ERROR, f"It was built with what is no longer there ({what}). A factory rebuild helps."
        )
    return folder, interpreter
