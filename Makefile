# SPDX-License-Identifier: GPL-2.0
#
# `make` and `make modules_install` are plain Kbuild, for a kernel of the user's choice. All else is
# done by xtask, a program in xtask/ that these targets only call. Kbuild itself reads the file
# Kbuild, not this one.

KDIR ?= /lib/modules/$(shell uname -r)/build

XTASK = cargo run --quiet --locked --manifest-path xtask/Cargo.toml --target-dir build/xtask --
options = $(if $(LANE),--lane $(LANE)) $(if $(DOM0),--dom0 $(DOM0)) \
	$(if $(filter 1,$(REFERENCE)),--reference)

export NATIVE

modules modules_install:
	$(MAKE) -C $(KDIR) M=$(CURDIR) INSTALL_MOD_DIR=updates $@

build:
	$(XTASK) build $(if $(LANE),--lane $(LANE))

run:
	$(XTASK) $@ $(options)

shell:
	$(XTASK) $@ $(options) $(if $(filter 1,$(CLIENTS)),--clients)

test:
	$(XTASK) test $(options) $(if $(FILTER),--filter '$(FILTER)') $(if $(filter 1,$(LONG)),--long)

test-clients:
	$(XTASK) test --clients $(options) $(if $(FILTER),--filter '$(FILTER)') $(if $(filter 1,$(LONG)),--long)

test-install:
	$(XTASK) test-install $(if $(DOM0),--dom0 $(DOM0)) $(if $(KERNEL),--kernel '$(KERNEL)') \
		$(if $(SUITE),--suite '$(SUITE)')

fuzz:
	$(XTASK) fuzz $(options) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(PROGRAM),--program $(PROGRAM)) $(if $(BOOTS),--boots $(BOOTS)) $(if $(filter 1,$(TRACE)),--trace)

bench:
	$(XTASK) bench $(options) $(if $(FILTER),--filter '$(FILTER)') $(if $(filter 1,$(SAVE)),--save)

bench-check:
	$(XTASK) bench-check $(options) $(if $(FILTER),--filter '$(FILTER)')

clippy:
	$(XTASK) clippy $(if $(LANE),--lane $(LANE))

audit deb fmt fmt-check doc rust-analyzer:
	$(XTASK) $@

# What was compiled here. The build root, the kernels and the downloads stay.
clean:
	find rust drivers tests -type f \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' \
		-o -name '.*.cmd' -o -name '.*.d' -o -name '*.rmeta' -o -name '*_generated.rs' \) -delete
	$(RM) *.o .*.o *.ko *.mod *.mod.c .*.cmd modules.order Module.symvers rust-project.json
	$(RM) -r build/kunit build/sanitize build/sanitize-pv build/stock build/guest build/clients build/bench build/host build/clippy build/deb build/doc build/install

# All that is below build/, the cache too, unless XEN_RUST_CACHE has moved it.
distclean: clean
	$(RM) -r build

help:
	@echo 'For an installed kernel (see README.md):'
	@echo '  make [KDIR=...]              build the modules for a kernel, the running one unless told'
	@echo '  make modules_install         install them into its updates/'
	@echo
	@echo 'With a build root and QEMU, set up on first use:'
	@echo '  make run [DOM0=pv|pvh]       boot Debian with Xen on these drivers, create guests'
	@echo '  make shell [DOM0=pv|pvh] [CLIENTS=1]'
	@echo '                               the same, to a shell (Ctrl-A X leaves); CLIENTS=1: with QEMU, libvirt'
	@echo '  make test [DOM0=pv|pvh] [FILTER=name*] [REFERENCE=1] [LONG=1]'
	@echo '                               all tests; REFERENCE=1: of the C drivers, as a control;'
	@echo '                               LONG=1: races and transfers for minutes, not seconds'
	@echo '  make test LANE=sanitize      the same under KASAN and its like (LANE=sanitize-pv: PV dom0)'
	@echo '  make test-clients [DOM0=pv|pvh] [FILTER=name*] [REFERENCE=1] [LONG=1]'
	@echo '                               programs of others on the drivers: xen-utils, QEMU, libvirt, Rust crates'
	@echo '  make fuzz [SECONDS=60] [SEED=name] [PROGRAM=name] [TRACE=1] [BOOTS=40] [DOM0=pv|pvh] [LANE=...] [REFERENCE=1]'
	@echo '                               programs made by chance, from number SEED on; PROGRAM: only this one;'
	@echo '                               BOOTS: how many to spend on the shortest that does harm, 0 for none'
	@echo '  make bench [DOM0=pv|pvh] [FILTER=name*] [SAVE=1]'
	@echo '                               measure ours and the C drivers, in instructions; SAVE=1: as the'
	@echo '                               figures to compare with (docs/performance.md)'
	@echo '  make bench-check             fail where ours have become slower than those figures'
	@echo '  make build [LANE=kunit|stock|sanitize|sanitize-pv]  the modules for one of the kernels that are booted'
	@echo '  make clippy fmt fmt-check    lint, format, look whether it is formatted'
	@echo '  make audit                   count what has to be trusted, check the rules about it'
	@echo '  make doc rust-analyzer       documentation, rust-project.json for editors'
	@echo '  make deb                     the package for Debian, its source, and a tarball, in build/deb'
	@echo '  make test-install [DOM0=pv|pvh] [KERNEL=release | SUITE=sid]  the package in a Debian dom0'
	@echo '  make clean distclean         remove what was compiled; remove all of build/'
	@echo
	@echo 'Environment: XEN_RUST_CACHE (where the build root and the kernels are, build/cache unless told),'
	@echo '  NATIVE=1 (use the tools of this host), XEN_RUST_MIRROR, XEN_RUST_SECURITY_MIRROR'

.DEFAULT_GOAL := modules
.PHONY: modules modules_install build run shell test test-clients test-install fuzz bench bench-check clippy audit deb fmt fmt-check \
	doc rust-analyzer clean distclean help
# Targets after one another: each may set up what the next uses.
.NOTPARALLEL:
