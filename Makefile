# Everything a developer or CI runs. Set-up is incremental: a stamp per step, nothing is installed twice. It ends with
# the bytecode of what every start imports, also where the environment keeps Python from writing any: 4 s a start.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
IMPORTED := symphony.cli.run, symphony.engine.loading, symphony.http.app, transformers.models.llama.modeling_llama
SRC := runtime kernels tools tiny tests bench samples guest_sdk/python

.DEFAULT_GOAL := help
.PHONY: help setup run test check fmt gen bench serve clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[test]'
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import $(IMPORTED)'
	@touch $@

setup: $(STAMP) ## create .venv and install Symphony into it (once)

run: $(STAMP) ## run the first sample: a sandboxed LIP streams a completion from the tiny model
	@$(BIN)/symphony run samples/completion/completion.py prompt="Hello, who are you?"

test: $(STAMP) ## run every test that needs no GPU, in two processes
	@$(BIN)/python -m pytest -m "not gpu" -n 2 --dist worksteal

check: $(STAMP) ## lint, format, types, generated files
	@$(BIN)/ruff check $(SRC)
	@$(BIN)/ruff format --check $(SRC)
	@$(BIN)/pyright
	@$(BIN)/python -m tools.witgen --check
	@$(BIN)/python -m tools.limits --check
	@$(BIN)/python -m tools.settings --check
	@$(BIN)/python -m tools.samples --check

fmt: $(STAMP) ## format and fix what can be fixed
	@$(BIN)/ruff check --fix-only --quiet $(SRC)
	@$(BIN)/ruff format --quiet $(SRC)

gen: $(STAMP) ## regenerate what is derived from wit/ and param.py
	@$(BIN)/python -m tools.witgen
	@$(BIN)/python -m tools.limits
	@$(BIN)/python -m tools.settings
	@$(BIN)/python -m tools.samples
	@$(BIN)/python -m tools.sdktable

bench: $(STAMP) ## measure the host
	@$(BIN)/symphony bench host

serve: $(STAMP) ## serve programs over HTTP on port 8080
	@$(BIN)/symphony serve

clean: ## remove what was built (the virtual environment too)
	rm -rf $(VENV) build dist out .pytest_cache .ruff_cache .hypothesis
