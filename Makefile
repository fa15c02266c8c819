# links: the build. GNU make (gmake on the BSDs); `make help` lists the targets.
#
# Every variant (compiler, poll backend, sanitizers) has an object tree of its own under build/,
# so going from one to another rebuilds nothing. ./links is the default variant's program. Variants
# that differ in the poll backend alone share the objects that do not know it.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# --- variants ----------------------------------------------------------------------------------

SYSTEM := $(shell uname -s)
DEFAULT_POLL := $(if $(filter Linux,$(SYSTEM)),epoll,kqueue)

POLL ?= $(DEFAULT_POLL)
SANITIZE ?=
V ?= 0
PREFIX ?= /usr/local
DESTDIR ?=
PKG_CONFIG ?= pkg-config

ifeq ($(filter $(POLL),epoll kqueue),)
$(error POLL must be epoll or kqueue, not "$(POLL)")
endif

comma := ,
empty :=
space := $(empty) $(empty)

# $(call variant,poll backend)
variant = $(or $(subst $(space),-,$(strip $(filter-out cc,$(notdir $(firstword $(CC)))) \
                 $(filter-out $(DEFAULT_POLL),$(1)) $(subst $(comma),-,$(SANITIZE)))),default)
VARIANT := $(call variant,$(POLL))
BUILD := build/$(VARIANT)
SHARED := build/$(call variant,$(DEFAULT_POLL))

# --- flags -------------------------------------------------------------------------------------

# What the sanitizers report needs lines and no more, and is compiled in half the time like this.
CFLAGS ?= $(if $(SANITIZE),-O1 -g1,-O2 -g)
LDFLAGS ?=

