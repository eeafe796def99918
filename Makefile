# Shortcuts for people and CI. Each does what the plain lines beside it in README.md do.
#
# .venv is made once. The stamps in it are as old as the requirements files they stand for, so
# packages are installed again only when those files have changed.

PYTHON  ?= python3
VENV    ?= .venv
GAME    ?=
ARGS    ?=
WORKERS ?= 2
KILLS   ?= 100
SEEDS   ?= 10
MINUTES ?= 20
ONLY    ?=

RUN    := $(VENV)/bin/python
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest

.DEFAULT_GOAL := help
.PHONY: help venv train test test-all soak mutants survivors gpu lint format clean

help:
	@echo 'make train GAME=Breakout [ARGS="--seed 3 --render"]   train (again: continue)'
	@echo 'make test [ARGS="-k replay"] [WORKERS=2]              the quick tests: five minutes'
	@echo 'make test-all                                         every test, as CI runs them'
	@echo 'make soak [KILLS=100] [SEEDS=10]                      the long tests, for hours'
	@echo 'make mutants [ONLY=dqn/evaluation]                    break the code: which tests notice?'
	@echo 'make survivors [ONLY=dqn/evaluation]                  again the mutants that survived'
	@echo 'make gpu [MINUTES=20]                                 on a GPU: its tests, bench, Breakout'
	@echo 'make lint                                             style, types, Dockerfile'
	@echo 'make format                                           put the code in shape'
	@echo 'make venv                                             only make $(VENV)'
	@echo 'make clean                                            remove $(VENV) and caches, no runs'
	@echo
	@echo 'PYTHON=python3.12 chooses the interpreter (3.11 to 3.13) that $(VENV) is made from.'

# exec: a signal meant for the training reaches it, not a shell that forgets to hand it on.
train: $(VENV)/.installed
	@[ -n "$(GAME)$(ARGS)" ] || { echo 'name a game: make train GAME=Breakout' >&2; exit 2; }
	@exec $(RUN) main.py $(if $(GAME),--game "$(GAME)") $(ARGS)

# Two workers, a thread each: on two cores faster than one worker whose threads wait for each other.
test: $(VENV)/.installed-test
	$(PYTEST) -m "not slow and not soak" -n $(WORKERS) --dist worksteal $(ARGS)

test-all: $(VENV)/.installed-test
	$(PYTEST) -n $(WORKERS) --dist worksteal $(ARGS)

# The kills come first and alone, so that the terminal shows each of them.
soak: $(VENV)/.installed-test
	$(PYTEST) -m soak -p no:xdist -q --timeout 0 -s --kills $(KILLS) $(ARGS)
	$(PYTEST) -m slow -n $(WORKERS) --dist worksteal --seeds $(SEEDS) $(ARGS)

# First each mutant against its room's unit tests, then those that survived against all that call
# the function. mutmut copies the tests, but would keep those that are gone.
MUTMUT := $(VENV)/bin/mutmut
MUTATE := OMP_NUM_THREADS=1 $(MUTMUT) run --max-children $(WORKERS)
MODULE := $(subst /,.,$(ONLY:.py=))

mutants: $(VENV)/.installed-mutants
	rm -rf mutants/tests
	FIRST_PASS=$(word 2,$(subst ., ,$(MODULE))) $(MUTATE) $(if $(ONLY),'$(MODULE)*')
	@$(MAKE) --no-print-directory survivors

survivors: $(VENV)/.installed-mutants
	@rm -rf mutants/tests; names=$$($(MUTMUT) results | sed -nE 's/^ *($(MODULE).*): (survived|no tests)$$/\1/p'); \
	[ -z "$$names" ] || $(MUTATE) $$names

# Every part runs, whatever became of the one before; the failures are named at the end. timeout
# ends the training by SIGTERM: it saves, and the same command continues (124 is timeout's own).
gpu: $(VENV)/.installed-test
	@failed=; \
	run() { echo "$$*"; "$$@" || failed="$$failed [$$*: exit status $$?]"; }; \
	breakout="--game Breakout --config configs/gpu.yaml --device cuda $(ARGS)"; \
	run $(RUN) -m pytest -p no:xdist -m gpu; \
	run $(RUN) main.py bench $$breakout --json bench.json; \
	run sh -c 'timeout $(MINUTES)m "$$@" || [ $$? -eq 124 ]' sh $(RUN) main.py $$breakout; \
	[ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

lint: $(VENV)/.installed-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/hadolint Dockerfile

format: $(VENV)/.installed-test
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

venv: $(VENV)/.installed

clean:
	rm -rf $(VENV) build mutants dqn.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# A failed attempt leaves half an environment but no stamp: the next one mends it.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit(f"Python 3.11 to 3.13 \
	is needed, this is {sys.version.split()[0]}; name another: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV) || { \
	  echo 'hint: on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@touch $@

$(VENV)/.installed: requirements.txt $(VENV)/.made
	$(RUN) -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-test: requirements-test.txt requirements-ray.txt requirements-export.txt requirements-wandb.txt $(VENV)/.installed
	$(RUN) -m pip install --disable-pip-version-check -r requirements-test.txt
	@touch $@

$(VENV)/.installed-mutants: requirements-mutants.txt $(VENV)/.installed-test
	$(RUN) -m pip install --disable-pip-version-check -r requirements-mutants.txt
	@touch $@
