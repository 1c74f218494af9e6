#!/bin/bash
# SPDX-License-Identifier: MIT
# installed_test.sh - the worked example against an installed library
#
# Usage: installed_test.sh BUILD_DIRECTORY
#
# Installs into a scratch directory, builds examples/vmm_client.c with what
# pkg-config says, as C11 and as C++17, and runs both.  Prints TAP.
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

# compile COMPILER OUTPUT FLAG...
compile() {
	local compiler=$1 output=$2 flags
	shift 2
	flags=$(pkg-config --cflags --libs tidemark) || return 1
	# shellcheck disable=SC2086 # $flags are words
	"$compiler" "$@" -Wall -Wextra -Werror -D_GNU_SOURCE \
		"$tree/examples/vmm_client.c" -x none -o "$stage/$output" \
		$flags
}

manual() {
	# Every call can be asked for, also one that shares its page.
	local call found
	for call in tide_harvest_begin tide_harvest_next tide_mark_bytes; do
		found=$(find "$stage" -name "$call.3*")
		[ -n "$found" ] && [ -s "$(readlink -f "$found")" ] || return 1
	done
}

echo 1..7
claim "the library installs" install_it

library=$(find "$stage" -name 'libtidemark.so')
PKG_CONFIG_PATH=$(dirname "$(find "$stage" -name tidemark.pc)")
LD_LIBRARY_PATH=$(dirname "$library")
export PKG_CONFIG_PATH LD_LIBRARY_PATH PKG_CONFIG_SYSROOT_DIR="$stage"

claim "manual pages install under every name" manual
claim "the example compiles as C11" compile "${CC:-cc}" c11 -x c -std=c11
claim "the example compiles as C++17" \
	compile "${CXX:-c++}" cxx17 -x c++ -std=c++17
claim "the C11 program keeps its copy equal" "$stage/c11"
claim "the C++17 program keeps its copy equal" "$stage/cxx17"
claim "the command runs where it is installed" \
	"$(find "$stage" -path '*/bin/tidemark')" version
exit $failed
