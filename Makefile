# `make demo` shows the loop, `make test` proves it; both install all that they need into folders named .venv*.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/uv pip install --quiet

# Without bytecode kept in these folders, each of the many processes would compile a thousand modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-image check format bench lock clean

setup: .venv/installed .venv-label-studio/installed

.venv/installed: pyproject.toml requirements.txt requirements/constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(INSTALL) --python $(BIN)/python --constraint requirements/constraints.txt --editable '.[dev]'
	touch $@

# Label Studio pins many packages, so it lives in an environment of its own.
.venv-label-studio/installed: .venv/installed requirements/label-studio.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-label-studio
	$(INSTALL) --python .venv-label-studio/bin/python -r requirements/label-studio.txt
	touch $@

# The SDK pins a web framework of 2021, so it lives apart too; only one test needs it.
.venv-label-studio-ml/installed: .venv/installed requirements/label-studio-ml.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-label-studio-ml
	$(INSTALL) --python .venv-label-studio-ml/bin/python -r requirements/label-studio-ml.txt --editable .
	touch $@

demo: setup
	$(BIN)/clinical demo

test: setup .venv-label-studio-ml/installed
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# Builds the image and runs it; needs Docker, or root and buildah (apt-get install buildah). IMAGE=NAME tests one that is
# built, BUILD_OPTIONS go to the build.
test-image: .venv/installed
	$(BIN)/pytest --override-ini python_files='check_*.py' tests/image

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml docker-compose.gpu.yml
	$(BIN)/pip-audit --requirement requirements/constraints.txt --no-deps --disable-pip --progress-spinner off

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/clinical bench all

# Renews the tested set of versions.
lock: .venv/installed
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --no-header --no-annotate \
		--output-file requirements/constraints.txt pyproject.toml

clean:
	rm -rf .venv .venv-* .demo .mypy_cache .ruff_cache .pytest_cache
