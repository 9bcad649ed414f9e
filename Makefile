# SPDX-License-Identifier: Apache-2.0
#
# The front door: every target is one or two commands of Meson or of tools/.
#
#   make            build the program, build/src/cli/vmkeep
#   make check      install what is missing, build, lint, run every test
#   make demo       save a running machine and continue it elsewhere
#   make install    PREFIX=/usr/local DESTDIR=
#
#   make lint       format, layers, symbols, scripts
#   make tidy       clang-tidy over src/ (minutes)
#   make format     clang-format in place
#   make check-asan, check-tsan   tests under sanitizers; SUITES="base repo"
#   make fuzz       TARGET=name RUNS=n or SECONDS_EACH=n
#   make check-heavy   all sanitizers, a round of fuzzing, and of the tests that
#                   take a sample in check all that they have
#   make check-versions   the tests of real machines with newer QEMUs, which it
#                   fetches once (tools/qemu-tree)
#   make bench      measure
#   make clean      remove the build folders
#
# SETUP=: keeps it from installing packages.

BUILD = build
PREFIX = /usr/local
SETUP = tools/setup
SECONDS_EACH = 60
SOAK_SECONDS = 600
# What the sanitized runs leave out: hours of emulation that tell nothing new.
SLOW = system bench

suites = $(foreach s,$(SUITES),--suite $(s))
no_slow = $(if $(SUITES),,$(foreach s,$(SLOW),--no-suite $(s)))
# A report of a sanitizer ends the test; allocations that fail are tested.
san_env = ASAN_OPTIONS=allocator_may_return_null=1:abort_on_error=1:detect_stack_use_after_return=1 \
	TSAN_OPTIONS=allocator_may_return_null=1:halt_on_error=1 \
	UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1

export PYTHONDONTWRITEBYTECODE = 1
# More tests at a time than there are CPUs: a third of their time they wait.
export MESON_TESTTHREADS ?= $(shell expr $$(nproc) + 2)

# The program only: everything is what check builds, the guest included.
all: $(BUILD)/build.ninja
	ninja -C $(BUILD) src/cli/vmkeep

$(BUILD)/build.ninja:
	$(SETUP)
	meson setup --prefix=$(PREFIX) $(BUILD)

setup:
	$(SETUP)

check: setup $(BUILD)/build.ninja
	@tools/run-tests -C $(BUILD) --with 'lint=tools/lint $(BUILD)' $(suites)

check-asan: setup
	[ -f $(BUILD)-asan/build.ninja ] || meson setup $(BUILD)-asan \
		-Db_sanitize=address,undefined -Db_lundef=false
	@$(san_env) tools/run-tests -C $(BUILD)-asan --slow 6 $(suites) $(no_slow)

check-tsan: setup
	[ -f $(BUILD)-tsan/build.ninja ] || meson setup $(BUILD)-tsan \
		-Db_sanitize=thread -Db_lundef=false
	@$(san_env) tools/run-tests -C $(BUILD)-tsan --slow 10 $(suites) $(no_slow)

check-heavy: check-asan check-tsan fuzz
	VMTEST_STEP=1 VMTEST_ROUNDS=20 VMTEST_MOST=256 \
		tools/run-tests -C $(BUILD) --slow 6 --suite system
	VMKEEP_ALL_FAULTS=1 VMKEEP_ALL_BITS=1 SOAK_SECONDS=$(SOAK_SECONDS) \
		VMKEEP_PROTOCOL_SCHEDULES=20000 VMKEEP_TEST_ROUNDS=20 \
		tools/run-tests -C $(BUILD) --slow 20 \
		sweep jobfaults repair protocol volume_base fault_program soak \
		cli_cluster

check-versions: setup $(BUILD)/build.ninja
	tools/setup versions
	ninja -C $(BUILD) src/cli/vmkeep tests/qemu/vmlinux
	tools/check-versions $(BUILD)

fuzz: setup
	RUNS=$(RUNS) SECONDS_EACH=$(SECONDS_EACH) tools/fuzz $(BUILD)-fuzz $(TARGET)

demo: setup all
	tools/demo

bench: setup all
	tools/bench

install: all
	meson configure $(BUILD) -Dprefix=$(PREFIX)
	meson introspect --installed $(BUILD) | \
		grep -o '"$(abspath $(BUILD))/[^"]*"' | \
		sed 's,^"$(abspath $(BUILD))/,,; s,"$$,,' | xargs ninja -C $(BUILD)
	DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

lint: all
	tools/lint $(BUILD)

tidy: all
	tools/tidy $(BUILD)

format:
	find src tests -name '*.[ch]' -exec clang-format -i {} +

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz

.PHONY: all setup check check-asan check-tsan check-heavy check-versions fuzz demo bench \
	install lint tidy format clean
