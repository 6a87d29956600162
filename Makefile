# Every command a person or the CI needs. Needs Rust, a C/C++ compiler, Node, Python >= 3.9, make.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET)/release

.PHONY: help run dev test check bench audit generate

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build the release and serve it at http://127.0.0.1:8080 with its data in ./data
	$(CARGO) build --release --locked -p parlance-server
	exec $(RELEASE)/parlance serve

dev: ## Serve a debug build; it restarts on changes when cargo-watch is installed
	@if $(CARGO) watch --version >/dev/null 2>&1; then \
		exec $(CARGO) watch --watch crates --exec 'run -p parlance-server -- serve'; \
	else \
		echo "cargo install cargo-watch makes this restart on changes"; \
		exec $(CARGO) run -p parlance-server -- serve; \
	fi

test: ## Set up what the tests need and run all of them, on SQLite and on PostgreSQL
	scripts/test.sh

check: ## The fast part: format, lints, unit tests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) test --workspace --lib --bins --locked

bench: ## Measure the server under load and write bench/RESULTS.md
	$(CARGO) build --release --locked -p parlance-server -p parlance-bench
	scripts/test-postgres.sh run $(RELEASE)/parlance-bench --server $(RELEASE)/parlance --out bench/RESULTS.md

audit: ## Licences, sources and known faults of the dependencies; needs the network
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "missing: cargo install --locked cargo-deny"; exit 1; }
	$(CARGO) deny --locked check

generate: ## Write the files that are made from the code
	$(CARGO) run --locked -p parlance-server -- openapi > openapi.json.new
	mv openapi.json.new openapi.json
