#!/usr/bin/env bash
# Runs the simulation of SEEDS seeds from FIRST on, in one process per processor. With the argument "replay" it
# also checks that a seed replays, and with "test" that the simulation finds planted faults, too. With the argument
# "mutants" it only checks the planted faults.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../internal/testing/simulation"

dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
overlay="$(go run ../../../hack/seededruntime "$dir")"
go test -c -overlay "$overlay" -o "$dir/simulation.test" .

tests() {
	"$dir/simulation.test" -test.timeout 38m -test.run "$1" -within "$SEEDS" -third "${2--1}" -seeded "$overlay" -test.v | grep -v -e '^=== RUN' -e '^ *--- PASS: TestReplay/'
}

if [ "${1-}" = mutants ]; then
	tests "TestMutants\$"
	exit
fi

shares="$(nproc)"
pids=()
for ((i = 0; i < shares; i++)); do
	from=$((FIRST + SEEDS * i / shares))
	count=$((FIRST + SEEDS * (i + 1) / shares - from))
	"$dir/simulation.test" -test.timeout 24h -test.run 'TestSimulation$' -test.v \
		-first "$from" -seeds "$count" ${TRANSCRIPT:+-transcript} >"$dir/$i" 2>&1 &
	pids+=($!)
done
failed=0
for ((i = 0; i < shares; i++)); do
	wait "${pids[i]}" || failed=1
	grep -v -e '^=== RUN' -e '^ *--- PASS: TestSimulation/' "$dir/$i" || true
done
[ "$failed" = 0 ] || exit 1
if [ "${1-}" = replay ]; then
	tests "TestReplay"
elif [ "${1-}" = test ]; then
	# A third of the mutants, another one for each commit.
	tests "TestReplay|TestMutants\$" "$(($(git rev-list --count HEAD 2>/dev/null || echo 0) % 3))"
fi
