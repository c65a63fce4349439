# khook's targets. "make" alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE   ?= $(if $(KHOOK_CACHE),$(KHOOK_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/khook)
BIN     := $(CACHE)/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
CLUSTER := go run -C test/cluster . --cwd $(CURDIR)

# go.mod names the Go that everything is built with: an older one has known vulnerabilities. Where the
# environment forbids another Go than the installed one, as build machines do, that is lifted here.
TOOLCHAIN := $(shell sed -n 's/^toolchain //p' go.mod)
ifneq (,$(filter local path local+path,$(shell go env GOTOOLCHAIN)))
export GOTOOLCHAIN := auto
$(info make: GOTOOLCHAIN is set to auto, so that $(TOOLCHAIN) or newer is used)
endif

# The tools live in Go modules of their own, and are built once per version.
tool_version = $(shell sed -n 's|^\(require \)\?\s*$(2) \(v[^ ]*\).*|\2|p' tools/$(1)/go.mod | head -1)
CONTROLLER_GEN := $(BIN)/controller-gen-$(call tool_version,controller-gen,sigs.k8s.io/controller-tools)
HELM           := $(BIN)/helm-$(call tool_version,helm,helm.sh/helm/v4)
PROMTOOL       := $(BIN)/promtool-$(call tool_version,promtool,github.com/prometheus/prometheus)
GOLANGCI_LINT  := $(BIN)/golangci-lint-$(call tool_version,golangci-lint,github.com/golangci/golangci-lint/v2)
KUBE_SCORE     := $(BIN)/kube-score-$(call tool_version,kube-score,github.com/zegl/kube-score)
ACTIONLINT     := $(BIN)/actionlint-$(call tool_version,actionlint,github.com/rhysd/actionlint)
BENCHSTAT      := $(BIN)/benchstat-$(call tool_version,benchstat,golang.org/x/perf)
# From npm: the lock file has the version and the hash of each package.
SPECTRAL       := $(BIN)/spectral-$(shell cksum <tools/spectral/package-lock.json | cut -d' ' -f1)/node_modules/.bin/spectral

# The database of known vulnerabilities: a Go module, pinned as all is. make vulncheck
# VULN_REPORTS=FOLDER takes another one; .ci/nightly takes the newest.
VULN_REPORTS ?= $(shell cd tools/vulndb && go mod download golang.org/x/vulndb && go list -m -f '{{.Dir}}' golang.org/x/vulndb)/data/osv
# What users run, and what makes it.
VULN_MODULES := . tools/image

IMAGE_REPOSITORY ?= cr.kagent.dev/kagent-dev/khook/khook
PLATFORMS        ?= linux/amd64,linux/arm64
IMAGE            := go run -C tools/image . --repository $(IMAGE_REPOSITORY)
# What the end-to-end tests install, and what they upgrade it to.
E2E_TAGS := e2e-1 e2e-2

# Reads what "go build -v" says, and tells how far it is: a first build compiles more than a thousand packages, for minutes.
# On a terminal that is one line, else one for each hundred. All else that go says is passed on.
PROGRESS = awk -v name=$@ -v live=$$(test -t 2 && echo 1 || echo 0) ' \
	/[ \t:]/ {print >"/dev/stderr"; next} \
	{n++; if (live) printf "\r\033[Kbuilding %s: package %d", name, n >"/dev/stderr"; \
	else if (n % 100 == 0) printf "building %s: package %d\n", name, n >"/dev/stderr"; fflush()} \
	END {if (live && n) printf "\r\033[K" >"/dev/stderr"}'

# The Kubernetes that the tests run on, such as K8S=1.30: one of test/cluster/versions.txt; the newest if empty.
K8S ?=
export K8S
# Another one is refused here, before "make test" spends minutes on what comes before the tests.
K8S_TESTED := $(shell awk '!/^\#/ {print $$1}' test/cluster/versions.txt)
ifneq ($(filter-out $(K8S_TESTED),$(K8S:v%=%)),)
$(error there is no Kubernetes $(K8S) to test on: K8S is one of $(K8S_TESTED))
endif

