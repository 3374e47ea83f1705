package realserver

import (
	"testing"
)

func TestRedisKeepsItsFilesOverACrash(t *testing.T) {
	for name, options := range map[string]RedisOptions{
		"plain": {}, "with TLS": {TLS: true}, "a cluster's node": {Cluster: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := NewRedis(t, options)
			if err := s.probe(); err != nil {
				t.Fatal(err)
			}
			s.Kill()
			if err := s.probe(); err == nil {
				t.Error("a server that was killed answers")
			}
			s.Restart(t)
			if err := s.probe(); err != nil {
				t.Error(err)
			}
		})
	}
}
