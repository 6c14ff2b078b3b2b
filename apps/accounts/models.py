"""People, the names they own Spaces under, and the tokens their programs carry."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models, transaction
from django.db.models.functions import Lower
from django.utils import timezone

from apps.accounts.validators import validate_namespace_name


class Namespace(models.Model):
    """A user or an organisation: what owns Spaces. Names are case-insensitive and unique across both."""

    class Kind(models.TextChoices):
        USER = "user"
        ORGANISATION = "organisation"

    name = models.CharField(max_length=39, validators=[validate_namespace_name])
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.USER)
    suspended_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(Lower("name"), name="namespace_name_unique_ci")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_suspended(self) -> bool:
        return self.suspended_at is not None


class User(AbstractUser):
    """A person who signs in. `username` always equals the name of their Namespace."""

    namespace = models.OneToOneField(Namespace, on_delete=models.PROTECT, related_name="user", editable=False)
    is_moderator = models.BooleanField(default=False, help_text="May see reports and act on other people's Spaces.")

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():
            if self.namespace_id is None:
                self.namespace = Namespace.objects.create(name=self.username)
            super().save(*args, **kwargs)

    @property
    def can_moderate(self) -> bool:
        return self.is_active and (self.is_moderator or self.is_superuser)


class AccessToken(models.Model):
    """A bearer token, kept as a SHA-256 digest; its text is shown once, when it is made."""

    class Role(models.TextChoices):
        READ = "read"
        WRITE = "write"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="access_tokens")
    name = models.CharField(max_length=100)
    role = models.CharField(max_length=5, choices=Role, default=Role.READ)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name
