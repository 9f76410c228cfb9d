"""The app for ASGI servers: uvicorn, hypercorn, granian."""

import asyncio

import work


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    if path == "/length":
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        kind, text = "text/plain; charset=utf-8", str(size)
    elif path in work.BLOCKS:
        kind, text = await asyncio.to_thread(work.answer, path, "")
    else:
        kind, text = work.answer(path, scope["query_string"].decode())
    content = text.encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
