# Everything a developer types. The scripts find or install what is missing and say what they cannot.

PORT ?= 8080
python := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help build image run test bench check golden clean setup

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
		printf '  make %-7s %s\n' "$$name" "$$what"; done

build: ## build the plugin: dist/fairlead.wasm
	@scripts/build

image: build ## the plugin as an OCI image for Istio: dist/image, to be pushed with any tool
	@python3 scripts/image.py

run: setup build ## start Envoy with the plugin and a stand-in cloud on 127.0.0.1:8080 (PORT=... moves it)
	@$(python) -m integration.run --port $(PORT)

# Where the parts of a fleet are not to be had, its tests fail and say so; the others run.
test: setup ## run every test: native, wasm, and through real Envoys
	@scripts/setup-npm
	-@scripts/setup-fleet
	@$(python) scripts/run_tests.py

bench: setup build ## measure against plain Envoy in the same run
	@$(python) -m integration.bench

check: ## format, clippy (native and wasm32) with warnings as errors
	@scripts/cargo setup lints
	scripts/cargo native fmt --check
	scripts/cargo native clippy --locked --all-targets -- -D warnings
	scripts/cargo wasm clippy --locked -- -D warnings

golden: ## rewrite the golden files from what the code does now; the diff is the review
	UPDATE=1 scripts/cargo native test --locked --test golden

clean: ## remove what was built and set up
	rm -rf target dist .venv .setup

# Python, its packages and the Envoys.
setup:
	@scripts/setup-python
