# The whole project from here; `make` alone lists what there is.
# Variables go behind the target: make stage1 RECIPE=psa DATA=voc DATA_ROOT=/data/VOC2012 ARGS="--trainer.max_epochs 1"

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
RECIPE ?= psa
DATA   ?= shapes
RUN    ?= runs/$(subst :,-,$(RECIPE))

BIN      := $(VENV)/bin
STAMP    := $(VENV)/.tag2mask-setup
TAG2MASK := $(BIN)/tag2mask

# A flag is passed only when its variable has a value; ARGS go to the steps as they are.
flag       = $(if $($(2)),$(1) "$($(2))")
# A run folder knows its data set, so the default one is named to a new folder only.
DATA_FLAG  = $(if $(and $(filter file,$(origin DATA)),$(wildcard $(RUN)/run.json)),,--data "$(DATA)")
RUN_FLAGS  = $(DATA_FLAG) --run-dir "$(RUN)" $(call flag,--data-root,DATA_ROOT) $(call flag,--tags,TAGS) \
             $(call flag,--backbone,BACKBONE) $(call flag,--weights,WEIGHTS) $(call flag,--budget,BUDGET) \
             $(call flag,--logger,LOGGER) $(call flag,--devices,DEVICES) $(call flag,--nodes,NODES) $(call flag,--launcher,LAUNCHER) \
             $(call flag,--cluster,CLUSTER) \
             $(call flag,--seed,SEED) $(call flag,--from,FROM)
STEP_ARGS = $(if $(ARGS),-- $(ARGS))

.DEFAULT_GOAL := help
# The stages build on each other, so `make -j stage1 stage2 stage3` runs them in order too.
.NOTPARALLEL:
.PHONY: help setup demo test stage1 stage2 stage3 report lint format typecheck imports lock notebooks docs clean

help: ## list the targets
	@echo "make TARGET [VARIABLE=value ...]"
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "variables: RECIPE=$(RECIPE) DATA=$(DATA) DATA_ROOT RUN=$(RUN) BACKBONE WEIGHTS BUDGET=full|small|tiny"
	@echo "           TAGS LOGGER DEVICES NODES LAUNCHER CLUSTER SEED FROM ARGS=\"--trainer.max_epochs 1\" VENV=$(VENV) PYTHON=$(PYTHON) JOBS=$(JOBS)"

setup: $(STAMP) ## create the virtual environment and install the locked versions into it

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "error: Python 3.11 or newer is needed, '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	         "Name another one: make setup PYTHON=python3.12" >&2; exit 2; }; \
	  $(PYTHON) -m venv $(VENV); }
	@echo "setup: installing into $(VENV) (about 6 GB with torch's CUDA libraries, some minutes)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[pydensecrf]" \
	  > $(VENV)/pydensecrf2.log 2>&1 || echo "setup: pydensecrf2 could not be built (it needs a C++ compiler," \
	  "see $(VENV)/pydensecrf2.log); everything but the second CRF engine works without it"
	@touch $@
	@echo "setup: done; '. $(BIN)/activate' makes tag2mask a command of this shell"

demo: setup ## run the whole psa recipe on the generated data set and print the score table
	$(TAG2MASK) run psa --data shapes --budget demo --run-dir runs/demo $(STEP_ARGS)

test: setup lint typecheck imports ## check style, types and imports, and run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder $(ARGS)

stage1: setup ## train the classifier and write class activation maps
stage2: setup ## learn affinities and write pseudo-labels
stage3: setup ## train the segmentation model and score it
stage1 stage2 stage3:
	$(TAG2MASK) run $(RECIPE) --stage $(@:stage%=%) $(RUN_FLAGS) $(STEP_ARGS)

report: setup ## write the HTML page of RUN
	$(TAG2MASK) report "$(RUN)"

lint: setup ## ruff: rules and formatting, nothing is changed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## ruff: mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: setup ## mypy, strict, over src
	$(BIN)/mypy

imports: setup ## import-linter: which package may import which
	$(BIN)/lint-imports

lock: ## install the newest versions that pyproject.toml admits and write them to constraints.txt
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --disable-pip-version-check ".[dev,pydensecrf,notebooks,docs]"
	{ grep '^#' constraints.txt; build/lock/bin/python -m pip freeze --all --exclude tag2mask --exclude pip; } > build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/lock

