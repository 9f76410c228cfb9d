"""The app for mipyre, as its documentation has it: plain functions, each run in the sub-interpreter of the thread that took the request,
which is the default; a dict becomes JSON, a str text."""

import work
from mipyre import Mipyre

app = Mipyre()


@app.get("/text")
def text(request):
    return work.TEXT


@app.get("/json")
def small(request):
    return work.SMALL


@app.get("/json10k")
def large(request):
    return work.LARGE


@app.get("/users/{user_id}")
def user(request, user_id):
    query = request.query_params
    return work.user(int(user_id), query["verbose"] == "true", query["tag"])


@app.post("/length")
def length(request):
    return str(len(request.body))


@app.get("/cpu")
def cpu(request):
    return work.cpu()


@app.get("/sqlite")
def sqlite(request):
    return work.row()


@app.get("/slow-cpu")
def slow_cpu(request):
    return work.slow_cpu()


@app.get("/slow-wait")
def slow_wait(request):
    return work.slow_wait()
