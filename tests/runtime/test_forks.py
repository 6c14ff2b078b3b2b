"""A worker forked from a zygote is what `python app.py` in a fresh interpreter is, sooner."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings

from apps.builds.models import Environment
from apps.runtime import client
from apps.runtime.models import Worker
from apps.sandbox.interpreters import default_interpreter
from apps.spaces.logs import read_log
from apps.spaces.models import Space, SpaceVariable, Stage
from tests.running_agent import (
    HELLO,
    SERVER,
    RunningAgent,
    bare_environment,
    ensure,
    fetch,
    sleeping_space,
    stage_of,
    wait_for_stage,
)
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root forks workers"),
]


LOOK = (
    SERVER
    + """
import builtins, json, random, secrets, signal, sys, threading, urllib.parse, uuid
me = sys.modules["__main__"]
FACTS = {
    "name": __name__, "file": __file__, "argv": sys.argv, "path": sys.path[0], "cwd": os.getcwd(), "spec": __spec__,
    "package": __package__, "builtins": __builtins__ is builtins, "main": me.__dict__ is globals(), "doc": __doc__,
    "loader": type(__loader__).__name__, "executable": sys.executable, "prefix": sys.prefix, "flags": str(sys.flags),
    "orig_argv": sys.orig_argv, "environment": sorted(os.environ), "home": os.environ["HOME"],
    "uid": [os.getuid(), os.geteuid(), os.getgid()], "groups": os.getgroups(), "umask": os.umask(0o022),
    "signals": {n: str(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE)},
    "threads": threading.active_count(), "is_main_thread": threading.current_thread() is threading.main_thread(),
    "encoding": [sys.stdout.encoding, sys.stderr.encoding, sys.stdout.line_buffering, sys.getfilesystemencoding()],
    "hostname": os.uname().nodename, "session": os.getsid(0) == os.getpid(),
    "files": sorted(os.listdir("/proc/self/fd"))[:3], "app": sorted(os.listdir(".")),
    "gc": __import__("gc").isenabled(), "etc": sorted(os.listdir("/etc")), "passwd": open("/etc/passwd").read(),
}
class Page(Handler):
    def answer(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        return json.dumps(eval(query["eval"]) if "eval" in query else FACTS)
if __name__ == "__main__":
    serve(Page)
"""
)


def ask(space: Space, expression: str = "FACTS") -> Any:
    return json.loads(fetch(ensure(space), f"/?eval={quote(expression)}"))


def way_of(space: Space) -> tuple[str, str]:
    state = Worker.objects.filter(space=space).latest("started_at").spawner_state
    return state["way"], state["why_fresh"]


def forked(files: dict[str, str] | str = LOOK, environment: Environment | None = None) -> Space:
    return sleeping_space(files, environment=environment or bare_environment())


def log_of(space: Space) -> str:
    return read_log(space.pk, "run")[1].decode()


def test_the_app_sees_what_a_fresh_interpreter_would_show_it(agent: RunningAgent) -> None:
    fork = forked()
    found = ask(fork)
    assert way_of(fork) == ("fork", "")
    assert "by a fork of its Environment's zygote" in log_of(fork)
    fresh = forked()
    SpaceVariable.objects.create(space=fresh, key="PYTHONSAFEPATH_", value="x")
    alone = ask(fresh)
    assert way_of(fresh)[0] == "fresh"
    alone["environment"].remove("PYTHONSAFEPATH_")
    for odd in ("LC_CTYPE", "PWD"):  # the interpreter's and bubblewrap's own doing
        alone["environment"] = [name for name in alone["environment"] if name != odd]
        found["environment"] = [name for name in found["environment"] if name != odd]
    assert found == alone


def test_an_app_may_have_modules_named_as_those_of_the_zygote(agent: RunningAgent) -> None:
    ours = (
        "child",
        "dependants",
        "immortal",
        "kernel",
        "landlock",
        "main_module",
        "nursery",
        "quiet",
        "signatures",
        "tokens",
        "warm",
        "zygote",
    )
    modules = {f"{name}.py": f"WHOSE = 'the {name} of the app'\n" for name in ours}
    space = forked({"app.py": LOOK, **modules})
    for name in ours:
        assert ask(space, f"__import__({name!r}).WHOSE") == f"the {name} of the app"
    assert way_of(space) == ("fork", "")


SECRETIVE = """
import os, secrets
TOKEN, KEY, HEX = secrets.token_urlsafe(32), secrets.token_bytes(16), secrets.token_hex(8)
class Signer:
    salt = os.urandom(16)
"""


def test_what_libraries_keep_secret_is_no_siblings_secret_too(agent: RunningAgent) -> None:
    """Gradio makes such a token while it is imported; here it is a stand-in of the same name that shows its own."""
    environment = bare_environment("secretive", gradio=SECRETIVE, httpx="from gradio import TOKEN\n")
    spaces = [forked(environment=environment) for _ in range(2)]
    values = (
        "[sys.modules['gradio'].TOKEN, sys.modules['gradio'].KEY.hex(), sys.modules['gradio'].HEX,"
        " sys.modules['gradio'].Signer.salt.hex(),"
        " __import__('multiprocessing').process.current_process().authkey.hex()]"
    )
    first, second = (ask(space, values) for space in spaces)
    assert {way_of(space)[0] for space in spaces} == {"fork"}
    assert [len(value) for value in first] == [43, 32, 16, 32, 64]
    assert all(a != b for a, b in zip(first, second, strict=True))
    assert ask(spaces[0], "sys.modules['httpx'].TOKEN") == first[0], "one value wherever it is kept"


def test_a_fork_copies_nothing_by_looking_at_it(agent: RunningAgent) -> None:
    """What the zygote holds is immortal where the interpreter knows that; what the app makes is not."""
    possible = default_interpreter().minor in ("3.12", "3.13")
    space = forked()

    def is_immortal(what: str) -> Any:
        return ask(space, f"__import__('ctypes').c_uint32.from_address(id({what})).value == 0xffffffff")

    for what in ("json.loads", "json.loads.__code__.co_consts", "sys.modules['socket'].socket.__init__"):
        assert is_immortal(what) is possible, what
    assert is_immortal("FACTS") is False
    assert way_of(space) == ("fork", "")


def test_two_forks_share_no_randomness(agent: RunningAgent) -> None:
    numbers = (
        "[random.random(), secrets.token_hex(8), str(uuid.uuid4()), __import__('tempfile').mktemp(), "
        "__import__('ssl').RAND_bytes(8).hex(), sys.modules['gradio'].generator.random()]"
    )
    numpy = (
        "import random, ssl, sys, types\nssl.RAND_bytes(8)\n"
        "generator, settled = random.Random(), random.Random(7)\n"
        "sys.modules['numpy.random'] = types.SimpleNamespace(seeded=[], seed=lambda: numpy.seeded.append(1))\n"
        "numpy = sys.modules['numpy.random']\n"
    )
    spaces = [forked(LOOK, bare_environment("random", gradio=numpy)) for _ in range(2)]
    first, second = (ask(space, numbers) for space in spaces)
    assert ask(spaces[0], "sys.modules['numpy.random'].seeded") == [1]
    assert ask(spaces[0], "sys.modules['gradio'].settled.random()") == random.Random(7).random()
    assert {way_of(space)[0] for space in spaces} == {"fork"}
    assert all(a != b for a, b in zip(first, second, strict=True))


ENDS = [
    ("import sys; sys.exit(3)", "exit code 3", ""),
    ("raise SystemExit('enough')", "exit code 1", "enough"),
    ("def f():\n    raise ValueError('no')\nf()", "exit code 1",
     'Traceback (most recent call last):\n  File "/app/app.py", line 3, in <module>\n'),
    ("x = (", "exit code 1", "SyntaxError"),
    ("import os; os.kill(os.getpid(), 11)", "SIGSEGV", ""),
    ("import os; os.abort()", "SIGABRT", ""),
    ("import atexit; atexit.register(print, 'at the end'); print('done')", "exit code 0", "at the end"),
    ("import threading, time\nthreading.Thread(target=lambda: (time.sleep(.3), print('joined'))).start()",
     "exit code 0", "joined"),
]  # fmt: skip


def test_it_ends_as_python_ends(agent: RunningAgent) -> None:
    for code, says, log in ENDS:
        space = forked(code + "\n")
        with pytest.raises(client.StartRefused, match=says):
            ensure(space)
        assert way_of(space) == ("fork", ""), code
        assert log in log_of(space), code
        assert "/opt/portico" not in log_of(space), code


def test_children_of_every_kind_work(agent: RunningAgent) -> None:
    code = """
import multiprocessing as mp, subprocess, sys
def square(n):
    return n * n
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with mp.get_context(method).Pool(2) as pool:
            print(method, pool.map(square, range(4)), flush=True)
    print(subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True).stdout, flush=True)
