package link

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// TLSConfig makes the configuration that all nodes use, on both sides, from the certificate of
// a node and the authorities that sign those of the others. A node does not check the name in a
// certificate, as Redis does not: nodes move between hosts. Without authorities (nil) nobody
// is verified by his certificate, but the traffic is encrypted and the secret, if there is one, covers the
// TLS session.
func TLSConfig(cert tls.Certificate, authorities *x509.CertPool) *tls.Config {
	c := &tls.Config{
		Certificates:       []tls.Certificate{cert},
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection does it, without the name
	}
	if authorities == nil {
		return c
	}
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the peer has no certificate")
		}
		o := x509.VerifyOptions{Roots: authorities, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
		for _, c := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(c)
		}
		_, err := s.PeerCertificates[0].Verify(o)
		return err
	}
	return c
}
