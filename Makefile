# Every target first makes .venv from requirements.lock, when it is missing or the lock has changed.
# The environment takes about 1.6 GB of disk and one to three minutes. pip's own settings (PIP_INDEX_URL,
# PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS, pip.conf) are honoured.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.lock-installed
ARGS   ?=
SEEDS  ?= 200

.PHONY: venv run test check format bench sim soak clean

venv: $(STAMP)

$(STAMP): requirements.lock
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "Lyceum needs Python 3.11: install it (Debian: apt-get install python3.11 python3.11-venv), or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || { echo "Lyceum needs Python 3.11, and $(PYTHON) is $$($(PYTHON) --version 2>&1): name another with make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) comes without ensurepip: install its venv package (Debian: apt-get install python3.11-venv) and try again"; exit 1; }
	@echo "Making $(VENV) from requirements.lock: about 1.6 GB, one to three minutes, once."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --only-binary=:all: -r requirements.lock
	@touch $(STAMP)
	@echo "$(VENV) is ready."

run: $(STAMP)
	@exec $(BIN)/python -m chain $(ARGS)

test: $(STAMP)
	@$(BIN)/python -m pytest -m "not soak" $(ARGS)

check: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP)
	@$(BIN)/python -m benchmarks $(ARGS)

sim: $(STAMP)
	@$(BIN)/python -m tests.sim --seeds $(SEEDS) $(ARGS)

soak: $(STAMP)
	@$(BIN)/python -m pytest -m soak $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
