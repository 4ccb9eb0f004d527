package main

import (
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/gtinside/corecache/config"
)

// serveProfiles offers Go's profiles on pprof-port, to this machine only; 0 = not at
// all. The goroutine ends with the function returned.
func serveProfiles(c *config.Config, log *logrus.Logger) (stop func(), err error) {
	port := c.Int("pprof-port")
	if port == 0 {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.FormatInt(port, 10)))
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.WithError(err).Error("profiles are no longer served")
		}
	}()
	log.Infof("profiles on http://%s/debug/pprof/", l.Addr())
	return func() { _ = server.Close() }, nil // closing a listener twice is all that can fail
}