# The race detector needs a C compiler. Without one the tests run without it, and say so.
RACE := $(shell command -v $${CC:-gcc} >/dev/null 2>&1 && echo -race)

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use

# Ctrl-C is how people end the demo, and no error. "set -m" gives it the terminal, so that make does not get the signal too; bash
# does so only for what is not the last command. "go run" would say 1 of whatever was interrupted, so it is built.
.PHONY: demo
demo: bin/khook bin/demo bin/cluster cluster-assets ## See the main job done: a control plane, a sample agent, recorded failures; ARGS=--fast takes a minute
	@set -m; cd test/cluster; $(CURDIR)/bin/cluster run --cwd $(CURDIR) --interrupt-ok -- bin/demo $(ARGS); exit

.PHONY: run
run: bin/khook ## Run khook against the cluster of KUBECONFIG
	@test -n "$${KUBECONFIG:-}" || { echo 'make run: set KUBECONFIG to the cluster that khook should watch; "make demo" needs none' >&2; exit 1; }
	bin/khook controller --no-leader-elect --log-format=text $(ARGS)

.PHONY: build
build: bin/khook ## Build bin/khook

.PHONY: bin/khook
bin/khook:
	@CGO_ENABLED=0 go build -v -trimpath -ldflags "$(LDFLAGS)" -o $@ ./cmd/khook 2>&1 | $(PROGRESS)

.PHONY: bin/demo
bin/demo:
	@CGO_ENABLED=0 go build -v -trimpath -o $@ ./test/demo 2>&1 | $(PROGRESS)

.PHONY: bin/cluster
bin/cluster:
	@go build -C test/cluster -o $(CURDIR)/$@ .

##@ Test

.PHONY: test
test: check-generate lint lint-api lint-workflows score vulncheck test-alerts test-web test-go test-postgres test-models bench-short ## All checks that need no root: generated files, lint, known vulnerabilities, unit and integration tests, benchmarks once

# Packages are tested in the order in which they are named, as many at once as there are cores: those that take longest come first, so that no
# core waits for them at the end.
LONGEST := ./test/system ./internal/dispatch ./internal/cli ./internal/ledger ./internal/server

.PHONY: test-go
test-go: cluster-assets $(HELM) ## Unit and integration tests, on a real API server
	@test -n "$(RACE)" || echo 'no C compiler found: the tests run WITHOUT the race detector (install gcc to have it)' >&2
	HELM=$(HELM) KUBEBUILDER_ASSETS="$$($(CLUSTER) assets 2>/dev/null)" go test $(RACE) -timeout 40m $(LONGEST) ./...
	go test -C test/cluster ./...
	HELM=$(HELM) go test -C tools/image ./...
	go test -C tools/govulncheck ./...

# The dashboard's sources are in web, and what is built of them in internal/web/dist: both are committed, so that khook is built
# without Node.js. KHOOK_NEEDS_NODE=1 makes it an error that there is none, as in CI.
NODE_IS_NEW := node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null

.PHONY: test-web
test-web: ## Check the dashboard: types, unit tests, and that internal/web/dist is what the sources give; needs Node.js
	@if ! { $(NODE_IS_NEW); }; then \
		echo 'make test-web: there is no Node.js 20.19 or newer with npm: the dashboard in web is NOT CHECKED, nor that internal/web/dist is built from it' >&2; \
		test -z "$${KHOOK_NEEDS_NODE:-}"; exit; fi; \
	$(MAKE) --no-print-directory web && npm --prefix web run --silent check && npm --prefix web run --silent test && \
	git diff --stat --exit-code -- internal/web/dist web/src/api/schema.gen.ts && test -z "$$(git ls-files --others --exclude-standard internal/web/dist)" || \
		{ echo 'make test-web: failed, or internal/web/dist was not what the sources give: commit what "make web" builds' >&2; exit 1; }

