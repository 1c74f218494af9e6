# SPDX-License-Identifier: MIT
# Makefile - a thin front for meson; `make help` lists the targets
#
# BUILD          build directory                        (build)
# WERROR         true: warnings are errors              (false)
# PREFIX         where `make install` puts things       (/usr/local)
# DESTDIR        staged in front of PREFIX              (empty)
# FUZZ_SECONDS   for `make fuzz`, all fuzzers together  (30)
# MINUTES        for `make soak` and `make stress`      (10)
# TRACES         for `make differential`                (10000)

BUILD ?= build
WERROR ?= false
FUZZ_SECONDS ?= 30
MINUTES ?= 10
TRACES ?= 10000
TEST_ARGS ?=
NEED = scripts/need-packages
# Tests print TAP; the summary, not meson, says what passed.  Many of them wait
# for processes that they look at: one more than there are processors.
MESON_TEST = meson test --no-rebuild --print-errorlogs \
	--num-processes $$(($$(nproc) + 1))
SUMMARY = scripts/test-summary.py
# Those with threads; ThreadSanitizer has nothing to say about the others.
# Not migrate: its writer and its sender race for a page, as a guest would.
TSAN_TESTS = concurrent_test mark_bugs_test ring_bugs_test bitmap dirty_log \
	lock ring vmm hazard_test mmu_fault_bugs_test mmu_large_bugs_test \
	mmu_ring_bugs_test mmu_slot_bugs_test mmu_write_bugs_test stress
# Tests are no part of a plain build.
TESTS = meson-test-prereq

# $(call configure,DIRECTORY,OPTIONS): set a build directory up once.
configure = test -f $(1)/build.ninja || \
	meson setup $(1) -Dwerror=$(WERROR) $(2) >$(1).log 2>&1 || \
	{ cat $(1).log >&2; exit 1; }; rm -f $(1).log

.PHONY: all
all: ## build the library and the command
	@$(NEED) build
	@$(call configure,$(BUILD),)
	@ninja -C $(BUILD) --quiet

.PHONY: demo
demo: all ## build, then watch a guest being tracked and moved
	@$(BUILD)/tidemark demo

.PHONY: test
test: ## build and run every test; ends with the counts
	@$(NEED) test
	@$(MAKE) --no-print-directory all
	@scripts/guest-kernel build-kernel || :
	@ninja -C $(BUILD) --quiet $(TESTS)
	@rm -f $(BUILD)/meson-logs/testlog.json
	@$(MESON_TEST) -C $(BUILD) $(TEST_ARGS) || :
	@$(SUMMARY) $(BUILD)/meson-logs/testlog.json

.PHONY: test-kernel
test-kernel: ## those that need another kernel, booted under qemu
	@$(NEED) test
	@$(MAKE) --no-print-directory all
	@scripts/guest-kernel build-kernel || :
	@ninja -C $(BUILD) --quiet $(TESTS)
	@rm -f $(BUILD)/meson-logs/testlog.json
	@TIDE_LONG=1 $(MESON_TEST) -C $(BUILD) boot $(TEST_ARGS) || :
	@$(SUMMARY) $(BUILD)/meson-logs/testlog.json

.PHONY: check-model
check-model: ## explore the litmus programs over the shipped code, in full
	@$(NEED) test
	@$(call configure,$(BUILD),)
	@ninja -C $(BUILD) --quiet $(TESTS)
	@rm -f $(BUILD)/meson-logs/testlog.json
	@TIDE_CHECK_LONG=1 $(MESON_TEST) -C $(BUILD) --suite model \
		--timeout-multiplier 20 --verbose || :
	@$(SUMMARY) $(BUILD)/meson-logs/testlog.json

.PHONY: mutants
mutants: ## does a litmus program notice when the shipped code is weaker?
	@$(NEED) test
	@$(call configure,$(BUILD),)
	@tools/mutants.py $(BUILD) --long

.PHONY: install
install: all ## install under $(DESTDIR)$(PREFIX)
	@$(if $(PREFIX),meson configure $(BUILD) -Dprefix=$(PREFIX))
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --quiet
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

.PHONY: test-asan
test-asan: ## every test under AddressSanitizer and UBSan
	@$(NEED) test
	@$(call configure,build-asan,-Db_sanitize=address$(comma)undefined \
		-Db_lundef=false -Dchecks=true)
	@ninja -C build-asan --quiet all $(TESTS)
	@rm -f build-asan/meson-logs/testlog.json
	@ASAN_OPTIONS=$(ASAN) UBSAN_OPTIONS=$(UBSAN) \
		$(MESON_TEST) -C build-asan --timeout-multiplier 4 \
		$(TEST_ARGS) || :
	@$(SUMMARY) asan=build-asan/meson-logs/testlog.json

