// Package server compares the CoreCache server with redis-server under
// redis-benchmark: both run as children of this process on private loopback
// ports, with the same fsync policy, and take every load in turn.
package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Kind is a server program.
type Kind struct {
	Name   string
	Binary string
	Args   []string
}

// Redis is redis-server with its append-only file and without snapshots. It rewrites the file by itself, as it does by default and as
// CoreCache compacts, or never.
func Redis(binary string, rewrites bool) Kind {
	k := Kind{Name: "redis", Binary: binary, Args: []string{"--appendonly", "yes", "--save", "", "--loglevel", "warning"}}
	if !rewrites {
		k.Args = append(k.Args, "--auto-aof-rewrite-percentage", "0")
	}
	return k
}

// CoreCache with its defaults.
func CoreCache(binary string) Kind {
	return Kind{Name: "corecache", Binary: binary, Args: []string{"--loglevel", "warning", "--maxmemory", "4gb"}}
}

// Process is a running server.
type Process struct {
	Kind
	port int
	dir  string
	cmd  *exec.Cmd
	log  *os.File
}

// Start runs the server on a free loopback port with its data below dir and
// returns once it answers PING.
func Start(k Kind, dir, fsync string) (*Process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p := &Process{Kind: k, port: port, dir: filepath.Join(dir, k.Name)}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, err
	}
	if p.log, err = os.Create(filepath.Join(dir, k.Name+".log")); err != nil {
		return nil, err
	}
	args := append([]string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", p.dir, "--appendfsync", fsync}, k.Args...)
	p.cmd = exec.Command(k.Binary, args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := p.ready(30 * time.Second); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (p *Process) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// ready polls, within the limit, until the server answers.
func (p *Process) ready(limit time.Duration) error {
	err := errors.New("no try")
	for start := time.Now(); time.Since(start) < limit; time.Sleep(20 * time.Millisecond) {
		if err = ping(p.addr()); err == nil {
			return nil
		}
	}
	log, _ := os.ReadFile(p.log.Name())
	return fmt.Errorf("%s does not answer: %w\n%s", p.Name, err, log)
}

func ping(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		return err
	}
	reply := make([]byte, len("+PONG\r\n"))
	if _, err := io.ReadFull(c, reply); err != nil {
		return err
	}
	if string(reply) != "+PONG\r\n" {
		return fmt.Errorf("reply %q", reply)
	}
	return nil
}

// Stop ends the server and removes nothing.
func (p *Process) Stop() error {
	defer p.log.Close()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(20*time.Second, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

// CPU is the user and system time of the server so far, and of the processes that it has forked and that have ended.
func (p *Process) CPU() time.Duration { return cpuOf(strconv.Itoa(p.cmd.Process.Pid)) }

func cpuOf(pid string) time.Duration {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return 0
	}
	// Fields 14 to 17, in ticks of 10 ms; the name in field 2 may hold blanks.
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 15 {
		return 0
	}
	var ticks int
	for _, field := range f[11:15] {
		n, _ := strconv.Atoi(field)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// family is CPU, and the time of the forked processes that are still at work.
func (p *Process) family() time.Duration {
	pid := strconv.Itoa(p.cmd.Process.Pid)
	all := cpuOf(pid)
	children, _ := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children")) // without them, it is less exact
	for _, child := range strings.Fields(string(children)) {
		all += cpuOf(child)
	}
	return all
}

// settle waits until the server does nothing to speak of in the background; at most for limit.
func (p *Process) settle(limit time.Duration) {
	const step = 200 * time.Millisecond
	for end := time.Now().Add(limit); time.Now().Before(end); {
		before := p.family()
		time.Sleep(step)
		if p.family()-before <= step/10 {
			return
		}
	}
}

// Memory is the resident memory of the server in bytes.
func (p *Process) Memory() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
