# Needs Python 3.11 or later and make. Everything is installed into .venv, nothing outside this folder.

PYTHON ?= python3
BIN := .venv/bin
LAKE := data/lake-demo
VERSION = $(shell sed -n 's/^__version__: Final = "\(.*\)"$$/\1/p' genesis_etl/version.py)

.PHONY: help setup setup-all demo test test-all torture mutants check format bench bench-quick release-check clean

help:
	@echo "make demo      set up, capture 120 days of a simulated account, print both reports"
	@echo "make test      the tests; make test-all adds the slow ones"
	@echo "make check     lint, format and types"
	@echo "make torture   the attacks on the three promises, longer, with their figures"
	@echo "make mutants   small changes to the code, and whether the tests notice; ROOM=rows N=200"
	@echo "make bench     the measurements of benchmarks/, some 20 minutes; make bench-quick against the commit before, 2"
	@echo "make release-check   what a release needs: version, dates, all tests, the built packages, other Pythons"

setup: .venv/.ready

.venv/.ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("genesis-etl needs Python 3.11 or later, this is " + sys.version.split()[0] + "; give another: make PYTHON=python3.12 ...")'
	@echo "installing into .venv, this takes a minute or two"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

setup-all: .venv/.ready-all

.venv/.ready-all: .venv/.ready requirements-all.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-all.txt
	@touch $@

demo: setup
	@$(BIN)/genesis-etl demo --days 119 --lake $(LAKE) > /dev/null
	@PREFECT_HOME=$${PREFECT_HOME:-$(CURDIR)/.venv/prefect} $(BIN)/python -m flows.demo $(LAKE)

# Compiled first, for where Python may not keep what it compiles, each process that a test starts would do it again.
test: setup
	@$(BIN)/python -m compileall -q genesis_etl flows
	$(BIN)/python -m pytest -m "not slow"

# ONLY="-m slow" leaves out what make test has just run, ONLY="-m 'slow and not whole'" what takes longest as well.
# Flows wait for their schedules, so there are more processes.
test-all: setup-all
	@$(BIN)/python -m compileall -q genesis_etl flows
	$(BIN)/python -m pytest -n 4 $(ONLY)

# What attacks the three promises, longer and with the figures in the end; under ten minutes.
torture: setup
	$(BIN)/python -m pytest --figures tests/test_drift.py tests/test_api.py tests/test_cache.py tests/test_page.py tests/test_export.py \
		tests/test_secrets.py tests/test_lake.py tests/test_storage.py tests/test_concurrency.py tests/test_verify.py \
		tests/test_compact.py tests/test_together.py tests/test_model.py::test_the_model_agrees \
		"tests/test_model.py::test_the_model_agrees_over_thousands_of_lives[0]" \
		$(foreach part,1-50 2-50 3-50 4-50,--deselect \
		"tests/test_compact.py::test_random_histories_tell_the_same_compacted_or_not[$(part)]")

# Of five rooms in turn (or one: ROOM=rows) thirty small changes each (N=200), made in copies of this folder, against
# the room's own quick tests; fails where fewer than 85 % are noticed.
mutants: setup-all
	$(BIN)/python -m tests.mutants $(ROOM) $(if $(N),-n $(N))

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup-all
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/sizing.py

# What is changed here beside a commit, the one before unless COMMIT names another.
bench-quick: setup
	$(BIN)/python benchmarks/quick.py $(COMMIT)

# What a release needs: nothing uncommitted, a version without a tag and with a dated section in CHANGELOG.md, every
# test (the built packages with the lowest versions and in each Python from 3.11 on that is here, too); then the packages.
release-check: check test-all
	@test -z "$$(git status --porcelain)" || { git status --short; echo "error: commit these first"; exit 1; }
	@test -z "$$(git tag --list v$(VERSION))" || { echo "error: v$(VERSION) is a tag already; raise the version"; exit 1; }
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	@echo "dist/ holds $(VERSION); tag it: git tag v$(VERSION)"

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
