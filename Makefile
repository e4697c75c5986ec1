# Each target works alone on a fresh clone: it makes .venv and installs the extra that it needs, once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo check test test-all lowest fuzz coverage mutants browser lint bench notebooks run-notebooks docs clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo       compare the three methods on a photo and draw the result'
	@echo 'make check      test in a minute: a case of each test, every kind of schedule, every refusal'
	@echo 'make test       test in five minutes: a few cases of each'
	@echo 'make test-all   run every test'
	@echo 'make lowest     make check with the lowest versions that pyproject.toml allows, in build/lowest'
	@echo 'make fuzz       run the long forms of those that have one; takes hours'
	@echo 'make coverage   run every test, and name the lines outside compiled code that none reaches'
	@echo 'make mutants    change geometry and plans in some 900 places, and name the changes that no test sees'
	@echo 'make browser    test the explorer in JupyterLab, in Chromium'
	@echo 'make lint       check style, types and layers'
	@echo 'make bench      measure the methods, and the peers that are installed; write a report, summaries into'
	@echo '                README.md and docs/benchmark.md, and a line into benchmarks/history.csv; with QUICK=1'
	@echo '                a part of it in about two minutes, and the report alone'
	@echo 'make notebooks  open the notebooks in JupyterLab; make run-notebooks runs them all, in place'
	@echo 'make docs       build the documentation into build/docs; a broken link or reference stops it'
	@echo 'make clean      remove .venv, caches and everything that these targets write'

demo: $(VENV)/installed-plot
	$(BIN)/triconv compare

PYTEST := PYTHONHASHSEED=0 $(BIN)/python -m pytest -n auto --dist worksteal --ignore=tests/browser

check: $(VENV)/installed-$(or $(VERSIONS),test)
	$(PYTEST) --speed check

test: $(VENV)/installed-test
	$(PYTEST) --speed test

test-all: $(VENV)/installed-test
	$(PYTEST)

lowest:
	$(MAKE) check VENV=build/lowest VERSIONS=lowest

fuzz: $(VENV)/installed-test
	$(BIN)/python -m pytest -n auto --dist worksteal --ignore=tests/browser --fuzz -m long

coverage: $(VENV)/installed-coverage
	$(BIN)/python -m pytest -n auto --dist worksteal --ignore=tests/browser --cov=triconv --cov-report=term-missing

mutants: $(VENV)/installed-mutants
	$(BIN)/mutmut run && $(BIN)/mutmut results

browser: $(VENV)/installed-browser
	$(BIN)/python -m pytest tests/browser

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed-bench
	@mkdir -p benchmarks/report
	$(BIN)/python -m pytest benchmarks $(if $(QUICK),--quick) --benchmark-quiet \
	  --benchmark-json=benchmarks/report/benchmark.json; status=$$?; \
	  $(BIN)/python benchmarks/report.py benchmarks/report/benchmark.json $(if $(QUICK),,.) && exit $$status

notebooks: $(VENV)/installed-notebook
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/01_one_convolution_three_ways.ipynb

# Without what differs from run to run, or would hold the widget's code.
run-notebooks: $(VENV)/installed-notebook
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --coalesce-streams \
	  --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False notebooks/*.ipynb

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs build/docs
	@echo 'open build/docs/index.html'

clean:
	rm -rf .venv build dist mutants triconv-compare benchmarks/report docs/figures docs/notebooks
	rm -rf .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'triconv needs Python 3.11 or later; name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/installed-%: pyproject.toml | $(VENV)/pyvenv.cfg
	$(PIP) install --editable '.[$*]'
	@touch $@

# Where an extra includes others, their needs are listed by themselves.
LOWEST := import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; extras = project["optional-dependencies"]; print(*(need.replace(">=", "==", 1) for needs in (project["dependencies"], *map(extras.get, ("memory", "plot", "examples", "test"))) for need in needs if ">=" in need), sep="\n")

$(VENV)/installed-lowest: pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python -c '$(LOWEST)' >$@.txt
	$(PIP) install --constraint $@.txt --editable '.[test]'
	@touch $@

# A peer that has no build for this machine leaves its comparisons out; it does not stop the benchmark.
PEERS := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["peers"], sep="\n")

$(VENV)/installed-bench: pyproject.toml | $(VENV)/pyvenv.cfg
	@echo 'installing the benchmark and the peers'
	@$(PIP) install --editable '.[bench]' || { \
	  $(PIP) install --editable '.[plot]' pytest-benchmark && \
	  $(BIN)/python -c '$(PEERS)' | while read -r peer; do \
	    $(PIP) install "$$peer" || echo "$$peer could not be installed; comparisons with it are skipped"; \
	  done; }
	@touch $@
