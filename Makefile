# `make compare` and `make test` set up all they need in .venv.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := -m pip install --quiet --disable-pip-version-check
# In the order of tests/conftest.py, in which the longest files come first.
PYTEST := -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
# `make test` is what a contributor waits for, `make test-all` has the rest too.
FAST := -m "not full"
FULL := -m full
COV := --cov=keras_dropx --cov-report=
TOTAL := report --format=total --precision=2
# What every backend has to pass.
CORE := tests/random tests/ops tests/layers tests/models tests/callbacks

# An index with a CPU build of torch; empty: the configured one.
TORCH_INDEX ?=
TORCH := torch==2.13.0 $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
OLDEST_KERAS := keras==3.13.0

.PHONY: compare test test-tensorflow test-jax test-full full-tensorflow full-jax
.PHONY: test-all test-covered covered test-torch test-oldest test-hub
.PHONY: test-browser test-wheel docs bench gpu-plan lint format clean

compare: $(READY)
	$(BIN)/dropx compare

test: test-tensorflow test-jax

# COVERAGE=--cov adds what was covered to .coverage.
test-tensorflow: $(READY)
	KERAS_BACKEND=tensorflow $(BIN)/python $(PYTEST) $(FAST) $(COVERAGE)

test-jax: $(READY)
	KERAS_BACKEND=jax $(BIN)/python $(PYTEST) $(FAST) $(CORE)

# What `make test` leaves out.
test-full: full-tensorflow full-jax

full-tensorflow: $(READY)
	KERAS_BACKEND=tensorflow $(BIN)/python $(PYTEST) $(FULL) $(COVERAGE)

full-jax: $(READY)
	KERAS_BACKEND=jax $(BIN)/python $(PYTEST) $(FULL) $(CORE)

# Every backend, mode, kill and recipe.
test-all: test-covered test-jax full-jax test-oldest test-torch test-hub

# All that TensorFlow runs, and how much of its lines `make test` covers.
test-covered:
	rm -f .coverage
	$(MAKE) test-tensorflow COVERAGE="$(COV)"
	$(BIN)/coverage $(TOTAL) > .coverage-fast
	$(MAKE) full-tensorflow COVERAGE="$(COV) --cov-append"
	$(BIN)/coverage $(TOTAL) > .coverage-full
	$(MAKE) covered

# An error if `make test` covers over one point less than all tests.
covered:
	@echo "make test covers $$(cat .coverage-fast) %," \
		"all tests $$(cat .coverage-full) % of the lines"
	@paste .coverage-fast .coverage-full | awk '{ exit $$1 + 1 < $$2 }'

test-torch: .venv-torch/.ready
	KERAS_BACKEND=torch .venv-torch/bin/python $(PYTEST) $(FAST) $(CORE) \
		tests/benchmarks/test_*_torch.py

test-oldest: .venv-oldest/.ready
	KERAS_BACKEND=tensorflow .venv-oldest/bin/python $(PYTEST) $(FAST) $(CORE)

# KerasHub's models, and `compare` where TensorFlow is not the backend. A file
# alone would keep one core busy: its tests are shared out.
test-hub: .venv-hub/.ready
	for backend in tensorflow jax torch; do \
		KERAS_BACKEND=$$backend .venv-hub/bin/python $(PYTEST) --dist load \
			tests/models/test_keras_hub.py || exit 1; \
	done
	for backend in jax torch; do \
		KERAS_BACKEND=$$backend .venv-hub/bin/python $(PYTEST) --dist load \
			-m backends tests/experiments/test_comparison.py || exit 1; \
	done

# Needs chromium and chromedriver on the PATH, and the site to look at.
test-browser: $(READY) docs
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest tests/browser

# What a user installs, in an environment without the sources.
test-wheel:
	rm -rf dist .venv-wheel
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python $(PIP) build
	.venv-wheel/bin/python -m build
	.venv-wheel/bin/python $(PIP) \
		"$$(echo dist/*.whl)[tensorflow]" scikit-learn
	cd .venv-wheel && bin/dropx --version && \
		KERAS_BACKEND=tensorflow bin/python ../examples/quick_start.py

# The site, in build/site; a warning or a dead link is an error.
docs: .venv-docs/.ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build
	.venv-docs/bin/linkchecker --no-warnings build/site/index.html

# BENCH=--quick takes two minutes.
bench: $(READY)
	$(BIN)/python -m benchmarks run $(BENCH)

# What XLA makes of the layers for a GPU that need not be there.
gpu-plan: .venv-gpu-plan/.ready
	.venv-gpu-plan/bin/python -m benchmarks gpu-plan

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .venv-torch .venv-oldest .venv-docs .venv-wheel build dist
	rm -rf .venv-gpu-plan .venv-hub .coverage*

$(READY): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --editable .[test]
	touch $@

.venv-torch/.ready: setup.py pyproject.toml
	$(PYTHON) -m venv .venv-torch
	.venv-torch/bin/python $(PIP) $(TORCH)
	.venv-torch/bin/python $(PIP) --editable .[core-test]
	touch $@

.venv-oldest/.ready: setup.py pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python $(PIP) $(OLDEST_KERAS) \
		--editable .[core-test,tensorflow,onnx,tensorboard]
	touch $@

.venv-hub/.ready: setup.py pyproject.toml
	$(PYTHON) -m venv .venv-hub
	.venv-hub/bin/python $(PIP) $(TORCH)
	.venv-hub/bin/python $(PIP) --editable .[core-test,hub,jax,experiments,tuner]
	touch $@

.venv-gpu-plan/.ready: setup.py pyproject.toml
	$(PYTHON) -m venv .venv-gpu-plan
	.venv-gpu-plan/bin/python $(PIP) --editable .[gpu-plan]
	touch $@

.venv-docs/.ready: setup.py pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python $(PIP) --editable .[docs]
	touch $@
