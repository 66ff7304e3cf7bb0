#!/usr/bin/env bash
#
# version.sh TAG checks that each file that names kubelock's version names that of TAG, and that
# CHANGELOG.md has a section for it. version.sh --notes TAG prints that section.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

notes() { # The lines below the heading of version $1, up to the next heading.
	awk -v heading="## [$1]" '
		substr($0, 1, length(heading)) == heading { inside = 1; next }
		/^## / { inside = 0 }
		inside { print }' CHANGELOG.md
}

if [[ $# -eq 2 && $1 == --notes ]]; then
	notes "${2#v}"
	exit
fi
if [[ $# -ne 1 || ! $1 =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
	echo "usage: $0 [--notes] vX.Y.Z" >&2
	exit 2
fi
tag=$1 status=0

expect() { # expect FILE TEXT: FILE has a line that is or contains TEXT.
	grep -qF -- "$2" "$1" || { echo "$1 does not say: $2" >&2; status=1; }
}
expect charts/kubelock/Chart.yaml "version: ${tag#v}"
expect charts/kubelock/Chart.yaml "appVersion: $tag"
expect config/manager/kustomization.yaml "newTag: $tag"
expect dist/install.yaml "ghcr.io/kubelock/reaper:$tag"
expect pkg/kubelock/transport.go "version = \"$tag\""
expect Makefile "ghcr.io/kubelock/reaper:$tag"
expect Makefile "ghcr.io/kubelock/dlock:$tag"
expect examples/cronjob-singleton/cronjob.yaml "reference: ghcr.io/kubelock/dlock:$tag"
expect examples/schema-migration/deployment.yaml "reference: ghcr.io/kubelock/dlock:$tag"
expect README.md "| kubelock | $tag;"
[[ -n $(notes "${tag#v}") ]] || { echo "CHANGELOG.md has no section [${tag#v}]" >&2; status=1; }
exit $status
