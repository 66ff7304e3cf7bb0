#!/usr/bin/env bash
# versions.sh VERSION... runs the tests that depend on the API server on each of these versions of Kubernetes,
# and prints a row of docs/compatibility.md per version. After a failure it runs the others, and then exits
# with 1.
set -euo pipefail
cd "$(dirname "$0")/.."

# Each line is a column: its title, and the packages whose tests it shows. internal/testing/memapi is not among them: it compares
# the API server in memory with the texts of the pinned version.
columns=(
	"schema and CEL|./api/..."
	"library, three backends|-run=TestConformance ./pkg/kubelock"
	"objects of other versions|./internal/testing/skew"
	"reaper and its roles|./controllers ./cmd/reaper"
	"manifests and guides|./test/manifests/crd ./test/manifests/components ./internal/testing/guide"
	"policies|./test/manifests/policy"
	"kubectl dlock|./internal/cli"
)
(($# > 0)) || { echo "usage: $0 VERSION..., such as v1.34.4" >&2; exit 64; }

out="bin/versions"
mkdir -p "$out"
status=0
header="| Kubernetes |"
line="|---|"
for column in "${columns[@]}" "chaos, 45 s|"; do
	header+=" ${column%%|*} |"
	line+="---|"
done
rows=()
for version in "$@"; do
	row="| ${version#v} |"
	if ! assets="$(go run ./internal/testing/controlplane --kubernetes "$version" 2> "$out/$version-build.log")"; then
		echo "$version: cannot be built, see $out/$version-build.log" >&2
		rows+=("$row cannot be built |")
		status=1
		continue
	fi
	run() { # run NAME COMMAND...: adds a cell.
		local log="$out/$version-${1//[^a-z0-9]/-}.log"
		shift
		if KUBEBUILDER_ASSETS="$assets" "$@" > "$log" 2>&1; then
			row+=" passed |"
		else
			row+=" **failed** |"
			status=1
			echo "$version: failed, see $log" >&2
		fi
	}
	for column in "${columns[@]}"; do
		read -ra packages <<< "${column#*|}"
		echo "$version: ${column%%|*}" >&2
		run "${column%%|*}" go test -count=1 -timeout 30m "${packages[@]}"
	done
	echo "$version: chaos" >&2
	run chaos make --no-print-directory chaos-short
	rows+=("$row")
	echo "$row" >&2 # The others may take hours.
done
echo "Run on $(date -u +%F) at $(git rev-parse --short HEAD):"
echo
printf '%s\n' "$header" "$line" "${rows[@]}"
exit "$status"
