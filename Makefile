# Each target makes the environment it needs, once. Other places: `make test VENV=/path`, `make test PYTHON=python3.12`.
# Smaller torch without CUDA: `make demo PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.env-stamp
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test lint types bench docs env tutorials
.DELETE_ON_ERROR:

help:
	@echo "make demo    train on synthetic retinas and localise lesions: demo/index.html"
	@echo "make test    run the tests; as root in a container, install the Debian packages they drive first"
	@echo "make lint    check style and format (ruff)"
	@echo "make types   check types (mypy --strict)"
	@echo "make bench   collect the benchmark runs into the results tables, then measure speed (minutes)"
	@echo "make tutorials  run the notebooks again and write their outputs, some minutes"
	@echo "make docs    build the documentation: site/index.html"
	@echo "make env     only make the environment, in $(VENV)"

env: $(STAMP)

$(STAMP): setup.py constraints.txt pyproject.toml monai_cavga_cli.pth
	@echo "making the Python environment in $(VENV) (some minutes the first time)"
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || { \
		echo "python3's venv is missing; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python tutorials/demo.py

test: $(STAMP)
	@tests/install_tools.sh
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python benchmarks/retina.py collect
	$(BIN)/python benchmarks/synthetic.py collect --protocol retina
	$(BIN)/python benchmarks/synthetic.py collect --protocol screw
	$(BIN)/python benchmarks/synthetic.py collect --protocol ped2
	$(BIN)/python benchmarks/paper.py collect ablation --category screw
	$(BIN)/python benchmarks/paper.py collect table3
	$(BIN)/python benchmarks/paper.py collect table4
	$(BIN)/python benchmarks/paper.py collect table7
	$(BIN)/python benchmarks/baselines.py collect
	$(BIN)/python benchmarks/speed.py

docs: $(STAMP)
	@$(BIN)/python docs/tools/command_line.py
	@$(BIN)/python docs/tools/pictures.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html; with the search: $(BIN)/python -m http.server -d site"

tutorials: $(STAMP)
	$(BIN)/python tutorials/build.py
