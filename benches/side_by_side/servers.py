"""How each server is started with its app, found to be up, and stopped. The barest app that each allows: see apps/."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
APPS = HERE / "apps"
BIN = Path(sys.executable).parent
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Beyond its defaults, for 1,000 connections that all ask at once and 10,000 idle ones: by default polygil accepts 10,000 connections,
# and refuses (503) what finds more than 64 requests waiting for each worker and 512 for any. The others' queues have no bound to raise.
ROOM = ["--max-connections", "12000", "--overflow-depth", "4096"]


@dataclass(frozen=True)
class Server:
    """One way to serve; `{port}` in the command is where."""

    name: str
    family: str
    about: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    # The only path that it answers, for the constant server.
    only: str | None = None


def polygil_command(program: str, app: str, *options: str) -> list[str]:
    return [program, "serve", app, "--app-dir", str(APPS), "--port", "{port}", "--log-level", "warn", *ROOM, *options]


def polygil_servers(program: str, prefix: str = "polygil") -> list[Server]:
    """One worker, as many as there are cores, those with each placement that is not the default, and twice as many."""
    def server(name: str, about: str, *options: str) -> Server:
        return Server(f"{prefix}-{name}", prefix, about, polygil_command(program, "polygil_app:app", *options))

    many = str(max(2, CORES))
    servers = [server("1", "1 worker", "--workers", "1"), server(many, f"{many} workers", "--workers", many)]
    servers += [
        server(f"{many}-{placement}", f"{many} workers, {placement}", "--workers", many, "--placement", placement)
        for placement in ("round-robin", "least-loaded")
    ]
    servers.append(server(str(2 * int(many)), f"{2 * int(many)} workers", "--workers", str(2 * int(many))))
    return servers


def hello_servers(program: str) -> list[Server]:
    """For their memory alone, with an app that imports nothing: as many workers as there are cores, and six times as many."""
    return [
        Server(f"hello-{count}", "hello", f"polygil with hello, {count} workers, for their memory",
               polygil_command(program, "hello_app:app", "--workers", str(count)))
        for count in (max(2, CORES), 6 * max(2, CORES))
    ]


def mipyre_servers(many: int) -> list[Server]:
    """Its default, a thread for each core that serves and runs Python, and its pool of interpreters behind threads that serve; those
    also with twice as many. By default it logs no requests, and takes its number of threads from the cores of the whole machine."""
    def server(name: str, about: str, *options: str) -> Server:
        command = [str(BIN / "mipyre"), "run", "mipyre_app:app", "--port", "{port}", *options]
        return Server(f"mipyre-{name}", "mipyre", about, command)

    servers = [server("1", "1 thread", "--threads", "1")]
    for count in (many, 2 * many):
        servers.append(server(str(count), f"thread per core, {count} threads", "--threads", str(count)))
        servers.append(server(f"pool-{count}", f"a pool of {count} interpreters", "--threads", str(many), "--tpc", "off",
                              "--subinterpreters", str(count)))
    return servers


def no_mipyre() -> str:
    """Why mipyre is not among those measured; nothing where it is."""
    if sys.version_info[:2] < (3, 14):
        return f"mipyre is not measured: it needs CPython 3.14, and all servers here run on {platform.python_version()}"
    if find_spec("mipyre") is None:
        return f"mipyre is not measured: it is not installed for CPython {platform.python_version()}"
    return ""


def present(servers: list[Server]) -> list[Server]:
    """Those of them that can be measured on this Python."""
    return [server for server in servers if server.family != "mipyre"] if no_mipyre() else servers


def all_servers(polygil: str, constant: str) -> list[Server]:
    """Every server, with one process and with as many as there are cores; the fastest under mixed load also with twice as many."""
    many = max(2, CORES)
    servers = polygil_servers(polygil)
    servers.append(Server("constant", "constant", "smol, a constant answer, no Python", [constant, "{port}"], only="/json"))
    for count in (1, many, 2 * many):
        processes = f"{count} process{'es' * (count > 1)}"
        suffix = f"-{count}"
        servers.append(Server(f"uvicorn{suffix}", "uvicorn", f"uvloop, httptools, {processes}", [
            str(BIN / "uvicorn"), "asgi:app", "--port", "{port}", "--workers", str(count), "--no-access-log",
            "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"]))
        servers += [
            Server(f"granian-{interface}{suffix}", "granian", f"{interface.upper()}, {processes}", [
                str(BIN / "granian"), "--interface", interface, "--port", "{port}", "--workers", str(count), "--http", "1",
                "--no-ws", "--log-level", "warning", f"{interface}:app"])
            for interface in (("rsgi", "asgi", "wsgi") if count <= many else ("wsgi",))
        ]
        if count > many:
            continue
        servers.append(Server(f"robyn{suffix}", "robyn", f"its own router, {processes}", [
            str(BIN / "python"), str(APPS / "robyn_app.py"), "--processes", str(count), "--log-level", "WARN",
            "--disable-openapi"], {"PORT": "{port}"}))
        servers.append(Server(f"hypercorn{suffix}", "hypercorn", f"uvloop, {processes}", [
            str(BIN / "hypercorn"), "asgi:app", "-w", str(count), "-b", "127.0.0.1:{port}", "-k", "uvloop",
            "--log-level", "error"]))
    for kind, options in (("sync", []), ("gthread", ["--threads", "4", "--keep-alive", "75"])):
        servers.append(Server(f"gunicorn-{kind}-{many}", "gunicorn", f"{kind} workers, {many} processes", [
            str(BIN / "gunicorn"), "-w", str(many), "-k", kind, *options, "-b", "127.0.0.1:{port}", "--log-level", "error",
            "wsgi:app"]))
    return servers + mipyre_servers(many)


@dataclass
class Running:
    """A server that has answered."""

    pid: int
    port: int
    start_ms: float


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class DoesNotStart(Exception):
    """A server did not answer in time."""


@contextlib.contextmanager
def started(server: Server, sqlite: str, patience_s: float = 30) -> Iterator[Running]:
    """Start it; yield when the first request has been answered; stop it and its children."""
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(APPS), "BENCH_SQLITE": sqlite, "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {name: value.format(port=port) for name, value in server.environment.items()}
    began = time.perf_counter()
    process = subprocess.Popen(
        [part.format(port=port) for part in server.command], env=environment, cwd=APPS, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(port):
            if process.poll() is not None:
                raise DoesNotStart(f"{server.name} ended with {process.returncode}: {' '.join(server.command)}")
            if time.perf_counter() - began > patience_s:
                raise DoesNotStart(f"{server.name} did not answer within {patience_s} s")
            time.sleep(0.0005)
        yield Running(process.pid, port, (time.perf_counter() - began) * 1000)
    finally:
        stop(process)


def answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/json")
        return connection.getresponse().read() == b'{"hello":"world"}'
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask; after 3 s end the whole group, which is this server's own."""
    process.terminate()
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        pass
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