.PHONY: test-tsan
test-tsan: ## the concurrent tests under ThreadSanitizer
	@$(NEED) test
	@$(call configure,build-tsan,-Db_sanitize=thread -Db_lundef=false \
		-Dchecks=true)
	@ninja -C build-tsan --quiet all $(TESTS)
	@rm -f build-tsan/meson-logs/testlog.json
	@TSAN_OPTIONS=$(TSAN) \
		$(MESON_TEST) -C build-tsan --timeout-multiplier 4 \
		$(TSAN_TESTS) $(TEST_ARGS) || :
	@for name in $(TSAN_TESTS); do \
		grep -q " $$name\"" build-tsan/meson-logs/testlog.json || \
		{ echo "no test is called $$name" >&2; exit 1; }; \
	done
	@$(SUMMARY) tsan=build-tsan/meson-logs/testlog.json

# For another processor, with what the suites of this one have no part in.
.PHONY: build-arm64 build-riscv64
build-arm64: ## build for arm64
build-riscv64: ## build for RISC-V
build-arm64 build-riscv64: build-%:
	@$(NEED) cross
	@scripts/sysroot $* build-sysroot-$*
	@$(call configure,$@,--cross-file build-sysroot-$*/sysroot.ini \
		--cross-file cross/$*.ini)
	@ninja -C $@ --quiet all $(TESTS)

.PHONY: test-arm64 test-riscv64
test-arm64: ## the tests for arm64, under qemu-user
test-riscv64: ## the tests for RISC-V, under qemu-user
test-arm64 test-riscv64: test-%: build-%
	@rm -f build-$*/meson-logs/testlog.json
	@$(MESON_TEST) -C build-$* --timeout-multiplier 8 $(TEST_ARGS) || :
	@$(SUMMARY) $*=build-$*/meson-logs/testlog.json

comma = ,
ASAN = detect_stack_use_after_return=1:strict_string_checks=1
UBSAN = halt_on_error=1:print_stacktrace=1
TSAN = halt_on_error=1:second_deadlock_stack=1

.PHONY: fuzz
fuzz: build-fuzz ## feed the parsers nonsense for FUZZ_SECONDS
	@scripts/run-fuzzers build-fuzz $(FUZZ_SECONDS)

.PHONY: build-fuzz
build-fuzz:
	@$(NEED) check
	@CC=clang CXX=clang++ && export CC CXX && \
	$(call configure,build-fuzz,-Dfuzz=true -Db_lundef=false \
		-Db_sanitize=address$(comma)undefined)
	@ninja -C build-fuzz --quiet

.PHONY: build-clang
build-clang: ## the same build with clang
	@$(NEED) check
	@CC=clang CXX=clang++ && export CC CXX && \
	$(call configure,build-clang,)
	@ninja -C build-clang --quiet all $(TESTS)

.PHONY: soak
soak: all ## look for lost pages for MINUTES
	@$(BUILD)/tidemark soak --minutes $(MINUTES)

.PHONY: stress
stress: all ## everything at once on the software MMU, for MINUTES
	@$(NEED) test
	@ninja -C $(BUILD) --quiet tests/regress/stress_test
	@TIDE_STRESS_MS=$$(($(MINUTES) * 20000)) \
		$(BUILD)/tests/regress/stress_test

.PHONY: differential
differential: ## compare the software MMU with the kernel's, TRACES times
	@$(NEED) test
	@$(call configure,$(BUILD),)
	@ninja -C $(BUILD) --quiet tests/differential/differential_test
	@$(BUILD)/tests/differential/differential_test -n $(TRACES)

.PHONY: bench
bench: ## measure; prints machine, kernel and build with the numbers
	@$(NEED) bench
	@$(MAKE) --no-print-directory all
	@$(BUILD)/tidemark bench

C_FILES = $$(find bench check examples guest include src tests tools \
	-name '*.[ch]')

.PHONY: format
format: ## rewrite every C file in the project's format
	@$(NEED) check
	@clang-format -i $(C_FILES)

.PHONY: check-format
check-format: ## is every C file in the project's format?
	@$(NEED) check
	@clang-format --dry-run --Werror $(C_FILES)

.PHONY: lint
lint: lint-sync lint-tidy lint-shell lint-man lint-cppcheck lint-clang
lint: ## every static check

.PHONY: lint-sync
lint-sync: ## do the comments on memory order hold?
	@tools/check-sync.py $$(find src include -name '*.[ch]')

.PHONY: lint-tidy
lint-tidy: ## house rules: lengths, heads, names, layers
	@tools/tidy.py

.PHONY: lint-shell
lint-shell:
	@$(NEED) check
	@shellcheck $$(grep -rlE '^#! ?/(usr/)?bin/(env )?(ba)?sh' .ci \
		scripts tests tools bench examples 2>/dev/null)

.PHONY: lint-man
lint-man:
	@$(NEED) check
	@scripts/lint-man

.PHONY: lint-cppcheck
lint-cppcheck:
	@$(NEED) check
	@cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr \
		--enable=warning,performance,portability -j 2 \
		--suppressions-list=scripts/cppcheck-suppressions \
		-D_GNU_SOURCE -Iinclude -Isrc src tools

.PHONY: lint-clang
lint-clang: build-clang
	@scripts/lint-clang build-clang

.PHONY: clean
clean: ## remove every build directory
	@rm -rf $(BUILD) build-asan build-tsan build-fuzz build-clang \
		build-gcc build-ci build-arm64 build-riscv64 build-sysroot-* \
		build-kernel

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' Makefile | \
		expand -t 16
