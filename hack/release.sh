#!/usr/bin/env bash
#
# release.sh DIR builds the files of a release into DIR, and pushes nothing: the plugin's archives, a
# software bill of materials (CycloneDX) for each program, the checksums of the programs in the images of each platform,
# the chart, crd.yaml, install.yaml, krew's manifest, and the checksums of all of them. The same commit gives the same bytes.
#
# release.sh --check DIR builds them twice and compares the results. The two builds use copies of the commit in
# different folders, and different environments. Then it checks the checksums, krew's manifest, the plugin of
# this platform from its archive, and the lists of modules.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${ARCHIVES:=linux_amd64 linux_arm64 darwin_amd64 darwin_arm64 windows_amd64}"
: "${IMAGES:=linux_amd64 linux_arm64}"
: "${HELM:?the path of helm}" "${SBOM:?the path of cyclonedx-gomod}"
read -ra archives <<<"$ARCHIVES"
read -ra images <<<"$IMAGES"

fail() {
	echo "release: $*" >&2
	exit 1
}

# sbom PROGRAM FILE writes a list of the modules in a program, without a serial number or a time.
sbom() {
	"$SBOM" bin -json -std -noserial -notimestamp -version "$tag" -output "$2" "$1"
}

# sum PROGRAM NAME prints a line of programs.txt, which has the checksums of the programs in the images.
sum() { printf '%s  %s\n' "$(sha256sum "$1" | cut -d' ' -f1)" "$2"; }

build() { # build DIR
	local out="$1" work platform program
	tag="$(hack/version.sh)"
	work="$(mktemp -d)"
	mkdir -p "$out"
	hack/archives.sh "$out" "${archives[@]}"
	for platform in "${archives[@]}"; do
		mkdir -p "$work/$platform"
		tar -xzf "$out/dlock_$platform.tar.gz" -C "$work/$platform"
		program="$work/$platform/kubectl-dlock"
		[[ -f $program ]] || program+=.exe
		sbom "$program" "$out/dlock_$platform.cdx.json"
	done
	for platform in "${images[@]}"; do # As the Dockerfile does: test/image compares.
		sum "$work/$platform/kubectl-dlock" "kubectl-dlock_$platform" >>"$out/programs.txt"
		CGO_ENABLED=0 GOOS="${platform%_*}" GOARCH="${platform#*_}" go build -trimpath -buildvcs=false -ldflags="-s -w" -o "$work/reaper" ./cmd/reaper
		sbom "$work/reaper" "$out/reaper_$platform.cdx.json"
		sum "$work/reaper" "reaper_$platform" >>"$out/programs.txt"
	done
	"$HELM" package charts/kubelock --destination "$work" >/dev/null
	# Helm's archive has the time of its making. It is made again without that.
	tar -xzf "$work/kubelock-${tag#v}.tgz" -C "$work"
	tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=ustar \
		-C "$work" -cf - kubelock | gzip -9n >"$out/kubelock-${tag#v}.tgz"
	cp dist/crd.yaml dist/install.yaml "$out/"
	go run ./hack/krew "$tag" "$out" >"$work/dlock.yaml"
	mv "$work/dlock.yaml" "$out/"
	(cd "$out" && LC_ALL=C sha256sum -- *.tar.gz *.tgz *.json *.yaml programs.txt >checksums.txt)
	rm -rf "$work"
}

check() { # check DIR
	local out="$1" copies first second
	[[ -z $(git status --porcelain) ]] || fail "the checkout has changes: commit them first, because a release is made of a commit"
	copies="$(mktemp -d)"
	trap 'rm -rf "$copies"' EXIT
	first="$copies/a" second="$copies/somewhere/else"
	mkdir -p "$first" "$second"
	git archive HEAD | tar -x -C "$first"
	git archive HEAD | tar -x -C "$second"
	find "$second" -exec touch -d '2001-02-03' {} +
	(umask 022 && TZ=UTC "$first/hack/release.sh" "$copies/one")
	(umask 077 && TZ=Asia/Tokyo LC_ALL=C.UTF-8 "$second/hack/release.sh" "$copies/two")
	diff -r "$copies/one" "$copies/two" || fail "two builds of the same commit differ"

	cd "$copies/one"
	sha256sum --quiet --check checksums.txt
	[[ $(wc -l <programs.txt) -eq $((2 * ${#images[@]})) ]] || fail "programs.txt does not have both programs of each image"
	[[ $(wc -l <checksums.txt) -eq $(($(find . -type f | wc -l) - 1)) ]] || fail "checksums.txt does not have every file"
	for file in *.tar.gz; do
		grep -q "sha256: $(sha256sum "$file" | cut -d' ' -f1)$" dlock.yaml || fail "dlock.yaml has not the hash of $file"
	done
	tag="$("$OLDPWD/hack/version.sh")"
	for file in *.cdx.json; do
		grep -q '"name": "k8s.io/client-go"' "$file" && grep -q "\"version\": \"$tag\"" "$file" || fail "$file does not list client-go, or not $tag"
	done
	"$HELM" lint --quiet --strict --namespace kubelock-system "kubelock-${tag#v}.tgz"
	"$HELM" template kubelock "kubelock-${tag#v}.tgz" --namespace kubelock-system | grep -q "image: .*reaper:$tag" || fail "the chart does not install $tag"
	mkdir "$copies/plugin"
	tar -xzf "dlock_$(go env GOOS)_$(go env GOARCH).tar.gz" -C "$copies/plugin"
	[[ $("$copies/plugin/kubectl-dlock" --version) == *"$tag"* ]] || fail "the plugin from its archive is not $tag"

	cd "$OLDPWD"
	rm -rf "$out"
	mkdir -p "$(dirname "$out")"
	cp -r "$copies/one" "$out"
	echo "$tag: two builds are the same to the byte, in $out:"
	cat "$out/checksums.txt"
}

if [[ ${1-} == --check && $# -eq 2 ]]; then
	# Copies of the commit know no time of their own.
	SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
	export SOURCE_DATE_EPOCH HELM SBOM ARCHIVES IMAGES
	check "$2"
elif [[ $# -eq 1 && $1 != -* ]]; then
	export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
	build "$1"
else
	echo "usage: $0 [--check] DIR" >&2
	exit 2
fi
