"""The app for Robyn, which has a router of its own. A plain function runs in its thread pool, as its documentation has it for work
that blocks; what does not block is `async`, which is its faster way."""

import os

import work
from robyn import Request, Response, Robyn

app = Robyn(__file__)
TEXT = {"content-type": "text/plain; charset=utf-8"}
JSON = {"content-type": "application/json"}


def as_json(value: object) -> Response:
    return Response(200, JSON, work.encode(value))


@app.get("/text")
async def text(request: Request) -> Response:
    return Response(200, TEXT, work.TEXT)


@app.get("/json")
async def small(request: Request) -> Response:
    return as_json(work.SMALL)


@app.get("/json10k")
async def large(request: Request) -> Response:
    return as_json(work.LARGE)


@app.get("/users/:user_id")
async def user(request: Request) -> Response:
    query = request.query_params
    return as_json(work.user(int(request.path_params["user_id"]), query.get("verbose", "") == "true", query.get("tag", "")))


@app.post("/length")
async def length(request: Request) -> Response:
    return Response(200, TEXT, str(len(request.body)))


@app.get("/cpu")
async def cpu(request: Request) -> Response:
    return as_json(work.cpu())


@app.get("/sqlite")
async def sqlite(request: Request) -> Response:
    return as_json(work.row())


@app.get("/slow-cpu")
def slow_cpu(request: Request) -> Response:
    return as_json(work.slow_cpu())


@app.get("/slow-wait")
def slow_wait(request: Request) -> Response:
    return as_json(work.slow_wait())


if __name__ == "__main__":
    app.start(host="127.0.0.1", port=int(os.environ["PORT"]))
