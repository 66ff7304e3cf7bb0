#!/usr/bin/env bash
#
# clientgo.sh VERSION CONTROLLER_RUNTIME tests the library with another version of client-go than that of go.mod. It
# copies the checkout into a temporary folder, asks there for that version of the k8s.io modules, and for the version of
# controller-runtime that goes with it, which only the tests use. Then it builds the library, and runs its
# tests on the API server in memory. That server uses the validation of apiextensions-apiserver, whose functions have
# other signatures before 0.37: clientgo.patch writes the calls as these versions have them. See docs/compatibility.md.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
(($# == 2)) || { echo "usage: $0 VERSION CONTROLLER_RUNTIME, such as v0.36.6 v0.24.1" >&2; exit 64; }
version="$1" runtime="$2"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
git ls-files --cached --others --exclude-standard -z | while IFS= read -r -d '' file; do
	[[ ! -e $file ]] || printf '%s\0' "$file" # It may be deleted and not committed.
done | tar --null --files-from=- -cf - | tar -x -C "$work"
cd "$work"
sed -i '/\/\/ indirect$/d' go.mod # They are what the other versions need.
for module in $(sed -n 's|^\tk8s.io/\([a-z-]*\) v0\.[1-9].*|\1|p' go.mod); do
	go mod edit -require="k8s.io/$module@$version"
done
go mod edit -require="sigs.k8s.io/controller-runtime@$runtime"
go mod tidy
got="$(go list -m -f '{{.Version}}' k8s.io/client-go)"
[[ $got == "$version" ]] || { echo "clientgo: another module needs client-go $got" >&2; exit 1; }
[[ $version > v0.37 ]] || git apply hack/clientgo.patch
go build ./pkg/...
go test -short -timeout 20m ./pkg/...
echo "The library builds with client-go $version, and its tests on the API server in memory pass."