.PHONY: screenshots
screenshots: cluster-assets ## Take the README's pictures of the dashboard, on a real API server; needs Chromium
	KUBEBUILDER_ASSETS="$$($(CLUSTER) assets 2>/dev/null)" KHOOK_NEEDS_BROWSER=1 KHOOK_SCREENSHOTS=$(CURDIR)/docs/images go test -count=1 -timeout 20m -run '^TestScreenshots$$' ./test/dashboard

# Without PostgreSQL, or with KHOOK_TEST_POSTGRES=off, they are skipped, and say so; KHOOK_TEST_POSTGRES=required fails instead.
.PHONY: test-postgres
test-postgres: cluster-assets ## What keeps a history and what uses it once more, on a real PostgreSQL
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || echo 'NOT TESTED ON POSTGRESQL: there is none (apt-get install postgresql)' >&2
	KHOOK_TEST_ENGINE=postgres KUBEBUILDER_ASSETS="$$($(CLUSTER) assets 2>/dev/null)" go test -count=1 -timeout 30m ./internal/dispatch ./internal/ledger ./internal/server ./internal/store ./internal/feed ./internal/notify ./internal/stream

# With the race detector test-go draws a tenth of their inputs: each takes ten times as long.
MODELS := TestAnySequenceEndsInAtMostOneRun TestAnySilenceIsToldAndEndsNoDelivery TestAnySequenceOfTheDispatcherKeepsThePromises \
	TestKillsDoNotChangeAnOutcome TestTheFirstNoOfExplainIsWhatIsDecided TestNoRowOfEditsCallsForAnIncidentTwice \
	TestDecisionsDoNotDependOnHowSignalsAreBatched TestWhereverRowsCannotBeSavedAllOthersAreRecordedOnceAndInOrder \
	TestCountersAndChangeLogSayWhatTheHistorySays TestReplayIsTheControllerForAnyHook TestARestartOfKhookChangesNoCall \
	TestWhateverFailsEachThingIsToldInOneMessage

.PHONY: test-models
test-models: ## The models and costly properties in full, without the race detector
	go test -count=1 -timeout 20m -run "^($$(tr ' ' '|' <<<"$(strip $(MODELS))"))$$" ./internal/delivery ./internal/dispatch ./internal/ledger \
		./internal/notify ./internal/replay ./internal/store

.PHONY: test-alerts
test-alerts: $(PROMTOOL) ## Check the chart's alerts, and what they fire for
	$(PROMTOOL) check rules charts/khook/files/alerts.yaml
	cd test/chart && $(PROMTOOL) test rules alerts_test.yaml

.PHONY: vulncheck
vulncheck: ## Fail for each known vulnerability that is reachable and has a fix
	for module in $(VULN_MODULES); do \
		GOTOOLCHAIN=$(TOOLCHAIN) go run -C tools/govulncheck . --database "$(VULN_REPORTS)" --allowed exceptions.txt "$(CURDIR)/$$module"; done

# What kube-score asks for and the chart does not do, each for a reason:
#   deployment-replicas           by default one process writes the history (docs/decisions/0001 and 0015)
#   deployment-strategy           so the old Pod ends before the new one begins: Recreate; with PostgreSQL it rolls
#   container-image-pull-policy   tags of releases do not move, and a node that can't reach the registry must be able
#                                 to start khook again; image.pullPolicy and image.digest are for who wants it stricter
#   --ignore-container-cpu-limit  a CPU limit throttles detection just when the cluster is in trouble; memory is limited
KUBE_SCORE_IGNORED := --ignore-test deployment-replicas --ignore-test deployment-strategy \
	--ignore-test container-image-pull-policy --ignore-container-cpu-limit
