package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/command"
	"github.com/gtinside/corecache/config"
	"github.com/gtinside/corecache/engine"
	"github.com/gtinside/corecache/keyspace"
	"github.com/gtinside/corecache/resp"
)

// version is set by the build of a release (-ldflags "-X main.version=...").
var version = "0.1.0"

func main() {
	var err error
	if len(os.Args) > 1 && os.Args[1] == "check" {
		err = check(os.Args[2:])
	} else {
		err = start(os.Args[1:])
	}
	if err != nil {
		die(err)
	}
}

// die ends the process because of err.
func die(err error) {
	lastWords(os.Stderr, fmt.Appendln(nil, "corecache:", err))
	os.Exit(1)
}

// start reads the configuration and runs the server until it is told to stop.
func start(args []string) error {
	c, err := config.Parse(args, os.Stdin)
	switch {
	case errors.Is(err, config.ErrHelp):
		return config.WriteUsage(os.Stdout)
	case errors.Is(err, config.ErrVersion):
		_, err := fmt.Printf("CoreCache %s (%s, %s/%s; commands of Redis %s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, command.RedisVersion)
		return err
	case err != nil:
		return fmt.Errorf("the configuration has mistakes:\n%w", err)
	}
	log := logrus.New()
	file, err := openLog(log, c)
	if err != nil {
		return err
	}
	defer file.Close(log)
	return serve(c, log, file)
}

// serve is the life of the process: each step builds on those above it. What the
// deferred calls close is closed already after an orderly stop; they are for errors
// on the way up.
func serve(c *config.Config, log *logrus.Logger, file *logFile) error {
	supervisor, err := newNotifier(c)
	if err != nil {
		return err
	}
	prepare(c, log)
	signals := catchSignals()
	stopProfiles, err := serveProfiles(c, log)
	if err != nil {
		return err
	}
	defer stopProfiles()

	// The commands answer -LOADING until they are given their data.
	var front *resp.Server
	var commands *command.Server
	cl, err := newCluster(c, log, signals.fail, func(ctx context.Context) { commands.Quiet(ctx) })
	if err != nil {
		return err
	}
	options := command.Options{Config: c, Log: log, Version: version, Hooks: command.Hooks{
		Shutdown: signals.requestStop,
		Front:    func() command.FrontStats { return front.Stats() },
	}}
	if cl != nil {
		options.Cluster, options.Replication, options.Proxy = cl.node, cl, cl.proxy
	}
	commands = command.New(options)
	front = resp.New(commands, resp.SettingsFrom(c), log)
	if err := listen(c, log, front); err != nil {
		return err
	}
	makeRoom() // not before there is an event loop for each processor
	commands.Start()
	front.Start()
	stopServing := func() {
		stopFront(c, front)
		cl.closeProxy()
		commands.Close()
	}
	defer stopServing()

	begin := time.Now()
	db, err := engine.Open(c.String("dir"), engineOptions(c, log, cl != nil))
	if err != nil {
		return err
	}
	defer db.Close()
	cl.follow()
	followConfig(c, db)

	// Not before the port and the data are this process's own: the file may be that of a server which has them.
	removePidfile, err := writePidfile(c.String("pidfile"))
	if err != nil {
		return err
	}
	defer removePidfile()

	keys, err := keyspace.Open(db, keyspaceOptions(c, log, cl != nil))
	if err != nil {
		return err
	}
	defer keys.Close()

	defer cl.close()
	defer stopServing() // sessions use all of the above
	if cl != nil {
		if err := cl.join(db, keys); err != nil {
			return err
		}
	}
	commands.Attach(db, keys)
	log.WithField("took", time.Since(begin).Round(time.Millisecond)).Info("ready to accept connections")
	if err := supervisor.tell("READY=1"); err != nil {
		log.WithError(err).Warn("not told")
	}

	signals.wait(func() { reload(c, log, file, front) })
	log.Info("shutting down")
	if err := supervisor.tell("STOPPING=1"); err != nil {
		log.WithError(err).Warn("not told")
	}
	cl.leave()
	stopServing()
	cl.close()
	keys.Close()
	if err := db.Close(); err != nil {
		return fmt.Errorf("closing the data: %w", err)
	}
	log.Info("stopped")
	return signals.failure()
}

// prepare says what the configuration gives reason to say, and sets the limits of the process.
func prepare(c *config.Config, log *logrus.Logger) {
	log.WithFields(logrus.Fields{"version": version, "pid": os.Getpid(), "file": c.File(), "dir": c.String("dir")}).Info("CoreCache starts")
	for _, w := range c.Warnings() {
		log.Warn(w)
	}
	if w := protectedFromNodes(c); w != "" {
		log.Warn(w)
	}
	if lowered, err := fitFiles(c); err != nil {
		log.WithError(err).Warn("limit of open files")
	} else if lowered > 0 {
		log.Warnf("maxclients is %s instead of %d: the process may not open more files (ulimit -n)", c.String("maxclients"), lowered)
	}
	b := newBudget(c)
	if b.exceeded(c) {
		log.Warnf("memtables (%s of %s) and cache (%s) do not fit into maxmemory (%s)",
			c.String("memtable-count"), config.FormatBytes(b.memtable), config.FormatBytes(b.cache), config.FormatBytes(b.total))
	}
	b.limitMemory()
}

// backgroundThreads is how many threads may run Go code beside one for each processor: one flush and one compaction.
const backgroundThreads = 2

// makeRoom lets flushes and compactions compete with event loops for the kernel's favour instead of Go's, whose
// scheduler lets whoever computes go on for 10 ms. The kernel shares finer, and prefers those who have waited for a client.
// Measured on two processors: 5 to 15 % more SETs of 1 KiB, shorter tails of single requests, and at most 6 % fewer of anything. Who sets GOMAXPROCS decides alone.
func makeRoom() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + backgroundThreads)
	}
}

