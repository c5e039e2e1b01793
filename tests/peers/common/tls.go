package common

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
)

// ServerTLS is what a server speaks TLS with: nil unless --tls_cert and
// --tls_key name its identity. --tls_client_ca lets in only clients with a
// certificate of these authorities.
func ServerTLS(args *Args) *tls.Config {
	if args.Get("tls_cert", "") == "" {
		return nil
	}
	config := &tls.Config{Certificates: []tls.Certificate{identity(args)}}
	if path := args.Get("tls_client_ca", ""); path != "" {
		config.ClientCAs = authorities(path)
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	limitVersions(args, config)
	return config
}

// ClientTLS is what a client speaks TLS with: nil unless --tls_ca names whom it
// trusts, or --tls_insecure is true. With --tls_cert and --tls_key it shows who
// it is.
func ClientTLS(args *Args) *tls.Config {
	insecure := args.Get("tls_insecure", "") == "true"
	path := args.Get("tls_ca", "")
	if path == "" && !insecure {
		return nil
	}
	config := &tls.Config{InsecureSkipVerify: insecure, ServerName: args.Get("tls_server_name", "")}
	if path != "" {
		config.RootCAs = authorities(path)
	}
	if args.Get("tls_cert", "") != "" {
		config.Certificates = []tls.Certificate{identity(args)}
	}
	limitVersions(args, config)
	return config
}

// TLSWords says what a connection turned out to be: version, protocol (ALPN),
// and the first DNS name of the other side's certificate, each "-" if none.
func TLSWords(state tls.ConnectionState) string {
	protocol, name := "-", "-"
	if state.NegotiatedProtocol != "" {
		protocol = state.NegotiatedProtocol
	}
	if peers := state.PeerCertificates; len(peers) > 0 && len(peers[0].DNSNames) > 0 {
		name = peers[0].DNSNames[0]
	}
	return strings.Join([]string{tls.VersionName(state.Version), protocol, name}, ", ")
}

func identity(args *Args) tls.Certificate {
	pair, err := tls.LoadX509KeyPair(args.Need("tls_cert"), args.Need("tls_key"))
	if err != nil {
		Fatal("no identity: %v", err)
	}
	return pair
}

func authorities(path string) *x509.CertPool {
	text, err := os.ReadFile(path)
	if err != nil {
		Fatal("no authorities: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		Fatal("expected authorities in %s, found none", path)
	}
	return pool
}

// limitVersions leaves one version, if --tls_version names one.
func limitVersions(args *Args, config *tls.Config) {
	switch version := args.Get("tls_version", ""); version {
	case "":
		config.MinVersion = tls.VersionTLS12
	case "1.2":
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	case "1.3":
		config.MinVersion, config.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	default:
		Fatal("--tls_version expects 1.2 or 1.3, found %q", version)
	}
}
