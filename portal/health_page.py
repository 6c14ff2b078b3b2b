"""The admin's health page: what holds on every node, what does not and what to do then."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from portal.status import health_report


@require_safe
def _page(request: HttpRequest) -> HttpResponse:
    context = {**admin.site.each_context(request), **health_report(), "title": "Health"}
    return render(request, "admin/health.html", context)


health_page = admin.site.admin_view(_page)
"""For staff; others sign in, or are refused, as everywhere in the admin."""
