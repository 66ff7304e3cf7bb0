#!/usr/bin/env bash
# Builds the kubectl plugin's archives for krew into bin/archives, for each platform that is
# an argument, such as linux_amd64. The same commit gives the same bytes: names are sorted,
# times are that of the commit, and the files have no owner.
set -euo pipefail
epoch="$(git log -1 --format=%ct)"
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
mkdir -p bin/archives
for platform in "$@"; do
	os="${platform%_*}" arch="${platform#*_}" files="$dir/$platform"
	bin=kubectl-dlock
	[ "$os" = windows ] && bin=kubectl-dlock.exe
	mkdir -p "$files"
	CGO_ENABLED=0 GOOS="$os" GOARCH="$arch" go build -trimpath -buildvcs=false -ldflags="-s -w" -o "$files/$bin" ./cmd/kubectl-dlock
	cp LICENSE cmd/kubectl-dlock/kubectl_complete-dlock "$files"
	tar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=ustar \
		-C "$files" -cf - . | gzip -9n > "bin/archives/dlock_$platform.tar.gz"
done
(cd bin/archives && sha256sum dlock_*.tar.gz)
