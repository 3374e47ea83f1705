package caddyauth

import (
	"crypto/tls"
	"fmt"
)

// encrypted tells whether any of the options asks for TLS: one that is about
// certificates and does nothing would be a trap.
func (r *Redis) encrypted() bool {
	return r.TLS || r.CAFile != "" || r.ServerName != "" || r.ClientCert != nil
}

// tlsConfig reads the files. pem is what they hold.
func (r *Redis) tlsConfig() (config *tls.Config, pem []byte, err error) {
	if !r.encrypted() {
		return nil, nil, nil
	}
	config = &tls.Config{MinVersion: tls.VersionTLS12}
	if r.ServerName != "" {
		if config.ServerName, err = replaceAll(r.ServerName); err != nil {
			return nil, nil, fmt.Errorf("server_name: %w", err)
		}
		if err := checkServerName(config.ServerName); err != nil {
			return nil, nil, err
		}
	}
	if r.CAFile != "" {
		file, err := replaceAll(r.CAFile)
		if err != nil {
			return nil, nil, fmt.Errorf("ca_file: reading the file's name: %w", err)
		}
		if config.RootCAs, pem, err = readCAs(file); err != nil {
			return nil, nil, fmt.Errorf("ca_file: %w", err)
		}
	}
	if r.ClientCert != nil {
		certificate, own, err := r.ClientCert.readFilled()
		if err != nil {
			return nil, nil, fmt.Errorf("client_cert: %w", err)
		}
		config.Certificates = []tls.Certificate{*certificate}
		pem = append(append(pem, 0), own...)
	}
	return config, pem, nil
}

// readFilled is read with the placeholders of the files' names filled in.
func (c *ClientCert) readFilled() (certificate *tls.Certificate, pem []byte, err error) {
	var filled ClientCert
	if filled.Certificate, err = replaceAll(c.Certificate); err == nil {
		filled.Key, err = replaceAll(c.Key)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the name of a file: %w", err)
	}
	return filled.read()
}
