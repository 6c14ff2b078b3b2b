"""What an owner decides about a Space."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from apps.spaces import plans, services
from apps.spaces.commits import forbids_embedding
from apps.spaces.domains import add_domain, check_domain, count_check, remove_domain
from apps.spaces.drawn import drawn_facts
from apps.spaces.forms import EMBEDDING_WORDS, VISIBILITY_WORDS, VariableForm, choices, messages_of
from apps.spaces.invitations import invite, uninvite
from apps.spaces.links import LIFETIMES, address_of, live_links, make_link, revoke_link
from apps.spaces.models import SDK, Plan, Space, Stage
from apps.spaces.runs import RunFacts, run_facts
from apps.spaces.units import size, time
from apps.spaces.variables import delete_variable, set_variable
from apps.spaces.views.access import context, owner_only, person


@require_http_methods(["GET", "HEAD", "POST"])
@owner_only
def settings(request: HttpRequest, space: Space) -> HttpResponse:
    """The page, and each of its sections as a POST with `do` naming what to do."""
    if request.method == "POST":
        act = ACTS.get(request.POST.get("do", ""))
        if act is None:
            raise Http404
        try:
            done = act(request, space)
        except ValidationError as error:
            messages.error(request, messages_of(error))
        else:
            if space.pk is None:
                messages.success(request, done)
                return redirect(f"/{space.owner.name}")
            messages.success(request, done)
        return redirect(f"/spaces/{_slug(space)}/settings")
    more = {
        "variables": space.variables.all(),
        "visibilities": choices(VISIBILITY_WORDS),
        "links": [(link, address_of(link)) for link in live_links(space)],
        "lifetimes": [(value, words) for value, (words, _) in LIFETIMES.items()],
        "embeddings": [{"value": v, "label": label, "words": words} for v, (label, words) in EMBEDDING_WORDS.items()],
        "embedding": _embedding_of(space),
        "invitations": space.invitations.select_related("user"),
        "domains": space.domains.all(),
        "is_paused": space.stage == Stage.PAUSED,
        **(hardware(space) if space.sdk != SDK.STATIC else {}),
    }
    return render(request, "spaces/settings.html", context(request, space, "settings", **more))


def _embedding_of(space: Space) -> str:
    if space.disable_embedding:
        return "nowhere"
    return "sites" if space.embedding_sites else "everywhere"


def hardware(space: Space) -> dict[str, object]:
    """What the page says of plan, sleep, storage and the worker that runs."""
    plan, facts = plans.plan_of(space), run_facts(space)
    wanted = None if space.sleep_seconds is None else plans.sleep_seconds(space, plan)
    chosen = "default" if wanted is None or not plan.may_choose_sleep else str(wanted)
    sleep_choices = plans.sleep_choices(plan)
    if chosen not in dict(sleep_choices):
        sleep_choices.append((chosen, time(int(chosen))))
    return {
        "plan": plan,
        "plan_words": plans.describe(plan),
        "plans": [
            {"value": p.slug, "label": p.name, "words": f"{plans.describe(p)}. {p.description}".rstrip(". ")}
            for p in plans.plans_for(space)
        ],
        "sleep_choices": sleep_choices,
        "sleep_chosen": chosen,
        "run": facts,
        "is_outdated": _is_outdated(facts, plan),
        "storage": _storage(facts, plan),
        "replicas": _replicas(facts),
        "drawn": drawn_facts(space) if space.sdk == SDK.GRADIO else None,
    }


def _is_outdated(facts: RunFacts, plan: Plan) -> bool:
    """Whether a worker runs that was started with something else than a new one would get."""
    now = {"plan": plan.slug, **plans.resources(plan)}
    return facts.is_running and bool(facts.given) and any(facts.given.get(k) != v for k, v in now.items())


def _replicas(facts: RunFacts) -> str:
    """How many workers answer, where what runs was started with more than one."""
    granted = facts.given.get("replicas", 1)
    if not facts.is_running or granted == 1:
        return ""
    return f"{facts.replicas} of {granted} workers {'answers' if facts.replicas == 1 else 'answer'} now."


def _storage(facts: RunFacts, plan: Plan) -> str:
    used = facts.storage_used_bytes
    if facts.storage_is_being_emptied:
        return "It is being emptied."
    if plan.storage_bytes:
        return f"{size(used or 0)} of {size(plan.storage_bytes)} used."
    if used is not None:
        return f"{size(used)} are kept from before. Choose hardware with storage to reach them; nothing is deleted."
    return ""


def _slug(space: Space) -> str:
    return Space.objects.select_related("owner").get(pk=space.pk).slug


def _text(request: HttpRequest, name: str) -> str:
    """A short field, without NUL, which PostgreSQL takes in no text."""
    return request.POST.get(name, "")[:300].replace("\0", "")


def _rename(request: HttpRequest, space: Space) -> str:
    services.rename_space(space, request.POST.get("name", "").strip()[:200])
    return f"It is called {space.slug} now, and lives at {space.url}."


def _visibility(request: HttpRequest, space: Space) -> str:
    wanted = request.POST.get("visibility", "")
    if wanted not in Space.Visibility.values:
        raise ValidationError("Choose public or private.")
    services.set_visibility(space, wanted)
    return f"The Space is {wanted} now."


def _password(request: HttpRequest, space: Space) -> str:
    services.set_password(space, request.POST.get("password", ""))
    if not space.password:
        return "Visitors are asked for no password."
    return "The password is set. Who came in with an earlier one is asked again."


def _share_link(request: HttpRequest, space: Space) -> str:
    link = make_link(space, request.POST.get("lifetime", ""), user=person(request))
    return f"Whoever has this address can use the Space until then: {address_of(link)}"


def _revoke_link(request: HttpRequest, space: Space) -> str:
    revoke_link(space, request.POST.get("link", ""))
    return "Revoked. Who came in by it is out."


def _invite(request: HttpRequest, space: Space) -> str:
    user = invite(space, _text(request, "username"))
    return f"{user.username} can see the Space now, and finds it on their own page."


def _uninvite(request: HttpRequest, space: Space) -> str:
    uninvite(space, _text(request, "username"))
    return "Taken back. What they had open has ended."


def _add_domain(request: HttpRequest, space: Space) -> str:
    domain = add_domain(space, _text(request, "name"))
    return f"{domain.name} is listed. Set the record below, then check it."


def _check_domain(request: HttpRequest, space: Space) -> str:
    domain = space.domains.filter(name=_text(request, "name")).first()
    if domain is None:
        raise ValidationError("There is no such domain.")
    count_check(space)
    check_domain(domain)
    return f"{domain.name} is proven. The Space is served there."


def _remove_domain(request: HttpRequest, space: Space) -> str:
    remove_domain(space, _text(request, "name"))
    return "Removed. The Space is not served there any more."


def _username(request: HttpRequest, space: Space) -> str:
    services.set_tells_username(space, request.POST.get("tells_username") == "on")
    return "Saved."


def _set_variable(request: HttpRequest, space: Space) -> str:
    form = VariableForm(request.POST)
    if not form.is_valid():
        raise ValidationError("Give a name of at most 256 characters and a value of at most 64 KiB.")
    key, secret = form.cleaned_data["key"].strip(), form.cleaned_data["secret"]
    set_variable(space, key, form.cleaned_data["value"], secret=secret)
    return f"{'Secret' if secret else 'Variable'} {key} is set. Restart the Space to put it into effect."


def _delete_variable(request: HttpRequest, space: Space) -> str:
    delete_variable(space, request.POST.get("key", ""))
    return "Removed. Restart the Space to put it into effect."


def _sleep(request: HttpRequest, space: Space) -> str:
    wanted = request.POST.get("sleep_seconds", "")
    if wanted not in dict(plans.sleep_choices(plans.plan_of(space))):
        raise ValidationError("Choose one of the times.")
    plans.set_sleep(space, None if wanted == "default" else int(wanted))
    return "Saved."


def _hardware(request: HttpRequest, space: Space) -> str:
    plan = plans.choose_plan(space, request.POST.get("plan", ""))
    return f"Its hardware is {plan.name} from its next start on. Restart it to put that into effect now."


def _embedding(request: HttpRequest, space: Space) -> str:
    wanted, sites = request.POST.get("embedding", ""), request.POST.get("sites", "")
    if wanted not in EMBEDDING_WORDS:
        raise ValidationError("Choose where it may be shown.")
    if wanted != "nowhere" and forbids_embedding(space):
        raise ValidationError("README.md says disable_embedding: true. Take that out first.")
    if wanted == "sites" and not sites.strip():
        raise ValidationError("Name the sites that may show it.")
    services.set_embedding(space, disabled=wanted == "nowhere", sites=sites if wanted == "sites" else "")
    return "Saved."


def _snapshot(request: HttpRequest, space: Space) -> str:
    services.set_snapshot_allowed(space, allowed=request.POST.get("is_snapshot_allowed") == "on")
    return "Saved."


def _pause(request: HttpRequest, space: Space) -> str:
    services.pause_space(space)
    return "Paused. Nobody can use it until you restart it."


def _restart(request: HttpRequest, space: Space) -> str:
    services.restart_space(space)
    return "Restarting."


def _rebuild(request: HttpRequest, space: Space) -> str:
    services.restart_space(space, factory=True)
    return "Building again from scratch."


def _empty_storage(request: HttpRequest, space: Space) -> str:
    if request.POST.get("confirm", "").strip() != space.slug:
        raise ValidationError(f"Type {space.slug} to empty its storage.")
    services.empty_storage(space)
    return "Its storage is being emptied. A Space that runs is started again for that."


def _delete(request: HttpRequest, space: Space) -> str:
    slug = space.slug
    if request.POST.get("confirm", "").strip() != slug:
        raise ValidationError(f"Type {slug} to delete it.")
    services.delete_space(space)
    return f"{slug} is deleted."


ACTS: dict[str, Callable[[HttpRequest, Space], str]] = {
    "rename": _rename,
    "visibility": _visibility,
    "password": _password,
    "share-link": _share_link,
    "revoke-link": _revoke_link,
    "invite": _invite,
    "uninvite": _uninvite,
    "add-domain": _add_domain,
    "check-domain": _check_domain,
    "remove-domain": _remove_domain,
    "username": _username,
    "set-variable": _set_variable,
    "delete-variable": _delete_variable,
    "sleep": _sleep,
    "hardware": _hardware,
    "embedding": _embedding,
    "snapshot": _snapshot,
    "pause": _pause,
    "restart": _restart,
    "rebuild": _rebuild,
    "empty-storage": _empty_storage,
    "delete": _delete,
}
