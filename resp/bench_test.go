package resp

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gtinside/corecache/command"
	"github.com/gtinside/corecache/config"
	"github.com/gtinside/corecache/reply"
)

// echoCommands answers GET and SET without any data: what remains is the front end.
type echoCommands struct {
	*command.Server
	value []byte
}

func (e *echoCommands) Dispatch(_ *command.Session, args [][]byte, w *reply.Writer) {
	if len(args) == 2 {
		w.Bulk(e.value)
		return
	}
	w.OK()
}

func (e *echoCommands) EndUnit(*command.Session, *reply.Writer) error { return nil }

func startEcho(tb testing.TB) *Server {
	cfg := config.Default()
	commands := command.New(command.Options{Config: cfg})
	s := New(&echoCommands{commands, make([]byte, 64)}, SettingsFrom(cfg), nil)
	if err := s.Listen(Address{Bind: []string{"127.0.0.1"}, Port: -1}); err != nil {
		tb.Fatal(err)
	}
	s.Start()
	tb.Cleanup(func() { s.Shutdown(tb.Context()) })
	return s
}

// exchange sends a pipeline and reads n bytes of replies, again and again.
func exchange(tb testing.TB, s *Server, pipeline []byte, n int) func() {
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	replies := make([]byte, n)
	return func() {
		if _, err := nc.Write(pipeline); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.ReadFull(nc, replies); err != nil {
			tb.Fatal(err)
		}
	}
}

var (
	setRequest = array("SET", "key:000000000001", strings.Repeat("x", 64))
	getRequest = array("GET", "key:000000000001")
)

const (
	setReply = len("+OK\r\n")
	getReply = len("$64\r\n\r\n") + 64
)

func TestNoAllocationPerCommand(t *testing.T) {
	s := startEcho(t)
	const n = 100
	set := exchange(t, s, bytes.Repeat([]byte(setRequest), n), n*setReply)
	get := exchange(t, s, bytes.Repeat([]byte(getRequest), n), n*getReply)
	set()
	get()
	for name, f := range map[string]func(){"SET": set, "GET": get} {
		if allocs := testing.AllocsPerRun(200, f); allocs >= n/10 { // the pool of workspaces is emptied now and then
			t.Errorf("%s: %v allocations for %d commands", name, allocs, n)
		}
	}
}

func BenchmarkServer(b *testing.B) {
	for _, pipeline := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("SET/P%d", pipeline), func(b *testing.B) {
			benchmarkServer(b, []byte(setRequest), setReply, pipeline)
		})
		b.Run(fmt.Sprintf("GET/P%d", pipeline), func(b *testing.B) {
			benchmarkServer(b, []byte(getRequest), getReply, pipeline)
		})
	}
}

// benchmarkServer reports the time per command with many connections, both ends in this process.
func benchmarkServer(b *testing.B, request []byte, replySize, pipeline int) {
	s := startEcho(b)
	b.ReportAllocs()
	b.SetParallelism(25)
	start := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		next := exchange(b, s, bytes.Repeat(request, pipeline), pipeline*replySize)
		for pb.Next() {
			next()
		}
	})
	b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(b.N*pipeline), "ns/command")
}
