"""What a Space may use, and when it sleeps: its plan ("hardware"), its owner's choices, and the rules between them."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from apps.spaces.models import Plan, Space
from apps.spaces.runs import run_facts
from apps.spaces.units import size, time

SLEEP_TIMES = (300, 900, 3600, 86400, 604800)
"""Those that the page offers; an API may ask for others."""
SHORTEST_SLEEP_SECONDS = 60
NEVER = 0


def default_plan() -> Plan:
    """The plan of Spaces whose owner chose none; all the portal's settings, where nobody defined one."""
    return Plan.objects.filter(is_default=True).first() or Plan(slug="cpu-basic", name="CPU basic", is_default=True)


def plan_of(space: Space) -> Plan:
    return space.plan or default_plan()


def plans_for(space: Space) -> list[Plan]:
    """What its owner may choose from, what it has among them."""
    current = plan_of(space)
    offered = [p for p in Plan.objects.all() if p.for_everyone or p.is_default or p == current]
    return offered or [current]


@transaction.atomic
def choose_plan(space: Space, slug: str, *, by_staff: bool = False) -> Plan:
    """Give the Space another plan, from its next start on.

    Args:
        slug: of the plan. The default one's, or an empty one, is whichever is the default at each start.
        by_staff: whether it may be one that owners may not choose.

    Raises:
        ValidationError: there is no such plan, only staff may assign it, or it grants less storage than is filled.
    """
    default = default_plan()
    plan = default if slug in ("", default.slug) else Plan.objects.filter(slug=slug).first()
    if plan is None or (not by_staff and plan not in plans_for(space)):
        offered = ", ".join(p.slug for p in plans_for(space))
        raise ValidationError(f"There is no hardware called “{slug[:40]}” to choose here. There is: {offered}.")
    check_storage(space, plan)
    space.plan = None if plan.is_default else plan
    space.save(update_fields=["plan"])
    return plan


def check_storage(space: Space, plan: Plan) -> None:
    """Refuse a plan that grants less storage than the Space fills. One that grants none leaves its files, out of reach.

    Raises:
        ValidationError: it does.
    """
    kept = run_facts(space).storage_used_bytes or 0
    if 0 < plan.storage_bytes < kept:
        raise ValidationError(
            f"This Space keeps {size(kept)} at /data, and {plan.name} grants {size(plan.storage_bytes)}. "
            "Delete files there first, or choose hardware with more storage."
        )


@transaction.atomic
def make_default(plan: Plan) -> None:
    """Make it the plan of every Space whose owner chose none, and of new ones."""
    Plan.objects.filter(is_default=True).exclude(pk=plan.pk).update(is_default=False)
    Plan.objects.filter(pk=plan.pk).update(is_default=True)
    plan.is_default = True


def default_sleep(plan: Plan) -> int:
    return settings.PORTICO_SLEEP_SECONDS if plan.sleep_seconds is None else plan.sleep_seconds


def sleep_seconds(space: Space, plan: Plan) -> int:
    """After how many seconds without use it sleeps, 0 for never: what its owner chose, as far as the plan allows."""
    wanted = space.sleep_seconds
    if wanted is None or not plan.may_choose_sleep:
        return default_sleep(plan)
    if wanted == NEVER:
        return NEVER if plan.may_never_sleep else plan.longest_sleep_seconds or default_sleep(plan)
    return min(wanted, plan.longest_sleep_seconds or wanted)


def sleep_choices(plan: Plan) -> list[tuple[str, str]]:
    """For a form: values and words. `default` is the plan's own."""
    longest = plan.longest_sleep_seconds
    choices = [("default", f"The default, {time(default_sleep(plan))}")]
    if plan.may_choose_sleep:
        choices += [(str(s), time(s)) for s in SLEEP_TIMES if longest is None or s <= longest]
        if plan.may_never_sleep:
            choices.append((str(NEVER), "Never"))
    return choices


@transaction.atomic
def set_sleep(space: Space, seconds: int | None) -> None:
    """Say after how much idle time the Space sleeps; None is its plan's default, 0 is never.

    Raises:
        ValidationError: its plan does not allow that.
    """
    plan = plan_of(space)
    longest = plan.longest_sleep_seconds
    if seconds is not None and not plan.may_choose_sleep:
        raise ValidationError(f"With the hardware {plan.name}, Spaces sleep after {time(default_sleep(plan))}.")
    if seconds == NEVER and not plan.may_never_sleep:
        raise ValidationError(f"With the hardware {plan.name}, every Space sleeps some time; choose after how long.")
    if seconds and seconds < SHORTEST_SLEEP_SECONDS:
        raise ValidationError(f"Choose at least {time(SHORTEST_SLEEP_SECONDS)}.")
    if seconds and longest is not None and seconds > longest:
        raise ValidationError(f"With the hardware {plan.name}, choose at most {time(longest)}.")
    space.sleep_seconds = seconds
    space.save(update_fields=["sleep_seconds"])


def resources(plan: Plan) -> dict[str, int | float]:
    """What a worker that starts now gets, the portal's settings filled in; by the names of `Plan`'s fields."""
    return {
        "memory_bytes": _or(plan.memory_bytes, settings.PORTICO_WORKER_MEMORY_BYTES),
        "cpus": _or(plan.cpus, settings.PORTICO_WORKER_CPUS),
        "processes": _or(plan.processes, settings.PORTICO_WORKER_PROCESSES),
        "disk_bytes": _or(plan.disk_bytes, settings.PORTICO_WORKER_DISK_BYTES),
        "storage_bytes": plan.storage_bytes,
        "replicas": plan.replicas,
    }


def describe(plan: Plan) -> str:
    """One line for its Space's owner: `512 MiB memory · 0.5 CPU · …`."""
    given = resources(plan)
    several = plan.replicas > 1
    return " · ".join(
        (
            (f"{plan.replicas} workers (replicas), each with " if several else "")
            + f"{size(int(given['memory_bytes']))} memory",
            f"{given['cpus']:g} CPU",
            f"{size(int(given['disk_bytes']))} temporary disk",
            f"{size(plan.storage_bytes)} kept at /data{' for all of them' if several else ''}"
            if plan.storage_bytes
            else "nothing kept",
            "never sleeps" if default_sleep(plan) == NEVER else f"sleeps after {time(default_sleep(plan))}",
            *([] if plan.egress else ["no internet"]),
        )
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
