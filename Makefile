# make run | test | test-server | test-ui | check | bench | bench-peers: each builds .venv first
# when it is missing or out of date.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(CURDIR)/.venv/bin
# What `make bench` measures: rounds, kernels, codecs, accuracy, aggregators, tracking, estimators,
# large_models, many_sources, waiting or all.
PART ?= all
# How long `make chaos` storms; SEED=n repeats the faults of a storm.
MINUTES ?= 30

# numba does not see a change in another file: one cache folder per state of the kernels.
KEY := $(shell find kernels -name '*.py' -type f | LC_ALL=C sort | xargs cat | sha1sum | cut -c1-12)
export NUMBA_CACHE_DIR := $(CURDIR)/.cache/numba/$(KEY)
# Bytecode is written at first import instead of for all 16,000 files at install time; where the
# machine forbids writing it (many container images do), every process would compile again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test test-server test-ui check bench bench-peers chaos lock clean clean-clone

run: .venv/ready
	$(BIN)/msl compare configs/quickstart.yaml

# Two processes share the files. Compilers, imports and simulators fill one core each; clusters
# and servers wait.
test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile

# A comparison over HTTP, with sqlite and with PostgreSQL behind the server; clusters that speak
# TLS, and the doctor on them.
# PostgreSQL: apt-get install postgresql; without it that half is skipped, and says so.
test-server: .venv/server
	$(BIN)/python -m pytest tests/server

# MLflow's pages in Chromium (apt-get install chromium; without it: skipped, and says so).
# PICTURES=docs/pictures renews the screenshots of the docs.
test-ui: .venv/ui
	PICTURES=$(PICTURES) $(BIN)/python -m pytest tests/ui

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/ready
	PEERS=$(CURDIR)/.venv/bench $(BIN)/python -m msl_pipelines.bench $(PART)

# Flower and pfl, for `make bench PART=rounds` (2 GB): it leaves them out until then.
bench-peers: .venv/bench/ready

# Runs under random kills, stops and restarts on a local cluster: docs/faults.md.
chaos: .venv/ready
	PYTHONPATH=tests $(BIN)/python tests/chaos/storm.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# Written last, so the next call repairs an install that broke off.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --no-compile -c constraints.txt -e '.[dev]'
	touch $@

# What only these two tests and a shared server need.
.venv/server .venv/ui: .venv/%: .venv/ready
	$(BIN)/python -m pip install -qq --no-compile -c constraints.txt -e '.[$*]'
	touch $@

# They pin older releases than constraints.txt has: of that, only what does the arithmetic holds.
.venv/bench/ready: pyproject.toml constraints.txt | .venv/ready
	$(PYTHON) -m venv .venv/bench
	grep -E '^(numpy|torch)==' constraints.txt > .venv/bench/constraints.txt
	.venv/bench/bin/python -m pip install -qq --no-compile -c .venv/bench/constraints.txt -e '.[bench]'
	touch $@

# Pin what is installed now. The local label must go: torch==2.13.0+cpu matches no public wheel.
lock:
	$(BIN)/python -m pip freeze --exclude-editable > .venv/pins
	sed 's/+cpu$$//' .venv/pins > constraints.txt
	touch .venv/ready

# What a new user lives through: a fresh clone of HEAD, installed, run and tested (minutes).
clean-clone:
	tests/clean_clone.sh

clean:
	rm -rf .venv .cache