notebooks: setup ## execute notebooks/*.py (after `demo`; two train something, minutes) and write the .ipynb beside them
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[notebooks]"
	PYTHONWARNINGS="ignore:IProgress" $(BIN)/jupytext --to ipynb --run-path . --execute notebooks/*.py

docs: setup ## build the site of docs/ into build/docs; a link to nowhere is an error
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q
	@echo "docs: open build/docs/index.html"

clean: ## remove caches and build outputs; runs and the virtual environment stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests stages -name __pycache__ -type d -prune -exec rm -rf {} +

# Real images: ANIMALS is the voc-animals folder, or VOC 2012 with SBD's masks and DATA=voc-animals.
ANIMALS         ?= ../shared/voc-animals
ANIMALS_DATA    ?= voc
ANIMALS_BACKBONE ?= mobilenetv2_100
ANIMALS_WEIGHTS ?= ../shared/weights/$(ANIMALS_BACKBONE).safetensors
SEEDS           ?= 0 1 2
ANIMALS_FLAGS   = --data $(ANIMALS_DATA) --data-root $(ANIMALS) --backbone $(ANIMALS_BACKBONE) \
                  --weights $(ANIMALS_WEIGHTS) --budget small

.PHONY: animals results bench bench-scaling bench-training
animals: setup ## psa and its upper bound on the real images of voc-animals, once per seed (hours on 2 cores), then `results`
	for seed in $(SEEDS); do \
	  $(TAG2MASK) run psa $(ANIMALS_FLAGS) --seed $$seed --run-dir runs/animals-$$seed && \
	  $(TAG2MASK) run psa:supervised $(ANIMALS_FLAGS) --seed $$seed --run-dir runs/animals-true-$$seed \
	    --reuse runs/animals-$$seed || exit; \
	done
	$(MAKE) results

bench: setup ## time every operator and loss beside its plain reference (minutes, on a quiet machine); NAME=piece for one
	$(TAG2MASK) bench $(NAME) --json benchmarks/results/$(if $(NAME),bench-$(NAME),bench-cpu).json

bench-scaling: setup ## cost of the operators against image size, labels and threads (minutes, on a quiet machine)
	$(BIN)/python -m benchmarks.scaling --json benchmarks/results/scaling-cpu.json

bench-training: setup ## parts of a training step in float32 and bfloat16, on the images of ANIMALS (minutes, one core)
	$(BIN)/python -m benchmarks.training --data $(ANIMALS) --json benchmarks/results/training-cpu.json

.PHONY: costs estimates
costs: setup ## what networks cost by megapixel, for the estimates of a run (half an hour on a quiet core)
	$(BIN)/python -m benchmarks.costs --keep --json benchmarks/results/costs-cpu.json

estimates: setup ## what psa takes on VOC and COCO, on one core and on 1 and 8 GPUs (seconds; nothing is measured)
	$(BIN)/python -m benchmarks.estimates --json benchmarks/results/estimates.json

# GPU: what `make gpu` needs beside torch, torchvision, timm, numpy, numba, OpenCV and Lightning, for a machine
# without a registry; GPU_PYTHON is the Python there.
GPU_PYTHON   ?= 3.12
GPU_PACKAGES ?= albumentations albucore annotated-types docstring_parser jsonargparse pydantic pydantic_core \
                pycocotools segmentation_models_pytorch simsimd stringzilla timm typeshed_client typing_extensions typing-inspection

# Stages of psa that run on a Slurm of this machine, twice: undisturbed, and requeued half way.
SLURM_STAGES ?= 1 2 3

.PHONY: devices-test slurm-test gpu gpu-wheels
devices-test: setup ## every step of each recipe in one process and in two: the same losses, weights and files (minutes)
	DEVICES_TEST=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) tests/pipeline/test_recipes_on_two_devices.py

slurm-test: setup ## psa's jobs on a real Slurm of two nodes on this machine (root; minutes), see tests/slurm
	tests/slurm/setup.sh install
	SLURM_TEST_STAGES="$(SLURM_STAGES)" $(BIN)/python -m pytest -n 0 tests/slurm

gpu: setup ## tests, operators, images/s and a small run on a GPU, within 8 minutes; results under benchmarks/results
	$(BIN)/python -m benchmarks.gpu --data $(ANIMALS) --weights $(ANIMALS_WEIGHTS)

gpu-wheels: setup ## wheels for a GPU machine without a registry, into build/gpu-wheels (docs/gpu.md)
	rm -rf build/gpu-wheels
	$(BIN)/python -m pip download --disable-pip-version-check -q --no-deps --only-binary=:all: -c constraints.txt \
	  --python-version $(GPU_PYTHON) --implementation cp $(foreach v,34 31 28 27 24 17,--platform manylinux_2_$(v)_x86_64) \
	  --platform manylinux2014_x86_64 -d build/gpu-wheels $(GPU_PACKAGES)

results: setup ## print the table of the runs that `animals` made, and keep it under benchmarks/results
	$(BIN)/python benchmarks/results_table.py $(wildcard $(SEEDS:%=runs/animals-%)) \
	  --bound $(wildcard $(SEEDS:%=runs/animals-true-%)) --name psa-voc-animals \
	  --command "make results SEEDS='$(SEEDS)'"

.PHONY: tune-table newcomer
tune-table: setup ## what levels `tag2mask tune` chooses without masks, on the runs that `animals` made (five minutes on a core)
	$(BIN)/python -m benchmarks.tune_table $(SEEDS:%=runs/animals-%) --images 24 --stages 1 --name tune-voc-animals

newcomer: ## what a new user does, in a fresh clone and environment, with seconds for each command (tests/newcomer.sh)
	tests/newcomer.sh $(ARGS)

# Recipes beside each other on the real images; RECIPES and SEEDS choose, done runs are not made again.
# FLAGS=--val-labels adds the maps and labels of val, whose scores then stand among the steps. Another backbone:
# make table TABLE=efficientnet ANIMALS_BACKBONE=tf_efficientnet_lite0 RECIPES="psa best psa:supervised"
FLAGS     ?=
RECIPES   ?= psa best sc_cam rrm ial self_guided psa:supervised
TABLE     ?= recipes
TABLE_OUT ?= benchmarks/results
REUSED    ?= runs/$(TABLE)/*
TRIAL     ?=

.PHONY: table trial
table: setup ## chosen RECIPES and SEEDS on voc-animals, and one table over them (many hours on 2 cores)
	for seed in $(SEEDS); do for recipe in $(RECIPES); do \
	  others=$$(ls runs/animals-$$seed/run.json $(REUSED)-$$seed/run.json 2>/dev/null | xargs -r dirname); \
	  $(TAG2MASK) run $$recipe $(ANIMALS_FLAGS) --seed $$seed --run-dir runs/$(TABLE)/$$(echo $$recipe | tr : -)-$$seed \
	    $(FLAGS) $${others:+--reuse} $$others || exit; \
	done; done
	$(BIN)/python -m benchmarks.recipe_table $(foreach s,$(SEEDS),$(foreach r,$(RECIPES),runs/$(TABLE)/$(subst :,-,$(r))-$(s))) \
	  --out $(TABLE_OUT) --name $(notdir $(TABLE))-voc-animals \
	  --command "make table TABLE=$(TABLE) SEEDS='$(SEEDS)' RECIPES='$(RECIPES)' ANIMALS_BACKBONE=$(ANIMALS_BACKBONE)"

# Settings are chosen here, never on val. What a trial shares with those before it is not made again:
# make trial TRIAL=rate-1e-4 FLAGS="--segmentation.model.init_args.optimization.lr 1e-4"
trial: RECIPES = psa
trial: ## RECIPES (psa) with FLAGS on 500 train images of voc-animals, scored on the other 100; TRIAL names it
	$(if $(TRIAL),,$(error name the trial: make trial TRIAL=rate-1e-4 FLAGS="--segmentation..."))
	$(MAKE) table ANIMALS_DATA=voc-animals-holdout RECIPES='$(RECIPES)' TABLE=trials/$(TRIAL) TABLE_OUT=runs/trials \
	  REUSED='runs/trials/*/*'

# What may happen to a run and to its inputs. CASES, KILLS and FUZZ_SEED choose.
CASES     ?= 400
KILLS     ?= 30
FUZZ_SEED ?= 0

.PHONY: fuzz chaos scale
fuzz: setup ## CASES broken files of every kind, each has to end in a message that names it (minutes); prints the tally
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --cases $(CASES) --seed $(FUZZ_SEED)

chaos: setup ## KILLS kills, signals, full disks and lost images over psa, rrm and ial: the same files in the end (an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.chaos --kills $(KILLS) --seed $(FUZZ_SEED)

scale: setup ## a data set as large as COCO (few pixels) through planning, resume and scores: seconds, memory, growth
	$(BIN)/python -m benchmarks.scale --json benchmarks/results/scale-cpu.json
