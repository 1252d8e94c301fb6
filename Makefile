# make demo: the whole path on the embedded corpus.   make test: the whole test suite.
# Both set up a virtual environment in .venv once and use it again; another is named by VENV=FOLDER. For CPU-only PyTorch,
# give the index that PyTorch's own "Start Locally" page names for CPU:   make demo TORCH_INDEX=https://...
# docs/installing.md says more: uv, proxies, machines without a network, what each extra brings.
PYTHON ?= python3
VENV ?= .venv
EXTRA ?= dev
CONSTRAINTS ?=
TORCH_INDEX ?=
RESULTS ?= results
WORKERS ?= 2
ROUNDS ?= 10
BIN = $(VENV)/bin
READY = $(VENV)/.ready
INSTALL = $(BIN)/python -m pip install --quiet $(addprefix --constraint ,$(CONSTRAINTS))
TORCH = $(shell sed -n 's/^ *"\(torch[>=][^"]*\)",$$/\1/p' pyproject.toml)
PACKAGES = datasets features sermodels benchmarks results
export PYTHONSAFEPATH = 1

.PHONY: setup demo test smoke test-oldest test-newest smoke-oldest lint static types docs bench torture wheel clean

setup: $(READY)

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -z "$(TORCH_INDEX)" || $(INSTALL) "$(TORCH)" --index-url "$(TORCH_INDEX)"
	$(INSTALL) -e ".[$(EXTRA)]"
	touch $@

demo: $(READY)
	$(BIN)/serbench run --model linear --model svm --model cnn-regressor:small --dataset demo --results $(RESULTS)
	$(BIN)/serbench leaderboard --dataset demo --results $(RESULTS)
	$(BIN)/serbench compare linear svm cnn-regressor:small chance --dataset demo --results $(RESULTS)

# one thread for each worker: most tests are single-threaded, and torch's own threads would fight over the cores
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# the short form: every module is imported, every model keeps its contract, the demo runs
smoke: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) tests/test_dependencies.py tests/test_models_contract.py
	SERBENCH_CACHE=$(VENV)/cache $(MAKE) demo RESULTS=$(VENV)/results

# Both ends of the bounds in pyproject.toml, each in an environment made anew: every direct dependency at its lower bound,
# and the newest release of everything (pip takes no pre-releases by itself), with a list of what a bound or pip's own
# configuration holds back.
OLDEST = VENV=build/env-oldest EXTRA=test CONSTRAINTS=build/oldest.txt
NEWEST = VENV=build/env-newest EXTRA=test

build/oldest.txt: pyproject.toml tests/lower_bounds.py
	mkdir -p build
	$(PYTHON) tests/lower_bounds.py test > $@

test-oldest smoke-oldest: %-oldest: build/oldest.txt
	rm -rf build/env-oldest
	$(MAKE) setup $(OLDEST)
	build/env-oldest/bin/serbench env
	$(MAKE) $* $(OLDEST)

test-newest:
	rm -rf build/env-newest
	$(MAKE) setup $(NEWEST)
	build/env-newest/bin/serbench env
	build/env-newest/bin/python -m pip list --outdated
	$(MAKE) test $(NEWEST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# what reads sources (mypy, the documentation) can't follow an editable install's import hook, so the five folders are
# linked under one name
static:
	mkdir -p build/static/serbench
	for p in $(PACKAGES); do ln -sfn ../../../$$p build/static/serbench/$$p; done

types: $(READY) static
	$(BIN)/mypy $(foreach p,$(PACKAGES),-p serbench.$(p))

# the documentation as a site in build/docs, without a network; a broken link or anchor is an error
docs: $(READY) static
	$(BIN)/mkdocs build --quiet --strict

bench: $(READY)
	$(BIN)/python -m serbench.benchmarks.performance.page --out docs/performance.md

# what is killed, damaged, full, hostile or mutated, and what was lost; longer: make torture ROUNDS=100
torture: $(READY)
	$(BIN)/python -m serbench.benchmarks.torture.page --rounds $(ROUNDS) --out docs/reliability.md

wheel: $(READY)
	$(BIN)/python -m build --no-isolation --outdir build/dist .

clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache
