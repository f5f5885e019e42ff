# Each target first sets up what it needs: system packages (Debian), a virtual environment in .venv, the package.
PYTHON ?= python3
# A fixed torch for developing and testing; set TORCH=torch to take your own index's choice, or a CUDA build.
TORCH ?= torch==2.13.0
BIN := .venv/bin
VIEWER := src/vivavoce/splat/export/viewer
SYSTEM := flite espeak-ng libespeak-ng1 festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts libgl1 libglib2.0-0 chromium

export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: setup system test lint demo bench weights clean

setup: .venv/ready

system:
	@missing=""; for p in $(SYSTEM); do dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if ! command -v apt-get >/dev/null; then echo "Not Debian: install the equivalents of:$$missing"; exit 1; fi; \
	  sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

.venv/ready: pyproject.toml | system
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || { echo "Vivavoce needs Python 3.10 to 3.12: run make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "Python's venv is missing: on Debian, apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install -q "$(TORCH)" numpy
	$(BIN)/pip install -q -e '.[dev]'
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

$(VIEWER)/node_modules: $(VIEWER)/package-lock.json
	@if command -v npm >/dev/null; then npm ci --silent --no-fund --no-audit --prefix $(VIEWER) && touch $@; \
	else echo "Without npm two tests of the viewer's build are skipped."; fi

test: lint $(VIEWER)/node_modules
	$(BIN)/python -m pytest -n auto --dist loadfile

demo: setup
	$(BIN)/python recipes/demo.py

bench: setup
	$(BIN)/python benchmarks/run.py

weights: setup
	$(BIN)/python recipes/articulation.py

clean:
	rm -rf .venv demo build dist
