# Every tool is pinned by a go.mod below hack/ and built through the Go module
# proxy; what is built is kept in the user's cache, outside of the checkout.

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

# Arguments for go test, such as GOTESTFLAGS='-run TestDo -v'.
GOTESTFLAGS ?=
PACKAGES    ?= ./...

##@ The two commands

.PHONY: demo
demo: ## Show the lock at work on a real API server: workers, a crash, expiry, collection (KEEP=1 leaves it running).
	@go build -o bin/ ./cmd/reaper ./hack/demo ./hack/controlplane
	@bin/demo --assets "$$(bin/controlplane)" $(if $(KEEP),--keep)

.PHONY: test
test: sim-short chaos-short $(if $(filter ./... ./charts%,$(PACKAGES)),helm) ## Run every test against a real API server, with the race detector; the simulation, short.
	@assets="$$(go run ./hack/controlplane)"; \
	KUBEBUILDER_ASSETS="$$assets" go test -race -timeout 20m $(GOTESTFLAGS) $(PACKAGES)
	go -C hack/chaos test ./...

##@ Development

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z][a-zA-Z_-]*:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the programs into bin/.
	go build -trimpath -ldflags="-s -w" -o bin/ ./cmd/...

.PHONY: controlplane
controlplane: ## Find or build kube-apiserver, etcd and kubectl, and print their folder.
	@go run ./hack/controlplane

