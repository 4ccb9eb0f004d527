package zoo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What a server is made of, as Debian's packages put it.
const (
	serverJar = "/usr/share/java/zookeeper.jar"
	loggerJar = "/usr/share/java/slf4j-simple.jar" // comes with zookeeper; without it the server is silent
	mainClass = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
)

// Find returns the class path of the ZooKeeper server, or an error that says what to install.
func Find() (classpath string, err error) {
	_, java := exec.LookPath("java")
	_, jar := os.Stat(serverJar)
	if err := errors.Join(java, jar); err != nil {
		return "", fmt.Errorf("zoo: ZooKeeper is not installed: make setup installs it (apt-get update && apt-get install zookeeper default-jre-headless): %w", err)
	}
	return serverJar + ":" + loggerJar, nil
}

// Server is one ZooKeeper server: one process after the other on the same data and ports.
type Server struct {
	id                       int
	dir                      string
	classpath                string
	host                     string
	client, quorum, election int // ports

	log     logBuffer
	process *exec.Cmd
	exited  chan struct{} // closed when process has ended
}

// configure writes what the server reads when it starts.
func (s *Server) configure(all []*Server, tick time.Duration) error {
	var b strings.Builder
	// The limits are counted in ticks. They are long, because a busy machine that lets a server
	// wait for a second must not look like a broken one.
	fmt.Fprintf(&b, "tickTime=%d\ninitLimit=%d\nsyncLimit=%d\n", tick.Milliseconds(), 20*time.Second/tick, 2*time.Second/tick)
	fmt.Fprintf(&b, "dataDir=%s\nclientPort=%d\nclientPortAddress=%s\nmaxClientCnxns=0\n", s.dir, s.client, s.host)
	fmt.Fprintf(&b, "admin.enableServer=false\n4lw.commands.whitelist=ruok,srvr\n")
	if len(all) > 1 {
		for _, o := range all {
			fmt.Fprintf(&b, "server.%d=%s:%d:%d\n", o.id, o.host, o.quorum, o.election)
		}
	}
	return errors.Join(
		os.MkdirAll(s.dir, 0o700),
		os.WriteFile(filepath.Join(s.dir, "zoo.cfg"), []byte(b.String()), 0o600),
		os.WriteFile(filepath.Join(s.dir, "myid"), []byte(strconv.Itoa(s.id)), 0o600),
	)
}

// Addr is the address for clients, host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.host, strconv.Itoa(s.client)) }

// Pid is the process id; 0 when the server has not been started.
func (s *Server) Pid() int {
	if s.process == nil {
		return 0
	}
	return s.process.Process.Pid
}

// Launch starts the process, unless it runs, without waiting until it serves.
func (s *Server) Launch() error {
	if s.Running() {
		return nil
	}
	cmd := exec.Command("java", "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
		"-Djava.net.preferIPv4Stack=true", "-Dzookeeper.forceSync=no", "-Dzookeeper.preAllocSize=256", "-Dzookeeper.jmx.log4j.disable=true",
		"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
		"-cp", s.classpath, mainClass, filepath.Join(s.dir, "zoo.cfg"))
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.SysProcAttr = procAttr()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("zoo: %w", err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // ended by a signal, mostly
		close(exited)
	}()
	s.process, s.exited = cmd, exited
	return nil
}

// Start is Launch and WaitServing. In an ensemble a server serves when a majority runs.
func (s *Server) Start() error {
	if err := s.Launch(); err != nil {
		return err
	}
	return s.WaitServing()
}

// WaitServing returns when the server serves clients.
func (s *Server) WaitServing() error {
	ended := false
	err := poll(fmt.Sprintf("ZooKeeper server %d to serve", s.id), func() bool {
		ended = !s.Running()
		return ended || s.Mode() != ""
	})
	if ended {
		err = fmt.Errorf("zoo: ZooKeeper server %d has ended", s.id)
	}
	if err != nil {
		return fmt.Errorf("%w; its log:\n%s", err, s.Log())
	}
	return nil
}

// Running tells whether the process is there, paused or not.
func (s *Server) Running() bool {
	if s.process == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Mode asks the server for its part in the ensemble: "leader", "follower", "standalone"; "" when it does not serve.
func (s *Server) Mode() string {
	_, after, _ := strings.Cut(s.ask("srvr"), "Mode: ")
	mode, _, _ := strings.Cut(after, "\n")
	return mode
}

// ask sends one of ZooKeeper's four-letter words and returns the answer, "" when none comes.
func (s *Server) ask(word string) string {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return ""
	}
	if _, err := io.WriteString(conn, word); err != nil {
		return ""
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return ""
	}
	return string(answer)
}

// Kill is kill -9; it returns when the process is gone.
func (s *Server) Kill() {
	s.signalKill()
	if s.process != nil {
		<-s.exited
	}
}

func (s *Server) signalKill() {
	if s.process != nil {
		_ = s.process.Process.Kill() // fails when it has ended already
	}
}

// Stop ends the server in order (SIGTERM); it returns when the process is gone.
func (s *Server) Stop() error { return s.end(syscall.SIGTERM) }

func (s *Server) end(sig os.Signal) error {
	if !s.Running() {
		return nil
	}
	if err := s.process.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(startTimeout):
		return fmt.Errorf("zoo: ZooKeeper server %d did not end within %v", s.id, startTimeout)
	}
}

// Pause stops the process where it stands (SIGSTOP): its kernel goes on accepting connections, nobody answers.
func (s *Server) Pause() error { return s.process.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (s *Server) Resume() error { return s.process.Process.Signal(syscall.SIGCONT) }

// Log is what the server has printed so far.
func (s *Server) Log() string { return s.log.String() }

// logBuffer keeps the newest output of a process.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

const maxLog = 1 << 20

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.text.Len()+len(p) > maxLog {
		b.text.Next(b.text.Len() / 2)
	}
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
