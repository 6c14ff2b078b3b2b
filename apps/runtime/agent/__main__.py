"""`python -m apps.runtime.agent`: the agent by itself, as `manage.py portico agent` runs it."""

from __future__ import annotations

import os

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    import django

    django.setup()
    from apps.runtime.agent import main

    main()
