# The two commands that matter: `make serve` and `make test`. Everything they need is found or made in .venv and target.
.DEFAULT_GOAL := help
.PHONY: help build serve test check nightly loom fuzz sim sim-seeds conformance compare mutants guards bench against profile plots lint wheels clean
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
HOST ?= 127.0.0.1
PORT ?= 8000
APP ?= users:app
# How the native module is built: `develop` builds in a third of the time; `dist` is what is installed and measured.
PROFILE ?= develop

help: ## Lists the targets.
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

PIP = scripts/pip-install

# A venv of the first suitable Python; scripts/preflight says what to install where something is missing.
$(VENV)/bin/maturin:
	@python=$$(scripts/preflight build) || exit 1; \
	echo "Making $(VENV) with $$("$$python" --version), $$python"; \
	"$$python" -m venv $(VENV)
	@$(PIP) $(VENV) 'maturin>=1.9,<2'

# The first time the compiler says what it is at, for there is nothing to see for minutes otherwise.
build: $(VENV)/bin/maturin ## Builds the native module and leaves the command in .venv/bin/polygil.
	@VIRTUAL_ENV="$(CURDIR)/$(VENV)" PYO3_PYTHON="$(CURDIR)/$(VENV)/bin/python" \
	$(VENV)/bin/maturin develop --profile $(PROFILE) $(if $(wildcard $(VENV)/built-$(PROFILE)),--quiet)
	@touch $(VENV)/built-$(PROFILE)

serve: build ## Serves an example app on http://127.0.0.1:8000 (APP=hello:app, todo:app or cpu:app for the others).
	@$(VENV)/bin/polygil serve --app-dir examples --host $(HOST) --port $(PORT) $(APP)

# The steps and their order stand in scripts/gate; scripts/preflight names at once what is missing here.
GATE = @python=$$(scripts/preflight test) && "$$python" scripts/gate

test: ## Runs every test and check, and says in the end what each step took (make test-STEP: that step alone).
	$(GATE) test

test-%:
	$(GATE) test $*

check: ## What has an answer in two minutes once it was built: format, lints, unit tests, some of the rest (make check-STEP).
	$(GATE) check

check-%:
	$(GATE) check $*

nightly: ## What takes hours: fuzzing, 500,000 seeds, mutants, guards, every Python that can be had (make nightly-STEP).
	@python=$$(scripts/preflight test) && "$$python" scripts/nightly

nightly-%:
	@python=$$(scripts/preflight test) && "$$python" scripts/nightly $*

conformance: build ## Runs the conformance suite against polygil.
	@cargo run --package polygil-conformance -- run --target polygil

# The servers that polygil is compared with have a venv of their own.
conformance/.venv/requirements: conformance/adapters/requirements.txt
	@python=$$(scripts/find-python) && "$$python" -m venv conformance/.venv
	@$(PIP) conformance/.venv -r conformance/adapters/requirements.txt
	@cp conformance/adapters/requirements.txt $@

COMPARISON ?= docs/generated/COMPARISON

compare: build conformance/.venv/requirements ## Runs the conformance suites against other servers, and writes docs/generated/COMPARISON*.
	@cargo run --quiet --release --package polygil-conformance -- table \
		polygil uvicorn uvicorn-h11 hypercorn gunicorn waitress granian granian-wsgi robyn \
		--markdown $(COMPARISON).md --html $(COMPARISON).html
	@cargo run --quiet --release --package polygil-conformance -- table \
		wsgi-gunicorn-sync wsgi-gunicorn-gthread wsgi-waitress wsgi-cheroot wsgi-uwsgi wsgi-granian wsgi-fastpysgi wsgi-wsgiref \
		--markdown $(COMPARISON)-WSGI.md --html $(COMPARISON)-WSGI.html
	@cargo run --quiet --release --package polygil-conformance -- table \
		asgi-uvicorn-httptools asgi-uvicorn-h11 asgi-hypercorn asgi-daphne asgi-granian asgi-gunicorn asgi-fastpysgi \
		--markdown $(COMPARISON)-ASGI.md --html $(COMPARISON)-ASGI.html

sim: ## Runs the server in simulated worlds: a fixed range of seeds, and a fresh one, which is printed.
	@$(MAKE) --no-print-directory sim-seeds SEEDS=0..2000
	@$(SIM) explore --for 15s
	@cargo test -p polygil-sim --features mistakes --test mistakes -- --nocapture

