#!/usr/bin/env bash
# Runs the chaos program with two versions. In the run "clients", clients of an earlier version work beside clients of
# this version. In the run "server", this version's clients use an earlier CustomResourceDefinition, roles and reaper:
# see docs/compatibility.md. The earlier version is FROM, which is built from this repository's history. LENGTH is how
# long faults are injected in each run. With the argument "short" it makes only one of the two runs, in turns from commit
# to commit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Before the first release, FROM is the last commit before Lock.Apply, and before the core became a state machine.
FROM="${FROM:-91c95c7b42425372e574e69bbb262d9e3470579a}"
LENGTH="${LENGTH:-5m}"
# The faults with which programs of that version were tested.
ONLY="${ONLY:-kill-client,kill-reaper,kill-apiserver,kill-etcd,kill-etcd-leader,pause-client,pause-client-long,pause-holder,partition-client,partition-reaper,partition-apiserver-etcd,partition-etcd-peers,cut-answers,slow-link,late-requests,cut-watches,stall-watches,move-client,compact,throttle,kubectl-delete,kubectl-edit}"

if ! commit="$(git rev-parse --verify --quiet "$FROM^{commit}")"; then
	echo "skew: this clone does not have the commit $FROM. Fetch the whole history: git fetch --unshallow" >&2
	[ "${1-}" = short ] && [ -z "${CI-}" ] && exit 0
	exit 1
fi
tree="${XDG_CACHE_HOME:-$HOME/.cache}/kubelock/skew/$commit"
if ! [ -e "$tree/built" ]; then
	echo "skew: building the client and the reaper of $FROM"
	rm -rf "$tree"
	mkdir -p "$tree"
	git archive "$commit" | tar -x -C "$tree"
	go build -C "$tree" -o bin/ ./cmd/reaper
	chaos="$tree/test/chaos"
	[ -d "$chaos" ] || chaos="$tree/hack/chaos" # Where it was before.
	go build -C "$chaos" -o ../../bin/chaos-client ./client
	touch "$tree/built"
fi
case "${1-}" in
short) if [ "$(($(git rev-list --count HEAD) % 2))" = 0 ]; then set -- clients; else set -- server; fi ;;
"") set -- clients server ;;
esac
for pair in "$@"; do
	case "$pair" in
	clients) old=(--old-clients "$tree/bin") ;;
	server) old=(--old-reapers "$tree/bin" --manifests "$tree") ;;
	*)
		echo "skew: $pair is neither clients nor server" >&2
		exit 64
		;;
	esac
	echo "skew: $pair of $FROM"
	bin/chaos --assets "$(go run ./internal/testing/controlplane)" --length "$LENGTH" --only "$ONLY" ${SEED:+--seed "$SEED"} "${old[@]}"
done
