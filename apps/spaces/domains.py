"""Custom domains: a Space under a name of its owner's, proven by a TXT record that only they can set.

A record is asked for when the owner says so, and daily from then on. A domain is withdrawn when it was not proven for
`GRACE`: until then it may be the name server that failed, or this machine's way to it.
"""

from __future__ import annotations

from datetime import timedelta

import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver
import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from apps.accounts.attempts import count
from apps.spaces import events
from apps.spaces.hostnames import LABEL, ascii_host, is_own
from apps.spaces.models import Domain, Space

log = structlog.get_logger(__name__)

MAX_DOMAINS = 10
MAX_NAME_OCTETS = 244
"""What leaves room for `_portico.` in a name's 253 (RFC 1035)."""
LOOK_UP_SECONDS = 5.0
CHECKS, CHECKS_SECONDS = 10, 300
"""Checks of one owner in a period."""
RECHECK = timedelta(days=1)
GRACE = timedelta(days=3)


def read_domain(text: str) -> str:
    """The name of a domain that a Space may have, in lower-case ASCII.

    Raises:
        ValidationError: it is no such name, or one of the portal's own.
    """
    name = ascii_host(text)
    if "." not in name or name.rpartition(".")[2].isdigit() or len(name) > MAX_NAME_OCTETS:
        raise ValidationError(f"“{text[:100]}” is not a domain. Write demo.example.org.")
    if is_own(name):
        raise ValidationError(f"{name} belongs to the portal itself.")
    return name


@transaction.atomic
def add_domain(space: Space, text: str) -> Domain:
    """Begin to give the Space a domain: pending until `check_domain` finds its record.

    Raises:
        ValidationError: as `read_domain`; or the Space has it, or as many as it may.
    """
    name = read_domain(text)
    if space.domains.filter(name=name).exists():
        raise ValidationError(f"{name} is listed already.")
    if space.domains.count() >= MAX_DOMAINS:
        raise ValidationError(f"A Space has at most {MAX_DOMAINS} domains.")
    return Domain.objects.create(space=space, name=name)


@transaction.atomic
def remove_domain(space: Space, name: str) -> None:
    """Take a domain from the Space. One that it does not have is none to complain of."""
    space.domains.filter(name=name).delete()
    events.route_changed(space.pk)


def count_check(space: Space) -> None:
    """Count a check that somebody asked for.

    Raises:
        ValidationError: the Space's owner has asked for too many.
    """
    if count(f"domain-checks:{space.owner_id}", CHECKS_SECONDS) > CHECKS:
        raise ValidationError("That were many checks. Name servers take a while anyway: try again in five minutes.")


def _resolver() -> dns.resolver.Resolver:
    servers = settings.PORTICO_DNS_RESOLVERS
    resolver = dns.resolver.Resolver(configure=not servers)
    if servers:
        resolver.nameservers = [_nameserver(server) for server in servers]
    resolver.lifetime = LOOK_UP_SECONDS
    return resolver


def _nameserver(text: str) -> dns.nameserver.Nameserver:
    address, _, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "")
    return dns.nameserver.Do53Nameserver(address or text, int(port or 53))


def _records(name: str) -> set[str]:
    """The TXT records of a name; the pieces of each are put together (RFC 7208, section 3.3, says so for others).

    Raises:
        ValidationError: there are none, or nobody could say.
    """
    try:
        answer = _resolver().resolve(f"{name}.", dns.rdatatype.TXT, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        raise ValidationError(f"There is no TXT record at {name} yet.") from None
    except (dns.exception.DNSException, OSError) as error:
        log.info("a custom domain could not be looked up", name=name, error=str(error))
        raise ValidationError(f"The name servers of {name} did not answer.") from None
    return {b"".join(record.strings).decode("latin-1").strip() for record in answer}


def check_domain(domain: Domain) -> None:
    """Look for the domain's record now, and note what was found.

    A domain that another Space has is taken over when that one's record is gone: the name has changed hands.

    Raises:
        ValidationError: it is not proven; the text says what is missing.
    """
    try:
        records = _records(domain.record_name)
        if domain.record_value not in records:
            raise ValidationError(f"The TXT record at {domain.record_name} says something else.")
        _verified(domain, records)
    except ValidationError as error:
        _failed(domain, error.messages[0])
        raise


@transaction.atomic
def _verified(domain: Domain, records: set[str]) -> None:
    now = timezone.now()
    for other in Domain.objects.filter(name=domain.name, verified_at__isnull=False).exclude(pk=domain.pk):
        if other.record_value in records:
            raise ValidationError(f"Another Space has {domain.name}. Its own TXT record must go first.")
        other.verified_at, other.problem = None, "Another Space has proven it."
        other.save(update_fields=["verified_at", "problem"])
        events.route_changed(other.space_id)
    domain.verified_at = domain.verified_at or now
    domain.checked_at, domain.failing_since, domain.problem = now, None, ""
    try:
        with transaction.atomic():
            domain.save(update_fields=["verified_at", "checked_at", "failing_since", "problem"])
    except IntegrityError:
        raise ValidationError(f"Another Space has just got {domain.name}.") from None
    events.route_changed(domain.space_id)


@transaction.atomic
def _failed(domain: Domain, problem: str) -> None:
    now = timezone.now()
    row = Domain.objects.select_for_update().filter(pk=domain.pk).first()
    if row is None:
        return
    row.checked_at, row.problem = now, problem[:200]
    if row.verified_at is not None:
        row.failing_since = row.failing_since or now
        if now - row.failing_since >= GRACE:
            row.verified_at = row.failing_since = None
            events.route_changed(row.space_id)
            log.info("a custom domain is withdrawn", name=row.name, space=row.space_id)
    row.save(update_fields=["verified_at", "checked_at", "failing_since", "problem"])


def recheck_domains() -> None:
    """Check every verified domain whose last check is a day old."""
    due = Q(checked_at=None) | Q(checked_at__lte=timezone.now() - RECHECK)
    for domain in Domain.objects.filter(due, verified_at__isnull=False).order_by("checked_at"):
        try:
            check_domain(domain)
        except ValidationError as error:
            log.info("a custom domain is not proven", name=domain.name, reason=error.messages[0])


def is_served(name: str) -> bool:
    """Whether a name is one that Spaces are served under: a verified domain, or a label under the Spaces' domain.

    Any such label, whether there is a Space or not: who asks for a certificate must not learn of private ones.
    """
    if not all(LABEL.fullmatch(label) for label in name.split(".")):
        return False
    label, _, domain = name.partition(".")
    if domain == settings.PORTICO_SPACES_DOMAIN:
        return bool(label)
    return Domain.objects.filter(name=name, verified_at__isnull=False).exists()
