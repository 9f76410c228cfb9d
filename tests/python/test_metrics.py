"""What the admin address says, read by Prometheus' own parser: names, types and labels that it accepts."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

APPS = Path(__file__).parent.parent / "apps"
COMMAND = [sys.executable, "-m", "polygil", "serve", "contract:app", "--port", "0", "--workers", "2", "--admin", "0"]


def test_prometheus_reads_the_metrics() -> None:
    with subprocess.Popen(COMMAND, cwd=APPS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            admin = served = None
            for line in server.stdout:
                admin = admin or re.search(r"admin on (http://[0-9.]+:[0-9]+)", line)
                served = re.search(r"serving .* on (http://[0-9.]+:[0-9]+)", line)
                if served is not None:
                    break
            assert admin is not None and served is not None
            with urllib.request.urlopen(served[1] + "/value/int") as answer:
                assert answer.status == 200
            text = ""
            # An answer counts once it was handed to the kernel, which may be a moment after its client has read it.
            for _ in range(6000):
                with urllib.request.urlopen(admin[1] + "/metrics") as answer:
                    text = answer.read().decode()
                if 'polygil_responses_total{class="2xx"} 1' in text:
                    break
                time.sleep(0.01)
        finally:
            server.terminate()
            server.wait(60)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert {name for name in families if not name.startswith("polygil_")} == set()
    assert families["polygil_responses"].type == "counter"
    assert families["polygil_oldest_wait_seconds"].type == "gauge"
    assert samples["polygil_ready", ()] == 1
    assert samples["polygil_responses_total", ("2xx",)] == 1
    assert samples["polygil_tasks_submitted_total", ()] == 1
    assert samples["polygil_workers", ()] == 2
    assert samples["polygil_queue_depth", ("overflow",)] == 0
