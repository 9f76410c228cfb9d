"""The app for granian's own protocol."""

import asyncio

import work


async def app(scope, protocol):
    path = scope.path
    if path == "/length":
        kind, text = "text/plain; charset=utf-8", str(len(await protocol()))
    elif path in work.BLOCKS:
        kind, text = await asyncio.to_thread(work.answer, path, "")
    else:
        kind, text = work.answer(path, scope.query_string)
    protocol.response_str(200, [("content-type", kind)], text)
