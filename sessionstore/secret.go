package sessionstore

import (
	"context"
	"errors"
	"fmt"
)

const (
	secretFormat  = 1
	maxSecretName = 255
	maxSecret     = 1 << 10
)

// AppendSecret appends the binary form of the secret of that name to dst, as
// codec.go describes it. Name and secret must not be empty; they are at most
// 255 and 1024 bytes long.
func AppendSecret(dst []byte, name string, secret []byte) ([]byte, error) {
	switch {
	case name == "":
		return dst, errors.New("encoding secret: it has no name")
	case len(name) > maxSecretName:
		return dst, fmt.Errorf("encoding secret: its name is %d bytes long, at most %d are possible", len(name), maxSecretName)
	case len(secret) == 0:
		return dst, fmt.Errorf("encoding secret: %q is empty", name)
	case len(secret) > maxSecret:
		return dst, fmt.Errorf("encoding secret: %q is %d bytes long, at most %d are possible", name, len(secret), maxSecret)
	}
	e := encoder{b: dst, start: len(dst)}
	e.b = append(e.b, secretFormat)
	e.string("name", name)
	e.string("secret", string(secret))
	out, err := e.finish()
	if err != nil {
		return dst, fmt.Errorf("encoding secret: %w", err)
	}
	return out, nil
}

// DecodeSecret reads the record b that was found for name. Whatever is wrong
// with it, the error is an ErrInvalidRecord; of a newer format, an ErrNewerRecord.
func DecodeSecret(b []byte, name string) ([]byte, error) {
	d, err := newDecoder(b, secretFormat, secretFormat)
	if err != nil {
		return nil, err
	}
	found, secret := d.string(), d.string()
	if err := d.finish(); err != nil {
		return nil, err
	}
	if found != name || name == "" {
		return nil, fmt.Errorf("%w: it is the secret of another name", ErrInvalidRecord)
	}
	// An empty key would sign for everybody.
	if len(secret) == 0 || len(secret) > maxSecret {
		return nil, fmt.Errorf("%w: its secret is %d bytes long", ErrInvalidRecord, len(secret))
	}
	return []byte(secret), nil
}

// Secret returns the secret of that name, as Store.Secret does.
func (s *Sessions) Secret(ctx context.Context, name string, fresh []byte) ([]byte, error) {
	if s.closed.Load() {
		return nil, fmt.Errorf("reading secret %q: %w", name, ErrClosed)
	}
	return s.store.Secret(ctx, name, fresh)
}
