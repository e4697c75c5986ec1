# Each target works alone on a fresh clone: it makes .venv and installs the extra that it needs, once.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test fuzz coverage mutants browser lint bench notebooks run-notebooks docs clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo       compare the three methods on a photo and draw the result'
	@echo 'make test       run every test'
	@echo 'make fuzz       run the long forms of those that have one; takes hours'
	@echo 'make coverage   run every test, and name the lines outside compiled code that none reaches'
	@echo 'make mutants    change geometry and plan in some 900 places, and name the changes that no test sees'
	@echo 'make browser    test the explorer in JupyterLab, in Chromium'
	@echo 'make lint       check style, types and layers'
	@echo 'make bench      measure the methods, and the peers that are installed; write a report, and its'
	@echo '                summary into README.md; with QUICK=1 a part of it in about two minutes, no summary'
	@echo 'make notebooks  open the notebooks in JupyterLab; make run-notebooks runs them all, in place'
	@echo 'make docs       build the documentation into build/docs; a broken link or reference stops it'
	@echo 'make clean      remove .venv, caches and everything that these targets write'

demo: .venv/installed-plot
	$(BIN)/triconv compare

test: .venv/installed-test
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -n auto --dist worksteal --ignore=tests/browser

fuzz: .venv/installed-test
	$(BIN)/python -m pytest -n auto --dist worksteal --ignore=tests/browser --fuzz -m long

coverage: .venv/installed-coverage
	$(BIN)/python -m pytest -n auto --dist worksteal --ignore=tests/browser --cov=triconv --cov-report=term-missing

mutants: .venv/installed-mutants
	$(BIN)/mutmut run && $(BIN)/mutmut results

browser: .venv/installed-browser
	$(BIN)/python -m pytest tests/browser

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed-bench
	@mkdir -p benchmarks/report
	$(BIN)/python -m pytest benchmarks $(if $(QUICK),--quick) --benchmark-quiet \
	  --benchmark-json=benchmarks/report/benchmark.json; status=$$?; \
	  $(BIN)/python benchmarks/report.py benchmarks/report/benchmark.json $(if $(QUICK),,README.md) && exit $$status

notebooks: .venv/installed-notebook
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/01_one_convolution_three_ways.ipynb

# Without what differs from run to run, or would hold the widget's code.
run-notebooks: .venv/installed-notebook
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --coalesce-streams \
	  --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False notebooks/*.ipynb

docs: .venv/installed-docs
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs build/docs
	@echo 'open build/docs/index.html'

clean:
	rm -rf .venv build dist mutants triconv-compare benchmarks/report docs/figures docs/notebooks
	rm -rf .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'triconv needs Python 3.11 or later; name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed-%: pyproject.toml | $(BIN)/pip
	$(PIP) install --editable '.[$*]'
	@touch $@

# A peer that has no build for this machine leaves its comparisons out; it does not stop the benchmark.
PEERS := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["peers"], sep="\n")

.venv/installed-bench: pyproject.toml | $(BIN)/pip
	@echo 'installing the benchmark and the peers'
	@$(PIP) install --editable '.[bench]' || { \
	  $(PIP) install --editable '.[plot]' pytest-benchmark && \
	  $(BIN)/python -c '$(PEERS)' | while read -r peer; do \
	    $(PIP) install "$$peer" || echo "$$peer could not be installed; comparisons with it are skipped"; \
	  done; }
	@touch $@
