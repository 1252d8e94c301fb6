# make demo: the whole path on the embedded corpus.   make test: the whole test suite.
# Both set up a virtual environment in .venv once and use it again. For CPU-only PyTorch, give the index that
# PyTorch's own "Start Locally" page names for CPU:   make demo TORCH_INDEX=https://...
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN = $(VENV)/bin
READY = $(VENV)/.ready
PACKAGES = datasets features sermodels benchmarks results
export PYTHONSAFEPATH = 1

.PHONY: setup demo test lint types bench wheel clean

setup: $(READY)

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -z "$(TORCH_INDEX)" || \
	    $(BIN)/python -m pip install --quiet "torch>=2.11,<2.13" "torchaudio>=2.11,<2.12" --index-url "$(TORCH_INDEX)"
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

demo: $(READY)
	$(BIN)/serbench run --model linear --model svm --model cnn-regressor:small --dataset demo
	$(BIN)/serbench leaderboard --dataset demo
	$(BIN)/serbench compare linear svm cnn-regressor:small chance --dataset demo

# two workers, one thread each: most tests are single-threaded, and torch's own threads would fight over the cores
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .

# mypy can't follow an editable install's import hook, so the five folders are linked under one name
types: $(READY)
	mkdir -p build/static/serbench
	for p in $(PACKAGES); do ln -sfn ../../../$$p build/static/serbench/$$p; done
	$(BIN)/mypy $(foreach p,$(PACKAGES),-p serbench.$(p))

bench: $(READY)
	$(BIN)/python -m serbench.benchmarks.performance.page --out docs/performance.md

wheel: $(READY)
	$(BIN)/python -m build --no-isolation --outdir build/dist .

clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache
