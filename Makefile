# hearth. `make help` lists the targets; `make` alone builds build/release/hearth.
MODE ?= release
B    := build/$(MODE)
ifeq ($(origin CC),default)
CC := $(if $(filter aarch64,$(MODE)),aarch64-linux-gnu-gcc,gcc)
endif
# MODE=aarch64 builds for 64-bit Arm on another machine, with the libraries that tools/setup/aarch64.sh unpacks.
ARM_ROOT   := $(CURDIR)/build/aarch64-root
PKG_CONFIG ?= $(if $(filter aarch64,$(MODE)),PKG_CONFIG_SYSROOT_DIR=$(ARM_ROOT) \
    PKG_CONFIG_LIBDIR=$(ARM_ROOT)/usr/lib/aarch64-linux-gnu/pkgconfig:$(ARM_ROOT)/usr/share/pkgconfig) pkg-config

# What hearth is made of, from the bottom up. A folder uses only the ones above it (tools/lint/imports enforces it).
BASE    := $(wildcard src/base/*.c)                        # errors, memory, buffers, log, threads, random numbers
FORMAT  := $(wildcard src/format/*.c)                      # GGUF, safetensors, image files: untrusted bytes
DEVICE  := $(wildcard src/device/*.c src/device/*/*.c)     # the arithmetic; one file per kernel family and ISA
TEXT    := $(wildcard src/text/*.c src/text/*/*.c)          # sampling; tokenizer/; jinja/ (chat templates)
LM      := $(wildcard src/lm/*.c)                          # language models, KV cache, scheduler
IMAGE   := $(wildcard src/image/*.c)                       # image networks, schedules, pipelines
STORE   := $(wildcard src/store/*.c)                       # where rows are kept: SQLite, PostgreSQL
SERVICE := $(wildcard src/service/*.c src/service/*/*.c)    # what a request means; models/ (catalog, registry); hub/
HTTP    := $(wildcard src/http/*.c src/http/dialects/*.c)  # server, router, event streams, dialects
CLI     := $(wildcard src/cli/*.c)                         # one file per command; main.c

# Kernels are compiled for the architecture that they are for.
ISAS_x86_64  := avx2 avxvnni avx512 avx512bf16 amx
ISAS_aarch64 := neon dotprod i8mm armbf16
TARGET  := $(shell $(CC) -dumpmachine 2>/dev/null)
FOREIGN := $(foreach a,x86_64 aarch64,$(if $(findstring $(a),$(TARGET)),,$(ISAS_$(a))))

ALL   := $(BASE) $(FORMAT) $(DEVICE) $(TEXT) $(LM) $(IMAGE) $(STORE) $(SERVICE) $(HTTP) $(CLI)
ALL   := $(filter-out $(foreach isa,$(FOREIGN),%_$(isa).c),$(ALL))
TESTS := $(filter %_test.c,$(ALL))
LIB   := $(filter-out %_test.c src/cli/main.c,$(ALL))

PKGS     := libmicrohttpd gnutls jansson libpcre2-8 libcurl libsodium yaml-0.1 libedit libpng zlib libjpeg libwebp chafa sqlite3 libpq hiredis

# CPPFLAGS, CFLAGS and LDFLAGS are the caller's, from the environment or the command line, and add to ours. They come behind what is
# ours by choice (OPTIMISE), so that they win over it, and before what the sources need (HEARTH_CFLAGS): their language, arithmetic
# that is not contracted, the instructions of a kernel's file.
# pkg-config is quiet: `make run` installs what is missing.
HEARTH_CPPFLAGS := -Isrc -D_GNU_SOURCE $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
# WERROR=1 makes warnings errors: lint and CI do, a stranger's newer compiler need not.
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla $(if $(WERROR),-Werror)
OPTIMISE_release := -O2 -g
# gcc's flow analysis misfires on instrumented code; the release build keeps these warnings.
CALM := -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread
OPTIMISE_asan    := $(CALM) -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
OPTIMISE_clang   := -O1 -g
OPTIMISE_tsan    := $(CALM) -O1 -g -fno-omit-frame-pointer -fsanitize=thread
OPTIMISE_aarch64 := -O2 -g
OPTIMISE_coverage := $(CALM) -O0 -g --coverage -fprofile-update=atomic
OPTIMISE_fuzz    := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
OPTIMISE := $(WARN) $(OPTIMISE_$(MODE))
HEARTH_CFLAGS := -std=c17 -ffp-contract=off -fno-math-errno $(if $(filter aarch64,$(MODE)),--sysroot=$(ARM_ROOT))
LDFLAGS_aarch64 := --sysroot=$(ARM_ROOT)
LDFLAGS_asan := -fsanitize=address,undefined
LDFLAGS_tsan := -fsanitize=thread
LDFLAGS_coverage := --coverage
LDFLAGS_fuzz := -fsanitize=fuzzer,address,undefined
HEARTH_LDFLAGS := $(LDFLAGS_$(MODE)) -pthread
HEARTH_LIBS := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null) -lunistring -lstb -lm

COMPILE = $(CC) $(HEARTH_CPPFLAGS) $(CPPFLAGS) $(OPTIMISE) $(CFLAGS) $(HEARTH_CFLAGS)
LINK    = $(HEARTH_LDFLAGS) $(LDFLAGS)
LIBS    = $(HEARTH_LIBS) $(LDLIBS)

OBJ = $(patsubst src/%.c,$(B)/%.o,$(1))

, := ,
.DEFAULT_GOAL := all
all: $(B)/hearth  ## build build/release/hearth (MODE=asan or tsan for the checked builds)

# Only these files may use these instructions; cpu.c decides at start whether to call them (base/isa.h).
# In the checked builds with less effort: undefined-behaviour checks in unrolled vectors take minutes to compile.
KERNEL_release := -O3
KERNEL_aarch64 := -O3
KERNEL_asan    := -O1 -fno-sanitize=undefined
KERNEL_coverage := -O2
KERNEL_tsan    := -O2 -fno-sanitize=thread
KERNEL_fuzz    := -O1 -fno-sanitize=undefined,fuzzer-no-link
AVX2   := -mavx2 -mfma -mf16c
AVX512 := $(AVX2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512vbmi -mprefer-vector-width=512
$(B)/%_plain.o $(B)/%_ref.o: HEARTH_CFLAGS += $(KERNEL_$(MODE))
$(B)/%_avx2.o: HEARTH_CFLAGS += $(AVX2) $(KERNEL_$(MODE))
$(B)/%_avxvnni.o: HEARTH_CFLAGS += $(AVX2) -mavxvnni $(KERNEL_$(MODE))
$(B)/%_avx512.o: HEARTH_CFLAGS += $(AVX512) $(KERNEL_$(MODE))
$(B)/%_avx512bf16.o: HEARTH_CFLAGS += $(AVX512) -mavx512bf16 $(KERNEL_$(MODE))
$(B)/%_amx.o: HEARTH_CFLAGS += $(AVX512) -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16 $(KERNEL_$(MODE))
# gcc would move loads ahead before it gives out registers, and keep sums on the stack for them.
ARM := -fno-schedule-insns
$(B)/%_neon.o: HEARTH_CFLAGS += $(ARM) $(KERNEL_$(MODE))
$(B)/%_dotprod.o: HEARTH_CFLAGS += $(ARM) -march=armv8.2-a+dotprod $(KERNEL_$(MODE))
$(B)/%_i8mm.o: HEARTH_CFLAGS += $(ARM) -march=armv8.2-a+dotprod+i8mm $(KERNEL_$(MODE))
$(B)/%_armbf16.o: HEARTH_CFLAGS += $(ARM) -march=armv8.2-a+dotprod+i8mm+bf16 $(KERNEL_$(MODE))

# The version is that of the commit; without a repository, that of the tarball (tools/setup/version, filled in by `git archive`).
# It changes with every commit, and then the one file that knows it is compiled again.
VERSION := $(shell tools/setup/version)
$(B)/base/version.o: HEARTH_CPPFLAGS += -DHEARTH_VERSION='"$(VERSION)"'
$(B)/base/version.o: $(B)/version.txt
$(B)/version.txt: always
	@mkdir -p $(@D)
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' >$@

# In a shared library (lib/) variables of a thread and of other libraries are reached another way; all else is the same.
SHARED_TOO := $(patsubst %,$(B)/%.o,base/pool format/json_memory text/unicode text/jinja/jinja_print \
    $(addprefix text/tokenizer/,pretoken_scan t5_normalizer tokenizer t5_tokenizer tokenizer_added))
$(SHARED_TOO): HEARTH_CFLAGS += -fPIC
$(SHARED_TOO): lib/hearth.map

$(B)/%.o: src/%.c
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -c -o $@ $<

$(B)/service/models/catalog_data.o: catalog/models.yaml
$(B)/service/advice/advice_data.o: catalog/advice.yaml catalog/styles.yaml
$(B)/service/safety/safety_data.o: models/nsfw/mobilenet_v2_nsfw.safetensors catalog/safety.yaml
$(B)/http/web_data.o: $(wildcard web/*)

# Kernels for NVIDIA GPUs, where nvcc is found; CUDA=0 leaves them out. All architectures that this nvcc knows of those wanted, and PTX for later ones.
CUDA ?= 1
NVCC := $(if $(filter-out 0,$(CUDA)),$(firstword $(wildcard /usr/local/cuda/bin/nvcc) $(shell command -v nvcc 2>/dev/null)))
CUDA_ARCHS := 80 86 89 90a 100
build/cuda/kernels.fatbin: $(wildcard src/device/cuda/kernels/*) src/device/cuda/params.h src/device/cuda/kernels.def
	@mkdir -p $(@D)
	WERROR=$(WERROR) tools/setup/nvcc.sh $(NVCC) "$(CUDA_ARCHS)" -std=c++17 -Isrc -O3 --Werror all-warnings -o $@ src/device/cuda/kernels/all.cu
ifneq ($(NVCC),)
build/release/device/cuda/image.o: HEARTH_CPPFLAGS += -DHEARTH_CUDA_IMAGE='"build/cuda/kernels.fatbin"'
build/release/device/cuda/image.o: build/cuda/kernels.fatbin
endif

# The same kernels as C++ on this processor, for tests (src/device/cuda/emulated).
CXX := $(if $(findstring clang,$(CC)),$(subst clang,clang++,$(CC)),$(subst gcc,g++,$(CC)))
EMULATED := $(if $(filter aarch64,$(MODE)),,$(patsubst %,$(B)/device/cuda/emulated/%.o,driver fibres kernels))
$(B)/device/cuda/emulated/%.o: src/device/cuda/emulated/%.cc
	@mkdir -p $(@D)
	$(CXX) $(HEARTH_CPPFLAGS) $(CPPFLAGS) $(filter-out -Wshadow -Wstrict-prototypes -Wmissing-prototypes,$(OPTIMISE)) $(CFLAGS) -std=c++17 \
	    -ffp-contract=off -fno-exceptions -fno-rtti -fno-threadsafe-statics -MMD -MP -c -o $@ $<
EMULATION_TESTS := $(if $(EMULATED),$(B)/device/backend_test $(B)/device/cuda/cuda_test $(B)/lm/golden_test)
$(EMULATION_TESTS): $(EMULATED)
$(EMULATION_TESTS:=.o): HEARTH_CPPFLAGS += -DHEARTH_CUDA_EMULATED

$(B)/libhearth.a: $(call OBJ,$(LIB))
	@rm -f $@
	@ar rcs $@ $^

# The engines alone, behind include/hearth.h: include it, link with -lhearth.
SONAME := libhearth.so.1
ENGINE := $(call OBJ,$(filter $(BASE) $(FORMAT) $(DEVICE) $(TEXT) $(LM) $(IMAGE),$(LIB)))
$(B)/lib/hearth.o: lib/hearth.c include/hearth.h
	@mkdir -p $(@D)
	$(COMPILE) -Iinclude -fPIC -MMD -MP -c -o $@ $<
$(B)/$(SONAME): $(B)/lib/hearth.o $(ENGINE) lib/hearth.map
	$(CC) $(CFLAGS) $(LINK) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=lib/hearth.map -Wl,-z,defs -Wl,--as-needed -o $@ $(filter %.o,$^) $(LIBS)
	@ln -sf $(SONAME) $(B)/libhearth.so
library: $(B)/$(SONAME)  ## build/release/libhearth.so, the engines as a C library (include/hearth.h)

$(B)/hearth: $(call OBJ,src/cli/main.c) $(B)/libhearth.a
	$(CC) $(CFLAGS) $(LINK) -o $@ $^ $(LIBS)

# One program per *_test.c, cmocka, beside the file it tests.
TEST_BINS := $(patsubst src/%_test.c,$(B)/%_test,$(TESTS))
$(B)/%_test: $(B)/%_test.o $(B)/libhearth.a
	$(CC) $(CFLAGS) $(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) -lcmocka $(LIBS)

# Its own functions stand before these, and fail where it wants (service/account/faults_test.c).
$(B)/service/account/faults_test: HEARTH_LDFLAGS += $(patsubst %,-Wl$(,)--wrap=%,malloc calloc realloc strdup sqlite3_step \
	open64 pread64 pwrite64 fstat64 posix_fallocate64 flock rename mkdir opendir pthread_create sodium_init)
$(B)/http/auth_test: HEARTH_LDFLAGS += -Wl,--wrap=calloc -Wl,--wrap=sodium_init

unit-programs: $(TEST_BINS)
unit:  ## build and run the unit and golden tests of this MODE (HEARTH_ISA=avx2: as a machine that has no more)
	@tests/run.sh unit $(MODE)

# Programs that measure kernels: bench/NAME.c with bench/machine.c, which knows the machine's ceilings.
$(B)/bench/%: bench/%.c bench/machine.c bench/machine.h $(B)/libhearth.a
	@mkdir -p $(@D)
	$(COMPILE) -Ibench $(LINK) -o $@ $< bench/machine.c $(B)/libhearth.a $(LIBS)

# ---- what a person calls -------------------------------------------------------------------------------------------

HEARTH_ARGS ?=
run:  ## install what is missing, build, fetch the starter models, serve: prints a URL and a key
	@echo "hearth: looking for what the build needs" >&2
	@tools/setup/packages.sh build
	@echo "hearth: building; the first time takes a minute or two" >&2
	@$(MAKE) --no-print-directory -s -j$$(nproc) all
	@tools/setup/starter.sh || echo "hearth: going on without the chat model; make starter fetches it when the index can be reached" >&2
	@$(B)/hearth serve --new-key $(HEARTH_ARGS)

starter:  ## fetch the starter models into the model folder (HEARTH_MODELS, or the XDG data home)
	@tools/setup/starter.sh

test:  ## install what the tests need and run them all: unit, golden, end to end with real clients
	@tools/setup/packages.sh test
	@tests/run.sh

build/faults/fail_nth.so: tests/faults/fail_nth.c
	@mkdir -p $(@D)
	$(CC) -std=c17 -D_GNU_SOURCE $(WARN) -O1 -g -fPIC -shared -o $@ $<

faults: all build/faults/fail_nth.so  ## short commands and a server in which one call of the system's fails at every place in turn
	@python3 tests/faults/run.py build/faults/fail_nth.so $(B)/hearth

bench:  ## speed against the machine's ceilings and against peers, in one run; writes docs/benchmarks.md
	@tools/setup/packages.sh test
	@bench/run.sh

exactness:  ## how exact each weight type, cache type and instruction set is; writes docs/exactness.md
	@tools/setup/packages.sh test
	@$(MAKE) --no-print-directory -s -j$$(nproc) all starter build/release/bench/exactness build/release/lm/golden_test
	@[ -x build/venv-exactness/bin/python ] || python3 -m venv build/venv-exactness
	@build/venv-exactness/bin/pip install --quiet --disable-pip-version-check gguf numpy
	@build/venv-exactness/bin/python bench/exactness.py

lint:  ## import direction, format, warnings under gcc and clang, clang-tidy, the portable build
	@tools/setup/packages.sh lint
	@tools/lint/lint.sh

FUZZ_SECONDS ?= 60
FUZZ_CC      ?= clang
FUZZ         ?= $(patsubst tests/fuzz/%_fuzz.c,%,$(wildcard tests/fuzz/*_fuzz.c))
fuzz:  ## run each fuzz target for FUZZ_SECONDS (60) from its corpus; FUZZ="gguf http" picks some
	@$(MAKE) --no-print-directory -s -j$$(nproc) MODE=fuzz CC="$(FUZZ_CC)" $(patsubst %,build/fuzz/%_fuzz,$(FUZZ))
	@printf '%s\n' $(FUZZ) | xargs -P $$(nproc) -I{} sh -c ' \
	    mkdir -p build/fuzz/corpus/{} tests/fuzz/corpus/{}; \
	    build/fuzz/{}_fuzz -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
	        -artifact_prefix=build/fuzz/{}- build/fuzz/corpus/{} tests/fuzz/corpus/{} >build/fuzz/{}.log 2>&1 && \
	    echo "{}: clean for $(FUZZ_SECONDS) s, $$(ls build/fuzz/corpus/{} | wc -l) inputs reach something new" || \
	    { tail -n 40 build/fuzz/{}.log; echo "{}: FAILED"; exit 255; }'

build/fuzz/%_fuzz: tests/fuzz/%_fuzz.c build/fuzz/libhearth.a
	$(COMPILE) $(LINK) -MMD -MP -o $@ $< build/fuzz/libhearth.a $(LIBS)

asan:  ## unit, golden and server tests under the address and undefined-behaviour checkers
	@tests/run.sh unit asan
	@tests/run.sh server asan

coverage:  ## which lines and branches the unit tests reach; every branch of keys, limits, budgets and the ledger should be
	@tools/setup/packages.sh coverage
	@tools/coverage.sh

tsan:  ## the same under the thread checker
	@tests/run.sh unit tsan
	@tests/run.sh server tsan

format:  ## rewrite the sources as .clang-format says
	git ls-files 'src/*.c' 'src/*.h' 'tests/*.c' 'bench/*.c' | xargs clang-format -i

PREFIX ?= /usr/local
# What is ours, and what of others' is part of the binary or of the starter: their licences go with it.
DOCDIR   = $(PREFIX)/share/doc/hearth
NOTICES := LICENSE:LICENSE NOTICE:NOTICE models/nsfw/LICENSE:LICENSE.nsfw-classifier models/starter-image/LICENSE:LICENSE.starter-image \
    models/starter-image/README.md:starter-image.md
# The binary prints its own manual page and what shells complete.
SHARED_DOCS = $(foreach d,$(DOCS),$(d):$(DOCDIR)/$(notdir $(d))) $(foreach n,$(NOTICES),$(firstword $(subst :, ,$(n))):$(DOCDIR)/$(lastword $(subst :, ,$(n))))
DOCS    := README.md $(wildcard docs/*.md)
SHARED   = $(SHARED_DOCS) $(B)/share/hearth.1:$(PREFIX)/share/man/man1/hearth.1 $(B)/share/hearth.bash:$(PREFIX)/share/bash-completion/completions/hearth \
    $(B)/share/hearth.zsh:$(PREFIX)/share/zsh/site-functions/_hearth $(B)/share/hearth.fish:$(PREFIX)/share/fish/vendor_completions.d/hearth.fish \
    $(B)/share/hearth.service:$(PREFIX)/lib/systemd/system/hearth.service
$(B)/share/hearth.1: $(B)/hearth
	@mkdir -p $(@D)
	$(B)/hearth help --man >$@
$(B)/share/hearth.%: $(B)/hearth
	@mkdir -p $(@D)
	$(B)/hearth completion $* >$@
$(B)/share/hearth.service: deploy/systemd/hearth.service always
	@mkdir -p $(@D)
	@sed 's|@BINDIR@|$(PREFIX)/bin|' $< >$@

install: all $(foreach f,1 bash zsh fish service,$(B)/share/hearth.$(f))  ## install all that belongs to it under PREFIX (default /usr/local), DESTDIR honoured
	install -Dm755 $(B)/hearth '$(DESTDIR)$(PREFIX)/bin/hearth'
	for f in $(SHARED); do install -Dm644 "$${f%%:*}" '$(DESTDIR)'"$${f##*:}" || exit 1; done

uninstall:  ## remove what install has put there
	rm -f '$(DESTDIR)$(PREFIX)/bin/hearth'
	for f in $(SHARED); do rm -f '$(DESTDIR)'"$${f##*:}"; done
	rmdir '$(DESTDIR)$(DOCDIR)' 2>/dev/null || true

install-library: library  ## install libhearth, its header and what pkg-config says of it under PREFIX
	install -Dm644 $(B)/$(SONAME) '$(DESTDIR)$(PREFIX)/lib/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(PREFIX)/lib/libhearth.so'
	install -Dm644 include/hearth.h '$(DESTDIR)$(PREFIX)/include/hearth.h'
	mkdir -p '$(DESTDIR)$(PREFIX)/lib/pkgconfig'
	printf 'Name: hearth\nDescription: language and image models as a C library\nVersion: 1\nLibs: -L%s/lib -lhearth\nCflags: -I%s/include\n' \
	    '$(PREFIX)' '$(PREFIX)' >'$(DESTDIR)$(PREFIX)/lib/pkgconfig/hearth.pc'

deb: all  ## a Debian package, build/hearth_VERSION_ARCH.deb
	@tools/package/deb.sh
tarball: all  ## build/hearth-VERSION-ARCH.tar.gz, which brings its libraries along and runs wherever it is unpacked
	@tools/package/tarball.sh
image: all  ## build/hearth-image.tar, a container image (OCI layout and docker-archive in one), without a daemon
	@tools/package/tree.sh build/image-tree && python3 tools/package/image.py build/image-tree build/hearth-image.tar '$(VERSION)'

clean:  ## remove everything that was built
	rm -rf build

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*##  ?(.*)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | sort | while IFS='|' read -r t d; do printf '  make %-15s %s\n' "$$t" "$$d"; done

print-%: ; @echo $($*)

.SECONDARY:
.PHONY: library install-library deb tarball image all unit unit-programs run starter test faults bench exactness lint asan tsan coverage fuzz format install uninstall always clean help
-include $(shell find $(B) -name '*.d' 2>/dev/null)
