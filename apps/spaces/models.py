"""A Space, its settings and its life as people see it."""

from __future__ import annotations

import secrets
import uuid

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from apps.accounts.models import Namespace
from apps.accounts.validators import validate_name


class Stage(models.TextChoices):
    """The Hub's SpaceStage values that Portico uses (huggingface_hub `_space_api.py`)."""

    NO_APP_FILE = "NO_APP_FILE", "No application file"
    CONFIG_ERROR = "CONFIG_ERROR", "Configuration error"
    BUILDING = "BUILDING", "Building"
    BUILD_ERROR = "BUILD_ERROR", "Build error"
    APP_STARTING = "APP_STARTING", "Starting"
    RUNNING = "RUNNING", "Running"
    RUNTIME_ERROR = "RUNTIME_ERROR", "Runtime error"
    SLEEPING = "SLEEPING", "Sleeping"
    PAUSED = "PAUSED", "Paused"
    STOPPED = "STOPPED", "Stopped"
    DELETING = "DELETING", "Deleting"


class SDK(models.TextChoices):
    GRADIO = "gradio", "Gradio"
    STREAMLIT = "streamlit", "Streamlit"
    STATIC = "static", "Static"
    PYTHON = "python", "Python"


class Plan(models.Model):
    """What a Space's worker may use, called hardware on pages. The administrator defines them. An empty limit is the
    portal's setting (PORTICO_WORKER_…, PORTICO_SLEEP_SECONDS), read when a worker starts."""

    slug = models.SlugField(
        max_length=40, primary_key=True, help_text="As clients write it: cpu-basic. Fixed once made."
    )
    name = models.CharField(max_length=60)
    description = models.CharField(max_length=200, blank=True)
    memory_bytes = models.PositiveBigIntegerField("memory", null=True, blank=True)
    cpus = models.FloatField(
        "processors", null=True, blank=True, help_text="Processor time in cores: 0.5 is half of one."
    )
    processes = models.PositiveIntegerField(null=True, blank=True, help_text="Processes and threads at once.")
    disk_bytes = models.PositiveBigIntegerField(
        "disk", null=True, blank=True, help_text="Writable, and thrown away when the worker ends."
    )
    storage_bytes = models.PositiveBigIntegerField(
        "persistent storage", default=0, help_text="Kept at /data over restarts and sleeps. 0: none."
    )
    replicas = models.PositiveSmallIntegerField(
        default=1,
        help_text="Workers of one Space at once, each with all of this. Visitors are spread over them; /data is the "
        "same for all.",
    )
    sleep_seconds = models.PositiveIntegerField(
        "sleeps after",
        null=True,
        blank=True,
        help_text="Idle time after which a Space that chose none sleeps. 0: never.",
    )
    may_choose_sleep = models.BooleanField("owners may choose when it sleeps", default=True)
    longest_sleep_seconds = models.PositiveIntegerField(
        "the longest they may choose", null=True, blank=True, help_text="Empty: any of the times that are offered."
    )
    may_never_sleep = models.BooleanField("they may choose never", default=False)
    egress = models.BooleanField("reaches the internet", default=True)
    is_default = models.BooleanField(default=False, help_text="Of Spaces whose owner chose none.")
    for_everyone = models.BooleanField("any owner may choose it", default=True, help_text="Otherwise staff assign it.")

    class Meta:
        verbose_name = "plan (hardware)"
        verbose_name_plural = "plans (hardware)"
        ordering = ["-is_default", "memory_bytes", "slug"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="plan_one_default",
            ),
            models.CheckConstraint(
                condition=models.Q(replicas__gte=1),
                name="plan_has_a_replica",
                violation_error_message="A Space has at least one worker.",
            ),
            models.CheckConstraint(condition=models.Q(cpus=None) | models.Q(cpus__gt=0), name="plan_has_a_processor"),
        ]  # fmt: skip

    def __str__(self) -> str:
        return self.name