"""
    space = forked({"app.py": code + "\n".join("    " + line for line in HELLO.splitlines())})
    ensure(space)
    for line in ("fork [0, 1, 4, 9]", "spawn [0, 1, 4, 9]", "forkserver [0, 1, 4, 9]", "42"):
        wait_until(lambda line=line: line in log_of(space), seconds=10)  # type: ignore[misc]
    assert way_of(space) == ("fork", "")


def test_sigterm_reaches_the_app_and_it_may_tidy_up(agent: RunningAgent) -> None:
    code = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: (print('tidied', flush=True), sys.exit()))\n"
    space = forked(code + HELLO)
    ensure(space)
    asyncio.run(client.stop_worker(space.pk))
    assert "tidied" in log_of(space)


def test_files_written_stay_in_the_worker(agent: RunningAgent) -> None:
    space = forked({"app.py": LOOK, "data.txt": "old"})
    assert ask(space, "open('/app/data.txt', 'w').write('new') and open('/app/data.txt').read()") == "new"
    assert ask(space, "os.path.exists('/app/x') or os.mkdir('/app/x')") is None
    folder = next(Path(settings.PORTICO_DATA).glob("deployments/*/data.txt"))
    assert folder.read_text() == "old"


def descendants(pid: int) -> dict[int, int]:
    """Every process below `pid`, and its parent."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found: dict[int, int] = {}
    below = {pid}
    while below:
        found |= (level := {child: parent for child, parent in parents.items() if parent in below})
        below = set(level)
    return found


