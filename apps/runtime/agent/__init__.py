"""The agent: a daemon of this node, the only parent of its workers.

It listens on two unix sockets in `PORTICO_RUN`: `agent.sock` for commands (`api`) and `agent-sockets.sock` for
sockets into workers' networks (`sockets`). For each Space that runs or starts it has a `keeper.Keeper`, which does
one thing at a time. `daemon` holds them, puts Spaces to sleep, and makes the database true when it starts, and again
every half minute.
"""

from __future__ import annotations

import asyncio


def main() -> None:
    """Run the agent until SIGTERM or SIGINT, then end every worker. Exits with a message when another one runs
    already."""
    from apps.runtime.agent.daemon import Agent

    asyncio.run(Agent().run())
