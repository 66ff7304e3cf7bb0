#!/usr/bin/env bash
#
# vulncheck.sh GOVULNCHECK checks this module for known vulnerabilities.
#
# It fails if there are any, and if the check itself fails. If the vulnerability database cannot be reached, it
# prints that and succeeds, because the code is not the cause.

set -euo pipefail

# How long the database may take to answer the first request, in tenths of a second.
readonly patience=200

if [[ $# -ne 1 ]]; then
	echo "usage: $0 GOVULNCHECK" >&2
	exit 2
fi
govulncheck=$1
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

skip() {
	echo "vulncheck: SKIPPED, nothing was checked: the Go vulnerability database cannot be reached ($1)"
	exit 0
}

# govulncheck -version also prints when the database was updated, if it can reach the database. It loads no
# packages, so it answers at once. It has no timeout of its own.
"$govulncheck" -version >"$tmp/version" 2>&1 &
probe=$!
for ((i = 0; i < patience; i++)); do
	kill -0 "$probe" 2>/dev/null || break
	sleep 0.1
done
if kill "$probe" 2>/dev/null; then
	wait "$probe" 2>/dev/null || true
	skip "no answer within $((patience / 10)) seconds"
fi
if ! wait "$probe"; then
	cat "$tmp/version" >&2
	echo "vulncheck: $govulncheck does not run" >&2
	exit 1
fi
grep -q '^DB updated: ' "$tmp/version" || skip "$(sed -n 's/^DB: //p' "$tmp/version") gives no answer"

# Exit status 3 means vulnerabilities. Other ones are failures. Only a failure to fetch from the database is
# accepted, because the network may fail during the check.
status=0
"$govulncheck" ./... 2>"$tmp/errors" || status=$?
cat "$tmp/errors" >&2
case $status in
0) ;;
3) echo "vulncheck: there are known vulnerabilities, see above" >&2 ;;
*)
	if grep -q 'fetching vulnerabilities: .*\(dial \|lookup \|timeout\|connection\|EOF\|returned unexpected status: 5\)' "$tmp/errors"; then
		skip "it stopped answering"
	fi
	echo "vulncheck: the check failed" >&2
	;;
esac
exit "$status"