#   pod-networkpolicy             by default only what comes in is bounded: what ports API servers and DNS have
#                                 differs too much to guess. With networkPolicy.restrictEgress it must pass.
KUBE_SCORE_IGNORED_BY_DEFAULT := --ignore-test pod-networkpolicy
KUBE_SCORE_CHECK = $(KUBE_SCORE) score --kubernetes-version v1.28 --exit-one-on-warning --output-format ci $(KUBE_SCORE_IGNORED)
SCORED_VALUES := networkPolicy.restrictEgress=true
COMPLAINTS := { grep -vE '^\[(OK|SKIPPED)\]' || true; }

.PHONY: score
score: $(KUBE_SCORE) $(HELM) ## Judge the rendered chart by kube-score
	$(HELM) template khook charts/khook -n kagent | $(KUBE_SCORE_CHECK) $(KUBE_SCORE_IGNORED_BY_DEFAULT) - | $(COMPLAINTS)
	$(HELM) template khook charts/khook -n kagent --set $(SCORED_VALUES) | $(KUBE_SCORE_CHECK) - | $(COMPLAINTS)

.PHONY: e2e
e2e: bin/khook $(HELM) ## End-to-end tests: khook as a Pod on a real node (Linux, root), or on the cluster of KUBECONFIG
	for tag in $(E2E_TAGS); do $(IMAGE) --version $$tag --platforms linux/$$(go env GOARCH) --out dist/e2e/$$tag >/dev/null; done
	HELM=$(HELM) KHOOK_E2E_REPOSITORY=$(IMAGE_REPOSITORY) KHOOK_E2E_TAGS="$(E2E_TAGS)" \
		$(CLUSTER) run --node --existing-ok $(foreach tag,$(E2E_TAGS),--image dist/e2e/$(tag)/khook-$(tag).oci.tar) -- go test -tags e2e -count=1 -timeout 40m -v ./test/e2e/...

.PHONY: torture
torture: cluster-assets ## Stop khook at each point of its way and at 740 random moments (1 1/2 hours; KHOOK_TORTURE_EVERY=3 for a third); writes docs/reliability.md
	KUBEBUILDER_ASSETS="$$($(CLUSTER) assets 2>/dev/null)" KHOOK_TORTURE=full KHOOK_TORTURE_REPORT=$(CURDIR)/docs/reliability.md \
		go test -count=1 -timeout 240m -parallel 24 -run '^(TestWhereverItIsStopped|TestKilledAtAnyMoment)' ./test/system

.PHONY: attack
attack: bin/khook cluster-assets ## Attack khook as its users' enemies would, in 512 MiB (half an hour; as root in a cgroup); writes docs/security.md
	KUBEBUILDER_ASSETS="$$($(CLUSTER) assets 2>/dev/null)" KHOOK_ATTACK_REPORT=$(CURDIR)/docs/security.md \
		go test -tags attack -count=1 -timeout 90m -v ./test/attack

.PHONY: attack-short
attack-short: bin/khook cluster-assets ## The same attacks with smaller numbers, as CI makes them
	KUBEBUILDER_ASSETS="$$($(CLUSTER) assets 2>/dev/null)" KHOOK_ATTACK=short go test -tags attack -count=1 -timeout 30m -v ./test/attack

