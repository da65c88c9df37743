# Ivories: `make demo` shows what it does, `make test` proves it, `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Debian packages are installed by the targets that need them where that is allowed (root), else asked for by name.
PACKAGES := sh deploy/packages.sh
SOURCES := pyproject.toml $(wildcard edge/native/*.[ch] edge/native/binding/*.[ch] training/native/*.[ch])

PIANOS ?=
PERFORMANCES ?=
SMOKE ?=
MINUTES ?= 60
PACED ?=
RUN ?= runs/$(if $(SMOKE),smoke,full)
HOST ?=
FAULTS ?= 1000000
SHORT ?=
PEERS ?=
ARCH ?= $(shell dpkg --print-architecture)

.DEFAULT_GOAL := help
.PHONY: help demo test train-qat bench soak lint format native wheel packages clean install deploy rollback status faults hil card

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.demo ## hear and see the bundled take: live keyboard, MQTT, demo.mid, demo.jsonl, score, latency
	$(BIN)/ivories demo

test: $(VENV)/.test ## the whole test-suite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

train-qat: $(VENV)/.train ## both networks from nothing to int8 files in models/ (SMOKE=1: in minutes, to $(RUN))
	$(BIN)/ivories-train all --run $(RUN) $(if $(SMOKE),--smoke) $(if $(PIANOS),--pianos $(PIANOS)) \
	  $(if $(PERFORMANCES),--performances $(PERFORMANCES))

bench: $(VENV)/.test ## every kernel and command beside what a user would take instead (basic-pitch: PEERS=ENVIRONMENT), then the whole path
	PEERS=$(PEERS) $(BIN)/python -m pytest bench -rs --benchmark-group-by=group --benchmark-columns=median,min,rounds
	$(BIN)/ivories bench

soak: $(VENV)/.test ## MINUTES of material (60) through the whole device path, faster than it sounds: no growth, no drift
	$(BIN)/python -m bench.soak --minutes $(MINUTES) $(if $(PACED),--paced)

lint: $(VENV)/.test ## ruff, mypy, clang-format, shellcheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if command -v clang-format >/dev/null; then \
	  clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h'); else echo "clang-format is not installed: C style not checked"; fi
	@if command -v shellcheck >/dev/null; then \
	  shellcheck .ci/run deploy/gadget/* $$(git ls-files '*.sh'); else echo "shellcheck is not installed: shell scripts not checked"; fi

format: $(VENV)/.test ## let the formatters write
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .
	@if command -v clang-format >/dev/null; then clang-format -i $$(git ls-files '*.c' '*.h'); fi

native: $(VENV)/.demo ## build the C extensions in place

install: $(VENV)/.demo ## prepare a Debian or Raspberry Pi OS machine over ssh, once: HOST=pi@piano.local
	$(BIN)/python deploy/release.py install $(HOST)

deploy: $(VENV)/.demo $(filter train-qat,$(MAKECMDGOALS)) ## build, sign and bring a release to HOST; it goes back by itself when ill
	$(PACKAGES) deploy
	$(BIN)/python deploy/release.py deploy $(HOST) $(if $(SMOKE),--models $(RUN)/models)

rollback: $(VENV)/.demo ## let HOST go back to the release before
	$(BIN)/python deploy/release.py rollback $(HOST)

status: $(VENV)/.demo ## the releases on HOST and how the service is
	$(BIN)/python deploy/release.py status $(HOST)

hil: $(VENV)/.test ## a whole machine in QEMU: deploy, play, see, unplug, kill, cut the power (SHORT=1, FULL=1)
	$(PACKAGES) hil
	$(BIN)/python -m pytest -sv tests/hil/deployed.py
	@$(MAKE) --no-print-directory -kj3 --output-sync $(if $(SHORT),hil-first_notes,$(HIL))

# Each on a copy of the machine that Ivories was deployed to; what they say is shown when they end. Two cores do for
# the three, whose longest goes first.
HIL := hil-updates hil-faults hil-senses
.PHONY: $(HIL) hil-first_notes
$(HIL) hil-first_notes: hil-%:
	COPY=$* $(if $(filter senses,$*),,nice -n 5) $(BIN)/python -m pytest -sv --durations=9 \
	  $(if $(filter faults,$*),tests/hil/first_notes.py) tests/hil/$*.py

card: $(VENV)/.test ## an image of Debian with Ivories for ARCH, made with sudo, started in QEMU and played
	ARCH=$(ARCH) $(PACKAGES) hil card
	@mkdir -p build/card
	@[ -e build/card/key ] || ssh-keygen -q -t ed25519 -N "" -C ivories-card -f build/card/key
	$(if $(filter 0,$(shell id -u)),,sudo) env PYTHON=$(abspath $(BIN)/python) sh deploy/image/build.sh --arch $(ARCH) \
	  --ssh-key build/card/key.pub --key build/card/release build/card/$(ARCH).img
	ARCH=$(ARCH) KEY=build/card/key RELEASE_KEY=build/card/release $(BIN)/python -m pytest -sv tests/hil/card.py

faults: $(VENV)/.demo ## a million faults into the application and the owner of its MIDI port: no note may hang
	$(BIN)/python tests/port_deaths.py --faults $(FAULTS)
	$(BIN)/python tests/port_faults.py --faults $$(($(FAULTS) / 100))

wheel: $(VENV)/.demo ## one cp311-abi3 wheel for this architecture in dist/
	$(BIN)/python -m pip install -q build
	$(BIN)/python -m build -w

packages: ## install the Debian packages that tests and training use
	$(PACKAGES) test train

clean: ## remove what was built, keep what was trained
	rm -rf build dist $(VENV) edge/*.egg-info edge/ivories/*.so training/ivories_training/*.so .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	$(PACKAGES) demo
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Ivories needs Python 3.11 or newer: this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip

# One environment, three sizes: what the demo needs, what training adds, what testing adds.
$(VENV)/.demo: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install -q -e '.[console,score]'
	@touch $@

$(VENV)/.train: $(BIN)/python $(SOURCES)
	$(PACKAGES) train
	$(BIN)/python -m pip install -q -e '.[console,train]'
	@touch $@

$(VENV)/.test: $(BIN)/python $(SOURCES)
	$(PACKAGES) test train
	$(BIN)/python -m pip install -q -e '.[alsa,console,train,dev]'
	@touch $@ $(VENV)/.demo $(VENV)/.train
