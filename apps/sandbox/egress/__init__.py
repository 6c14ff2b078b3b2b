"""How sandboxed code reaches the world, and nothing else. `docs/decisions/0004-egress.md` says why it is built so."""
