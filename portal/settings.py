"""Settings, all from the environment; README.md has the table of those meant for operators."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from apps.accounts.providers import form_origins, providers_from_env
from portal.logging import logging_config

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent


def key_from_file(path: Path) -> str:
    """Return the key stored at `path`, creating it (mode 0600) on first use.

    Whichever process links its candidate into place first decides; nobody reads half a key.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        candidate = path.with_name(f"{path.name}.{os.getpid()}")
        candidate.touch(mode=0o600)
        candidate.write_text(secrets.token_urlsafe(50))
        with contextlib.suppress(FileExistsError):
            os.link(candidate, path)
        candidate.unlink()
    return path.read_text()


# Where the portal is, and where its state lives

PORTICO_DATA = Path(env.str("PORTICO_DATA", default=str(BASE_DIR / "data"))).resolve()
PORTICO_RUN = PORTICO_DATA / "run"
if len(str(PORTICO_RUN)) > 80:  # unix(7): a socket's path has at most 107 bytes
    _digest = hashlib.sha256(str(PORTICO_RUN).encode()).hexdigest()[:16]
    PORTICO_RUN = Path(tempfile.gettempdir()) / f"portico-{os.getuid()}-{_digest}"
"""Sockets of this machine's processes, for this user alone."""
PORTICO_RUN.mkdir(parents=True, exist_ok=True, mode=0o700)
PORTICO_PORT = env.int("PORTICO_PORT", default=8000)
PORTICO_BIND = env.str("PORTICO_BIND", default="127.0.0.1")
PORTICO_SERVER = env.str("PORTICO_SERVER", default="uvicorn")
if PORTICO_SERVER not in ("daphne", "uvicorn"):
    raise ImproperlyConfigured(f"PORTICO_SERVER is {PORTICO_SERVER!r}: it must be daphne or uvicorn.")
PORTICO_URL = env.str("PORTICO_URL", default=f"http://localhost:{PORTICO_PORT}").rstrip("/")
PORTICO_SPACES_DOMAIN = env.str("PORTICO_SPACES_DOMAIN", default="spaces.localhost").lower()
PORTICO_ADMIN = env.str("PORTICO_ADMIN", default="")
PORTICO_TRUSTED_PROXIES = env.list("PORTICO_TRUSTED_PROXIES", default=[])
"""Addresses of front proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."""
PORTICO_ACCEL = env.str("PORTICO_ACCEL", default="")
if PORTICO_ACCEL not in ("", "nginx"):
    raise ImproperlyConfigured(f"PORTICO_ACCEL is {PORTICO_ACCEL!r}: it must be nginx or empty.")
if PORTICO_ACCEL and not PORTICO_TRUSTED_PROXIES:
    raise ImproperlyConfigured("PORTICO_ACCEL=nginx needs nginx's address in PORTICO_TRUSTED_PROXIES.")

_portal = urlsplit(PORTICO_URL)
PORTICO_SCHEME = _portal.scheme
PORTICO_PORTAL_HOST = _portal.hostname or "localhost"
PORTICO_PUBLIC_PORT = f":{_portal.port}" if _portal.port else ""
PORTICO_NODE = env.str("PORTICO_NODE", default="local")

SECRET_KEY = env.str("SECRET_KEY", default="") or key_from_file(PORTICO_DATA / "keys" / "secret_key")
PORTICO_ENCRYPTION_KEYS = env.list("PORTICO_ENCRYPTION_KEYS", default=[]) or [
    key_from_file(PORTICO_DATA / "keys" / "encryption_key")
]
"""First encrypts, all decrypt: put a new one in front to rotate."""

DEBUG = env.bool("PORTICO_DEBUG", default=False)
ALLOWED_HOSTS = [PORTICO_PORTAL_HOST, "localhost", "127.0.0.1", *env.list("PORTICO_EXTRA_HOSTS", default=[])]
CSRF_TRUSTED_ORIGINS = [PORTICO_URL]
SITE_ID = 1

# Limits on what comes from outside, in bytes, seconds or counts

