# `make install` sets up .venv; `make demo` runs the main job on real data; `make test` is what CI runs.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
# modules are compiled once, not by each of the processes that tests start
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test lint test-slow test-bench bench bench-speed bench-de-pois clean
install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Lotgate needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m flows.demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# as listed: sorted by how many tests they hold, the few long ones of flows/ would come last, on one core
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

.venv/bench: $(STAMP) constraints-bench.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -c constraints-bench.txt -e '.[dev,bench]'
	touch $@

# the peers and ART's attacks, which `make test` does not install
test-bench: .venv/bench
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit/test_bench_rivals.py tests/unit/test_benchmarks.py

# Hours on two cores; stops and goes on where it was. `make bench SPLIT=tune ONLY=digits JOBS=2` runs a part.
SPLIT ?= report
ONLY ?= .
JOBS ?= 1
bench: .venv/bench
	$(BIN)/python -m benchmarks.detection run --split $(SPLIT) --only '$(ONLY)' --jobs $(JOBS)

bench-speed: .venv/bench
	$(BIN)/python -m benchmarks.speed

# De-Pois' own tables beside ours → docs/de-pois-tables.md; forty minutes, goes on where it was. `PART=figure_8` runs a part.
bench-de-pois: .venv/bench
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.de_pois $(if $(PART),--only $(PART))

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
