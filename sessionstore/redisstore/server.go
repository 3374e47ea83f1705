package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const (
	oldestMajor = 7

	// The server's clock may differ that much before it is told of, and be ahead
	// that much: it collects what ours says was over a day ago (expirySlack).
	clockDiffers = time.Minute
	clockAhead   = 12 * time.Hour
)

// server is what the node that has our keys says of itself.
type server struct {
	version string

	// run names the process, history what it replicates: a new one begins with
	// every promotion. While both stay, the server has lost nothing.
	run, history string

	evicts string // the policy that throws records away, "" if none does
	noFile bool   // it has no append-only file

	clock time.Duration // is ahead of ours
}

var (
	errNotPrimary = errors.New("the Redis server is a replica, which may know less than its primary")
	errReplaced   = errors.New("the Redis server has been restarted, or another one has taken its place")
)

// check refuses a server on which sessions would not work.
func (c *connection) check() error {
	ctx, cancel := context.WithTimeout(c.ctx, openTimeout)
	defer cancel()
	// Alone: those that are too old know no question for several sections.
	fields, err := c.info(ctx, "server")
	if err != nil {
		return err
	}
	if err := checkVersion(fields); err != nil {
		return err
	}
	clock, err := checkClock(fields, time.Now())
	if err != nil {
		return err
	}
	if fields, err = c.info(ctx, "server", "replication", "memory", "persistence"); err != nil {
		return err
	}
	if err := c.note(fields); err != nil {
		return err
	}
	c.server = server{
		version: fields["redis_version"], run: fields["run_id"], history: fields["master_replid"],
		noFile: fields["aof_enabled"] == "0", clock: clock,
	}
	if v := fields["valkey_version"]; v != "" {
		c.server.version = "Valkey " + v
	}
	// CONFIG GET would tell too, but users of the server rarely may.
	if policy := fields["maxmemory_policy"]; policy != "noeviction" {
		c.server.evicts = strconv.Quote(policy)
	}
	return nil
}

// note keeps what INFO tells of the replication. A replica is an error.
func (c *connection) note(fields map[string]string) error {
	if fields["role"] != "master" {
		return errNotPrimary
	}
	c.replicas.Store(confirms(fields))
	return nil
}

// confirms tells whether there is a replica that can confirm what is written. One
// that is still being sent everything is connected too, and cannot for however
// long that takes.
func confirms(fields map[string]string) bool {
	for name, value := range fields {
		n, ok := strings.CutPrefix(name, "slave")
		if _, err := strconv.ParseUint(n, 10, 32); !ok || err != nil {
			continue
		}
		if slices.Contains(strings.Split(value, ","), "state=online") {
			return true
		}
	}
	return false
}

// checkVersion takes Redis from 7.0 on, and Valkey, which began as that.
func checkVersion(fields map[string]string) error {
	if fields["valkey_version"] != "" {
		return nil
	}
	version := fields["redis_version"]
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldestMajor {
		return fmt.Errorf("the server is Redis %q, and 7.0 is the oldest that works", version)
	}
	return nil
}

// checkClock tells how far the server's clock is ahead of ours. If it is by more
// than the records' expiries allow for, what is stored would be gone at once.
func checkClock(fields map[string]string, now time.Time) (ahead time.Duration, err error) {
	micros, err := strconv.ParseInt(fields["server_time_usec"], 10, 64)
	if err != nil {
		return 0, nil // a server that does not say
	}
	there := time.UnixMicro(micros)
	if ahead = there.Sub(now); ahead > clockAhead {
		return 0, fmt.Errorf("the server's clock is at %q, and this machine's at %q: sessions would have expired when they begin; set both by NTP",
			there.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return ahead, nil
}

// info reads sections of INFO of the node that has our keys.
func (c *connection) info(ctx context.Context, sections ...string) (map[string]string, error) {
	return infoFields(c.run(ctx, c.store.scripts.health, []string{c.store.keys.index}, sections))
}

func infoFields(m rueidis.RedisMessage, err error) (map[string]string, error) {
	if err != nil {
		return nil, err
	}
	text, err := m.ToString()
	if err != nil {
		return nil, errAnswer
	}
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

// warn tells of a server on which sessions are in danger, unless last said the
// same.
func (s *Store) warn(now, last server) {
	if now.evicts != "" && now.evicts != last.evicts {
		s.log.Warn("the Redis server may throw records away when its memory is full: whose session goes is signed out, whose counters of wrong passwords go may guess on, and without the list of sessions ending all of a user misses some; set maxmemory-policy to noeviction",
			"addresses", s.options.Addresses, "maxmemory_policy", now.evicts)
	}
	if now.noFile && !last.noFile {
		s.log.Warn("the Redis server writes no append-only file: when it restarts, sessions end and sign-outs may come back; set appendonly to yes",
			"addresses", s.options.Addresses)
	}
	if now.clock.Abs() > clockDiffers && last.clock.Abs() <= clockDiffers {
		here := time.Now().UTC()
		s.log.Warn("the clocks of the Redis server and of this machine differ; set both by NTP",
			"addresses", s.options.Addresses, "redis", here.Add(now.clock).Format(time.RFC3339), "here", here.Format(time.RFC3339))
	}
}
