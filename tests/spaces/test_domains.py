"""A Space under a name of its owner's: proven, looked after, and withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.test import Client

from apps.accounts.models import User
from apps.spaces import domains
from apps.spaces.domains import add_domain, check_domain, is_served
from apps.spaces.models import Domain, Space
from apps.spaces.services import create_space
from apps.spaces.tasks import recheck_domains
from portal.celery import app as celery
from tests.name_server import NameServer, a_name_server

NAME = "demo.example.org"


@pytest.fixture
def dns(settings: Any) -> Iterator[NameServer]:
    cache.clear()
    with a_name_server() as server:
        settings.PORTICO_DNS_RESOLVERS = [server.address]
        yield server


@pytest.fixture
def browser(client: Client, ada: User, space: Space) -> Client:
    client.force_login(ada)
    return client


def do(browser: Client, act: str, name: str) -> str:
    return browser.post("/spaces/ada/demo/settings", {"do": act, "name": name}, follow=True).content.decode()


def proven(server: NameServer, space: Space, name: str = NAME) -> Domain:
    domain = add_domain(space, name)
    server.txt[domain.record_name] = [domain.record_value]
    check_domain(domain)
    return domain


def test_a_domain_is_listed_proven_and_removed(browser: Client, space: Space, dns: NameServer) -> None:
    page = do(browser, "add-domain", "Demo.Example.org.")
    domain = space.domains.get()
    assert domain.name == NAME and f"_portico.{NAME}" in page and domain.record_value in page and "Pending" in page
    assert "There is no TXT record" in do(browser, "check-domain", NAME) and not is_served(NAME)
    dns.txt[f"_portico.{NAME}"] = ["portico-verify=another"]
    assert "says something else" in do(browser, "check-domain", NAME) and not is_served(NAME)
    dns.txt[f"_portico.{NAME}"] = ["v=spf1 -all", domain.record_value]
    page = do(browser, "check-domain", NAME)
    assert "is proven" in page and "Verified" in page and is_served(NAME)
    do(browser, "remove-domain", NAME)
    assert not is_served(NAME) and not Domain.objects.exists()


def test_names_are_idna(space: Space, dns: NameServer) -> None:
    domain = proven(dns, space, "Bücher.Example")
    assert domain.name == "xn--bcher-kva.example" and dns.asked == ["_portico.xn--bcher-kva.example"]


@pytest.mark.parametrize(
    "name",
    [
        "localhost", "x.localhost", "ada-demo.spaces.localhost", "spaces.localhost", "127.0.0.1", "example", "",
        "a b.org", "*.example.org", "example.org:80", "http://example.org", "a..org", "-a.org", "1.2.3.4", "[::1]",
        "a." * 122 + "org", "portal.example.net", "deep.portal.example.net", "extra.example.net",
    ],
)  # fmt: skip
def test_names_that_cannot_be_or_are_the_portals_are_refused(
    browser: Client, space: Space, settings: Any, name: str
) -> None:
    settings.PORTICO_PORTAL_HOST = "portal.example.net"
    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "extra.example.net"]
    assert "notice-error" in do(browser, "add-domain", name)
    assert not space.domains.exists()


def test_only_its_owner_gives_it_one(space: Space, dns: NameServer) -> None:
    eve = Client()
    eve.force_login(User.objects.create_user("eve", "eve@example.org", "a-good-long-password"))
    domain = add_domain(space, NAME)
    for act in ("add-domain", "check-domain", "remove-domain"):
        assert eve.post("/spaces/ada/demo/settings", {"do": act, "name": NAME}).status_code == 403
    assert dns.asked == [] and space.domains.get() == domain
    assert domain.record_value not in eve.get("/spaces/ada/demo").content.decode()


def test_what_another_space_proved_is_theirs_until_their_record_goes(space: Space, ada: User, dns: NameServer) -> None:
    first = proven(dns, space)
    second = add_domain(create_space(ada.namespace, "other", user=ada), NAME)
    assert first.token != second.token
    with pytest.raises(ValidationError, match="something else"):
        check_domain(second)
    dns.txt[first.record_name] = [first.record_value, second.record_value]
    with pytest.raises(ValidationError, match="Another Space has"):
        check_domain(second)
    dns.txt[first.record_name] = [second.record_value]
    check_domain(second)
    first.refresh_from_db()
    assert first.verified_at is None and second.verified_at is not None
    assert Domain.objects.get(name=NAME, verified_at__isnull=False) == second


def later(domain: Domain, **ago: float) -> None:
    """Let time pass for a domain."""
    domain.refresh_from_db()
    for name in ("checked_at", "failing_since"):
        if (at := getattr(domain, name)) is not None:
            setattr(domain, name, at - timedelta(**ago))
    domain.save()


def test_a_domain_is_looked_at_daily_and_withdrawn_after_three_days(space: Space, dns: NameServer) -> None:
    domain = proven(dns, space)
    recheck_domains()
    assert len(dns.asked) == 1, "not again on the same day"
    dns.broken = True
    for day in range(3):
        later(domain, hours=24.1)
        recheck_domains()
        domain.refresh_from_db()
        assert domain.verified_at is not None and "did not answer" in domain.problem, f"day {day}"
    later(domain, hours=24.1)
    recheck_domains()
    domain.refresh_from_db()
    assert domain.verified_at is None and not is_served(NAME)
    dns.broken = False
    check_domain(domain)
    assert is_served(NAME)


def test_one_that_is_proven_again_in_time_stays(space: Space, dns: NameServer) -> None:
    domain = proven(dns, space)
    records = dns.txt.pop(domain.record_name)
    later(domain, days=2)
    recheck_domains()
    dns.txt[domain.record_name] = records
    later(domain, days=2)
    recheck_domains()
    domain.refresh_from_db()
    assert domain.failing_since is None and domain.problem == "" and is_served(NAME)


def test_beat_knows_of_it(settings: Any) -> None:
    assert settings.CELERY_BEAT_SCHEDULE["recheck custom domains"]["task"] == recheck_domains.name
    celery.loader.import_default_modules()
    assert recheck_domains.name in celery.tasks


def test_a_name_server_that_does_not_answer_is_not_waited_for(
    space: Space, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr(domains, "LOOK_UP_SECONDS", 0.3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        settings.PORTICO_DNS_RESOLVERS = [f"127.0.0.1:{silent.getsockname()[1]}"]
        with pytest.raises(ValidationError, match="did not answer"):
            check_domain(add_domain(space, NAME))


def test_checks_are_limited(browser: Client, space: Space, dns: NameServer) -> None:
    add_domain(space, NAME)
    for _ in range(domains.CHECKS):
        assert "There is no TXT record" in do(browser, "check-domain", NAME)
    assert "many checks" in do(browser, "check-domain", NAME)
    assert len(dns.asked) == domains.CHECKS
    assert "no such domain" in do(browser, "check-domain", "other.example.org")


def test_a_space_has_ten_domains_at_most(space: Space) -> None:
    for n in range(domains.MAX_DOMAINS):
        add_domain(space, f"a{n}.example.org")
    with pytest.raises(ValidationError, match="at most 10"):
        add_domain(space, "one-more.example.org")
    with pytest.raises(ValidationError, match="listed already"):
        add_domain(space, "a1.example.org")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (NAME, 200), ("DEMO.example.org.", 200), ("pending.example.org", 404), ("ada-demo.spaces.localhost", 200),
        ("never-was.spaces.localhost", 200), ("a.b.spaces.localhost", 404), ("spaces.localhost", 404), ("", 404),
        ("x" * 300, 404), ("a\0b", 404),
    ],
)  # fmt: skip
def test_caddy_is_told_what_to_get_certificates_for(
    space: Space, dns: NameServer, settings: Any, django_assert_max_num_queries: Any, name: str, status: int
) -> None:
    proven(dns, space)
    add_domain(space, "pending.example.org")
    before = list(Domain.objects.values_list())
    settings.SECURE_SSL_REDIRECT = True  # it is asked over loopback, without TLS
    with django_assert_max_num_queries(1):
        answer = Client(headers={"host": "127.0.0.1"}).get("/internal/ask", {"domain": name})
    assert (answer.status_code, answer.content) == (status, b"")
    assert list(Domain.objects.values_list()) == before
