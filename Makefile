# The two commands of the README are `make up` and `make test`. Each target first installs what is
# missing (tools/setup.sh) and then works through the CMake presets, which also work by themselves.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)

# $(call build,PRESET): configure and build with the choices setup.sh made.
define build
	. ./.deps/choices.env && cmake --preset $(1) -DLIBNODE_ROOT="$$LIBNODE_ROOT" >.deps/configure-$(1).log 2>&1 \
	  || { cat .deps/configure-$(1).log; exit 1; }
	cmake --build --preset $(1) -j $(JOBS)
endef

.PHONY: help up test demo install release clean setup-build setup-test

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup-build:
	@tools/setup.sh build

setup-test:
	@tools/setup.sh test

release: setup-build ## build the optimised binary (build/release/bin/brokkr)
	@$(call build,release)

up: release ## build, then run the server in the foreground with the example function
	@exec tools/up.sh build/release/bin/brokkr

demo: release ## start on free ports in a temporary folder, call every example, exit 0 or 1
	@exec tools/demo.sh build/release/bin/brokkr

test: setup-test ## every test
	@$(call build,ci)
	@mkdir -p build/reports
	@PATH="$(CURDIR)/.deps/peers/bin:$$PATH" ctest --preset ci --output-junit $(CURDIR)/build/reports/ci.xml

install: release ## install below PREFIX (default /usr/local)
	@cmake --install build/release --prefix "$(PREFIX)"

clean: ## remove everything built; what setup.sh fetched stays in .deps
	rm -rf build
