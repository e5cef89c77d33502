# bdnb: everything from one place. `make help` says what there is.
SCALE ?= quick
CORES ?= all
PYTHON ?= python3
PYTEST ?= -n 2 --dist loadfile --no-loadscope-reorder
LAB_FLAGS ?=
CONSTRAINTS ?= .ci/constraints.txt
VENV := .venv
BIN := $(VENV)/bin
FAISS ?= $(shell command -v nvidia-smi > /dev/null && echo gpu || echo cpu)
BUILT := book html notebooks logs shipped data book.log book.done
INSTALLED := $(VENV)/.installed
WITH := PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: help book unlock test lab web format clean install
.DEFAULT_GOAL := help

help:
	@echo "make book    run the experiments of SCALE=$(SCALE) (quick, laptop, gpu, paper) and build the book"
	@echo "make unlock  after a kill or a power loss: give the folder free that make book calls locked"
	@echo "make test    formatting, lint, types, import layers and tests"
	@echo "make lab     JupyterLab on the notebooks (as root in a container: LAB_FLAGS=--allow-root)"
	@echo "make web     install img2dataset in a venv of its own, for CC3M and CC12M"
	@echo "make format  format the code, strip the notebooks' outputs"
	@echo "make clean   remove what was built; data and runs stay"

book: $(INSTALLED)
	@$(WITH) snakemake -s notebooks/Snakefile --cores $(CORES) --config scale=$(SCALE) \
	    --rerun-triggers input params mtime --rerun-incomplete --keep-going --quiet rules host || { code=$$?; \
	    ls .snakemake/locks/* > /dev/null 2>&1 && \
	    echo "If no other make book works in this folder: make unlock, then make book again; what is done is kept"; exit $$code; }
	@$(BIN)/python -c "from pathlib import Path as P; print('The book:', P('build/$(SCALE)/html/index.html').resolve().as_uri())"

unlock: $(INSTALLED)
	@$(WITH) snakemake -s notebooks/Snakefile --config scale=$(SCALE) --unlock --quiet rules host

test: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/nbstripout --keep-id --verify notebooks/*.ipynb
	$(WITH) pytest $(PYTEST)

lab: $(INSTALLED)
	$(WITH) jupyter lab $(LAB_FLAGS) notebooks

web: $(INSTALLED)
	@$(BIN)/python -c "from bdnb.data import web; print(web.tool())"

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb

clean:
	rm -rf $(foreach made,$(BUILT),build/*/$(made)) .snakemake notebooks/.snakemake
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	@rmdir build/* build 2> /dev/null || true
	@echo "data/ and runs/ are kept: remove them by hand to make them again"

install: $(INSTALLED)

# Written last, so that an installation that was broken off begins again.
$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON): not found; bdnb needs Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("bdnb needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name a newer one: make PYTHON=python3.12 ...")'
	@echo "Installing into $(VENV) (several GB to fetch, about 5 minutes); what pip says is in $(VENV)/pip.log"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -c $(CONSTRAINTS) \
	    -e '.[$(FAISS),book,dev]' > $(VENV)/pip.log 2>&1 \
	    || { tail -n 20 $(VENV)/pip.log; echo "pip failed: all it said is in $(VENV)/pip.log"; exit 1; }
	@touch $@
