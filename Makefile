# make help tells what there is.

GO          ?= go
STATICCHECK  = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
ARGS        ?=
FUZZTIME    ?= 60s
SOAKTIME    ?= 30m
SIMULATE    ?= 10m

# Packages whose tests also run under the race detector in make test.
RACE = ./config ./reply ./glob ./command ./keyspace ./resp ./proxy ./election ./engine/... ./replication/...

.DEFAULT_GOAL := help
.PHONY: help build run cluster cluster-down test check setup bench fuzz soak chaos simulate example clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/corecache
	$(GO) build -o bin/corecache ./cmd/corecache

run: build ## start a server on 127.0.0.1:6379 with its data in ./data (ARGS="my.conf --port 7000 ...")
	exec bin/corecache $(ARGS)

cluster: build setup ## start ZooKeeper and three nodes on this machine, with their data in ./data/cluster, or what of them does not run (ARGS for the nodes)
	@scripts/cluster up $(ARGS)

cluster-down: ## stop them; the data stays
	@scripts/cluster down

test: setup build ## run all tests, the race detector and short fuzz rounds (installs redis-server and zookeeper by apt-get when missing)
	$(GO) test -timeout 12m ./...
	$(GO) test -race -short -timeout 10m $(RACE)
	CORECACHE_RACE=1 $(GO) test -count=1 -run '^(TestKill|TestTransactions|TestStop)' ./integration
	scripts/cluster-test
	scripts/fuzz 3s

check: ## gofmt, go vet, staticcheck, direction of imports
	@bad=$$(gofmt -l .); if [ -n "$$bad" ]; then echo "not formatted (run gofmt -w):" $$bad; exit 1; fi
	$(GO) vet ./...
	cd bench && $(GO) vet ./...
	$(STATICCHECK) ./...
	$(GO) test -count=1 -run '^TestImports' ./cmd/corecache

setup: ## install what the tests and make cluster need: redis-server and redis-tools to compare with, ZooKeeper
	@scripts/setup

bench: setup build ## compare with Pebble, Badger, goleveldb and redis-server
	$(MAKE) -C bench

fuzz: ## run each fuzz target for FUZZTIME (60s)
	scripts/fuzz $(FUZZTIME)

soak: setup ## the long rounds: millions of operations on models, crashes, every byte damaged, kills, large data, crowds of clients, clusters in trouble, ZooKeeper cut off (SOAKTIME=30m)
	$(GO) test -count=1 -timeout 0 -run '^(TestModel|TestCrash|TestFault|TestDiskFull|TestEveryByteFlipped)$$' ./engine \
		-model.seeds=500 -model.ops=5000 -crash.runs=1000 -damage.stride=1
	$(GO) test -count=1 -timeout 0 -run '^TestModel$$' ./keyspace -model.steps=50000
	CORECACHE_CHAOS=$(SOAKTIME) $(GO) test -race -count=1 -timeout 0 -v -run '^TestChaos$$' ./replication
	CORECACHE_SOAK=$(SOAKTIME) $(GO) test -race -count=1 -timeout 0 -v -run '^TestStress' ./resp
	CORECACHE_SOAK=$(SOAKTIME) $(GO) test -p 1 -count=1 -timeout 0 -v ./integration ./election

chaos: setup ## what of soak concerns clusters: nodes, disks, the network and ZooKeeper break for SOAKTIME; at least 20 kills of the leader
	CORECACHE_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 0 -v -run '^TestCluster' ./integration

simulate: ## random schedules of the replication protocol: SIMULATE=10m or a count, SEED= of the first; SIMULATE=1 SEED=x replays x
	CORECACHE_SIMULATE=$(SIMULATE) CORECACHE_SEED=$(or $(SEED),$(shell date +%s%N)) $(GO) test -count=1 -timeout 0 -v -run '^TestSimulate' ./replication/protocol

example: ## write corecache.conf.example anew from the table of parameters
	UPDATE_EXAMPLE=1 $(GO) test -count=1 -run TestExampleFile ./config

clean: ## remove what was built (not ./data)
	rm -rf bin
	$(GO) clean -testcache
