# SPDX-License-Identifier: GPL-2.0
#
# The library crate `xen`: compiled once, its object linked into each module.
#
#   bindings_helper.h --bindgen--> bindings_generated.rs --+
#   xen.rs and the files it names -------------------------+--rustc--> xen.o, libxen.rmeta
#   helpers.c ---------------------------------------------- cc ----> helpers.o
#   xen.o + helpers.o --ld -r--> libxen.o, which every module links
#
# A module's fragment says:
#
#   $(eval $(call xen_module,xen-evtchn,drivers/xen/evtchn/evtchn,[further objects]))

xen_lib := rust/xen

# Kernels differ in a few names of their Rust API; rust/xen/ext/version.rs holds
# the difference and is told here which side this kernel is on.
xen_version_cfg := $(shell [ $(VERSION)$(PATCHLEVEL) = 72 ] && echo --cfg=kernel_7_2)
xen_rustflags := $(xen_version_cfg)

# rustc writes a crate's metadata beside its object; users find it by -L. Functions are compiled
# into the modules that call them, as if all were #[inline]: each module has what it uses, not the
# whole library, and calls across the crates' border can be inlined.
RUSTFLAGS_$(xen_lib)/xen.o := $(xen_rustflags) -Zcross-crate-inline-threshold=always \
	--emit=metadata=$(obj)/$(xen_lib)/libxen.rmeta

# Flags of gcc that libclang does not know. The kernel keeps the same list for its own
# bindings, in a Makefile that external modules cannot reach. clang's flags are libclang's.
ifndef CONFIG_CC_IS_CLANG
xen_bindgen_skip_c_flags := -mno-fp-ret-in-387 -mpreferred-stack-boundary=% \
	-mskip-rax-setup -mgeneral-regs-only -msign-return-address=% \
	-mindirect-branch=thunk-extern -mindirect-branch-register \
	-mfunction-return=thunk-extern -mrecord-mcount -mabi=lp64 \
	-mindirect-branch-cs-prefix -mstack-protector-guard% \
	-mno-string -mno-strict-align -mstrict-align -mdirect-extern-access \
	-mexplicit-relocs -mno-check-zero-division \
	-fconserve-stack -falign-jumps=% -falign-loops=% \
	-femit-struct-debug-baseonly -fno-ipa-cp-clone -fno-ipa-sra \
	-fno-partial-inlining -fplugin-arg-arm_ssp_per_task_plugin-% \
	-fno-reorder-blocks -fno-allow-store-data-races -fasan-shadow-offset=% \
	-fzero-call-used-regs=% -fno-stack-clash-protection \
	-fno-inline-functions-called-once -fsanitize=bounds-strict \
	-fstrict-flex-arrays=% -fmin-function-alignment=% -fzero-init-padding-bits=% \
	--param=% --param asan-% -fdiagnostics-show-context% -fno-isolate-erroneous-paths-dereference \
	-ffixed-x18
endif

xen_bindgen_target_x86 := x86_64-linux-gnu
xen_bindgen_target_arm64 := aarch64-linux-gnu
xen_bindgen_c_flags = $(filter-out $(xen_bindgen_skip_c_flags),$(c_flags)) \
	-w --target=$(xen_bindgen_target_$(SRCARCH)) -fno-builtin -D__BINDGEN__ -DMODULE

# Only what the kernel crate's own bindings lack: Xen's headers, our helpers, and
# the few files named in bindings_parameters.
quiet_cmd_xen_bindgen = BINDGEN $@
      cmd_xen_bindgen = \
	$(or $(BINDGEN),bindgen) $< \
		$(shell grep -Ev '^\#|^$$' $(src)/$(xen_lib)/bindings_parameters) \
		--rust-target 1.85 --use-core --with-derive-default \
		--ctypes-prefix kernel::ffi --no-layout-tests --no-debug '.*' \
		--enable-function-attribute-detection --no-doc-comments \
		--no-recursive-allowlist \
		-o $@ -- $(xen_bindgen_c_flags); \
	sed -Ei 's/pub const XEN_RUST_CONST_([a-zA-Z0-9_]*)/pub const \1/g' $@

$(obj)/$(xen_lib)/bindings_generated.rs: private part-of-module := y
$(obj)/$(xen_lib)/bindings_generated.rs: private modname := xen
$(obj)/$(xen_lib)/bindings_generated.rs: $(src)/$(xen_lib)/bindings_helper.h \
		$(src)/$(xen_lib)/bindings_parameters FORCE
	$(call if_changed_dep,xen_bindgen)

$(obj)/$(xen_lib)/xen.o: private part-of-module := y
$(obj)/$(xen_lib)/xen.o: private modfile := xen
$(obj)/$(xen_lib)/xen.o: export XEN_BINDINGS_FILE := $(abspath $(obj)/$(xen_lib)/bindings_generated.rs)
$(obj)/$(xen_lib)/xen.o: $(obj)/$(xen_lib)/bindings_generated.rs

# The version of all the modules is the one that DKMS knows them by.
xen_rust_version := $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"$$/\1/p' $(src)/dkms.conf)

# Only the tests of a kernel that injects faults ask for XEN_RUST_FAULTS.
CFLAGS_$(xen_lib)/helpers.o := -DXEN_RUST_VERSION='"$(xen_rust_version)"' \
	$(if $(XEN_RUST_FAULTS),-DXEN_RUST_FAULTS)

$(obj)/$(xen_lib)/helpers.o: private part-of-module := y
$(obj)/$(xen_lib)/helpers.o: private modname := xen

quiet_cmd_xen_library = LD [M]  $@
      cmd_xen_library = $(LD) $(ld_flags) -r -o $@ $(real-prereqs)

$(obj)/$(xen_lib)/libxen.o: $(obj)/$(xen_lib)/xen.o $(obj)/$(xen_lib)/helpers.o FORCE
	$(call if_changed,xen_library)

targets += $(addprefix $(xen_lib)/,bindings_generated.rs xen.o helpers.o libxen.o)
clean-files += $(addprefix $(xen_lib)/,bindings_generated.rs libxen.rmeta)

# $(1): module, $(2): the crate's root without its suffix, $(3): further objects
define xen_module
obj-m += $(1).o
$(1)-y := $(2).o $(3) $(xen_lib)/libxen.o
RUSTFLAGS_$(2).o := $$(xen_rustflags) -L $$(obj)/$$(xen_lib) --extern xen
$$(obj)/$(2).o: $$(obj)/$$(xen_lib)/xen.o
endef
