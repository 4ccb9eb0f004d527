package resp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// handshakeTime bounds a TLS handshake.
const handshakeTime = 10 * time.Second

// certificates holds what TLS connections are made with. It is replaced when the settings change
// and when one of the files does, for which the sweeper looks.
type certificates struct {
	current atomic.Pointer[tls.Config]

	mu struct {
		sync.Mutex
		settings TLSSettings
		stamps   [3]fileStamp
	}
}

// fileStamp tells whether a file has changed.
type fileStamp struct {
	modified time.Time
	size     int64
}

func stampOf(name string) fileStamp {
	info, err := os.Stat(name)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{info.ModTime(), info.Size()}
}

func (s TLSSettings) stamps() [3]fileStamp {
	return [3]fileStamp{stampOf(s.CertFile), stampOf(s.KeyFile), stampOf(s.CAFile)}
}

// load reads the files; connections made from now on use them. An error changes nothing.
func (c *certificates) load(s TLSSettings) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loadLocked(s)
}

func (c *certificates) loadLocked(s TLSSettings) error {
	stamps := s.stamps() // before reading: a change meanwhile is found next time
	cfg, err := s.config()
	if err != nil {
		return err
	}
	c.current.Store(cfg)
	c.mu.settings, c.mu.stamps = s, stamps
	return nil
}

// refresh loads the files again when they have changed. Files that do not fit together, as while
// they are being replaced, leave the former ones in use and are tried again.
func (c *certificates) refresh() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.settings.stamps() == c.mu.stamps {
		return nil
	}
	return c.loadLocked(c.mu.settings)
}

// config reads the files into a configuration of the library.
func (s TLSSettings) config() (*tls.Config, error) {
	if s.CertFile == "" || s.KeyFile == "" {
		return nil, errors.New("tls-cert-file and tls-key-file are needed for TLS")
	}
	cert, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls-cert-file %s, tls-key-file %s: %w", s.CertFile, s.KeyFile, err)
	}
	cfg := &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: s.Clients,
		MinVersion: s.MinVersion, MaxVersion: s.MaxVersion,
		DynamicRecordSizingDisabled: true, // small first records would be a system call each
	}
	if s.CAFile == "" {
		if s.Clients != tls.NoClientCert {
			return nil, errors.New("tls-ca-cert-file is needed to verify clients; or set tls-auth-clients no")
		}
		return cfg, nil
	}
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, fmt.Errorf("tls-ca-cert-file: %w", err)
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls-ca-cert-file %s: no certificate in it", s.CAFile)
	}
	return cfg, nil
}