class Space(models.Model):
    """`owner/name`: a repository of files plus settings, served at its own subdomain."""

    class Visibility(models.TextChoices):
        PUBLIC = "public", "Public"
        PRIVATE = "private", "Private"

    owner = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="spaces")
    name = models.CharField(max_length=96, validators=[validate_name])
    subdomain = models.CharField(max_length=63, unique=True)
    repository = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    sdk = models.CharField(max_length=10, choices=SDK, default=SDK.GRADIO)
    visibility = models.CharField(max_length=8, choices=Visibility, default=Visibility.PUBLIC)

    stage = models.CharField(max_length=16, choices=Stage, default=Stage.NO_APP_FILE)
    stage_message = models.TextField(blank=True)
    stage_changed_at = models.DateTimeField(default=timezone.now)
    paused_at = models.DateTimeField(null=True, blank=True)
    taken_down_at = models.DateTimeField(null=True, blank=True, help_text="Set while moderators withhold the Space.")
    takedown_reason = models.TextField(blank=True)

    head = models.CharField(max_length=40, blank=True, help_text="The revision at the tip of main.")
    title = models.CharField(max_length=200, blank=True)
    emoji = models.CharField(max_length=16, blank=True)
    color_from = models.CharField(max_length=10, blank=True)
    color_to = models.CharField(max_length=10, blank=True)
    short_description = models.CharField(max_length=300, blank=True)
    disable_embedding = models.BooleanField(default=False)
    embedding_sites = models.JSONField(
        default=list, blank=True, help_text="Origins that may show it in their pages; empty: any, if not disabled."
    )
    is_snapshot_allowed = models.BooleanField(
        default=True, help_text="Whether the page is drawn from a snapshot while the worker wakes."
    )
    password = models.CharField(max_length=128, blank=True, help_text="A hash; empty: visitors are asked for none.")
    tells_username = models.BooleanField(
        default=False, help_text="Whether the app is told which signed-in person asks (request.username)."
    )
    plan = models.ForeignKey(
        Plan,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="spaces",
        help_text="Empty: the default one.",
    )
    sleep_seconds = models.PositiveIntegerField(null=True, blank=True, help_text="Empty: its plan's. 0: never.")

    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint("owner", Lower("name"), name="space_name_unique_in_namespace_ci"),
            models.CheckConstraint(condition=models.Q(stage__in=Stage.values), name="space_stage_known"),
            models.CheckConstraint(condition=models.Q(sdk__in=SDK.values), name="space_sdk_known"),
        ]
        indexes = [models.Index(fields=["-updated_at"], name="space_updated_idx")]

    def __str__(self) -> str:
        return self.slug

    def get_absolute_url(self) -> str:
        return f"/spaces/{self.slug}"

    @property
    def slug(self) -> str:
        """`owner/name`. Needs `owner` loaded."""
        return f"{self.owner.name}/{self.name}"

    @property
    def host(self) -> str:
        """The Space's own host with its port, as a browser shows it."""
        return f"{self.subdomain}.{settings.PORTICO_SPACES_DOMAIN}{settings.PORTICO_PUBLIC_PORT}"

    @property
    def url(self) -> str:
        """The running demo's own address, with a trailing slash."""
        return f"{settings.PORTICO_SCHEME}://{self.host}/"

    @property
    def is_private(self) -> bool:
        return self.visibility == self.Visibility.PRIVATE

    @property
    def asks_password(self) -> bool:
        """Whether visitors of the demo are asked for a password. A private Space lets in its readers alone instead."""
        return bool(self.password) and not self.is_private

    @property
    def is_withheld(self) -> bool:
        """Whether moderators withhold it, itself or through its owner's ban. Needs `owner` loaded."""
        return self.taken_down_at is not None or self.owner.is_suspended


class ShareLink(models.Model):
    """An address that lets whoever has it use the Space until it expires or is revoked, which deletes the row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="share_links")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["expires_at"]


class Invitation(models.Model):
    """Lets one person see a Space that is not for everybody, and use it; never change it."""

    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="invitations")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="invitations")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["user__username"]
        constraints = [models.UniqueConstraint(fields=["space", "user"], name="invitation_unique")]


def _domain_token() -> str:
    return secrets.token_urlsafe(24)


class Domain(models.Model):
    """A domain of its owner's under which a Space is served, once a TXT record has proven that it is theirs."""

    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="domains")
    name = models.CharField(max_length=244, help_text="As DNS writes it: lower-case ASCII.")
    token = models.CharField(max_length=64, default=_domain_token, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    verified_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True, help_text="Since when a verified one is not proven.")
    problem = models.CharField(max_length=200, blank=True, help_text="What the last check found wrong.")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["space", "name"], name="domain_unique_in_space"),
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(verified_at__isnull=False), name="domain_verified_once"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def record_name(self) -> str:
        """Where the TXT record is looked for."""
        return f"_portico.{self.name}"

    @property
    def record_value(self) -> str:
        return f"portico-verify={self.token}"


class StageChange(models.Model):
    """One row per change of a Space's stage, written in the same transaction as the change."""

    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="stage_changes")
    stage = models.CharField(max_length=16, choices=Stage)
    message = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["space", "-at"], name="stagechange_space_idx")]


class SpaceVariable(models.Model):
    """An environment variable of the worker. Exactly one of `value` and `secret` holds it."""

    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="variables")
    key = models.CharField(
        max_length=256,
        validators=[
            RegexValidator(r"^[A-Za-z_][A-Za-z0-9_]*$", "Use letters, digits and “_”, not starting with a digit.")
        ],
    )
    value = models.TextField(blank=True)
    secret = models.BinaryField(null=True, blank=True, help_text="Encrypted (apps.spaces.encryption).")
    description = models.CharField(max_length=300, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["key"]
        constraints = [
            models.UniqueConstraint(fields=["space", "key"], name="space_variable_key_unique"),
            models.CheckConstraint(
                condition=models.Q(secret__isnull=True) | models.Q(value=""), name="space_secret_has_no_plain_value"
            ),
        ]

    @property
    def is_secret(self) -> bool:
        return self.secret is not None


class Upload(models.Model):
    """Files on their way into a commit: kept aside, listed, then committed at once or thrown away.

    The files lie under `PORTICO_DATA/uploads/<id>/`; `files` and `bytes` count them, for the limits.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="uploads")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    files = models.PositiveIntegerField(default=0, editable=False)
    bytes = models.PositiveBigIntegerField(default=0, editable=False)


class Notice(models.Model):
    """Something an owner must be told, shown on their pages until dismissed."""

    namespace = models.ForeignKey(Namespace, on_delete=models.CASCADE, related_name="notices")
    space = models.ForeignKey(Space, null=True, on_delete=models.SET_NULL, related_name="notices")
    text = models.TextField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    dismissed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
