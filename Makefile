# `make` lists the targets.
# VENV names another virtual environment, PYTHON another interpreter to make it with.

VENV ?= .venv
VIDEO ?=
BIN := $(VENV)/bin
STAMP_DEMO := $(VENV)/.installed-demo
STAMP_DEV := $(VENV)/.installed-dev
PACKAGES := edge_face_detection edge_forwarder cloud_saver cloud_gallery object_store face_messages dev

# Tests that run at a time: more than there are processors, since most tests wait for programs.
WORKERS ?= 8
PYTEST := $(BIN)/pytest
# Tests that must run alone (memory bounds, rates) run after the others.
TOGETHER := $(PYTEST) -n $(WORKERS) --dist loadgroup -m 'not alone'

# With it, each test process would compile all tests anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo gallery screenshots test test-unit test-containers test-cluster test-camera chaos check docs \
	format lock audit sbom yunet bench bench-images outage clean tools ready mosquitto chromium prometheus libturbojpeg qemu

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP_DEMO) mosquitto ## the whole path on this machine; VIDEO=0 is the webcam, VIDEO=some.mp4 a file
	@$(BIN)/python -m dev.stack demo --video "$(VIDEO)"

gallery: $(STAMP_DEMO) mosquitto ## the page of the last demo again, over its bucket, until Ctrl-C
	@$(BIN)/python -m dev.stack gallery

setup: $(STAMP_DEV) ## make the virtual environment (.venv), tests and tools included

# An engine without compose, its plugin, starts none of the stacks.
DOCKER_ANSWERS = { docker version && docker compose version; } >/dev/null 2>&1

test-unit: $(STAMP_DEV) ## after each change: the unit tests; WORKERS at a time
	@$(TOGETHER) tests/unit

test: ready ## unit and integration tests, and the containers' where a Docker engine answers; docs/testing.md
	@$(DOCKER_ANSWERS) && echo "A Docker engine answers: unit, integration and container tests." || \
		echo "No Docker engine with compose answers: unit and integration tests only."
	@$(TOGETHER)
	@$(PYTEST) -m alone $$(grep -rl 'mark\.alone' tests/integration tests/unit --include='*.py')
	@if $(DOCKER_ANSWERS); then $(PYTEST) tests/containers; fi

check: $(STAMP_DEV) ## before a commit: ruff, its formatter, mypy, the page of the settings, locks, known weaknesses
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/python dev/scripts/settings_table.py --check
	@$(BIN)/python dev/scripts/lock.py --check
	@$(BIN)/python dev/scripts/lock.py --audit || [ $$? = 3 ]

format: $(STAMP_DEV) ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

yunet: ## fetch YuNet's model from OpenCV Zoo (MIT) into models/, and check its sha256
	@python3 dev/scripts/yunet.py

docs: $(STAMP_DEV) ## write the tables of docs/settings.md
	@PYTHONPATH=. $(BIN)/python dev/scripts/settings_table.py

test-containers: $(STAMP_DEV) prometheus ## tests of the images and compose files; needs a Docker engine
	@$(DOCKER_ANSWERS) || { echo "docker version and docker compose version must both answer: start the engine, or install compose." >&2; exit 1; }
	@$(PYTEST) tests/containers

test-cluster: $(STAMP_DEV) mosquitto ## tests with a cluster of RabbitMQ, three nodes of compose/cluster.yml; needs a Docker engine, and 3 minutes
	@$(DOCKER_ANSWERS) || { echo "docker version and docker compose version must both answer: start the engine, or install compose." >&2; exit 1; }
	@$(PYTEST) tests/cluster

test-camera: $(STAMP_DEV) mosquitto qemu ## tests with USB cameras, in a virtual machine that emulates them; needs Debian on x86_64
	@$(BIN)/python -m tests.camera.machine $(BIN)/python -m pytest -p no:cacheprovider tests/camera

chaos: $(STAMP_DEV) mosquitto ## kill, pause and cut every part while faces flow, and count the bucket; SEED SEEDS SECONDS RATE KILLS SAVERS EDGES PLAIN=1 IMAGES=1 CLUSTER=1
	@$(BIN)/python -m dev.chaos $(foreach name,SEED SEEDS SECONDS RATE KILLS SAVERS EDGES, \
		$(if $($(name)),--$(shell echo $(name) | tr A-Z a-z) $($(name)))) $(if $(PLAIN),--plain) $(if $(IMAGES),--images) \
		$(if $(CLUSTER),--cluster $(if $(SAVERS),,--savers 3))

outage: $(STAMP_DEV) mosquitto ## the cloud is gone while 100,000 faces come in: memory, disk, and the backlog after it; minutes, and 6 GB in TMPDIR
	@$(BIN)/python -m dev.bench outage

bench: $(STAMP_DEV) mosquitto libturbojpeg ## CPU time, rates, memory, and how well faces are found; CLIPS and LABELS: your own, see docs/benchmarks.md
	@$(BIN)/python -m dev.bench $(if $(CLIPS),--clip $(CLIPS)) $(if $(LABELS),--labels $(LABELS))

bench-images: $(STAMP_DEV) mosquitto ## the same of the programs in their images; needs a Docker engine
	@docker compose --env-file /dev/null -f docker-compose.edge.yml -f docker-compose.cloud.yml build --quiet
	@$(BIN)/python -m dev.bench --images

screenshots: $(STAMP_DEV) mosquitto chromium ## make the pictures of the gallery in docs/ anew
	@$(BIN)/python -m dev.stack.screenshots

lock: $(STAMP_DEV) ## pin the newest versions that pyproject.toml allows, with hashes, for the images
	@$(BIN)/python dev/scripts/lock.py

audit: $(STAMP_DEV) ## known weaknesses in the locked packages; fails also where PyPI cannot be asked
	@$(BIN)/python dev/scripts/lock.py --audit

sbom: $(STAMP_DEV) ## list the parts of each image, as sbom/IMAGE.cdx.json (CycloneDX); the images must be built
	@$(BIN)/python dev/scripts/sbom.py

clean: ## remove everything that make has made: virtual environment, caches, the demo's folder
	rm -rf .venv .demo sbom .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# There are two stamps, since the test tools take longer to install than everything the demo needs.
$(STAMP_DEMO): pyproject.toml dev/scripts/setup.sh
	@dev/scripts/setup.sh "$(VENV)" edge-face-detection,edge-forwarder,cloud-saver,cloud-gallery,s3-server
	@touch $@

$(STAMP_DEV): pyproject.toml dev/scripts/setup.sh
	@dev/scripts/setup.sh "$(VENV)" dev
	@# Compiles all tests once; otherwise each test process would do it. It may fail.
	@$(PYTEST) --collect-only -q >/dev/null 2>&1 || true
	@touch $(STAMP_DEMO) $@

# `make test` needs the environment and the system's programs: this makes both at the same time.
ready:
	@$(MAKE) --no-print-directory -j2 $(STAMP_DEV) tools

tools:
	@dev/scripts/need.sh mosquitto strace spin gcc openssl nftables chromium prometheus nginx busybox-static \
	    gst-rtsp-server libturbojpeg

mosquitto chromium prometheus libturbojpeg:
	@dev/scripts/need.sh $@

qemu:
	@command -v apt-get >/dev/null || { echo "make test-camera boots Debian's kernel: call it on Debian, or in a container of it." >&2; exit 1; }
	@dev/scripts/need.sh qemu-system-x86 busybox-static