SIM = cargo run --profile $(PROFILE) -p polygil-sim --
SEEDS ?= 0..2000

sim-seeds:
	@$(SIM) explore --seeds $(SEEDS)

loom: ## Explores dispatch under every schedule, as far as the bounds go, and prints how many executions that were.
	@CARGO_TARGET_DIR=target/loom RUSTFLAGS='--cfg loom' cargo test --profile $(PROFILE) --test loom_dispatch -- \
		--nocapture --test-threads 1 $(MODELS)

$(VENV)/test-requirements: tests/requirements.txt | $(VENV)/bin/maturin
	@$(PIP) $(VENV) -r tests/requirements.txt
	@cp tests/requirements.txt $@

fuzz: ## Fuzzes each target in turn (FUZZ_SECONDS=60 each; needs nightly Rust and cargo-fuzz).
	@scripts/fuzz

guards: ## Takes out each guard against a hazard of CPython and sees its test fail.
	@python3 scripts/check-guards

mutants: ## Changes dispatch, router and http in one place at a time and sees a test fail (docs/MUTANTS.md).
	@scripts/mutants

# The servers that polygil is measured beside, each in one release.
benches/.venv/requirements: benches/requirements.txt
	@python=$$(scripts/find-python) && "$$python" -m venv benches/.venv
	@$(PIP) benches/.venv -r benches/requirements.txt
	@cp benches/requirements.txt $@

bench: PROFILE = dist
bench: build benches/.venv/requirements ## Measures polygil beside other servers, and writes docs/generated/BENCHMARKS (BENCH=--quick for a look).
	@command -v wrk >/dev/null || { echo "wrk makes the load: apt-get install wrk, or its like" >&2; exit 1; }
	@$(VENV)/bin/python benches/dispatch_cost.py
	@echo
	@cargo build --quiet --profile dist --example constant --example open_loop
	@PYTHONPATH=benches benches/.venv/bin/python -m side_by_side $(or $(BENCH),--out docs/generated/BENCHMARKS --readme README.md)

# REV is built beside, as it would be installed; its sources come from git, so that no worktree is left.
against: PROFILE = dist
against: build ## Measures this checkout against another revision (REV=HEAD~1): CPU per request, requests/s, instructions.
	@rm -rf target/against/sources && mkdir -p target/against/sources
	@git archive $(or $(REV),HEAD~1) | tar -x -C target/against/sources
	@CARGO_TARGET_DIR=$(CURDIR)/target/against/target $(MAKE) --no-print-directory -C target/against/sources build PROFILE=dist
	@PYTHONPATH=benches $(VENV)/bin/python -m side_by_side.against $(VENV)/bin/polygil target/against/sources/$(VENV)/bin/polygil $(AGAINST)

profile: PROFILE = dist
profile: build benches/.venv/requirements ## Writes docs/generated/PROFILE.md: where the time of one request goes (needs wrk, perf, valgrind).
	@cargo build --quiet --profile dist --example constant
	@PYTHONPATH=benches benches/.venv/bin/python -m side_by_side.profile --out docs/generated/PROFILE.md

plots: ## Draws docs/generated/*.svg: the projections for more cores, and how work grows with its input.
	@cargo run --quiet --release -p polygil-sim -- capacity --service-us 1760 --measured 1=1.0 --measured 2=1.92 --out docs/generated
	@cargo run --quiet --release -p polygil-fuzz --example linear -- docs/generated/linear.svg

$(VENV)/lint-requirements: tests/lint-requirements.txt | $(VENV)/bin/maturin
	@$(PIP) $(VENV) -r tests/lint-requirements.txt
	@cp tests/lint-requirements.txt $@

# The scripts that are Python have no ending that says so.
lint: $(VENV)/lint-requirements ## Lints all Python and checks the types of the package; cargo deny, where it is installed.
	@$(VENV)/bin/ruff check --quiet python tests examples benches conformance fuzz scripts/steps.py $$(grep -l '^#!/usr/bin/env python3' scripts/*)
	@$(VENV)/bin/mypy
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --log-level error check licenses bans sources; \
	else echo "cargo deny is not installed: licenses, bans and sources of crates are not checked (cargo install cargo-deny)"; fi

wheels: $(VENV)/bin/maturin ## Builds into dist/: polygil for each CPython that it is tested with, its sdist, and polygil-conformance.
	@scripts/wheels

clean: ## Removes what was built.
	rm -rf $(VENV) conformance/.venv benches/.venv target dist
