// Package integration tests whole processes: the server binary as it is
// shipped, real clients (go-redis, redis-cli, redis-server to compare with), kill -9 and
// restarts.
//
// harness_test.go builds the binary once and starts, kills and restarts servers. Every
// test prints what the server logged when it fails, and the seed of what was random.
// Short rounds run by go test; CORECACHE_SOAK=30m (make soak) makes the
// rounds as long as that.
package integration
