"""The app for WSGI servers: gunicorn, granian."""

import work


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/length":
        content = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        kind, text = "text/plain; charset=utf-8", str(len(content))
    else:
        kind, text = work.answer(path, environ["QUERY_STRING"])
    content = text.encode()
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(content)))])
    return [content]
