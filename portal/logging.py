"""Structured logs: readable lines on a terminal, JSON where a collector reads them."""

from __future__ import annotations

import logging
import logging.config

import structlog


def _is_no_refusal(record: logging.LogRecord) -> bool:
    """503 is an answer, as that of `/readyz` while the portal comes up, not a failure of ours."""
    return getattr(record, "status_code", None) != 503


def logging_config(renderer: str, level: str) -> None:
    """Configure `logging` and structlog alike.

    Args:
        renderer: `console` or `json`.
        level: the name of a `logging` level.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if renderer == "json"
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "structured": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, final],
                },
                "as_it_is": {"format": "%(message)s"},
            },
            "filters": {"not_ready": {"()": lambda: _is_no_refusal}},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "structured"},
                "access": {"class": "logging.StreamHandler", "formatter": "as_it_is"},
            },
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                "daphne": {"level": "WARNING"},
                "aiohttp.access": {"level": "WARNING"},
                "celery.redirected": {"level": "WARNING"},
                "django.request": {"level": "ERROR", "filters": ["not_ready"]},
                "kombu.connection": {"level": "ERROR"},
                # Many lines at a time, written already (apps/gateway/observe.py).
                "portico.access": {"level": "INFO", "handlers": ["access"], "propagate": False},
            },
        }
    )
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
