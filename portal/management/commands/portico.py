"""`manage.py portico <verb>`: the operator's commands, beside a running portal or instead of one."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timesince import timesince

from apps.accounts.models import AccessToken, Namespace, User
from apps.runtime import client
from apps.spaces import services
from apps.spaces.logs import Kind, last_lines
from apps.spaces.models import SDK, Space, Stage
from apps.spaces.units import size

SETTLED = {Stage.RUNNING, Stage.SLEEPING, Stage.PAUSED, Stage.STOPPED, Stage.NO_APP_FILE}
FAILED = {Stage.CONFIG_ERROR, Stage.BUILD_ERROR, Stage.RUNTIME_ERROR}
POLL_SECONDS = 0.1


class Command(BaseCommand):
    help = "Run and steer the portal: up, deploy, token, stage, status and the rest."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb", parser_class=argparse.ArgumentParser)

        def verb(name: str, help: str, *, space: bool = False) -> argparse.ArgumentParser:
            sub = verbs.add_parser(name, help=help)
            if space:
                sub.add_argument("space", metavar="owner/name")
            return sub

        verb("up", "run everything: web, task worker, agent")
        verb("agent", "run this node's agent, the only parent of its workers")
        verb("web", "run the web process alone")
        verb("token", "print a new access token with write scope, alone on its line").add_argument("user")
        deploy = verb("deploy", "commit a folder to a Space, wait until it runs")
        deploy.add_argument("folder", type=Path)
        deploy.add_argument("space", metavar="owner/name")
        deploy.add_argument("--private", action="store_true", help="make the Space private when it is created")
        deploy.add_argument("--sdk", choices=SDK.values, default=None, help="SDK of a new Space without front matter")
        deploy.add_argument("--timeout", type=float, default=1800, help="seconds to wait (default: %(default)s)")
        verb("stage", "print the Space's stage, alone", space=True)
        verb("sleep", "free its worker; the next request wakes it", space=True)
        verb("wake", "start it now and wait until it answers", space=True)
        verb("pause", "stop it until its owner restarts it", space=True)
        verb("restart", "start it afresh", space=True).add_argument(
            "--factory", action="store_true", help="build it again, with requirements resolved anew"
        )
        verb("delete", "delete it for good", space=True)
        logs = verb("logs", "print its log", space=True)
        logs.add_argument("--build", action="store_true", help="the build log instead of the application's")
        verb("status", "print what holds on this machine: sandbox, limits, egress, services").add_argument(
            "--json", action="store_true"
        )
        verb("backup", "write people, Spaces and repositories to an archive").add_argument("archive", type=Path)
        verb("restore", "read such an archive into an empty data folder").add_argument("archive", type=Path)

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        action: Callable[..., None] = getattr(self, f"do_{verb}")
        known = {"folder", "space", "private", "sdk", "timeout", "user", "factory", "build", "json", "archive"}
        arguments = {key: value for key, value in options.items() if key in known}
        if "space" in arguments and verb != "deploy":
            arguments["space"] = self._space(arguments["space"])
        try:
            action(**arguments)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        except client.AgentUnavailable as error:
            raise CommandError(f"The agent does not answer ({error}). Is the portal running?") from None

    def do_up(self) -> None:
        from portal.supervisor import UpError, up

        try:
            up(self.stdout.write)
        except UpError as error:
            raise CommandError(str(error)) from None

    def do_agent(self) -> None:
        from apps.runtime.agent import main

        main()

    def do_web(self) -> None:
        from portal.server import serve

        serve()

    def do_token(self, user: str) -> None:
        from apps.accounts.tokens import create_token

        person = User.objects.filter(username__iexact=user).first()
        if person is None:
            raise CommandError(f"There is no user called {user}.")
        _, text = create_token(person, "command line", AccessToken.Role.WRITE)
        self.stdout.write(text)

    def do_deploy(self, folder: Path, space: str, private: bool, sdk: str | None, timeout: float) -> None:
        from portal.deploy import deploy_folder

        if not folder.is_dir():
            raise CommandError(f"{folder} is not a folder.")
        target = self._space(space, create=lambda owner, name: _create(owner, name, private, sdk, folder))
        deploy_folder(target, folder)
        self._wait(target, timeout)
        if target.stage == Stage.SLEEPING:
            self.do_wake(target)
        self.stdout.write(f"{Stage.RUNNING} {target.url}")

    def do_stage(self, space: Space) -> None:
        self.stdout.write(space.stage)

    def do_sleep(self, space: Space) -> None:
        services.sleep_space(space)
        asyncio.run(client.stop_worker(space.pk))

    def do_wake(self, space: Space) -> None:
        try:
            asyncio.run(client.ensure_worker(space.pk, timeout=settings.PORTICO_STARTUP_SECONDS))
        except client.StartRefused as refused:
            raise CommandError(f"{refused.stage}: {refused.message}") from None
        except TimeoutError:
            raise CommandError("It did not answer in time.") from None

    def do_pause(self, space: Space) -> None:
        services.pause_space(space)

    def do_restart(self, space: Space, factory: bool) -> None:
        services.restart_space(space, factory=factory)

    def do_delete(self, space: Space) -> None:
        services.delete_space(space)

    def do_logs(self, space: Space, build: bool) -> None:
        self.stdout.write(last_lines(space.pk, "build" if build else "run", 10_000))

    def do_status(self, json: bool) -> None:
        from portal.status import status_report

        report = status_report()
        self.stdout.write(_as_json(report) if json else _as_text(report))
        if not report["ok"]:
            raise CommandError("Something that the portal needs is missing; see above.")

    def do_backup(self, archive: Path) -> None:
        from portal.backup import backup, kept_elsewhere

        backup(archive)
        self.stdout.write(f"Written to {archive} ({archive.stat().st_size:,} bytes).")
        if missing := kept_elsewhere():
            self.stdout.write(missing)

    def do_restore(self, archive: Path) -> None:
        from portal.backup import BackupError, restore

        try:
            count = restore(archive)
        except BackupError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Restored {count} Spaces; they are built again when the portal runs.")

    def _space(self, slug: str, *, create: Callable[[Namespace, str], Space] | None = None) -> Space:
        owner, _, name = slug.partition("/")
        found = (
            Space.objects.select_related("owner").filter(owner__name__iexact=owner, name__iexact=name).first()
        )  # fmt: skip
        if found is not None:
            return found
        if create is None or not name:
            raise CommandError(f"There is no Space called {slug}.")
        namespace = Namespace.objects.filter(name__iexact=owner).first()
        if namespace is None:
            raise CommandError(f"There is nobody called {owner}.")
        return create(namespace, name)

    def _wait(self, space: Space, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            space.refresh_from_db(fields=["stage", "stage_message"])
            if space.stage in (Stage.RUNNING, Stage.SLEEPING):
                return
            if space.stage in FAILED or space.stage in SETTLED:
                kind: Kind = "run" if space.stage == Stage.RUNTIME_ERROR else "build"
                self.stdout.write(space.stage)
                raise CommandError(f"{space.stage_message}\n{last_lines(space.pk, kind)}".strip(), returncode=1)
            time.sleep(POLL_SECONDS)
        raise CommandError(
            f"Still {space.stage} after {timeout:g} s. Is the portal running? See `portico status`.", returncode=1
        )


def _create(owner: Namespace, name: str, private: bool, sdk: str | None, folder: Path) -> Space:
    from portal.deploy import guess_sdk

    visibility = Space.Visibility.PRIVATE if private else Space.Visibility.PUBLIC
    user = User.objects.filter(namespace=owner).first()
    return services.create_space(owner, name, user=user, sdk=sdk or guess_sdk(folder), visibility=visibility)


def _as_json(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=2, default=str)


def _as_text(report: dict[str, Any]) -> str:
    lines = _check_lines(report["checks"])
    for node in report["nodes"]:
        seen = timesince(node["seen_at"])
        lines.append(f"\nnode {node['name']}: {'away, last ' if node['is_away'] else ''}seen {seen} ago")
        if live := node["live"]:
            workers, memory = live["workers"], live["memory"]
            free = f"{size(memory['available_bytes'])} of {size(memory['total_bytes'])} memory free"
            lines.append(f"    {free}, {workers['count']} workers with {size(workers['memory_bytes'])}")
            lines += [
                f"    zygote {z['environment'][:12]}: {z['workers']} workers, {size(z['memory_bytes'] or 0)}"
                for z in live["zygotes"]
            ]
        else:
            lines += [f"    {node['workers']} workers", *(f"    {line}" for line in _check_lines(node["checks"]))]
    return "\n".join(lines)


def _check_lines(checks: list[dict[str, Any]]) -> list[str]:
    width = max((len(check["name"]) for check in checks), default=0)
    lines = []
    for check in checks:
        mark = "ok  " if check["ok"] else "NO  " if check["needed"] else "-   "
        lines.append(f"{mark}{check['name']:<{width}}  {check['detail']}")
        if check["remedy"]:
            lines.append(f"    {'':<{width}}  > {check['remedy']}")
    return lines
