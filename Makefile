# Every tool is pinned by a go.mod below hack/ and built through the Go module proxy. The built tools are in the
# user's cache, outside of the checkout.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kubelock
TOOLS := $(CACHE)/tools

CONTROLLER_GEN := $(TOOLS)/controller-gen
GOLANGCI_LINT  := $(TOOLS)/golangci-lint
GOVULNCHECK    := $(TOOLS)/govulncheck
ACTIONLINT     := $(TOOLS)/actionlint
HELM           := $(TOOLS)/helm
SBOM_TOOL      := $(TOOLS)/cyclonedx-gomod

# Modules of their own with examples. Those of fenced that need a database are skipped where its server is not
# installed: apt-get install postgresql redis-server.
EXAMPLES := examples/fenced examples/tracing

# Arguments for go test, such as GOTESTFLAGS='-run TestDo -v'.
GOTESTFLAGS ?=
PACKAGES    ?= ./...

# LONG=1 has make test run what is long and rarely breaks, too: faults planted for the simulation, and the programs of the
# images, which are built twice and compared.
export LONG ?=

##@ The two commands

.PHONY: demo
demo: ## Show the lock at work on a real API server: workers, a crash, expiry, collection (KEEP=1 leaves it running).
	@go build -o bin/ ./cmd/reaper ./examples/demo ./internal/testing/controlplane
	@bin/demo --assets "$$(bin/controlplane)" $(if $(KEEP),--keep)

.PHONY: test
test: sim-short chaos-short skew-short $(if $(filter ./... ./charts%,$(PACKAGES)),helm) ## Run the tests on a real API server, with the race detector; the simulation, short (LONG=1 runs all).
	@assets="$$(go run ./internal/testing/controlplane)"; \
	KUBEBUILDER_ASSETS="$$assets" go test -race -timeout 20m $(GOTESTFLAGS) $(PACKAGES)
	go -C test/chaos test ./...
	go -C adapters/gocron test -race ./...
	@assets="$$(go run ./internal/testing/controlplane)"; for dir in $(EXAMPLES); do KUBEBUILDER_ASSETS="$$assets" go -C $$dir test -race -v ./... | grep -vE '^ *(=== |--- PASS|PASS$$)'; done # Shows what is skipped.

##@ Development

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z][a-zA-Z_-]*:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Packages whose tests need no control plane. With -short, the tests of the library and the plugin use the API
# server in memory. Tests that take seconds are skipped, and so are those that need a real server.
UNIT ?= ./pkg/... ./internal/protocol ./internal/session ./internal/engine ./internal/testing/explore ./internal/store ./internal/servertime \
	./internal/retry ./internal/testing/memapi ./internal/cli ./internal/cli/view ./examples/... ./hack/prose ./hack/apidocs ./hack/dashboard ./hack/krew ./internal/testing/controlplane/assets

.PHONY: unit
unit: ## Run the tests that need no control plane, with the race detector: about a minute once the code is compiled.
	go test -race -short -timeout 5m $(GOTESTFLAGS) $(UNIT)

.PHONY: build
build: ## Build the programs into bin/.
	CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o bin/ ./cmd/...

.PHONY: controlplane
controlplane: ## Find or build kube-apiserver, etcd and kubectl, and print their folder (KUBERNETES=v1.34.4).
	@go run ./internal/testing/controlplane $(if $(KUBERNETES),--kubernetes $(KUBERNETES))

# The newest patch of each minor version on the Go module proxy.
VERSIONS ?= v1.33.13 v1.34.4 v1.35.4 v1.36.3 v1.37.2

.PHONY: test-versions
test-versions: ## Run the tests that depend on the API server on each of VERSIONS, and print a table of docs/compatibility.md (hours).
	@hack/versions.sh $(VERSIONS)

# The oldest client-go that the library works with, and the controller-runtime that goes with it.
CLIENT_GO          ?= v0.36.6
CONTROLLER_RUNTIME ?= v0.24.1

