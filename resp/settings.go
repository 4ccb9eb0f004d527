package resp

import (
	"crypto/tls"
	"time"

	"github.com/gtinside/corecache/config"
)

// Settings are the parameters of the front end that may change while it runs.
type Settings struct {
	MaxClients    int
	Timeout       time.Duration // idle clients are closed after it; 0 = never
	KeepAlive     time.Duration // silence before TCP probes; 0 = none
	ProtectedMode bool
	Password      bool  // clients have to authenticate
	MaxBulk       int64 // proto-max-bulk-len, bytes
	MaxQuery      int64 // client-query-buffer-limit, bytes
	MaxMemory     int64 // maxmemory-clients, bytes; 0 = no bound
	Normal        OutputLimit
	PubSub        OutputLimit
	TLS           TLSSettings
}

// OutputLimit bounds the bytes waiting for a client.
type OutputLimit struct {
	Hard    int64 // closes at once; 0 = no limit
	Soft    int64 // closes when exceeded for SoftFor; 0 = no limit
	SoftFor time.Duration
}

// TLSSettings say what TLS listeners present and demand.
type TLSSettings struct {
	CertFile, KeyFile, CAFile string
	Clients                   tls.ClientAuthType
	MinVersion, MaxVersion    uint16 // 0 = as the library chooses
}

// settingNames are the parameters that Settings are made of.
var settingNames = []string{
	"maxclients", "timeout", "tcp-keepalive", "protected-mode", "requirepass", "proto-max-bulk-len",
	"client-query-buffer-limit", "maxmemory-clients", "maxmemory", "client-output-buffer-limit",
	"tls-cert-file", "tls-key-file", "tls-ca-cert-file", "tls-auth-clients", "tls-protocols",
}

// SettingsFrom reads the settings from the configuration.
func SettingsFrom(c *config.Config) Settings {
	return Settings{
		MaxClients:    int(c.Int("maxclients")),
		Timeout:       time.Duration(c.Int("timeout")) * time.Second,
		KeepAlive:     time.Duration(c.Int("tcp-keepalive")) * time.Second,
		ProtectedMode: c.Bool("protected-mode"),
		Password:      c.String("requirepass") != "",
		MaxBulk:       c.Int("proto-max-bulk-len"),
		MaxQuery:      c.Int("client-query-buffer-limit"),
		MaxMemory:     c.Int("maxmemory-clients"),
		Normal:        outputLimit(c, "normal"),
		PubSub:        outputLimit(c, "pubsub"),
		TLS:           tlsSettings(c),
	}
}

func outputLimit(c *config.Config, class string) OutputLimit {
	l := c.OutputLimit(class)
	return OutputLimit{l.Hard, l.Soft, time.Duration(l.SoftSeconds) * time.Second}
}

func tlsSettings(c *config.Config) TLSSettings {
	s := TLSSettings{
		CertFile: c.String("tls-cert-file"), KeyFile: c.String("tls-key-file"), CAFile: c.String("tls-ca-cert-file"),
	}
	switch c.String("tls-auth-clients") {
	case "yes":
		s.Clients = tls.RequireAndVerifyClientCert
	case "optional":
		s.Clients = tls.VerifyClientCertIfGiven
	}
	for _, p := range c.List("tls-protocols") {
		v := uint16(tls.VersionTLS12)
		if p == "TLSv1.3" {
			v = tls.VersionTLS13
		}
		if s.MinVersion == 0 || v < s.MinVersion {
			s.MinVersion = v
		}
		s.MaxVersion = max(s.MaxVersion, v)
	}
	return s
}

// Follow makes the server obey CONFIG SET.
func (s *Server) Follow(c *config.Config) {
	c.OnSetAny(settingNames, func(map[string]string) error { return s.Configure(SettingsFrom(c)) })
}

// Configure changes the settings; they hold for what is read, sent or accepted from now
// on. An error, which only certificates can cause, leaves everything as it was.
func (s *Server) Configure(set Settings) error {
	if s.tls != nil {
		if err := s.tls.load(set.TLS); err != nil {
			return err
		}
	}
	s.settings.Store(&set)
	return nil
}