// listen binds all addresses before anything else is done, so that a port in use is said at once.
func listen(c *config.Config, log *logrus.Logger, front *resp.Server) error {
	a := resp.Address{
		Bind:       c.List("bind"),
		Port:       int(c.Int("port")),
		TLSPort:    int(c.Int("tls-port")),
		UnixSocket: c.String("unixsocket"),
		UnixMode:   os.FileMode(c.Int("unixsocketperm")),
		Backlog:    int(c.Int("tcp-backlog")),
		Loops:      int(c.Int("io-threads")),
	}
	if first, last, err := c.PortRange(); err != nil {
		return err
	} else if first > 0 {
		a.Port, a.PortLast = first, last
	}
	if err := front.Listen(a); err != nil {
		return err
	}
	front.Follow(c)
	c.SetPort(front.Port())
	log.Infof("listening on port %d of %s", front.Port(), strings.Join(a.Bind, " "))
	if front.TLSPort() > 0 {
		log.Infof("listening on port %d with TLS", front.TLSPort())
	}
	if a.UnixSocket != "" {
		log.Infof("listening on %s", a.UnixSocket)
	}
	return nil
}

func keyspaceOptions(c *config.Config, log *logrus.Logger, clustered bool) keyspace.Options {
	return keyspace.Options{
		Databases:   int(c.Int("databases")),
		ExpireEvery: time.Second / time.Duration(c.Int("hz")),
		Follows:     clustered,
		Failed: func(err error) {
			if !errors.Is(err, engine.ErrRefused) { // the node has ceased to lead
				log.WithError(err).Error("a task in the background failed; it is tried again")
			}
		},
	}
}

// stopFront refuses new connections and lets those there are finish what is under way.
func stopFront(c *config.Config, front *resp.Server) {
	timeout, cancel := context.WithTimeout(context.Background(), time.Duration(c.Int("shutdown-timeout"))*time.Second)
	defer cancel()
	front.Shutdown(timeout)
}

// reload is what SIGHUP asks for.
func reload(c *config.Config, log *logrus.Logger, file *logFile, front *resp.Server) {
	if err := file.Reopen(); err != nil {
		log.WithError(err).Error("the log goes on in the old file")
	}
	if err := front.Configure(resp.SettingsFrom(c)); err != nil {
		log.WithError(err).Error("the old certificates stay in use")
	}
	log.Info("log file and certificates were opened anew")
}