# Go keeps what fuzzing finds in its build cache, which "go clean" empties; here it lies in a folder of its own.
FUZZTIME ?= 30s

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s), one after another; FUZZ selects, such as FUZZ=Token
	@failed=; packages=$$(go list -f '{{.ImportPath}} {{.Dir}}' ./... | sort); \
	while read -r package dir; do \
		for target in $$(grep -hso '^func Fuzz[A-Za-z0-9_]*' "$$dir"/*_test.go | sed 's/^func //' | grep -E '$(or $(FUZZ),.)' || true); do \
			echo "== $$package $$target"; mkdir -p "$(CACHE)/fuzz/$$package"; \
			go test "$$package" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -test.fuzzcachedir="$(CACHE)/fuzz/$$package" </dev/null || failed="$$failed $$target"; \
		done; \
	done <<<"$$packages"; \
	if [ -n "$$failed" ]; then echo "make fuzz: failed:$$failed; the inputs lie in testdata/fuzz of the package: commit them with the fix" >&2; exit 1; fi

.PHONY: cover
cover: cluster-assets $(HELM) ## Test coverage: per package and in total, and each line in dist/coverage.html
	@mkdir -p dist
	HELM=$(HELM) KUBEBUILDER_ASSETS="$$($(CLUSTER) assets 2>/dev/null)" \
		go test -timeout 40m -coverpkg=./api/...,./cmd/...,./internal/... -coverprofile=dist/coverage.out ./... >dist/coverage.log || { cat dist/coverage.log >&2; exit 1; }
	go tool cover -html=dist/coverage.out -o dist/coverage.html
	@awk -F '[: ]' 'NR > 1 {size[$$1 ":" $$2] = $$3; if ($$4 > 0) hit[$$1 ":" $$2] = 1} \
		END {for (b in size) {p = b; sub("/[^/]*$$", "", p); all[p] += size[b]; total += size[b]; if (b in hit) {got[p] += size[b]; sum += size[b]}; } \
		for (p in all) printf "%5.1f %%  %s\n", 100 * got[p] / all[p], p | "sort -k 3"; close("sort -k 3"); \
		printf "%5.1f %%  in total; each line is in dist/coverage.html\n", 100 * sum / total}' dist/coverage.out

# The packages with benchmarks, and how they are run: without tests, and without the race detector.
BENCH_PACKAGES = $$(go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r package dir; do \
	if grep -qs '^func Benchmark' "$$dir"/*_test.go; then echo "$$package"; fi; done)
GO_BENCH = KUBEBUILDER_ASSETS="$$($(CLUSTER) assets 2>/dev/null)" go test -run '^$$' -timeout 90m

.PHONY: bench
bench: cluster-assets ## Benchmarks; BENCH selects, such as BENCH=SignalToAgent BENCHTIME=500x
	$(GO_BENCH) -bench '$(or $(BENCH),.)' -benchtime $(or $(BENCHTIME),1s) $(BENCH_PACKAGES)

.PHONY: bench-short
bench-short: cluster-assets ## Each benchmark once, in its small form: they all still work
	$(GO_BENCH) -short -bench . -benchtime 1x $(BENCH_PACKAGES)

.PHONY: bench-large
bench-large: ## Pages and statistics of 10,000,000 events on SQLite and PostgreSQL: hours, and 58 GiB of disk; EVENTS selects another number
	KHOOK_TEST_POSTGRES=required KHOOK_BENCH_EVENTS=$(or $(EVENTS),10000000) go test -run '^$$' -timeout 5h -bench '^BenchmarkEnginesLists$$' ./internal/store

# The latency's p99 needs many signals; all else runs as long as Go finds right.
.PHONY: bench-report
bench-report: cluster-assets ## Run all benchmarks (half an hour), and write their figures into docs/performance.md
	@mkdir -p dist
	$(GO_BENCH) -bench '^BenchmarkSignalToAgent$$' -benchtime 500x $(BENCH_PACKAGES) | tee dist/bench.txt
	$(GO_BENCH) -benchmem -bench . -skip '^BenchmarkSignalToAgent$$' $(BENCH_PACKAGES) | tee -a dist/bench.txt
	KHOOK_BENCH_REPORT=$(CURDIR)/docs/performance.md go run ./test/bench report --version '$(VERSION)' dist/bench.txt

# Counts and sizes do not depend on how fast or how busy a machine is; times do, and are not compared. These
# benchmarks do the same work in each run.
BENCH_COUNTED  := ^Benchmark(Apply|Groups|HostileHook|Save|Workload)$$
BENCH_BASELINE := test/bench/baseline.txt
# By how many percent a count or a size may be worse than the baseline's.
BENCH_LIMIT    ?= 10
GO_COUNT = $(GO_BENCH) -short -cpu 1 -benchmem
bench_counts = { $(GO_COUNT) -benchtime 20x -bench '$(BENCH_COUNTED)' $(BENCH_PACKAGES); \
	$(GO_COUNT) -benchtime 1x -bench '^BenchmarkPodMemory$$' $(BENCH_PACKAGES); } | \
	grep -E '^(Benchmark|pkg:)|FAIL' | sed -E 's/[[:space:]]+[0-9.e+-]+ (ns\/op|[^[:space:]]*\/(cpu-)?s|µs\/group)//g'

.PHONY: bench-baseline
bench-baseline: cluster-assets ## Write the counts and sizes that make bench-compare goes by; commit them
	@mkdir -p dist
	$(bench_counts) >dist/baseline.txt
	mv dist/baseline.txt $(BENCH_BASELINE)

.PHONY: bench-compare
bench-compare: cluster-assets $(BENCHSTAT) ## Fail if allocations or sizes are worse than the committed baseline by more than BENCH_LIMIT percent (10)
	@mkdir -p dist
	$(bench_counts) >dist/counts.txt
	$(BENCHSTAT) -ignore pkg -format csv $(BENCH_BASELINE) dist/counts.txt | go run ./test/bench compare --limit $(BENCH_LIMIT)

.PHONY: storm
storm: cluster-assets ## 10,000 Pods of 200 workloads fail at once, on a real API server
	$(GO_BENCH) -bench '^BenchmarkStorm$$' -benchtime 1x $(BENCH_PACKAGES)

.PHONY: cluster-assets
cluster-assets: ## Build etcd, kube-apiserver and so on, once
	@$(CLUSTER) assets >/dev/null

.PHONY: node
node: ## Run a real Kubernetes with a node until Ctrl-C (Linux, root)
	$(CLUSTER) up --node

.PHONY: show-go
show-go: ## Say which Go builds khook
	@echo "go.mod names $(TOOLCHAIN), and $$(go env GOVERSION) is used (GOTOOLCHAIN=$$(go env GOTOOLCHAIN))"

##@ Package

.PHONY: image
image: ## Build the container image for PLATFORMS, with SBOMs, as an OCI layout and as a tar, in dist/
	$(IMAGE) --version $(VERSION) --platforms $(PLATFORMS)

.PHONY: chart
chart: $(HELM) ## Package the Helm chart for VERSION in dist/
	$(HELM) package charts/khook --app-version $(VERSION) --destination dist

.PHONY: manifests
manifests: $(HELM) ## Render the chart to dist/install.yaml, for kubectl apply
	@mkdir -p dist
	$(HELM) template khook charts/khook --namespace kagent --set namespace.create=true,image.tag=$(VERSION) >dist/install.yaml

.PHONY: release
release: $(HELM) ## Build all of a version, such as VERSION=v0.1.0, in dist/release, and publish nothing; see RELEASE.md
	go run -C tools/image . release --repository $(IMAGE_REPOSITORY) --helm $(HELM) --version '$(VERSION)'

# What make sign signs: dist, or the folder of a release.
SIGN_DIR ?= $(CURDIR)/dist

.PHONY: sign
sign: ## Sign what lies in dist (or SIGN_DIR) by the key in COSIGN_PRIVATE_KEY, in cosign's form; see docs/install.md
	go run -C tools/image . sign --out $(abspath $(SIGN_DIR))

##@ Develop

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run golangci-lint
	$(GOLANGCI_LINT) run ./...

# KHOOK_NEEDS_NODE=1 makes it an error that there is no Node.js, as in CI.
.PHONY: lint-api
lint-api: ## Judge docs/openapi.yaml by spectral, which needs Node.js
	@if ! command -v npm >/dev/null; then \
		echo 'make lint-api: there is no Node.js with npm: docs/openapi.yaml is NOT CHECKED by spectral' >&2; \
		test -z "$${KHOOK_NEEDS_NODE:-}"; exit; fi; \
	$(MAKE) --no-print-directory $(SPECTRAL) && \
	$(SPECTRAL) lint --ruleset tools/spectral/ruleset.yaml --fail-severity warn docs/openapi.yaml

# Without shellcheck and pyflakes, which would judge by whichever version is installed.
.PHONY: lint-workflows
lint-workflows: $(ACTIONLINT) ## Check the workflows in .github by actionlint
	$(ACTIONLINT) -shellcheck= -pyflakes=

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Generate deepcopy, CRD, RBAC and the OpenAPI document
	$(CONTROLLER_GEN) object crd:crdVersions=v1 paths=./api/... output:crd:artifacts:config=config/crd
	cp config/crd/kagent.dev_hooks.yaml charts/khook/files/
	$(CONTROLLER_GEN) rbac:roleName=khook paths=./internal/app/... output:rbac:artifacts:config=config/rbac
	go run -C tools/values .
	go run ./cmd/khook openapi >docs/openapi.yaml.new && mv docs/openapi.yaml.new docs/openapi.yaml

.PHONY: web
web: ## Build the dashboard into internal/web/dist; needs Node.js 20.19 or newer
	@cd web && npm ci --loglevel=error && npm run --silent types && npm run --silent build

.PHONY: check-generate
check-generate: generate ## Fail if a generated file is not up to date
	@git diff --exit-code -- api config charts docs/openapi.yaml docs/values.md || { echo 'generated files were not up to date: commit what "make generate" changed' >&2; exit 1; }

.PHONY: clean
clean: ## Remove what was built here (not the cache)
	rm -rf bin dist

$(CONTROLLER_GEN):
	@echo "building controller-gen, once"
	@mkdir -p $(BIN) && go build -C tools/controller-gen -o $@ sigs.k8s.io/controller-tools/cmd/controller-gen

$(HELM):
	@echo "building helm, once: this takes a minute or two"
	@mkdir -p $(BIN) && CGO_ENABLED=0 go build -C tools/helm -trimpath -ldflags '-s -w' -o $@ helm.sh/helm/v4/cmd/helm

$(PROMTOOL):
	@echo "building promtool, once: this takes a minute or two"
	@mkdir -p $(BIN) && CGO_ENABLED=0 go build -C tools/promtool -tags remove_all_sd -trimpath -ldflags '-s -w' -o $@ github.com/prometheus/prometheus/cmd/promtool

$(GOLANGCI_LINT):
	@echo "building golangci-lint, once: this takes a few minutes"
	@mkdir -p $(BIN) && go build -C tools/golangci-lint -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(KUBE_SCORE):
	@echo "building kube-score, once"
	@mkdir -p $(BIN) && CGO_ENABLED=0 go build -C tools/kube-score -trimpath -ldflags '-s -w' -o $@ github.com/zegl/kube-score/cmd/kube-score

$(ACTIONLINT):
	@echo "building actionlint, once"
	@mkdir -p $(BIN) && CGO_ENABLED=0 go build -C tools/actionlint -trimpath -ldflags '-s -w' -o $@ github.com/rhysd/actionlint/cmd/actionlint

$(BENCHSTAT):
	@echo "building benchstat, once"
	@mkdir -p $(BIN) && CGO_ENABLED=0 go build -C tools/benchstat -trimpath -ldflags '-s -w' -o $@ golang.org/x/perf/cmd/benchstat

# Installed beside, and moved when it is whole.
$(SPECTRAL): home = $(BIN)/spectral-$(shell cksum <tools/spectral/package-lock.json | cut -d' ' -f1)
$(SPECTRAL):
	@echo "installing spectral, once"
	@rm -rf $(home) $(home).part && mkdir -p $(home).part && cp tools/spectral/package.json tools/spectral/package-lock.json tools/spectral/.npmrc $(home).part/
	@cd $(home).part && npm ci --omit=dev --loglevel=error && mv $(home).part $(home)