PORTICO_MAX_FILE_BYTES = env.int("PORTICO_MAX_FILE_BYTES", default=1024**3)
PORTICO_MAX_REPO_BYTES = env.int("PORTICO_MAX_REPO_BYTES", default=5 * 1024**3)
PORTICO_MAX_FILES = env.int("PORTICO_MAX_FILES", default=10_000)
PORTICO_MAX_SPACES_PER_OWNER = env.int("PORTICO_MAX_SPACES_PER_OWNER", default=100)
PORTICO_MAX_FORM_BYTES = env.int("PORTICO_MAX_FORM_BYTES", default=5 * 1024**2)
PORTICO_UPLOAD_HOURS = env.int("PORTICO_UPLOAD_HOURS", default=24)
PORTICO_BUILD_SECONDS = env.int("PORTICO_BUILD_SECONDS", default=1800)
PORTICO_LOG_BYTES = env.int("PORTICO_LOG_BYTES", default=1024**2)
PORTICO_WORKER_MEMORY_BYTES = env.int("PORTICO_WORKER_MEMORY_BYTES", default=2 * 1024**3)
PORTICO_WORKER_PROCESSES = env.int("PORTICO_WORKER_PROCESSES", default=256)
PORTICO_WORKER_CPUS = env.float("PORTICO_WORKER_CPUS", default=2.0)
PORTICO_MAX_ENVIRONMENT_BYTES = env.int("PORTICO_MAX_ENVIRONMENT_BYTES", default=20 * 1024**3)
PORTICO_WORKER_DISK_BYTES = env.int("PORTICO_WORKER_DISK_BYTES", default=1024**3)
PORTICO_STARTUP_SECONDS = env.int("PORTICO_STARTUP_SECONDS", default=1800)
PORTICO_EGRESS = env.str("PORTICO_EGRESS", default="world")
if PORTICO_EGRESS not in ("world", "none"):
    raise ImproperlyConfigured(f"PORTICO_EGRESS is {PORTICO_EGRESS!r}: it must be world or none.")
PORTICO_SLEEP_SECONDS = env.int("PORTICO_SLEEP_SECONDS", default=900)
PORTICO_WORKER_RESTARTS = env.int("PORTICO_WORKER_RESTARTS", default=3)
"""How often in a row a crashed worker is started again before RUNTIME_ERROR stands."""
PORTICO_FREE_MEMORY_BYTES = env.int("PORTICO_FREE_MEMORY_BYTES", default=512 * 1024**2)
PORTICO_ZYGOTES_AT_START = env.int("PORTICO_ZYGOTES_AT_START", default=2)
PORTICO_UV_CACHE = Path(env.str("PORTICO_UV_CACHE", default=str(PORTICO_DATA / "uv-cache")))
PORTICO_DNS_RESOLVERS = env.list("PORTICO_DNS_RESOLVERS", default=[])
"""Name servers, as `9.9.9.9` or `127.0.0.1:5353`, that are asked for custom domains' records; empty: this machine's."""
PORTICO_ALLOW_URL_REQUIREMENTS = env.bool("PORTICO_ALLOW_URL_REQUIREMENTS", default=False)
PORTICO_RATE_PER_ADDRESS = env.float("PORTICO_RATE_PER_ADDRESS", default=100.0)
"""Requests a second to Spaces; a class behind one address opens many pages at once, hence the burst."""
PORTICO_BURST_PER_ADDRESS = env.int("PORTICO_BURST_PER_ADDRESS", default=3_000)
PORTICO_RATE_PER_SPACE = env.float("PORTICO_RATE_PER_SPACE", default=2_000.0)
PORTICO_BURST_PER_SPACE = env.int("PORTICO_BURST_PER_SPACE", default=20_000)
for _kind in ("ADDRESS", "SPACE"):
    if vars()[f"PORTICO_RATE_PER_{_kind}"] < 0 or vars()[f"PORTICO_BURST_PER_{_kind}"] < 1:
        raise ImproperlyConfigured(f"PORTICO_RATE_PER_{_kind} must be 0 or more, PORTICO_BURST_PER_{_kind} at least 1.")
PORTICO_CONNECTIONS_PER_ADDRESS = env.int("PORTICO_CONNECTIONS_PER_ADDRESS", default=200)
PORTICO_CONNECTIONS_PER_SPACE = env.int("PORTICO_CONNECTIONS_PER_SPACE", default=2_000)
PORTICO_MAX_WAITING = env.int("PORTICO_MAX_WAITING", default=200)
"""How many requests may wait for one Space to wake, in each web process."""
PORTICO_GRADIO_VERSION = env.str("PORTICO_GRADIO_VERSION", default="6.31.0")
"""The Gradio that a Space without `sdk_version` gets; likewise the next one for Streamlit."""
PORTICO_STREAMLIT_VERSION = env.str("PORTICO_STREAMLIT_VERSION", default="1.67.0")

# Applications, ground floor first

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.github",
    "allauth.socialaccount.providers.google",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "apps.accounts",
    "apps.repos",
    "apps.spaces",
    "apps.builds",
    "apps.runtime",
    "apps.gateway",
    "apps.embed",
    "apps.hub",
    "apps.moderation",
    "apps.analytics",
    "portal",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
]

ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.context_processors.portal",
            ],
        },
    },
]

# Storage and transport: SQLite and files alone, PostgreSQL and Redis when named

DATABASE_URL = env.str("DATABASE_URL", default="")
if DATABASE_URL:
    DATABASES = {"default": {**env.db_url_config(DATABASE_URL), "CONN_HEALTH_CHECKS": True}}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": PORTICO_DATA / "portico.sqlite3",
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
            },
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.str("REDIS_URL", default="")
if REDIS_URL:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
    CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
    }
    CELERY_BROKER_URL = REDIS_URL
    CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": PORTICO_BUILD_SECONDS + 600}
