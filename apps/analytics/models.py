"""How much a Space was used, day by day. Nothing here says by whom."""

from __future__ import annotations

from django.db import models

from apps.spaces.models import Space


class Day(models.Model):
    """One Space's use on one day (UTC); the fields are those of `apps.gateway.usage.Tally`."""

    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="+")
    date = models.DateField(db_index=True)
    visits = models.PositiveBigIntegerField(default=0)
    calls = models.PositiveBigIntegerField(default=0)
    wakes = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveBigIntegerField(default=0)
    bytes_in = models.PositiveBigIntegerField(default=0)
    bytes_out = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "date"], name="one_day_per_space")]
