"""Clients that people use, each over a connection that it keeps, and nginx in front.

Each test runs where its client is installed, as all of them are in CI. What is asserted is what the client made of the answer, so a
mistake in framing shows here even if it escapes every parser of our own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from needs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = """
from polygil import App, Request, Response

app = App()


@app.get("/seen")
@app.post("/seen")
@app.put("/seen")
@app.delete("/seen")
def seen(request: Request) -> dict[str, object]:
    body = request.body
    return {
        "method": request.method,
        "target": request.path,
        "length": len(body),
        "sum": sum(body),
        "transfer": request.headers.get("transfer-encoding"),
        "forwarded": request.headers.get("x-forwarded-for"),
    }


@app.get("/nothing")
def nothing() -> None:
    return None


@app.get("/large")
def large() -> Response:
    return Response(b"0123456789" * 100_000, headers={"content-type": "text/plain"})


@app.get("/pieces")
def pieces() -> object:
    for number in range(100):
        yield f"{number:04}" * 100


@app.get("/café/{name}")
def cafe(name: str) -> str:
    return name
"""
LARGE = b"0123456789" * 100_000
PIECES = "".join(f"{number:04}" * 100 for number in range(100)).encode()
BODY = bytes(range(256)) * 2000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    directory = tmp_path_factory.mktemp("clients")
    (directory / "clients_app.py").write_text(APP)
    port_file = directory / "port"
    polygil = Path(sys.executable).parent / "polygil"
    process = subprocess.Popen(
        [polygil, "serve", "clients_app:app", "--app-dir", directory, "--port", "0", "--port-file", port_file,
         "--workers", "2"]
    )
    try:
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        yield int(port_file.read_text())
    finally:
        process.terminate()
        assert process.wait(60) == 0


def expected(method: str, body: bytes = b"", transfer: str | None = None) -> dict[str, object]:
    return {
        "method": method, "target": "/seen", "length": len(body), "sum": sum(body), "transfer": transfer, "forwarded": None,
    }


@needs("curl")
def test_curl(server: int, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server}"
    upload = tmp_path / "upload"
    upload.write_bytes(BODY)

    def curl(*arguments: object) -> tuple[bytes, list[str]]:
        """What was written, and `status connections` for each transfer."""
        line = "\\n%{stderr}%{http_code} %{num_connects}\\n"
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "30", "-w", line, *map(str, arguments)], check=True, capture_output=True
        )
        return done.stdout, done.stderr.decode().split("\n")[:-1]

    out, transfers = curl(f"{url}/seen", f"{url}/seen", f"{url}/nothing")
    answers = [json.loads(line) for line in out.split(b"\n") if line]
    assert answers == [expected("GET")] * 2
    assert transfers == ["200 1", "200 0", "204 0"], "one connection for all"
    out, transfers = curl("-I", f"{url}/large")
    assert b"content-length: 1000000\r\n" in out and transfers == ["200 1"]
    # Larger than curl sends before it asks: Expect: 100-continue, and content by length.
    out, _ = curl("-H", "Expect: 100-continue", "--data-binary", f"@{upload}", f"{url}/seen")
    assert json.loads(out) == expected("POST", BODY)
    # Chunked, as curl does it for what has no known length.
    out, _ = curl("-H", "Transfer-Encoding: chunked", "-T", upload, f"{url}/seen")
    assert json.loads(out) == expected("PUT", BODY, "chunked")
    out, transfers = curl("--path-as-is", f"{url}/caf%C3%A9/a%2Fb", f"{url}/nowhere/../nothing")
    assert out.startswith(b"a/b\n") and transfers == ["200 1", "404 0"]
    out, transfers = curl("-0", f"{url}/seen", f"{url}/seen")
    assert transfers == ["200 1", "200 1"], "HTTP/1.0 keeps no connection"
    out, transfers = curl(f"{url}/pieces", f"{url}/seen")
    assert out.startswith(PIECES + b"\n{") and transfers == ["200 1", "200 0"], "chunks, and the connection lives on"
    out, transfers = curl("-0", f"{url}/pieces")
    assert out == PIECES + b"\n", "HTTP/1.0 gets it up to the end of the connection"
    out, transfers = curl("-o", tmp_path / "large", f"{url}/large")
    assert (tmp_path / "large").read_bytes() == LARGE


@needs("requests")
def test_requests(server: int) -> None:
    import requests

    url = f"http://127.0.0.1:{server}"
    with requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{url}/seen").json() == expected("GET")
        assert session.post(f"{url}/seen", data=BODY).json() == expected("POST", BODY)
        chunks = (BODY[start : start + 1000] for start in range(0, len(BODY), 1000))
        assert session.put(f"{url}/seen", data=chunks).json() == expected("PUT", BODY, "chunked")
        nothing = session.get(f"{url}/nothing")
        assert (nothing.status_code, nothing.content) == (204, b"")
        head = session.head(f"{url}/large")
        assert (head.headers["content-length"], head.content) == ("1000000", b"")
        assert session.get(f"{url}/large").content == LARGE
        streamed = session.get(f"{url}/pieces")
        assert (streamed.headers["transfer-encoding"], streamed.content) == ("chunked", PIECES)
        assert session.get(f"{url}/café/ü").text == "ü"
        assert session.post(f"{url}/nowhere", data=b"x").json()["error"] == "not_found"
        pools: Any = session.get_adapter(url).poolmanager.pools  # type: ignore[attr-defined]
        assert [pools[key].num_connections for key in pools.keys()] == [1], "one connection for all"  # noqa: SIM118


@needs("httpx")
def test_httpx(server: int) -> None:
    import httpx

    with httpx.Client(base_url=f"http://127.0.0.1:{server}") as client:
        ports = set()
        for _ in range(3):
            answer = client.get("/seen")
            assert answer.json() == expected("GET")
            ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
        assert len(ports) == 1, "one connection for all"
        assert client.post("/seen", content=BODY).json() == expected("POST", BODY)
        chunks = (BODY[start : start + 1000] for start in range(0, len(BODY), 1000))
        assert client.put("/seen", content=chunks).json() == expected("PUT", BODY, "chunked")
        assert client.get("/nothing").status_code == 204
        assert client.head("/large").headers["content-length"] == "1000000"
        assert client.get("/large").content == LARGE
        with client.stream("GET", "/pieces") as streamed:
            assert streamed.headers["transfer-encoding"] == "chunked"
            assert b"".join(streamed.iter_raw()) == PIECES
        assert client.request("BREW", "/seen").status_code == 501


@needs("aiohttp")
def test_aiohttp(server: int) -> None:
    import aiohttp

    async def main() -> None:
        url = f"http://127.0.0.1:{server}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=4)) as session:

            async def one(number: int) -> None:
                body = BODY[: number * 100]
                async with session.post(f"{url}/seen", data=body) as answer:
                    assert await answer.json() == expected("POST", body)

            # Many at once over four connections that are kept.
            await asyncio.gather(*(one(number) for number in range(1, 101)))

            async def pieces() -> Any:
                for start in range(0, len(BODY), 1000):
                    yield BODY[start : start + 1000]

            async with session.put(f"{url}/seen", data=pieces()) as answer:
                assert await answer.json() == expected("PUT", BODY, "chunked")
            async with session.post(f"{url}/seen", data=BODY, expect100=True) as answer:
                assert await answer.json() == expected("POST", BODY)
            async with session.head(f"{url}/large") as answer:
                assert (answer.headers["content-length"], await answer.read()) == ("1000000", b"")
            async with session.get(f"{url}/large") as answer:
                assert await answer.read() == LARGE
            async with session.get(f"{url}/pieces") as answer:
                assert answer.headers["transfer-encoding"] == "chunked"
                assert await answer.read() == PIECES

    asyncio.run(main())


@pytest.fixture
def nginx(server: int, tmp_path: Path) -> Iterator[int]:
    """nginx in front: it keeps its connections to us, hands chunks on as they come, and compresses, which it sends in chunks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = "\n".join(
        f"{name}_temp_path {tmp_path / name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = tmp_path / "nginx.conf"
    config.write_text(f"""
        daemon off; master_process off; pid {tmp_path / "pid"}; error_log stderr warn;
        events {{ }}
        http {{
            access_log off; {paths}
            gzip on; gzip_types *; gzip_min_length 1;
            upstream polygil {{ server 127.0.0.1:{server}; keepalive 4; }}
            server {{
                listen 127.0.0.1:{port};
                client_max_body_size 0;
                location / {{
                    proxy_pass http://polygil;
                    proxy_http_version 1.1;
                    proxy_set_header Connection "";
                    proxy_set_header X-Forwarded-For $remote_addr;
                    proxy_request_buffering off;
                }}
            }}
        }}
    """)
    process = subprocess.Popen(["nginx", "-p", tmp_path, "-c", config, "-e", "stderr"])
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None and time.monotonic() < deadline
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.005)
        yield port
    finally:
        process.terminate()
        assert process.wait(60) == 0