ifeq ($(SANITIZE),)
hardening_cflags := -fstack-protector-strong \
                    $(if $(filter -O1 -O2 -O3 -Os,$(CFLAGS)),-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
else
# Fortified functions hide their arguments from the sanitizers.
sanitize_cflags := -DLINKS_SANITIZED -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
sanitize_cflags := $(patsubst -fsanitize=fuzzer%,-fsanitize=fuzzer-no-link%,$(sanitize_cflags))
sanitize_ldflags := $(patsubst -fsanitize=fuzzer$(comma)%,-fsanitize=%,-fsanitize=$(SANITIZE))
endif

ifeq ($(SYSTEM),Darwin)
hardening_ldflags :=
whole_archive = -Wl,-force_load,$(1)
export_symbols := -Wl,-export_dynamic
system_libs := -lm
else
hardening_ldflags := -pie -Wl,-z,relro -Wl,-z,now
# A C module may bring another OpenSSL along: it is not to find ours.
hidden_archives := -Wl,--exclude-libs,libssl.a:libcrypto.a
whole_archive = -Wl,--whole-archive $(1) -Wl,--no-whole-archive
export_symbols := -Wl,-E
system_libs := -lm $(if $(filter Linux,$(SYSTEM)),-ldl)
endif

warnings := -Wall -Wextra $(if $(WERROR),-Werror)
all_cflags := -std=gnu11 $(warnings) -fvisibility=hidden -fPIE -pthread $(hardening_cflags) \
              $(sanitize_cflags) $(CFLAGS)
all_ldflags := -pthread $(hardening_ldflags) $(export_symbols) $(hidden_archives) \
               $(sanitize_ldflags) $(LDFLAGS)
all_cppflags := -Isrc $(CPPFLAGS)

# --- sources -----------------------------------------------------------------------------------

# All files below $(1) that match one of the patterns $(2), sorted.
find = $(sort $(foreach p,$(2),$(wildcard $(1)/$(p) $(1)/*/$(p) $(1)/*/*/$(p) $(1)/*/*/*/$(p))))

other_system := $(if $(filter Linux,$(SYSTEM)),%_bsd.c,%_linux.c)
other_poll := src/ev/poll_$(if $(filter epoll,$(POLL)),kqueue,epoll).c

SOURCES := $(filter-out $(other_system) $(other_poll),$(call find,src,*.c))
BACKEND := src/ev/poll_$(POLL).c
HEADERS := $(call find,src,*.h)
LUA_LIBRARY := $(call find,lib/links,*.lua)

ifeq ($(POLL)-$(DEFAULT_POLL),kqueue-epoll)
# kqueue where the system has none: over the emulation that the tests bring along.
emulation := $(wildcard tests/kqueue/*.c)
SOURCES += $(emulation)
BACKEND += $(emulation)
backend_cppflags := -Itests/kqueue
endif

objects = $(patsubst %.c,$(BUILD)/%.o,$(filter $(BACKEND),$(1))) \
          $(patsubst %.c,$(SHARED)/%.o,$(filter-out $(BACKEND),$(1)))
OBJECTS := $(call objects,$(SOURCES)) $(SHARED)/lualib.o
LIBRARY_OBJECTS := $(filter-out $(SHARED)/src/main.o,$(OBJECTS))

# --- libraries ---------------------------------------------------------------------------------

# The program is to be one file that runs anywhere and starts fast, so a library is linked
# statically wherever its archive is installed.
library_dirs := $(wildcard /usr/local/lib /usr/pkg/lib /opt/homebrew/lib)
# Where pkg-config has it, whose headers are used too, goes first: PKG_CONFIG_PATH chooses another.
archive = $(firstword $(wildcard \
            $(addsuffix /lib$(1).a,$(shell $(PKG_CONFIG) --variable=libdir $(2) 2>/dev/null)) \
            $(filter /%,$(shell $(CC) -print-file-name=lib$(1).a)) \
            $(addsuffix /lib$(1).a,$(library_dirs))))

# A library is used once a source includes its header: $(call uses,header).
uses = $(if $(SOURCES),$(shell grep -l '^\#include <$(1)>' $(SOURCES) $(HEADERS) 2>/dev/null))

# $(call library,header,name for -l,name for pkg-config or nothing)
define library_rules
ifneq ($$(call uses,$(1)),)
all_cppflags += $$(if $(3),$$(shell $$(PKG_CONFIG) --cflags $(3) 2>/dev/null))
libs += $$(or $$(call archive,$(2),$(3)),$$(if $(3),$$(shell $$(PKG_CONFIG) --libs $(3) 2>/dev/null),-l$(2)))
endif
endef
library = $(eval $(call library_rules,$(1),$(2),$(3)))

ifneq ($(filter-out Linux,$(SYSTEM)),)
all_cppflags += $(addprefix -isystem ,$(wildcard /usr/local/include))
all_ldflags += $(addprefix -L,$(library_dirs))
endif

$(call library,http_parser.h,http_parser,)
$(call library,ares.h,cares,libcares)
$(call library,zlib.h,z,zlib)
$(call library,openssl/ssl.h,ssl,libssl)
$(call library,openssl/evp.h,crypto,libcrypto)

# LuaJIT as a whole, used or not: C modules such as lua-cjson find the Lua API in the executable.
luajit_cppflags := $(shell $(PKG_CONFIG) --cflags luajit 2>/dev/null)
all_cppflags += $(luajit_cppflags)
luajit_archive := $(call archive,luajit-5.1,luajit)
luajit_libs := $(if $(luajit_archive),$(call whole_archive,$(luajit_archive)),\
                 $(shell $(PKG_CONFIG) --libs luajit 2>/dev/null))
LIBS := $(luajit_libs) $(libs) $(system_libs)

# --- rules -------------------------------------------------------------------------------------

ifeq ($(V),0)
quiet = @printf '  %-7s %s\n' $(1) $@;
endif

.PHONY: all help clean FORCE

all: $(BUILD)/links $(if $(filter default,$(VARIANT)),links)  ## build ./links (a variant: build/<variant>/links)

links: build/default/links
	@ln -f $< $@ 2>/dev/null || cp -f $< $@

$(BUILD)/links: $(OBJECTS) $(BUILD)/link.stamp
	$(call quiet,LINK)$(CC) $(CFLAGS) $(all_ldflags) -o $@ $(OBJECTS) $(LIBS)

# $(call compile_rules,tree)
define compile_rules
$(1)/%.o: %.c $(SHARED)/compile.stamp
	@mkdir -p $$(@D)
	$$(call quiet,CC)$(CC) $$(if $$(filter $(BACKEND),$$<),$(backend_cppflags)) $(all_cppflags) \
	    $(all_cflags) -MMD -MP -c -o $$@ $$<
endef
$(foreach tree,$(sort $(BUILD) $(SHARED)),$(eval $(call compile_rules,$(tree))))

$(SHARED)/lualib.o: $(SHARED)/lualib.c $(SHARED)/compile.stamp
	$(call quiet,CC)$(CC) $(all_cppflags) $(all_cflags) -MMD -MP -c -o $@ $<

# Bytecode is for the LuaJIT that has made it, and a shared library may change.
embedded := $(if $(luajit_archive),compiled,source)

$(SHARED)/lualib.c: $(SHARED)/embed $(LUA_LIBRARY) $(SHARED)/lualib.stamp
	$(call quiet,EMBED)$< $(embedded) $(@:.c=.chunks) $(LUA_LIBRARY) >$@

# Runs while this builds, whatever the variant.
$(SHARED)/embed: lib/embed.c
	@mkdir -p $(@D)
	$(call quiet,HOSTCC)$(CC) -std=gnu11 -O1 $(warnings) $(luajit_cppflags) -o $@ $< $(luajit_archive) \
	    $(if $(luajit_archive),,$(luajit_libs)) $(system_libs)

# A stamp holds what its dependents were built with, and is touched only when that changes: other
# flags, an added or a removed source rebuild exactly what they concern.
stamp = @mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$(1))' | cmp -s - $@ || \
        printf '%s\n' '$(subst ','\'',$(1))' >$@

$(SHARED)/compile.stamp: FORCE
	$(call stamp,$(filter-out -Werror,$(CC) $(all_cppflags) $(all_cflags)))

$(BUILD)/link.stamp: FORCE
	$(call stamp,$(CC) $(all_ldflags) $(OBJECTS) $(LIBS))

$(SHARED)/lualib.stamp: FORCE
	$(call stamp,$(embedded) $(LUA_LIBRARY))

# --- tests -------------------------------------------------------------------------------------

# One Criterion program per room, linked with the room and those to its left: what a room reaches
# for on its right does not link. Never main.c.
ROOMS := base ev lua modules

room_objects = $(filter $(foreach r,$(1),$(BUILD)/src/$(r)/% $(SHARED)/src/$(r)/%),$(OBJECTS)) \
               $(if $(filter ev,$(1)),$(filter $(BUILD)/tests/%,$(OBJECTS))) \
               $(if $(filter lua,$(1)),$(SHARED)/lualib.o)
base_objects := $(call room_objects,base)
ev_objects := $(call room_objects,base ev)
lua_objects := $(call room_objects,base ev lua)
modules_objects := $(LIBRARY_OBJECTS)

# $(call test_program,room)
define test_program_rules
$(1)_tests := $$(call objects,$$(call find,tests/$(1),*.c))
TEST_OBJECTS += $$($(1)_tests)
ifneq ($$($(1)_tests),)
TEST_PROGRAMS += $(BUILD)/tests/test_$(1)
# The same tests, in forks of one process.
DIRECT_PROGRAMS += $(BUILD)/tests/direct_$(1)
$(BUILD)/tests/direct_$(1): $(SHARED)/tests/direct/main.o
$(BUILD)/tests/test_$(1) $(BUILD)/tests/direct_$(1): $$($(1)_tests) $$($(1)_objects) \
            $(BUILD)/tests.stamp
	$$(call quiet,LINK)$(CC) $(CFLAGS) $(all_ldflags) -o $$@ $$(filter %.o,$$^) \
	    $$(shell $(PKG_CONFIG) --libs criterion) \
	    $$(if $$(filter lua modules,$(1)),$$(LIBS),$$(system_libs))
endif
endef
$(foreach r,$(ROOMS),$(eval $(call test_program_rules,$(r))))

# Fuzz targets: replayed over their corpus by a plain driver, or driven by libFuzzer.
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/%,$(call find,tests/fuzz,fuzz_*.c))
FUZZ_SANITIZE := fuzzer,address,undefined
ifeq ($(filter fuzzer%,$(SANITIZE)),)
fuzz_driver := $(SHARED)/tests/fuzz/replay.o
else
fuzz_ldflags := -fsanitize=fuzzer
endif
TEST_OBJECTS += $(fuzz_driver) $(patsubst $(BUILD)/tests/%,$(SHARED)/tests/fuzz/%.o,$(FUZZERS))

$(FUZZERS): $(BUILD)/tests/%: $(SHARED)/tests/fuzz/%.o $(fuzz_driver) $(LIBRARY_OBJECTS) \
            $(BUILD)/tests.stamp
	$(call quiet,LINK)$(CC) $(CFLAGS) $(all_ldflags) $(fuzz_ldflags) -o $@ $(filter %.o,$^) $(LIBS)

$(BUILD)/tests.stamp: FORCE
	$(call stamp,$(CC) $(all_ldflags) $(OBJECTS) $(TEST_OBJECTS) $(LIBS))

TEST_OBJECTS += $(SHARED)/tests/direct/main.o

.PHONY: test test-programs direct-programs fuzz-programs fuzz
.SECONDARY: $(TEST_OBJECTS)

test-programs: $(TEST_PROGRAMS)
direct-programs: $(DIRECT_PROGRAMS)
fuzz-programs: $(FUZZERS)

test:  ## build, lint and run every test, in every variant (SUITES="ev lib": only these)
	@MAKE='$(MAKE)' sh tests/run.sh $(SUITES)

SECONDS ?= 60
ifneq ($(wildcard tests/fuzz/fuzz_$(FUZZ).lua),)
fuzz: all
	@mkdir -p build/fuzz/$(FUZZ)
	$(BUILD)/links tests/fuzz/lua.lua '$(FUZZ)' $(SECONDS) build/fuzz/$(FUZZ) tests/fuzz/corpus/$(FUZZ)
else
fuzz:  ## fuzz one target, in C or in Lua (FUZZ=<name>, SECONDS=60)
	@[ -f 'tests/fuzz/fuzz_$(FUZZ).c' ] || { echo 'make fuzz FUZZ=<name>, one of:' \
	    $(patsubst fuzz_%,%,$(notdir $(FUZZERS))) \
	    $(patsubst tests/fuzz/fuzz_%.lua,%,$(wildcard tests/fuzz/fuzz_*.lua)) >&2; exit 1; }
	@$(MAKE) CC=clang SANITIZE=$(FUZZ_SANITIZE) fuzz-programs
	@mkdir -p build/fuzz/$(FUZZ)
	# Leaks are looked for when the corpus is replayed: clang 14's checker crashes at the fuzzer's end.
	ASAN_OPTIONS=detect_leaks=0 build/clang-$(subst $(comma),-,$(FUZZ_SANITIZE))/tests/fuzz_$(FUZZ) \
	    -max_total_time=$(SECONDS) -artifact_prefix=build/fuzz/ build/fuzz/$(FUZZ) \
	    tests/fuzz/corpus/$(FUZZ)
endif

# --- house -------------------------------------------------------------------------------------

.PHONY: check soak deps lint format demo docs bench bench-deps install uninstall

check:  ## install what is missing, build, lint and run every test
	@sh .ci/deps build check
	@$(MAKE) --no-print-directory test WERROR=1

soak: all  ## run the storms of servers, clusters and shared memory at full length: 12 minutes
	LINKS_SOAK=1 ./links tests/busted.lua tests/integration/cluster_spec.lua
	LINKS_SOAK=1 ./links tests/busted.lua tests/integration/cluster_upgrade_spec.lua
	LINKS_SOAK=1 ./links tests/busted.lua tests/integration/service_spec.lua
	LINKS_SOAK=1 ./links tests/busted.lua tests/integration/shared_storm_spec.lua
	LINKS_SOAK=1 ./links tests/busted.lua tests/integration/http_storm_spec.lua

deps:  ## install what is missing to build, test and lint
	@sh .ci/deps build check

bench: all  ## measure links and what it is compared with, in one table
	LINKS=$(BUILD)/links sh bench/run.sh

bench-deps:  ## install what `make bench` compares links with
	@sh .ci/deps bench

lint: all  ## layering, style, static analysis, documentation
	@sh tests/lint.sh

format:  ## lay out the C files by .clang-format
	clang-format -i $(foreach d,src lib tests,$(call find,$d,*.c *.h))

demo:  ## install what is missing, build, and serve on http://127.0.0.1:8080 (PORT=...)
	@sh .ci/deps build
	@$(MAKE) --no-print-directory all
	@$(if $(PORT),PORT='$(PORT)') ./links examples/demo.lua

docs: all  ## write the API pages, docs/api, from the docstrings
	./links docs/gen.lua

install: all  ## install the program and its manual (PREFIX=/usr/local, DESTDIR=)
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/man/man1'
	install -m 755 $(BUILD)/links '$(DESTDIR)$(PREFIX)/bin/links'
	install -m 644 docs/links.1 '$(DESTDIR)$(PREFIX)/share/man/man1/links.1'

uninstall:  ## remove what install put there
	rm -f '$(DESTDIR)$(PREFIX)/bin/links' '$(DESTDIR)$(PREFIX)/share/man/man1/links.1'

clean:  ## remove everything that was built
	rm -rf build links

help:  ## list the targets
	@echo 'make [target] [POLL=epoll|kqueue] [SANITIZE=address,undefined|thread] [CC=clang] [V=1]'
	@awk -F ':.*##' '/^[a-z][a-z-]*:.*##/ { printf "  %-12s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

-include $(OBJECTS:.o=.d) $(TEST_OBJECTS:.o=.d)
