# What one does with this tree. Recipes of more than a line or two are scripts in scripts/ and conformance/; each
# installs what it needs (Debian packages, crates) and says so.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build run check test conformance budget bench vm vm-test vm-rootless vm-conformance vm-bench bless deny pages install uninstall deb install-test clean differential clients clients-soak vm-clients faults steps stress cves fuzz

PREFIX ?= /usr/local
DESTDIR ?=

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

build: ## Build the static release binary and leave it at target/rt
	@scripts/build

run: build ## Run a container on a demo bundle and print what it sees (root)
	@scripts/demo target/rt

check: ## Format, lints, unit tests, layers, licences; as root the budget too
	@scripts/check

test: ## All tests of the package; those that make containers want root
	@scripts/test

conformance: build ## The OCI's validation suite, beside Debian's crun and runc (root)
	@conformance/validation/run

differential: build ## The same command lines under rt and Debian's newest runc: what differs must be listed (root)
	@conformance/differential/run

budget: build ## Count what rt does (system calls, memory, waits, bytes) and hold it against the budget (root)
	@conformance/bench/run --budget conformance/bench/budget.toml

bench: build ## Time rt beside Debian's crun and runc, and draw it: target/bench-*.svg (root)
	@conformance/bench/run --json target/bench.json
	@scripts/need gnuplot-nox python3
	@conformance/bench/charts target/bench.json target

clients: build ## Real podman, docker, containerd, buildah with rt, beside crun and runc (root)
	@conformance/clients/run

clients-soak: build ## Many short containers; rt killed at many points: nothing may remain (root)
	@conformance/clients/run --soak --kills --runtime rt

vm-clients: build ## The same real programs, the newest ones, in that machine (root)
	@conformance/clients/vm-all

faults: build ## Fail and kill rt at its system calls, a random subset; all: conformance/faults/run (root)
	@conformance/faults/run --quick

steps: build ## An attacker at each of rt's system calls, a random subset of a minute; all: conformance/faults/steps (root)
	@conformance/faults/steps --seconds 60

stress: build ## Many at once, races, fork bombs, a soak, in small numbers; in great ones: conformance/stress/run (root)
	@conformance/stress/run --quick

cves: build ## Published holes: every test of conformance/cves.md, and an attacker at each system call (root)
	@conformance/cves

T ?=
N ?= 20000
fuzz: ## Parsers against damaged input: T=target (all), N=executions for each
	@fuzz/run '$(N)' $(T)

vm: ## A throw-away machine with cgroup v2 and systemd: build it, show that it runs (root)
	@conformance/vm/build
	@conformance/vm/run 'uname -sr; systemctl is-system-running; cat /sys/fs/cgroup/cgroup.controllers'

vm-test: ## All tests of the package in that machine (root)
	@conformance/vm/test

vm-bench: build ## The bench there: counts, and waits for grace periods, beside its crun and runc (root)
	conformance/vm/bench

vm-rootless: build ## rt in the hands of an ordinary user there, and under podman (root)
	@conformance/vm/rootless

vm-conformance: build ## The OCI's validation suite in that machine, beside its crun and runc (root)
	@conformance/vm/conformance

bless: ## Accept the plans of now as the golden ones; look at the diff before you commit
	@RT_BLESS=1 scripts/test --test plans

deny: ## Licences, sources and duplicates of the dependencies; fetches cargo-deny
	@scripts/deny

pages: ## Write the manual pages and completions to target/pages
	@scripts/pages

install: build pages ## Install program, manual pages and completions below DESTDIR and PREFIX (/usr/local)
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' scripts/install

uninstall: pages ## Remove what install has put there
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' scripts/install --remove

deb: build pages ## A Debian package at target/, which registers rt with nobody
	@scripts/deb

install-test: build pages ## Install, uninstall, package, install and purge that, all in throw-away roots (root)
	@conformance/install/run

clean: ## Remove what was built
	cargo clean