def zygotes(agent: RunningAgent) -> list[int]:
    assert agent.process is not None
    of_agent = descendants(agent.process.pid)
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in of_agent}
    return [pid for pid, parent in of_agent.items()
            if b"zygote.py" in commands[pid] and b"nursery.py" not in commands[pid]
            and b"nursery.py" in commands.get(parent, b"") and b"--args" not in commands[parent]]  # fmt: skip


def test_a_zygote_that_dies_takes_no_worker_with_it(agent: RunningAgent) -> None:
    environment, others = bare_environment("mortal"), set(zygotes(agent))
    worker = ensure(forked(HELLO, environment))
    (zygote,) = set(zygotes(agent)) - others
    os.kill(zygote, signal.SIGKILL)
    second = forked(HELLO, environment)
    assert fetch(ensure(second)) == "hello"
    assert way_of(second) == ("fork", "")
    assert fetch(worker) == "hello"
    (successor,) = set(zygotes(agent)) - others
    assert successor != zygote


def test_the_environments_most_in_use_have_their_zygotes_when_the_agent_starts(transactional_db: None) -> None:
    for _ in range(2):
        forked(HELLO)
    forked(HELLO, bare_environment("rarely used"))

    def held() -> list[str]:
        return [zygote["environment"] for zygote in asyncio.run(client.agent_status())["zygotes"]]

    with RunningAgent(PORTICO_ZYGOTES_AT_START="1"):
        wait_until(lambda: held() != [], seconds=30)
        assert held() == [bare_environment().key]


def test_a_zygote_imports_what_its_spaces_import_and_is_replaced_when_they_import_more(agent: RunningAgent) -> None:
    environment = bare_environment("science", scipy="", matplotlib="", gradio="")

    def imported() -> set[str]:
        held = asyncio.run(client.agent_status())["zygotes"]
        return next(set(z["imported"]) for z in held if z["environment"] == environment.key)

    first = forked("import scipy\n" + LOOK, environment)
    assert ask(first, "sorted({'scipy', 'matplotlib'} & set(sys.modules))") == ["scipy"]
    assert imported() == {"gradio", "scipy", "encodings.idna", "multiprocessing.synchronize"}
    worker = ensure(first)
    ensure(forked("import matplotlib\n" + HELLO, environment))
    wait_until(lambda: "matplotlib" in imported(), seconds=30)
    assert "scipy" in imported()
    assert ensure(first).id == worker.id
    assert json.loads(fetch(worker, "/?eval=1")) == 1, "its worker goes on"
    third = forked(LOOK, environment)
    assert ask(third, "'matplotlib' in sys.modules")
    assert way_of(third) == ("fork", "")


def test_a_heavy_library_with_threads_is_left_to_the_app(agent: RunningAgent) -> None:
    source = "import threading, time\nthreading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()\n"
    space = forked("import torch\n" + LOOK, bare_environment("heavy threads", torch=source, gradio=""))
    assert ask(space, "['gradio' in sys.modules, threading.active_count() > 1]") == [True, True]
    assert way_of(space) == ("fork", "")


def test_a_library_with_threads_is_not_forked(agent: RunningAgent) -> None:
    source = "import threading, time\nthreading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()\n"
    space = forked(HELLO, bare_environment("threads", gradio=source))
    assert fetch(ensure(space)) == "hello"
    way, why = way_of(space)
    assert way == "fresh"
    assert "2 threads" in why


