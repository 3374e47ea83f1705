package caddyauth

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

// TestHandover: what outlives a configuration logs through the newest one that
// is alive.
func TestHandover(t *testing.T) {
	handler := newHandoverHandler()
	logger := slog.New(handler)
	derived := logger.With("kept", "yes").WithGroup("g")
	logger.Error("before any configuration") // goes nowhere, and does not panic

	var oldLog, newLog bytes.Buffer
	oldApp, newApp := new(App), new(App)
	handler.handOver(oldApp, slog.NewTextHandler(&oldLog, nil))
	logger.Info("one")
	handler.handOver(newApp, slog.NewTextHandler(&newLog, nil))
	logger.Info("two")
	derived.Info("three", "a", 1)
	handler.takeBack(newApp) // its reload failed
	derived.Info("four")
	handler.handOver(newApp, slog.NewTextHandler(&newLog, nil))
	handler.takeBack(oldApp) // the old configuration is gone
	logger.Info("five")
	handler.takeBack(oldApp) // twice does no harm
	handler.takeBack(newApp)
	logger.Error("six") // nobody is left

	for log, want := range map[*bytes.Buffer]string{&oldLog: "one four", &newLog: "two three five"} {
		var got []string
		for line := range strings.Lines(log.String()) {
			_, rest, _ := strings.Cut(line, "msg=")
			got = append(got, strings.Fields(rest)[0])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("a configuration logged %v, want %s", got, want)
		}
	}
	if !strings.Contains(newLog.String(), "msg=three kept=yes g.a=1") || !strings.Contains(oldLog.String(), "msg=four kept=yes") {
		t.Errorf("attributes or groups are lost:\n%s%s", oldLog.String(), newLog.String())
	}
	if logger.Enabled(t.Context(), slog.LevelError) {
		t.Error("a handler without a configuration is enabled")
	}
}

func TestHandoverKeepsTheLevel(t *testing.T) {
	handler := newHandoverHandler()
	var log bytes.Buffer
	handler.handOver(1, slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	slog.New(handler).With("a", 1).Info("quiet")
	slog.New(handler).With("a", 1).Warn("loud")
	if got := log.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "loud") {
		t.Errorf("logged %q", got)
	}
}

// TestStoreLogsThroughTheNewestConfiguration: the store is opened once and
// logs on behalf of whoever runs now.
func TestStoreLogsThroughTheNewestConfiguration(t *testing.T) {
	storage := &testStorage{Folder: filepath.Join(t.TempDir(), "s")}
	handle, err := acquireStore(storage.Resource())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := stores.Delete(storage.Resource()); err != nil {
			t.Error(err)
		}
	}()
	var oldLog, newLog bytes.Buffer
	for owner, log := range []*bytes.Buffer{&oldLog, &newLog} {
		if err := handle.open(owner, storage, slog.New(slog.NewTextHandler(log, nil))); err != nil {
			t.Fatal(err)
		}
		handle.logger.Info("line", "of", owner)
	}
	handle.handler.takeBack(1)
	handle.logger.Info("back")
	if got := oldLog.String(); !strings.Contains(got, "of=0") || strings.Contains(got, "of=1") || !strings.Contains(got, "back") {
		t.Errorf("the old configuration logged %s", got)
	}
	if got := newLog.String(); !strings.Contains(got, "of=1") || strings.Contains(got, "back") {
		t.Errorf("the new configuration logged %s", got)
	}
	if n := faultsOf(storage.Folder).opened.Load(); n != 1 {
		t.Errorf("the store was opened %d times", n)
	}
}
