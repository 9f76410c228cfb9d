"""Parallel speed-up that you can see: pure-Python work, one process, as many cores as there are workers.

    polygil serve --app-dir examples cpu:app
    python examples/cpu.py            # measures one request at a time, then one per worker at once

A thread pool in an ordinary Python would take turns at one GIL; here every worker has its own.
"""

import time

from polygil import App

app = App()


def is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


@app.get("/primes")
def primes(below: int = 30_000) -> dict[str, object]:
    started = time.perf_counter()
    count = sum(map(is_prime, range(below)))
    return {"below": below, "primes": count, "ms": round((time.perf_counter() - started) * 1000, 1)}


def measure(url: str, at_once: int, requests: int) -> float:
    """Requests per second with `at_once` clients."""
    from concurrent.futures import ThreadPoolExecutor
    from urllib.request import urlopen

    def ask(_number: int) -> None:
        with urlopen(url) as answer:
            answer.read()

    started = time.perf_counter()
    with ThreadPoolExecutor(at_once) as clients:
        list(clients.map(ask, range(requests)))
    return requests / (time.perf_counter() - started)


def main() -> None:
    import os
    import sys

    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000/primes"
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    measure(url, workers, workers)
    one, many = measure(url, 1, 40), measure(url, workers, 40 * workers)
    print(f"1 client:  {one:7.1f} requests/s")
    print(f"{workers} clients: {many:7.1f} requests/s, {many / one:.2f} times as many")


if __name__ == "__main__":
    main()
