#!/bin/bash
# SPDX-License-Identifier: MIT
# installed_test.sh - the worked examples against an installed library
#
# Usage: installed_test.sh BUILD_DIRECTORY
#
# Installs into a scratch directory, builds examples/vmm_client.c and
# examples/emulator.c with what pkg-config says, as C11 and as C++17, and runs
# them.  Prints TAP.
#
# shellcheck disable=SC2317 # claim calls the functions
set -u

if [ "${TIDE_SANITIZE:-none}" != none ]; then
	echo "1..0 # SKIP a sanitized library needs a sanitized program"
	exit 0
fi

build=$1
tree=$(cd "$(dirname "$0")/../.." && pwd)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
number=0
failed=0

# claim NAME COMMAND...: one line of TAP; status 77 skips.
claim() {
	local name=$1 status=0
	shift
	number=$((number + 1))
	"$@" >"$stage/log" 2>&1 || status=$?
	case $status in
	0) echo "ok $number - $name" ;;
	77) echo "ok $number - $name # SKIP $(tail -n 1 "$stage/log")" ;;
	*)
		echo "not ok $number - $name"
		sed 's/^/# /' "$stage/log"
		failed=1
		;;
	esac
}

install_it() {
	DESTDIR=$stage meson install -C "$build" --no-rebuild
}

# compile COMPILER EXAMPLE OUTPUT FLAG...
compile() {
	local compiler=$1 example=$2 output=$3 flags
	shift 3
	flags=$(pkg-config --cflags --libs tidemark) || return 1
	# shellcheck disable=SC2086 # $flags are words
	"$compiler" "$@" -Wall -Wextra -Werror -D_GNU_SOURCE \
		"$tree/examples/$example.c" -x none -o "$stage/$output" \
		-pthread $flags
}

# headers COMPILER FLAG...: one by one, alone; used or not.
headers() {
	local header
	[ -f "$include/tidemark/vcpu.h" ] || return 1
	for header in "$include"/tidemark/*.h; do
		"$@" -Wall -Wextra -Wpedantic -Werror -Wno-unused-function \
			-fsyntax-only -I"$include" "$header" || return 1
	done
}

# emulates PROGRAM TRACKER: what the emulator prints, line by line.
emulates() {
	local said="$stage/said"
	"$stage/$1" "$2" >"$said" || return 1
	cat "$said"
	grep -qx 'at first   1024 pages, the copy is equal' "$said" &&
		grep -qx 'guest      paging is on' "$said" &&
		grep -qEx 'running    [0-9]{4,} pages, while the guest wrote' \
			"$said" &&
		grep -qEx 'kicked     [ 0-9]+ pages, the copy is equal' \
			"$said" &&
		grep -qx 'guest      good bye' "$said" &&
		grep -qEx 'off        [ 0-9]+ pages, the copy is equal' \
			"$said" &&
		grep -qx 'counters   512 of 512 are right' "$said" &&
		grep -qE '^exits      512 guest faults, [1-9].* 1 kicks$' \
			"$said" &&
		[ "$(wc -l <"$said")" = 8 ]
}

manual() {
	# Every call can be asked for, also one that shares its page.
	local call found
	for call in tide_harvest_begin tide_harvest_next tide_mark_bytes; do
		found=$(find "$stage" -name "$call.3*")
		[ -n "$found" ] && [ -s "$(readlink -f "$found")" ] || return 1
	done
}

echo 1..19
claim "the library installs" install_it

library=$(find "$stage" -name 'libtidemark.so')
include=$(find "$stage" -type d -name include)
PKG_CONFIG_PATH=$(dirname "$(find "$stage" -name tidemark.pc)")
LD_LIBRARY_PATH=$(dirname "$library")
export PKG_CONFIG_PATH LD_LIBRARY_PATH PKG_CONFIG_SYSROOT_DIR="$stage"

claim "manual pages install under every name" manual
claim "every header compiles alone as C11" headers "${CC:-cc}" -x c -std=c11
claim "every header compiles alone as C++17" \
	headers "${CXX:-c++}" -x c++ -std=c++17
for example in vmm_client emulator fuzz_loop; do
	claim "$example compiles as C11" \
		compile "${CC:-cc}" "$example" "$example-c11" -x c -std=c11
	claim "$example compiles as C++17" compile "${CXX:-c++}" "$example" \
		"$example-cxx17" -x c++ -std=c++17
done
for language in c11 cxx17; do
	claim "the $language client keeps its copy equal" \
		"$stage/vmm_client-$language"
	claim "the $language fuzzer takes its target back" \
		"$stage/fuzz_loop-$language"
	for tracker in soft-bitmap soft-ring; do
		claim "the $language emulator is right with $tracker" \
			emulates "emulator-$language" "$tracker"
	done
done
claim "the command runs where it is installed" \
	"$(find "$stage" -path '*/bin/tidemark')" version
exit $failed