.PHONY: generate
generate: controller-gen ## Generate deepcopy functions, the CRD, its reference, and dist/install.yaml.
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/...
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=config/crd/bases
	cp config/crd/bases/*.yaml $(IN_CHART) charts/kubelock/files/
	go run ./hack/apidocs > docs/reference.md
	@$(MAKE) --no-print-directory install-yaml

# What the chart has as it is, besides the CRD.
IN_CHART := config/policy/policy.yaml config/policy/binding.yaml config/policy/force_role.yaml

# What dist/install.yaml says, on standard output.
INSTALL_YAML = { echo "\# Generated from config/default by make install-yaml."; "$$(go run ./hack/controlplane)/kubectl" kustomize config/default; }

.PHONY: install-yaml
install-yaml: ## Generate dist/install.yaml, all of config/default in one file.
	@mkdir -p dist
	@out="$$(mktemp dist/install.yaml.XXXXXX)"; trap 'rm -f "$$out"' EXIT; \
	$(INSTALL_YAML) > "$$out"; chmod 644 "$$out"; mv "$$out" dist/install.yaml

.PHONY: fmt
fmt: ## Format the Go code.
	gofmt -w $(GOFILES)

##@ Simulation and benchmarks

SEEDS      ?= 2000
FIRST      ?= 1
TRANSCRIPT ?=

.PHONY: sim
sim: ## Simulate library and reaper from SEEDS=2000 seeds on, FIRST=1; TRANSCRIPT=1 prints what happens.
	@SEEDS=$(SEEDS) FIRST=$(FIRST) TRANSCRIPT=$(TRANSCRIPT) hack/simulate.sh

.PHONY: sim-short
sim-short:
	@SEEDS=2000 FIRST=1 hack/simulate.sh test

.PHONY: sim-mutants
sim-mutants: ## Plant each fault in the code and let the simulation find it.
	@SEEDS=2000 hack/simulate.sh mutants

MINUTES ?= 20
LENGTH  ?= $(MINUTES)m
CHAOS = bin/chaos --assets "$$(go run ./hack/controlplane)" --length $(LENGTH) $(if $(SEED),--seed $(SEED)) $(if $(CLIENTS),--clients $(CLIENTS)) $(if $(ONLY),--only $(ONLY)) $(if $(KEEP),--keep)

.PHONY: chaos
chaos: chaos-programs ## Let faults happen to a real control plane for MINUTES=20, and check all histories (SEED=n, ONLY=faults, KEEP=1).
	@$(CHAOS)

.PHONY: chaos-short
chaos-short: LENGTH = 45s
chaos-short: chaos-programs
	@$(CHAOS)

.PHONY: chaos-mutants
chaos-mutants: chaos-programs ## Plant each fault that needs a real server, and let the chaos run find it (MUTANT=part of its name).
	@go build -C hack/chaos -o ../../bin/chaos-mutants ./mutants
	@bin/chaos-mutants --assets "$$(go run ./hack/controlplane)" --only "$(MUTANT)"

.PHONY: fencing-demo
fencing-demo: ## Show a paused holder spoil an unfenced store, and the fenced store refuse it.
	@go build -o bin/ ./hack/fencing-demo
	@bin/fencing-demo --assets "$$(go run ./hack/controlplane)"

.PHONY: chaos-programs
chaos-programs:
	@go build -o bin/ ./cmd/reaper
	@go build -C hack/chaos -o ../../bin/chaos .
	@go build -C hack/chaos -o ../../bin/chaos-client ./client

.PHONY: bench
bench: ## Measure beside bare updates and other locks, into bench/out (CASE=name, QUICK=1 in under 90 s).
	@go build -C hack/bench -o ../../bin/bench .
	@go build -o bin/ ./cmd/reaper
	@go build -o bin/ ./hack/controlplane
	@bin/bench --assets "$$(bin/controlplane)" --reaper bin/reaper --case "$(CASE)" $(if $(QUICK),--quick)

.PHONY: bench-reaper
bench-reaper: ## Measure the reaper on LOCKS=10000 locks: start, memory, idle cost, and 1000 holders that expire at once.
	@go build -o bin/ ./hack/benchreaper ./cmd/reaper ./hack/controlplane
	@bin/benchreaper --assets "$$(bin/controlplane)" --reaper bin/reaper --locks $(or $(LOCKS),10000)

.PHONY: bench-fairness
bench-fairness: ## Measure how holds fare while other accounts flood the API server, without and with config/components/flowcontrol.
	@go build -o bin/ ./hack/benchfairness ./hack/controlplane
	@bin/benchfairness --assets "$$(bin/controlplane)"

##@ Verification (never rewrites anything)

GOFILES = $(shell git ls-files --cached --others --exclude-standard '*.go')

.PHONY: verify
verify: verify-fmt verify-prose verify-mod verify-actions verify-generate verify-chart verify-monitoring vet lint vulncheck ## Check everything that needs no API server.

.PHONY: verify-fmt
verify-fmt: ## Check that the Go code is formatted and has its licence header.
	@out="$$(gofmt -l $(GOFILES))"; [ -z "$$out" ] || { echo "not formatted, run make fmt:"; echo "$$out"; exit 1; }
	@out="$$(grep -L '^Copyright .* The kubelock Authors' $(GOFILES) || true)"; [ -z "$$out" ] || { echo "without the header of hack/boilerplate.go.txt:"; echo "$$out"; exit 1; }

.PHONY: verify-mod
verify-mod: ## Check that every go.mod and go.sum is tidy.
	@for dir in . hack/tools hack/lint hack/helm hack/monitoring hack/bench hack/chaos hack/controlplane/etcd hack/controlplane/kubernetes; do go -C $$dir mod tidy -diff; done

.PHONY: verify-actions
verify-actions: actionlint ## Check the workflows, and that dependabot knows every module.
	@$(ACTIONLINT) -shellcheck= -pyflakes= .github/workflows/*.yml
	@for mod in $$(git ls-files --cached --others --exclude-standard go.mod '*/go.mod'); do \
		dir="/$${mod%go.mod}"; dir="$${dir%/}"; \
		grep -qxF -- "  - $${dir:-/}" .github/dependabot.yml || { echo ".github/dependabot.yml does not name $${dir:-/}"; exit 1; }; \
	done

.PHONY: verify-prose
verify-prose: ## Check the words of documents and comments, and that what documents refer to exists.
	@go run ./hack/prose

