package main

import (
	"sync"
	"sync/atomic"
)

// busy are servers under as much load as they answer.
type busy struct {
	requests atomic.Int64
	ended    atomic.Bool
	wait     sync.WaitGroup
	failed   chan error
	clients  []*client
}

func keepBusy(nodes []*server, cookies []string) (*busy, error) {
	l := &busy{}
	for _, s := range nodes {
		all, err := dial(s.ports[0], "", cookies)
		if err != nil {
			hangUp(l.clients)
			return nil, err
		}
		l.clients = append(l.clients, all...)
	}
	l.failed = make(chan error, len(l.clients))
	for _, c := range l.clients {
		l.wait.Go(func() {
			for !l.ended.Load() {
				if err := c.fetch(20, 0); err != nil {
					l.failed <- err
					return
				}
				l.requests.Add(20)
			}
		})
	}
	return l, nil
}

// stop ends the load, and returns what went wrong with it.
func (l *busy) stop() error {
	l.ended.Store(true)
	l.wait.Wait()
	hangUp(l.clients)
	select {
	case err := <-l.failed:
		return err
	default:
		return nil
	}
}
