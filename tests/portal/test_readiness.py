"""`/readyz` says whether the portal can work, and of what fails what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from portal import status
from portal.celery import app
from portal.remedies import REMEDIES


@pytest.fixture(autouse=True)
def an_agent_answers(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    monkeypatch.setattr(status, "_agent_answer", lambda: {"node": "local", "workers": []})


def asked(client: Client) -> tuple[int, dict[str, Any]]:
    answer = client.get("/readyz")
    return answer.status_code, answer.json()


def test_all_there_is_200(client: Client) -> None:
    found, said = asked(client)
    assert (found, said["ready"], set(said["checks"].values())) == (200, True, {"ok"}), said
    assert "reasons" not in said


def test_a_broker_that_is_away_is_503_with_its_reason_and_no_address(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.conf, "broker_write_url", "redis://:hidden@127.0.0.1:9/0")
    found, said = asked(client)
    assert (found, said["checks"]["broker"], said["checks"]["disk"]) == (503, "failing", "ok")
    assert said["reasons"] == {"broker": REMEDIES["broker"]}
    assert "hidden" not in str(said) and "127.0.0.1" not in str(said)


def test_a_full_disk_is_503_with_its_reason(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "FREE_BYTES_NEEDED", 1 << 62)
    found, said = asked(client)
    assert (found, said["reasons"]) == (503, {"disk": REMEDIES["disk"]})


def test_so_is_a_data_folder_that_is_gone(client: Client, settings: Any, tmp_path: Path) -> None:
    settings.PORTICO_DATA = tmp_path / "gone"
    found, said = asked(client)
    assert (found, said["reasons"]) == (503, {"disk": REMEDIES["disk"]})
