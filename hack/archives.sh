#!/usr/bin/env bash
# archives.sh DIR PLATFORM... builds the kubectl plugin's archives for krew into DIR, one per platform, such as
# linux_amd64. The same sources give the same bytes: names are sorted, the files have no owner, and their times
# are SOURCE_DATE_EPOCH, or otherwise the time of the commit.
set -euo pipefail
out="$1"
shift
epoch="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
mkdir -p "$out"
for platform in "$@"; do
	os="${platform%_*}" arch="${platform#*_}" files="$dir/$platform"
	bin=kubectl-dlock
	[ "$os" = windows ] && bin=kubectl-dlock.exe
	mkdir -p "$files"
	CGO_ENABLED=0 GOOS="$os" GOARCH="$arch" go build -trimpath -buildvcs=false -ldflags="-s -w" -o "$files/$bin" ./cmd/kubectl-dlock
	cp LICENSE cmd/kubectl-dlock/kubectl_complete-dlock "$files"
	tar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=ustar \
		-C "$files" -cf - . | gzip -9n > "$out/dlock_$platform.tar.gz"
done