.PHONY: test-client-go
test-client-go: ## Build the library with an older client-go, and run its tests in memory (CLIENT_GO=v0.36.6 CONTROLLER_RUNTIME=v0.24.1).
	@hack/clientgo.sh $(CLIENT_GO) $(CONTROLLER_RUNTIME)

.PHONY: generate
generate: controller-gen ## Generate deepcopy functions, the CRD, its reference, dist/crd.yaml and dist/install.yaml.
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/...
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=config/crd/bases
	cp config/crd/bases/*.yaml $(IN_CHART) charts/kubelock/files/
	go run ./hack/apidocs > docs/reference.md
	@$(MAKE) --no-print-directory install-yaml

# Files that the chart copies without a change, in addition to the CRD.
IN_CHART := config/policy/policy.yaml config/policy/binding.yaml config/policy/force_role.yaml \
	config/monitoring/prometheus_rule.yaml config/monitoring/kubelock.json

# Prints dist/crd.yaml and dist/install.yaml. They are two files because deleting the first deletes all locks.
CRD_YAML     = { printf '\# Generated from config/crd by make install-yaml.\n\# Deleting it deletes every lock of the cluster with its state: see docs/guide/uninstall.md.\n'; "$$(go run ./internal/testing/controlplane)/kubectl" kustomize config/crd; }
INSTALL_YAML = { echo "\# Generated from config/default by make install-yaml."; "$$(go run ./internal/testing/controlplane)/kubectl" kustomize config/default; }

.PHONY: install-yaml
install-yaml: ## Generate dist/crd.yaml and dist/install.yaml, config/crd and config/default in one file each.
	@mkdir -p dist
	@out="$$(mktemp -d dist/new.XXXXXX)"; trap 'rm -rf "$$out"' EXIT; \
	$(CRD_YAML) > "$$out/crd.yaml"; $(INSTALL_YAML) > "$$out/install.yaml"; mv "$$out"/*.yaml dist/

PROMETHEUS ?= prometheus

.PHONY: dashboard-picture
dashboard-picture: ## Draw docs/operations/dashboard.svg from metrics of a demo workload, in about three minutes (needs Prometheus: PROMETHEUS=path).
	@go build -o bin/ ./hack/dashboard ./cmd/reaper
	@bin/dashboard --reaper bin/reaper --prometheus "$(PROMETHEUS)"

.PHONY: fmt
fmt: ## Format the Go code.
	gofmt -w $(GOFILES)

##@ Simulation and benchmarks

SEEDS      ?= 2000
FIRST      ?= 1
TRANSCRIPT ?=

.PHONY: sim
sim: ## Simulate library and reaper with SEEDS=2000 seeds from FIRST=1 on (TRANSCRIPT=1 prints all steps).
	@SEEDS=$(SEEDS) FIRST=$(FIRST) TRANSCRIPT=$(TRANSCRIPT) hack/simulate.sh

.PHONY: sim-short
sim-short:
	@SEEDS=2000 FIRST=1 hack/simulate.sh $(if $(LONG),test,replay)

.PHONY: sim-mutants
sim-mutants: ## Plant each fault in the code, and check that the simulation finds it.
	@SEEDS=2000 hack/simulate.sh mutants

.PHONY: explore
explore: ## Explore all interleavings of a few sessions with faults, plant faults in the code, and write the results to docs (hours; SCOPE=part of a name).
	go test ./internal/testing/explore -run 'TestExplore|TestWalks|TestMutants' -full -write -scope "$(SCOPE)" -timeout 24h

MINUTES ?= 20
LENGTH  ?= $(MINUTES)m
CHAOS = bin/chaos --assets "$$(go run ./internal/testing/controlplane)" --length $(LENGTH) $(if $(SEED),--seed $(SEED)) $(if $(CLIENTS),--clients $(CLIENTS)) $(if $(ONLY),--only $(ONLY)) $(if $(KEEP),--keep)

.PHONY: chaos
chaos: chaos-programs ## Inject faults into a real control plane for MINUTES=20, and check all histories (SEED=n, ONLY=faults, KEEP=1).
	@$(CHAOS)

.PHONY: chaos-short
chaos-short: LENGTH = 45s
chaos-short: chaos-programs
	@$(CHAOS)

.PHONY: test-skew
test-skew: LENGTH = 5m
test-skew: chaos-programs ## Run clients, the reaper and the CRD of an earlier version, FROM, beside those of this version (LENGTH=5m each).
	@FROM=$(FROM) LENGTH=$(LENGTH) SEED=$(SEED) hack/skew.sh

.PHONY: skew-short
skew-short: chaos-programs
	@FROM=$(FROM) LENGTH=20s hack/skew.sh short

# The minor version before the pinned one, and its newest patch: the API servers of an upgrade.
OLDER ?= v1.36.3

.PHONY: test-rolling
test-rolling: LENGTH = 10m
test-rolling: chaos-programs ## Inject faults while API servers of two versions, OLDER and the pinned one, serve one etcd (LENGTH=10m).
	@older="$$(go run ./internal/testing/controlplane --kubernetes $(OLDER))"; $(CHAOS) --older-assets "$$older"

.PHONY: chaos-mutants
chaos-mutants: chaos-programs ## Plant each fault that needs a real server, and check that the chaos run finds it (MUTANT=part of its name).
	@go build -C test/chaos -o ../../bin/chaos-mutants ./mutants
	@bin/chaos-mutants --assets "$$(go run ./internal/testing/controlplane)" --only "$(MUTANT)"

.PHONY: fencing-demo
fencing-demo: ## Show how a paused holder damages an unfenced store, and how a fenced store refuses its write.
	@go build -o bin/ ./examples/fencing-demo
	@bin/fencing-demo --assets "$$(go run ./internal/testing/controlplane)"

.PHONY: chaos-programs
chaos-programs:
	@go build -o bin/ ./cmd/reaper
	@go build -C test/chaos -o ../../bin/chaos .
	@go build -C test/chaos -o ../../bin/chaos-client ./client

.PHONY: bench
bench: ## Measure kubelock, bare updates and other locks, into bench/out (CASE=name, QUICK=1 in under 90 s).
	@go build -C test/bench -o ../../bin/bench .
	@go build -o bin/ ./cmd/reaper
	@go build -o bin/ ./internal/testing/controlplane
	@bin/bench --assets "$$(bin/controlplane)" --reaper bin/reaper --case "$(CASE)" $(if $(QUICK),--quick)

.PHONY: bench-reaper
bench-reaper: ## Measure the reaper on LOCKS=10000 locks: start, memory, idle cost, and 1000 holds that expire at once.
	@go build -o bin/ ./test/benchreaper ./cmd/reaper ./internal/testing/controlplane
	@bin/benchreaper --assets "$$(bin/controlplane)" --reaper bin/reaper --locks $(or $(LOCKS),10000)

.PHONY: bench-fairness
bench-fairness: ## Measure renewals while other accounts flood the API server, without and with config/components/flowcontrol.
	@go build -o bin/ ./test/benchfairness ./internal/testing/controlplane
	@bin/benchfairness --assets "$$(bin/controlplane)"

##@ Verification (never rewrites anything)

GOFILES = $(shell git ls-files --cached --others --exclude-standard '*.go')

.PHONY: verify
verify: verify-fmt verify-version verify-prose verify-mod verify-actions verify-generate verify-chart verify-monitoring verify-platforms vet lint vulncheck ## Check everything that needs no API server.

.PHONY: verify-fmt
verify-fmt: ## Check that the Go code is formatted and has its licence header.
	@out="$$(gofmt -l $(GOFILES))"; [ -z "$$out" ] || { echo "not formatted, run make fmt:"; echo "$$out"; exit 1; }
	@out="$$(grep -L '^Copyright .* The kubelock Authors' $(GOFILES) || true)"; [ -z "$$out" ] || { echo "without the header of hack/boilerplate.go.txt:"; echo "$$out"; exit 1; }

.PHONY: verify-version
verify-version: ## Check that every file that names the version names that of internal/version.
	@hack/version.sh > /dev/null

.PHONY: verify-mod
verify-mod: ## Check that every go.mod and go.sum is tidy.
	@for dir in . adapters/gocron $(EXAMPLES) hack/tools hack/lint hack/helm hack/monitoring hack/sbom test/bench test/chaos internal/testing/controlplane/etcd internal/testing/controlplane/kubernetes; do go -C $$dir mod tidy -diff; done

.PHONY: verify-actions
verify-actions: actionlint ## Check the workflows, and that dependabot knows every module.
	@$(ACTIONLINT) -shellcheck= -pyflakes= .github/workflows/*.yml
	@for mod in $$(git ls-files --cached --others --exclude-standard go.mod '*/go.mod'); do \
		dir="/$${mod%go.mod}"; dir="$${dir%/}"; \
		grep -qxF -- "  - $${dir:-/}" .github/dependabot.yml || { echo ".github/dependabot.yml does not name $${dir:-/}"; exit 1; }; \
	done