else:
    # Holds rate limits, so it must count without races and not forget at a few hundred entries.
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        }
    }
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "portal.channel_layer.LocalChannelLayer",
            "CONFIG": {"path": str(PORTICO_RUN / "channels.sock")},
        }
    }
    CELERY_BROKER_URL = "files://"  # portal/file_queue.py
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(PORTICO_DATA / "queue" / "messages"),
        "data_folder_out": str(PORTICO_DATA / "queue" / "messages"),
        "control_folder": str(PORTICO_DATA / "queue" / "control"),
        "processed_folder": str(PORTICO_DATA / "queue" / "processed"),
        "polling_interval": 0.1,
    }
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TIMEZONE = "UTC"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_DEFAULT_QUEUE = "portico"
CELERY_BEAT_SCHEDULE = {
    "requeue lost builds": {"task": "apps.builds.tasks.requeue_lost_builds", "schedule": 60.0},
    "recheck custom domains": {"task": "apps.spaces.tasks.recheck_domains", "schedule": 3600.0},
    "prune analytics": {"task": "apps.analytics.tasks.prune", "schedule": 86400.0},
    "sweep": {"task": "apps.builds.tasks.sweep", "schedule": 3600.0},
    "sweep assets": {"task": "apps.gateway.tasks.sweep_assets", "schedule": 86400.0},
}

# People

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "apps.accounts.adapters.AccountAdapter"
SOCIALACCOUNT_ADAPTER = "apps.accounts.adapters.SocialAccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email", "username"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = env.str("PORTICO_EMAIL_VERIFICATION", default="optional")
ACCOUNT_USERNAME_MIN_LENGTH = 2
ACCOUNT_PREVENT_ENUMERATION = True
SOCIALACCOUNT_LOGIN_ON_GET = False
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False
SOCIALACCOUNT_PROVIDERS = providers_from_env(os.environ)
"""Those with PORTICO_<PROVIDER>_CLIENT_ID and _CLIENT_SECRET."""

EMAIL_URL = env.str("EMAIL_URL", default="consolemail://")
vars().update(env.email_url_config(EMAIL_URL))
DEFAULT_FROM_EMAIL = env.str("PORTICO_EMAIL_FROM", default=f"Portico <noreply@{PORTICO_PORTAL_HOST}>")

# Cookies and headers: host-only everywhere, __Host- in production (docs/security.md)

_secure = PORTICO_SCHEME == "https"
SESSION_COOKIE_NAME = "__Host-portico" if _secure else "portico_session"
CSRF_COOKIE_NAME = "__Host-csrf" if _secure else "portico_csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _secure
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_HTTPONLY = False
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if PORTICO_TRUSTED_PROXIES else None
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^internal/ask$"]
SECURE_HSTS_SECONDS = env.int("PORTICO_HSTS_SECONDS", default=31536000 if _secure else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _secure
SECURE_REFERRER_POLICY = "strict-origin-when-cross-origin"
X_FRAME_OPTIONS = "DENY"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
DATA_UPLOAD_MAX_MEMORY_SIZE = PORTICO_MAX_FORM_BYTES
DATA_UPLOAD_MAX_NUMBER_FILES = 20

_spaces_origin = f"{PORTICO_SCHEME}://*.{PORTICO_SPACES_DOMAIN}{PORTICO_PUBLIC_PORT}"
_ws = ("wss" if _secure else "ws") + f"://{PORTICO_PORTAL_HOST}{PORTICO_PUBLIC_PORT}"
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ["/admin/"],
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:", "https:"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "script-src": ["'self'"],
        "connect-src": ["'self'", _ws, _spaces_origin],
        "frame-src": [_spaces_origin],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'", "https:", *form_origins(os.environ), *env.list("PORTICO_FORM_ACTIONS", default=[])],
        "base-uri": ["'none'"],
        "object-src": ["'none'"],
    },
}

# Static files

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = Path(env.str("PORTICO_STATIC_ROOT", default=str(PORTICO_DATA / "static")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if not env.bool("PORTICO_TESTING", default=False)
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_MANIFEST_STRICT = False

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

LOGGING_CONFIG = None
LOG_FORMAT = env.str("PORTICO_LOG_FORMAT", default="console")
PORTICO_METRICS_TOKEN = env.str("PORTICO_METRICS_TOKEN", default="")
PORTICO_ACCESS_LOG = env.bool("PORTICO_ACCESS_LOG", default=LOG_FORMAT == "json")
logging_config(LOG_FORMAT, env.str("PORTICO_LOG_LEVEL", default="INFO"))

UNFOLD = {
    "SITE_TITLE": "Portico",
    "SITE_HEADER": "Portico",
    "SITE_URL": "/",
    "SHOW_VIEW_ON_SITE": True,
}
