#!/usr/bin/env bash
#
# The version of the project stands in internal/version/version.go. Files that Go does not compile
# repeat it, and this script keeps them equal:
#
#   version.sh              prints the version, and fails if a file names another one
#   version.sh --set TAG    writes TAG into all of them, and dates the section of CHANGELOG.md
#   version.sh --release TAG  checks in addition that TAG is the version, and has such a section
#   version.sh --notes TAG  prints that section, or the section of unreleased changes if it is not dated yet

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source=internal/version/version.go
version="$(sed -n 's/^const Version = "\(.*\)"$/\1/p' "$source")"

# Each line is a file and a text in it. @ stands for the version with a v, and % for the version without.
copies() {
	cat <<-'LIST'
		charts/kubelock/Chart.yaml ^version: %$
		charts/kubelock/Chart.yaml ^appVersion: @$
		config/manager/kustomization.yaml newTag: @$
		dist/install.yaml image: ghcr.io/kubelock/reaper:@$
		docs/operations/reaper.md kubelock-reaper:@ 
		examples/cronjob-singleton/cronjob.yaml reference: ghcr.io/kubelock/dlock:@$
		examples/cronjob-singleton/cronjob.yaml --from=ghcr.io/kubelock/dlock:@ 
		examples/schema-migration/deployment.yaml reference: ghcr.io/kubelock/dlock:@$
		examples/schema-migration/deployment.yaml --from=ghcr.io/kubelock/dlock:@ 
		adapters/gocron/go.mod github.com/kubelock/kubelock @$
		examples/fenced/go.mod github.com/kubelock/kubelock @$
		examples/tracing/go.mod github.com/kubelock/kubelock @$
		README.md ^| kubelock | @;
	LIST
}

semver='[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?'

# pattern TEXT VERSION prints TEXT as an extended regular expression for that version (without a v).
pattern() {
	local text="${1//./\\.}"
	text="${text//|/\\|}"
	text="${text//@/v$2}"
	printf '%s' "${text//%/$2}"
}

check() {
	local file text status=0
	while IFS= read -r line; do
		file="${line%% *}" text="${line#* }"
		grep -qE -- "$(pattern "$text" "${version#v}")" "$file" || { echo "$file does not say: ${text//@/$version}: run hack/version.sh --set $version" >&2; status=1; }
	done < <(copies)
	return "$status"
}

notes() { # The lines below the heading of version $1, up to the next heading.
	awk -v heading="## [$1]" '
		substr($0, 1, length(heading)) == heading { inside = 1; next }
		/^## / { inside = 0 }
		inside { print }' CHANGELOG.md
}

tag="${2-}"
if [[ $# -gt 0 && ! ( $# -eq 2 && $1 =~ ^--(set|release|notes)$ && $tag =~ ^v${semver}$ ) ]]; then
	echo "usage: $0 [--set|--release|--notes vX.Y.Z]" >&2
	exit 2
fi
case "${1-}" in
--notes)
	text="$(notes "${tag#v}")"
	[[ -n ${text//[[:space:]]/} ]] || text="$(notes Unreleased)"
	[[ -n ${text//[[:space:]]/} ]] || { echo "CHANGELOG.md says nothing of $tag" >&2; exit 1; }
	printf '%s\n' "$text"
	;;
--set)
	sed -i "s/^const Version = \".*\"$/const Version = \"$tag\"/" "$source"
	while IFS= read -r line; do
		file="${line%% *}" text="${line#* }"
		old="$(grep -oE -m1 -- "$(pattern "$text" "$semver")" "$file" | head -n1)" || { echo "$file names no version where it should: $text" >&2; exit 1; }
		new="$(sed -E "s/v?$semver/$( [[ $text == *@* ]] && echo "$tag" || echo "${tag#v}" )/" <<<"$old")"
		OLD="$old" NEW="$new" perl -0pi -e 's/\Q$ENV{OLD}\E/$ENV{NEW}/' "$file"
	done < <(copies)
	if ! grep -qF "## [${tag#v}]" CHANGELOG.md; then
		sed -i "s/^## \[Unreleased\]$/## [Unreleased]\n\n## [${tag#v}] - $(date -u +%F)/" CHANGELOG.md
	fi
	exec "$0" --release "$tag"
	;;
--release)
	check
	[[ $version == "$tag" ]] || { echo "$source says $version, and not $tag: run hack/version.sh --set $tag" >&2; exit 1; }
	text="$(notes "${tag#v}")"
	[[ -n ${text//[[:space:]]/} ]] || { echo "CHANGELOG.md has no section [${tag#v}], or an empty one" >&2; exit 1; }
	;;
*)
	check
	echo "$version"
	;;
esac
