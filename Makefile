# The README's two commands are `make demo` and `make test`; each sets up everything it needs.
# Options: PYTHON=python3.12, VENV=.venv, TORCH_INDEX=<URL of a CPU wheel index, see docs/install.md>.
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
TORCH := torch>=2.11,<2.14
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint bench bench-corpus bench-eval bench-relevance bench-serve bench-train format clean

demo: $(VENV)/.model
	$(BIN)/aquilamed run recipes/demo.yaml --workspace workspaces/demo

test: $(VENV)/.model
	-$(BIN)/aquilamed fetch gguf-converter
	$(BIN)/pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.model
	$(BIN)/python benchmarks/baseline.py

bench-eval: $(VENV)/.model
	$(BIN)/python benchmarks/evaluate.py

bench-relevance: $(VENV)/.model
	$(BIN)/python benchmarks/relevance.py

bench-serve: $(VENV)/.model
	$(BIN)/python benchmarks/serve.py

bench-train: $(VENV)/.model
	$(BIN)/python benchmarks/train.py

bench-corpus: $(VENV)/.model
	$(BIN)/pip install -q -e ".[bench]"
	$(BIN)/python benchmarks/corpus.py

# torch comes first and alone: with it in place nothing below pulls another build.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@[ -n "$(TORCH_INDEX)" ] || [ "$$(uname)" != Linux ] || command -v nvidia-smi >/dev/null || \
	  echo "No GPU here: if pip now fetches a CUDA build, stop it and give TORCH_INDEX=<CPU wheel index> (docs/install.md)."
	$(BIN)/pip install -q $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	$(BIN)/pip install -q -e ".[dev]"
	touch $@

$(VENV)/.model: $(VENV)/.installed
	$(BIN)/aquilamed fetch smollm2-135m
	touch $@

clean:
	rm -rf $(VENV) workspaces .mypy_cache .ruff_cache .pytest_cache
