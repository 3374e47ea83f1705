//go:build unix

package realserver

import "testing"

func TestASuspendedRedisHangsAndGoesOn(t *testing.T) {
	s := NewRedis(t, RedisOptions{})
	if err := s.Suspend(); err != nil {
		t.Fatal(err)
	}
	if err := s.probe(); err == nil {
		t.Error("it answers")
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := s.probe(); err != nil {
		t.Error(err)
	}
}
