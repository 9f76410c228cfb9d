"""polygil beside other servers: one machine, one CPython, the same answers, the same load. `make bench`.

- `workloads`  what is asked, and the very bytes that a server must answer before it is put under load
- `servers`    how each server is started, and found to be up
- `load`       wrk, an open-loop generator for mixed load, idle connections
- `meter`      CPU time, memory and utilisation, from /proc
- `rounds`     the plan: for each round, for each server in rotated order: start, warm up, measure, stop
- `figures`    medians, spreads, ratios paired by round, and the points that are to be shown
- `report`     Markdown, JSON, HTML with SVG
- `against`    one build of polygil against another: `make against REV=…`
- `profile`    where the time of one request goes: `make profile`

Everything but the apps and the servers is the standard library's.
"""

import sys
from pathlib import Path

# What the apps of all servers share, `work`, is imported by the harness too.
sys.path.insert(0, str(Path(__file__).parent / "apps"))
