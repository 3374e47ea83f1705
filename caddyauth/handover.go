package caddyauth

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
)

// handoverHandler lets what outlives a configuration log through the newest one
// that is alive: the sinks of a configuration that is gone may be closed.
type handoverHandler struct {
	line   *succession
	derive func(slog.Handler) slog.Handler // attributes and groups added on the way
}

// succession is who is alive, the newest last.
type succession struct {
	mu      sync.Mutex
	owners  []any
	handler []slog.Handler
	current atomic.Pointer[slog.Handler]
}

func newHandoverHandler() *handoverHandler {
	line := new(succession)
	line.choose()
	return &handoverHandler{line: line, derive: func(h slog.Handler) slog.Handler { return h }}
}

// handOver makes later lines go to next, on behalf of owner.
func (h *handoverHandler) handOver(owner any, next slog.Handler) {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	h.line.owners = append(h.line.owners, owner)
	h.line.handler = append(h.line.handler, next)
	h.line.choose()
}

// takeBack ends owner's turn. After a reload that failed, lines go to the
// configuration that serves on.
func (h *handoverHandler) takeBack(owner any) {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	for i := slices.Index(h.line.owners, owner); i >= 0; i = slices.Index(h.line.owners, owner) {
		h.line.owners = slices.Delete(h.line.owners, i, i+1)
		h.line.handler = slices.Delete(h.line.handler, i, i+1)
	}
	h.line.choose()
}

// newest is the owner through whose handler lines go, nil if none is alive.
func (h *handoverHandler) newest() any {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	if len(h.line.owners) == 0 {
		return nil
	}
	return h.line.owners[len(h.line.owners)-1]
}

func (s *succession) choose() {
	handler := slog.Handler(slog.DiscardHandler)
	if len(s.handler) > 0 {
		handler = s.handler[len(s.handler)-1]
	}
	s.current.Store(&handler)
}

// Enabled implements slog.Handler.
func (h *handoverHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return (*h.line.current.Load()).Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *handoverHandler) Handle(ctx context.Context, record slog.Record) error {
	return h.derive(*h.line.current.Load()).Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h *handoverHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handoverHandler{line: h.line, derive: func(next slog.Handler) slog.Handler { return h.derive(next).WithAttrs(attrs) }}
}

// WithGroup implements slog.Handler.
func (h *handoverHandler) WithGroup(name string) slog.Handler {
	return &handoverHandler{line: h.line, derive: func(next slog.Handler) slog.Handler { return h.derive(next).WithGroup(name) }}
}
