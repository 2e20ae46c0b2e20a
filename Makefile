# Everything works in a fresh clone with Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup fmt lint types unit test test-engines demo bench bench-long bench-gpu soak image-test clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Make the virtual environment, or reuse it

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found %d.%d" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --editable . --group tests --group typing --group lint
	@touch $@

fmt: $(READY) ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(READY) ## Format, lint and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(READY) ## mypy, strict
	$(BIN)/mypy

unit: $(READY) ## The fast tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow and not peer" -n 2

# Two workers of one thread each: more threads would wait for each other.
test: lint types ## Lint, types and all tests: the definition of done
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

test-engines: $(READY) ## The tests that segment, once with every engine of this CPU
	set -e; for engine in torch-cpu-bf16 openvino-cpu-fp32 openvino-cpu-bf16 openvino-cpu-int8; do \
		BRS_TEST_ENGINE=$$engine OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not peer" \
		$$(grep -lE 'untrained_segmenter|on_engine' tests/test_*.py); done

demo: $(READY) ## The whole loop on a synthetic cohort, into brs-demo/
	$(BIN)/brs demo --output brs-demo

bench: $(READY) ## Measurements of about 20 minutes on a quiet machine, and their page
	set -e; for one in start reading arrays ranking "inference --grid 256" \
		"inference --grid 512 --repeats 3" "training --repeats 2" scaling transfers \
		overlap seg_writing receiving queueing service "study_to_seg --grid 128 --repeats 2"; do \
		$(BIN)/python -m benchmarks.$$one; done
	$(BIN)/python -m benchmarks.report > docs/performance.md

bench-long: bench ## Hours more: the cold start on 200 phantoms, larger grids, torch.compile
	$(BIN)/python -m benchmarks.cold_start --cases 200 --seed 20000 --slices 48 --matrix 192
	set -e; for one in "inference --grid 256 --repeats 15" "inference --grid 512 --repeats 15" \
		"training --compiled" "study_to_seg --grid 256" "study_to_seg --grid 512 --repeats 1"; do \
		$(BIN)/python -m benchmarks.$$one; done
	$(BIN)/python -m benchmarks.report > docs/performance.md

bench-gpu: $(READY) ## Minutes on a machine with an NVIDIA GPU: its tables beside those of a CPU
	set -e; for one in "inference --device cuda" "training --device cuda --repeats 10" \
		"training_energy --device cuda"; do OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.$$one; done
	$(BIN)/python -m benchmarks.report > docs/performance.md

# SOAK is emptied first, and must lie on a real disk.
SOAK ?= .soak
soak: $(READY) ## 200 studies, 50 kills: an hour or two; needs DCMTK
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak_in_full.py --folder $(SOAK)

image-test: ## Build the image with podman, and run it as a guarded site would
	docker/image-test.sh

clean: ## Remove the environment and the demo
	rm -rf $(VENV) $(SOAK) brs-demo
