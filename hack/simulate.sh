#!/usr/bin/env bash
# Runs the simulation of SEEDS seeds from FIRST on, in one process for each processor;
# with the argument "mutants", also the test that it finds faults.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../internal/simulation"

dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
go test -c -o "$dir/simulation.test" .

shares="$(nproc)"
pids=()
for ((i = 0; i < shares; i++)); do
	from=$((FIRST + SEEDS * i / shares))
	count=$((FIRST + SEEDS * (i + 1) / shares - from))
	"$dir/simulation.test" -test.timeout 24h -test.run TestSimulation -test.v \
		-first "$from" -seeds "$count" ${TRANSCRIPT:+-transcript} >"$dir/$i" 2>&1 &
	pids+=($!)
done
failed=0
for ((i = 0; i < shares; i++)); do
	wait "${pids[i]}" || failed=1
	grep -v -e '^=== RUN' -e '^ *--- PASS: TestSimulation/' "$dir/$i" || true
done
[ "$failed" = 0 ] || exit 1
if [ "${1-}" = mutants ]; then
	"$dir/simulation.test" -test.timeout 30m -test.run "TestMutants|TestReplay" -within "$SEEDS" -test.v | grep -v '^=== RUN'
fi
