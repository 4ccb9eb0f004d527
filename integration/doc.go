// Package integration tests whole processes: the server binary as it is
// shipped, real clients (go-redis, redis-cli, redis-benchmark, redis-server to compare with), real ZooKeeper servers, kill -9 and
// restarts, networks that are cut and disks that fail.
//
// harness_test.go builds the binary once and starts, kills and restarts servers. Every
// test prints what the server logged when it fails, and the seed of what was random.
// Short rounds run by go test; CORECACHE_SOAK=30m (make soak) makes the
// rounds as long as that.
//
// # Clusters
//
// cluster_test.go starts nodes and has writers at work; network_test.go puts them into a network that can be cut; nemesis_test.go lists
// the ways in which a cluster is broken. What clients saw is judged by history_test.go (linearizability), bank_test.go (transactions)
// and append_test.go (what was acknowledged is there, once). faults_test.go puts all of that together.
//
// Limits of time are those of the README where the tests have the machine for themselves (make chaos), and twice that in make test.
package integration
