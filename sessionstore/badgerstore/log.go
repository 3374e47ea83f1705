package badgerstore

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// logger passes Badger's messages on. They are for its developers, so they go
// to debug, or warn where something is wrong; and they must not show keys,
// which Badger prints in some of them as bytes, in dumps and inside structs.
type logger struct {
	slog *slog.Logger
}

func (l logger) Errorf(format string, args ...any)   { l.slog.Warn(message(format, args)) }
func (l logger) Warningf(format string, args ...any) { l.slog.Warn(message(format, args)) }
func (l logger) Infof(format string, args ...any)    { l.slog.Debug(message(format, args)) }

// Debugf drops the message: there are several for every commit, one of them
// with a key.
func (l logger) Debugf(string, ...any) {}

// message formats numbers, errors and one-line strings; of anything else only
// the type is shown.
func message(format string, args []any) string {
	shown := make([]any, len(args))
	for i, arg := range args {
		shown[i] = show(arg)
	}
	return "badger: " + strings.TrimSpace(fmt.Sprintf(format, shown...))
}

func show(arg any) any {
	if err, ok := arg.(error); ok {
		return err.Error()
	}
	switch v := reflect.ValueOf(arg); v.Kind() {
	case reflect.String:
		if strings.Contains(v.String(), "\n") {
			return "(dump)"
		}
		return arg
	case reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return arg
	}
	return fmt.Sprintf("(%T)", arg)
}

var _ badger.Logger = logger{}