.PHONY: verify-generate
verify-generate: controller-gen ## Check that generated files are up to date.
	@out="$$(mktemp -d)"; trap 'rm -rf "$$out"' EXIT; \
	mkdir -p "$$out/api" "$$out/crd" "$$out/chart"; \
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/... output:object:dir="$$out/api"; \
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir="$$out/crd"; \
	cp "$$out"/crd/*.yaml $(IN_CHART) "$$out/chart/"; \
	$(INSTALL_YAML) > "$$out/install.yaml"; \
	go run ./hack/apidocs > "$$out/reference.md"; \
	diff -u api/v1alpha1/zz_generated.deepcopy.go "$$out/api/zz_generated.deepcopy.go" && diff -ur config/crd/bases "$$out/crd" \
		&& diff -ur charts/kubelock/files "$$out/chart" && diff -u dist/install.yaml "$$out/install.yaml" \
		&& diff -u docs/reference.md "$$out/reference.md" \
		|| { echo "run make generate"; exit 1; }

.PHONY: verify-chart
verify-chart: helm ## Lint the Helm chart, and render it.
	@$(HELM) lint --quiet --strict --namespace kubelock-system charts/kubelock
	@$(HELM) template kubelock charts/kubelock --namespace kubelock-system > /dev/null

# By Prometheus's packages and not by promtool, which takes twice as long to build.
# What is tested is outside of that module, where the cache of results does not look.
.PHONY: verify-monitoring
verify-monitoring: ## Check the alerts, and when they fire, and the manifests for the Prometheus Operator.
	@go test -C hack/monitoring -count=1 ./...

.PHONY: vet
vet: ## Run go vet.
	go vet ./...
	go -C hack/bench vet ./...
	go -C hack/chaos vet ./...

.PHONY: lint
lint: golangci-lint ## Run golangci-lint, the Kubernetes API linter included.
	$(GOLANGCI_LINT) run ./...
	cd hack/bench && $(GOLANGCI_LINT) run --config ../../.golangci.yml ./...
	cd hack/chaos && $(GOLANGCI_LINT) run --config ../../.golangci.yml ./...

.PHONY: vulncheck
vulncheck: ## Check for known vulnerabilities, where the database can be reached.
	@go build -C hack/tools -o $(GOVULNCHECK) golang.org/x/vuln/cmd/govulncheck
	@hack/vulncheck.sh $(GOVULNCHECK)

##@ Release

IMAGE     ?= ghcr.io/kubelock/reaper:v0.1.0
PLATFORMS ?= linux/amd64,linux/arm64
PUSH      ?=
# With SBOM=1 the pushed image has a software bill of materials and its provenance attached.
SBOM      ?=
ATTEST     = $(if $(SBOM),--sbom=true --provenance=mode=max)

# Times in the image are that of the commit, so that the same commit gives the same image.
.PHONY: image
image: ## Build the reaper's image with Docker's buildx into bin/reaper.tar; PUSH=1 pushes it instead (IMAGE=name, PLATFORMS=list).
	@mkdir -p bin
	SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" docker buildx build $(ATTEST) --platform "$(PLATFORMS)" --tag "$(IMAGE)" \
		--output "$(if $(PUSH),type=image$(comma)push=true,type=oci$(comma)dest=bin/reaper.tar),rewrite-timestamp=true" .

DLOCK_IMAGE ?= ghcr.io/kubelock/dlock:v0.1.0

.PHONY: image-dlock
image-dlock: ## Build the kubectl plugin's image into bin/dlock.tar; PUSH=1 pushes it instead (DLOCK_IMAGE=name, PLATFORMS=list).
	@mkdir -p bin
	SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" docker buildx build $(ATTEST) --target dlock --platform "$(PLATFORMS)" --tag "$(DLOCK_IMAGE)" \
		--output "$(if $(PUSH),type=image$(comma)push=true,type=oci$(comma)dest=bin/dlock.tar),rewrite-timestamp=true" .

ARCHIVES ?= linux_amd64 linux_arm64 darwin_amd64 darwin_arm64 windows_amd64

.PHONY: archives
archives: ## Build the kubectl plugin's archives for krew into bin/archives (ARCHIVES=list of platforms).
	@hack/archives.sh $(ARCHIVES)

.PHONY: chart
chart: helm ## Package the Helm chart into bin/chart.
	@$(HELM) package charts/kubelock --destination bin/chart

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

.PHONY: clean
clean: ## Remove what was built in the checkout (not the cache).
	rm -rf bin bench
