# `make compare` and `make test` set up all they need in .venv.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := -m pip install --quiet --disable-pip-version-check
PYTEST := -m pytest --numprocesses 2
# What every backend has to pass.
CORE := tests/random tests/ops tests/layers tests/models tests/callbacks

# An index with a CPU build of torch; empty: the configured one.
TORCH_INDEX ?=
TORCH := torch==2.13.0 $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
OLDEST_KERAS := keras==3.13.0

.PHONY: compare test test-torch test-oldest test-browser test-wheel docs bench
.PHONY: lint format clean

compare: $(READY)
	$(BIN)/dropx compare

test: $(READY)
	KERAS_BACKEND=tensorflow $(BIN)/python $(PYTEST)
	KERAS_BACKEND=jax $(BIN)/python $(PYTEST) $(CORE)

test-torch: .venv-torch/.ready
	KERAS_BACKEND=torch .venv-torch/bin/python $(PYTEST) $(CORE)

test-oldest: .venv-oldest/.ready
	KERAS_BACKEND=tensorflow .venv-oldest/bin/python $(PYTEST) $(CORE)

# Needs chromium and chromedriver on the PATH.
test-browser: $(READY)
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

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .venv-torch .venv-oldest .venv-docs .venv-wheel build dist

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

.venv-docs/.ready: setup.py pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python $(PIP) --editable .[docs]
	touch $@
