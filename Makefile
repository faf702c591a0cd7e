# make install sets up .venv; for a CUDA 12 driver: make install TORCH='torch torchvision --index-url URL'
# make train   install, prepare the embedded digits, train, evaluate
# make test    install, then lint and the whole test suite in JOBS=2 processes, and the tests against
#              a real SLURM where there is one
# make units   install, then the test suite without lint and without SLURM
# make lint    install, then lint and types
# make test-slurm   install, then the tests against a real SLURM on this host (root; Debian, Ubuntu)
# make docs    install, then build the documentation site into site/
# make clean   remove the embedded example's data and run, the site, and all caches

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA := data/rotated_digits
RUN := runs/rotated_digits
REPORT := reports/rotated_digits
JOBS ?= 2

# Some containers forbid it, and then each of the many programs compiles all modules again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: install train test units test-slurm lint style types docs clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with make PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "python -m venv failed: install your system's venv package"; exit 1; }
	$(if $(TORCH),$(BIN)/python -m pip install --quiet $(TORCH))
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	$(BIN)/python pipeline/fit_dali.py
	@touch $@

train: install
	$(BIN)/python data_prep/prepare.py dataset=rotated_digits out=$(DATA)
	$(BIN)/python pipeline/train.py experiment=rotated_digits data=$(DATA) run_dir=$(RUN)
	$(BIN)/python pipeline/evaluate.py run_dir=$(RUN)
	$(BIN)/python launch/report.py $(RUN) out=$(REPORT)
	@echo "Look at $(RUN)/orbits.png, or open $(REPORT)/index.html"

lint: style types

style: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: install
	$(BIN)/mypy

# The tests on SLURM mostly wait, so they and the types run beside all other tests, and are shown when
# they are done.
test: style
	@$(MAKE) --no-print-directory --jobs 3 --output-sync=target units test-slurm types

units: install
	+OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --ignore tests/slurm

test-slurm: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slurm

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "Open site/index.html"

clean:
	rm -rf $(DATA) $(RUN) $(REPORT) build site .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
