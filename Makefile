# Every target sets up what it needs: a virtual environment with torch pinned first, then the package.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test lint bench reports docs renew-docs wheel clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/python examples/demo.py --out reports/demo

# The demo's report and one of each shipped sweep, run anew, with validations as they are today.
reports: $(STAMP)
	mkdir -p build && rm -rf runs/sweeps
	$(BIN)/python -m codesign.report.validation > build/validation.json
	mv build/validation.json codesign/report/validation.json
	$(BIN)/python examples/reports.py --stores runs/sweeps

test: $(STAMP)
	$(BIN)/codesign warmup --quiet
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# The documentation as a site in build/site; renew-docs writes what its commands print today.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

renew-docs: $(STAMP)
	$(BIN)/python -m docs_site.pictures
	$(BIN)/python -m docs_site.console --renew $$(grep -rl '^```console' docs README.md)
	$(BIN)/python -m docs_site.notebooks --renew

# The wheel, in an environment and a folder of its own, finds its machines and workloads.
wheel: $(STAMP)
	rm -rf build/wheel && mkdir -p build/wheel/empty
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	build/wheel/venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt build/wheel/*.whl
	cd build/wheel/empty && ../venv/bin/codesign compare gemm:256,256,256 --arch dense_systolic --arch sat --sparsity 2:8
	cd build/wheel/empty && ../venv/bin/codesign workload list

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
