// Package zoo runs real ZooKeeper servers for tests: one or three of them on free
// ports of the loopback interface, with their data in a temporary directory. They can
// be stopped, killed, paused and started again (server.go), and a Proxy in front of one
// cuts, stalls and filters the connections of a client (proxy.go).
//
//	e, err := zoo.Start(3, zoo.Options{})
//	defer e.Close()
//	e.Servers()                         // what clients connect to
//	p, err := zoo.NewProxy(e.Server(0).Addr())
//	p.Set(zoo.Fault{HoldReplies: true}) // requests arrive, answers do not
//
// The servers are those of Debian's package zookeeper, on any Java runtime; Find says what is
// missing. Each is one JVM of some 60 MiB, which starts in about a second. They do not
// sync their logs to disk: what is tested is the client, and a killed process loses
// nothing that the operating system has.
//
// The package is used by the tests of election and of integration, so it is an ordinary
// package; nothing in the server imports it.
package zoo
