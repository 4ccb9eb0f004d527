package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkThroughput compares the leader with a follower that forwards: 50 connections, pipelines of 1, 16 and 128, values of 64 bytes.
// Both ends and both nodes are in this process, unless CORECACHE_DIRECT and CORECACHE_PROXIED name addresses of servers.
func BenchmarkThroughput(b *testing.B) {
	addrs := [2]string{os.Getenv("CORECACHE_DIRECT"), os.Getenv("CORECACHE_PROXIED")}
	if addrs[0] == "" {
		_, leader, follower := pair(b)
		addrs = [2]string{leader.addr(), follower.addr()}
	}
	for _, pipeline := range []int{1, 16, 128} {
		for i, name := range []string{"direct", "proxied"} {
			b.Run(fmt.Sprintf("SET/P%d/%s", pipeline, name), func(b *testing.B) {
				benchmarkThroughput(b, addrs[i], "SET key:%012d "+strings.Repeat("x", 64), len("+OK\r\n"), pipeline)
			})
			b.Run(fmt.Sprintf("GET/P%d/%s", pipeline, name), func(b *testing.B) {
				benchmarkThroughput(b, addrs[i], "GET key:%012d", len("$64\r\n\r\n")+64, pipeline)
			})
		}
	}
}

const benchKeys = 10000

func benchmarkThroughput(b *testing.B, addr, request string, replySize, pipeline int) {
	fill := dialTo(b, addr)
	for i := range benchKeys {
		fill.send(fmt.Sprintf("SET key:%012d %s", i, strings.Repeat("x", 64)))
	}
	if _, err := io.CopyN(io.Discard, fill.r, benchKeys*int64(len("+OK\r\n"))); err != nil {
		b.Fatal(err)
	}
	var next atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(25)
	b.ResetTimer()
	start, used := time.Now(), processorTime()
	b.RunParallel(func(pb *testing.PB) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer nc.Close()
		var pipe bytes.Buffer
		for range pipeline {
			pipe.Write(appendCommand(nil, strings.Fields(fmt.Sprintf(request, next.Add(1)%benchKeys))...))
		}
		replies := make([]byte, pipeline*replySize)
		for pb.Next() {
			if _, err := nc.Write(pipe.Bytes()); err != nil {
				b.Error(err)
				return
			}
			if _, err := io.ReadFull(nc, replies); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N*pipeline)/time.Since(start).Seconds(), "commands/s")
	b.ReportMetric(float64((processorTime()-used).Nanoseconds())/float64(b.N*pipeline), "cpu-ns/command")
}

// processorTime is what this process has used. On a machine that does other things as well it says more than the throughput.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