@needs("nginx")
def test_nginx_in_front(nginx: int) -> None:
    client = HTTPConnection("127.0.0.1", nginx, timeout=30)

    def ask(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **options: Any) -> Any:
        client.request(method, path, body, headers or {}, **options)
        return client.getresponse()

    forwarded = {"forwarded": "127.0.0.1"}
    for _ in range(20):
        answer = ask("GET", "/seen")
        assert json.load(answer) == expected("GET") | forwarded
    assert json.load(ask("POST", "/seen", BODY)) == expected("POST", BODY) | forwarded
    chunks = [BODY[start : start + 1000] for start in range(0, len(BODY), 1000)]
    answer = ask("PUT", "/seen", iter(chunks), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert json.load(answer) == expected("PUT", BODY, "chunked") | forwarded, "chunked on its way in"
    answer = ask("GET", "/large", headers={"Accept-Encoding": "gzip"})
    assert (answer.headers["transfer-encoding"], answer.headers["content-encoding"]) == ("chunked", "gzip")
    import gzip

    assert gzip.decompress(answer.read()) == LARGE
    answer = ask("GET", "/pieces")
    assert (answer.headers["transfer-encoding"], answer.read()) == ("chunked", PIECES), "chunked on its way out"
    answer = ask("HEAD", "/large")
    assert (answer.status, answer.read()) == (200, b"")
    answer = ask("GET", "/nothing")
    assert (answer.status, answer.read()) == (204, b"")
    answer = ask("GET", "/nowhere")
    assert (answer.status, json.load(answer)["error"]) == (404, "not_found")
    # A request that we refuse costs the client of nginx neither its connection nor its next answer.
    answer = ask("BREW", "/seen")
    assert (answer.status, json.load(answer)["error"]) == (501, "not_implemented")
    assert json.load(ask("GET", "/seen")) == expected("GET") | forwarded
    client.close()


@needs("nginx")
def test_nginx_keeps_its_connections_to_us(server: int, nginx: int) -> None:
    """As many requests as one likes come over at most as many connections as nginx keeps."""

    def connections() -> int:
        """Established to the server, as the kernel lists them (state 01)."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(1 for row in rows if row[2].endswith(f":{server:04X}") and row[3] == "01")

    for _ in range(200):
        client = HTTPConnection("127.0.0.1", nginx, timeout=30)
        client.request("GET", "/seen")
        assert client.getresponse().read()
        client.close()
    assert 1 <= connections() <= 4
