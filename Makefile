# Everything from a bare clone: needs only make and Python 3.11 to 3.14.
# Choose the interpreter with `make PYTHON=/path/to/python ...`; it is used when .venv is built.

.PHONY: run dev test bench lint docs lock clean
.DEFAULT_GOAL := run

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
UV ?= uv
# Without byte code every process compiles Dagster anew: 4 CPU-s each. Some machines forbid it by default.
export PYTHONDONTWRITEBYTECODE :=
# A stamp file records that its step was finished, so that an interrupted one is done again.
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready

# Two makes at once would build .venv into each other. The lock is on the open file, so that it ends with who holds it,
# however that ends.
ONE_AT_A_TIME = exec 9<requirements.lock; \
	lock='import fcntl, sys; fcntl.flock(9, fcntl.LOCK_EX | int(sys.argv[1]))'; \
	$$python -c "$$lock" 4 2>/dev/null || { \
	  echo "Another make builds $(VENV) here: waiting for it ..."; $$python -c "$$lock" 0; }

run: $(READY)
	@$(BIN)/optiinfra run

dev: $(READY)
	@$(BIN)/optiinfra dev

test: $(READY)
	$(BIN)/pytest

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

# The reference pages, from the code.
docs: $(READY)
	$(BIN)/python docs/generate.py

# Needs uv, which make run does not.
lock:
	@command -v $(UV) >/dev/null || { echo 'make lock needs uv: https://docs.astral.sh/uv (or: make lock UV=/path/to/uv)' >&2; exit 1; }
	$(UV) pip compile pyproject.toml --output-file requirements.lock --universal --python-version 3.11 \
	  --extra dev --extra lab --extra postgres \
	  --no-strip-extras --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --quiet
	$(UV) pip compile pyproject.toml --output-file deploy/requirements.lock --universal --python-version 3.11 \
	  --extra postgres --extra kubernetes --constraint requirements.lock --no-annotate \
	  --no-strip-extras --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --quiet

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find optiinfra_dagster tests -type d -name __pycache__ -prune -exec rm -rf {} +

# The dependencies, exactly as locked; built afresh when the lock changes, so that nothing stale stays behind.
# First the locked pip: it takes half the time of the one that comes with Python 3.11. --no-compile saves a third again:
# of 280 MB of byte code a run uses a tenth, which Python compiles as it goes.
$(LOCKED): requirements.lock
	@python=; old=; \
	for candidate in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
	  found=$$($$candidate -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  case $$found in \
	    3.11|3.12|3.13|3.14) python=$$candidate; break;; \
	    *) old="$$old $$candidate is $$found;";; \
	  esac; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "OptiInfra needs Python 3.11 to 3.14, and found none:$${old:- nothing that answers to $(or $(PYTHON),python3)}" >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$python cannot build virtual environments: its venv module is missing." >&2; \
	  echo "On Debian and Ubuntu: apt-get install python$$found-venv" >&2; exit 1; \
	fi; \
	$(ONE_AT_A_TIME); if [ $@ -nt requirements.lock ]; then exit 0; fi; \
	echo "Building $(VENV) with Python $$found (once, takes about a minute) ..."; \
	set -e; \
	$$python -m venv --clear $(VENV); \
	sed -n '/^pip==/,/# via/p' requirements.lock > $(VENV)/pip.lock; \
	$(PIP) --require-hashes --requirement $(VENV)/pip.lock; \
	$(PIP) --require-hashes --no-deps --no-compile --requirement requirements.lock; \
	touch $@

# The project itself, editable; hatchling is in the lock, so nothing is downloaded here.
$(READY): $(LOCKED) pyproject.toml
	@python=$(BIN)/python; $(ONE_AT_A_TIME); \
	if [ $@ -nt $(LOCKED) ] && [ $@ -nt pyproject.toml ]; then exit 0; fi; \
	set -e; $(PIP) --no-deps --no-build-isolation --editable .; touch $@