.PHONY: verify-prose
verify-prose: ## Check the words of documents and comments, and their references.
	@go run ./hack/prose

.PHONY: verify-generate
verify-generate: controller-gen ## Check that generated files are up to date.
	@out="$$(mktemp -d)"; trap 'rm -rf "$$out"' EXIT; \
	mkdir -p "$$out/api" "$$out/crd" "$$out/chart"; \
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/... output:object:dir="$$out/api"; \
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir="$$out/crd"; \
	cp "$$out"/crd/*.yaml $(IN_CHART) "$$out/chart/"; \
	$(CRD_YAML) > "$$out/dist-crd.yaml"; $(INSTALL_YAML) > "$$out/install.yaml"; \
	go run ./hack/apidocs > "$$out/reference.md"; \
	diff -u api/v1alpha1/zz_generated.deepcopy.go "$$out/api/zz_generated.deepcopy.go" && diff -ur config/crd/bases "$$out/crd" \
		&& diff -ur charts/kubelock/files "$$out/chart" && diff -u dist/crd.yaml "$$out/dist-crd.yaml" && diff -u dist/install.yaml "$$out/install.yaml" \
		&& diff -u docs/reference.md "$$out/reference.md" \
		|| { echo "run make generate"; exit 1; }

.PHONY: verify-chart
verify-chart: helm ## Lint the Helm chart, and render it.
	@$(HELM) lint --quiet --strict --namespace kubelock-system charts/kubelock
	@$(HELM) template kubelock charts/kubelock --namespace kubelock-system > /dev/null

# The tests use Prometheus's packages: promtool takes twice as long to build. -count=1 is needed because the
# tested files are outside of the module, and Go's cache of results does not notice their changes.
.PHONY: verify-monitoring
verify-monitoring: ## Check the alerts, and when they fire, and the manifests for the Prometheus Operator.
	@go test -C hack/monitoring -count=1 ./...

# Not by go vet, which needs packages of controller-runtime's tests that do not compile for Windows.
.PHONY: verify-platforms
verify-platforms: ## Check that the programs compile for Windows and macOS.
	@for os in windows darwin; do echo "compiling for $$os"; GOOS=$$os CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" ./cmd/...; done

.PHONY: vet
vet: ## Run go vet.
	go vet ./...
	go -C adapters/gocron vet ./...
	@for dir in $(EXAMPLES); do go -C $$dir vet ./...; done
	go -C test/bench vet ./...
	go -C test/chaos vet ./...

.PHONY: lint
lint: golangci-lint ## Run golangci-lint, and the Kubernetes API linter on the API.
	$(GOLANGCI_LINT) run ./...
	$(GOLANGCI_LINT) run --config .golangci-api.yml ./api/...
	cd adapters/gocron && $(GOLANGCI_LINT) run --config ../../.golangci.yml ./...
	@for dir in $(EXAMPLES); do (cd $$dir && $(GOLANGCI_LINT) run --config ../../.golangci.yml ./...); done
	cd test/bench && $(GOLANGCI_LINT) run --config ../../.golangci.yml ./...
	cd test/chaos && $(GOLANGCI_LINT) run --config ../../.golangci.yml ./...

.PHONY: vulncheck
vulncheck: ## Check for known vulnerabilities, if the database can be reached.
	@go build -C hack/tools -o $(GOVULNCHECK) golang.org/x/vuln/cmd/govulncheck
	@hack/vulncheck.sh $(GOVULNCHECK)

##@ Release

VERSION   := $(shell sed -n 's/^const Version = "\(.*\)"$$/\1/p' internal/version/version.go)
IMAGE     ?= ghcr.io/kubelock/reaper:$(VERSION)
PLATFORMS ?= linux/amd64,linux/arm64
PUSH      ?=
# With SBOM=1 the pushed image has a software bill of materials and its provenance attached.
SBOM      ?=
ATTEST     = $(if $(SBOM),--sbom=true --provenance=mode=max)

# Times in the image are the time of the commit, so that the same commit gives the same image.
.PHONY: image
image: ## Build the reaper's image with Docker's buildx into bin/reaper.tar; PUSH=1 pushes it instead (IMAGE=name, PLATFORMS=list).
	@mkdir -p bin
	SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" docker buildx build $(ATTEST) --platform "$(PLATFORMS)" --tag "$(IMAGE)" \
		--output "$(if $(PUSH),type=image$(comma)push=true,type=oci$(comma)dest=bin/reaper.tar),rewrite-timestamp=true" .

DLOCK_IMAGE ?= ghcr.io/kubelock/dlock:$(VERSION)

.PHONY: image-dlock
image-dlock: ## Build the kubectl plugin's image into bin/dlock.tar; PUSH=1 pushes it instead (DLOCK_IMAGE=name, PLATFORMS=list).
	@mkdir -p bin
	SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" docker buildx build $(ATTEST) --target dlock --platform "$(PLATFORMS)" --tag "$(DLOCK_IMAGE)" \
		--output "$(if $(PUSH),type=image$(comma)push=true,type=oci$(comma)dest=bin/dlock.tar),rewrite-timestamp=true" .

ARCHIVES ?= linux_amd64 linux_arm64 darwin_amd64 darwin_arm64 windows_amd64

.PHONY: archives
archives: ## Build the kubectl plugin's archives for krew into bin/archives (ARCHIVES=list of platforms).
	@hack/archives.sh bin/archives $(ARCHIVES)
	@cd bin/archives && sha256sum dlock_*.tar.gz

RELEASE = HELM="$(HELM)" SBOM="$(SBOM_TOOL)" ARCHIVES="$(ARCHIVES)" hack/release.sh

.PHONY: release-files
release-files: helm cyclonedx-gomod ## Build the files of a release into bin/release: archives, chart, SBOMs, krew's manifest, checksums.
	@rm -rf bin/release
	@$(RELEASE) bin/release

.PHONY: release-check
release-check: helm cyclonedx-gomod ## Build the files of a release twice from the last commit, compare and try them, and test the images' programs. Pushes nothing.
	@hack/version.sh > /dev/null
	@hack/version.sh --notes $(VERSION) > /dev/null
	@$(RELEASE) --check bin/release
	LONG=1 PROGRAMS="$(CURDIR)/bin/release/programs.txt" go test -count=1 ./test/image

comma := ,

##@ Tools and cleaning

.PHONY: controller-gen
controller-gen:
	@go build -C hack/tools -o $(CONTROLLER_GEN) sigs.k8s.io/controller-tools/cmd/controller-gen

.PHONY: golangci-lint
golangci-lint:
	@go build -C hack/lint -o $(GOLANGCI_LINT) sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter

.PHONY: actionlint
actionlint:
	@go build -C hack/tools -o $(ACTIONLINT) github.com/rhysd/actionlint/cmd/actionlint

.PHONY: helm
helm:
	@go build -C hack/helm -o $(HELM) helm.sh/helm/v4/cmd/helm

.PHONY: cyclonedx-gomod
cyclonedx-gomod:
	@go build -C hack/sbom -o $(SBOM_TOOL) github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod

.PHONY: clean
clean: ## Remove the built files in the checkout (not the cache).
	rm -rf bin bench