@pytest.mark.parametrize(
    ("source", "what"),
    [("import socket\nkept = socket.create_server(('127.0.0.1', 0))\n", "socket:"),
     ("import asyncio\nloop = asyncio.new_event_loop()\n", "eventpoll"),
     ("kept = open(__file__)\n", "gradio.py")],
    ids=["socket", "event loop", "file"],
)  # fmt: skip
def test_a_library_that_holds_something_open_is_not_forked(agent: RunningAgent, source: str, what: str) -> None:
    space = forked(HELLO, bare_environment(f"holds {what}", gradio=source))
    assert fetch(ensure(space)) == "hello"
    way, why = way_of(space)
    assert way == "fresh"
    assert what in why


HOLD_ON = "import kernel, os\ndrop, filter = kernel.drop_capabilities, kernel.load_seccomp\n"
HOSTILE = {
    "CapEff": "kernel.drop_capabilities = lambda last: None\n",
    "CapPrm": "kernel.drop_capabilities = lambda last: None if os.getpid() == 1 else drop(last)\n",
    "Seccomp_filters": "kernel.load_seccomp = lambda rules: None if os.getpid() != 1 else filter(rules)\n",
    "CapBnd": "kernel.prctl = lambda *_: 0\n",
    "control groups": "write = os.write\nos.write = lambda to, data: 1 if data == b'0' else write(to, data)\n",
}


@pytest.mark.parametrize("kept", HOSTILE)
def test_packages_that_change_how_a_fork_enters_its_sandbox_are_found_out(agent: RunningAgent, kept: str) -> None:
    space = forked(HELLO, bare_environment(f"hostile {kept}", gradio=HOLD_ON + HOSTILE[kept]))
    assert fetch(ensure(space)) == "hello"
    way, why = way_of(space)
    assert (way, kept in why) == ("fresh", True), why
    left = json.loads(fetch(ensure(forked(LOOK)), f"/?eval={quote('os.getpid()')}"))
    assert left == 2, "others are forked as ever"


def test_the_first_process_holds_nothing_of_the_app(agent: RunningAgent) -> None:
    worker = ensure(forked())
    init = Worker.objects.get(pk=worker.id).spawner_state["pid"]
    held = {path.name: str(path.readlink()) for path in Path(f"/proc/{init}/fd").iterdir()}
    assert {held.pop(name) for name in "012"} == {"/dev/null"}
    assert [target.partition(":")[0] for target in held.values()] == ["socket"], "the agent's"


def test_a_variable_that_libraries_read_when_imported_asks_for_a_fresh_interpreter(agent: RunningAgent) -> None:
    space = forked(HELLO)
    SpaceVariable.objects.create(space=space, key="HF_ENDPOINT", value="http://example.org")
    assert fetch(ensure(space)) == "hello"
    why = "the variable HF_ENDPOINT must be known before its packages are imported"
    assert way_of(space) == ("fresh", why)
    wait_until(lambda: f"by a fresh interpreter: {why}" in log_of(space), seconds=10)


def test_a_zygote_holds_no_secret(agent: RunningAgent) -> None:
    space = forked(LOOK)
    SpaceVariable.objects.create(space=space, key="TELLING", value="a-very-telling-secret")
    assert ask(space, "os.environ['TELLING']") == "a-very-telling-secret"
    other = forked(LOOK)
    assert len(ask(other, "[p for p in os.listdir('/proc') if p.isdigit()]")) <= 3
    assert "a-very-telling-secret" not in json.dumps(ask(other, "dict(os.environ)"))
    found = "any('a-very-telling-' + 'secret' in str(o) for o in __import__('gc').get_objects() if isinstance(o, dict))"
    assert ask(other, found) is False


def test_out_of_memory_is_told_from_a_crash(agent: RunningAgent) -> None:
    space = forked("hog = []\nwhile True:\n    hog.append(bytearray(64 * 1024 * 1024))\n")
    with pytest.raises(client.StartRefused, match="more memory than"):
        ensure(space)
    assert stage_of(space) == Stage.RUNTIME_ERROR


def test_a_killed_agent_leaves_nothing_of_its_zygotes(agent: RunningAgent) -> None:
    space = forked(HELLO)
    ensure(space)
    assert agent.process is not None
    left = descendants(agent.process.pid)
    assert len(left) >= 5
    agent.process.kill()
    agent.process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), seconds=20)
    agent.start()
    wait_for_stage(space, Stage.SLEEPING)
    assert fetch(ensure(space)) == "hello"
