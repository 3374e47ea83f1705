package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore/redisstore"
)

// twins are the same sessions twice, in Redis and in a folder: what is said of
// Redis is compared with what the same requests cost without it.
type twins struct {
	b      *bench
	server *realserver.Redis
	client rueidis.Client // for what the server tells of itself
	folder string

	active []credentials // in use
	cold   []credentials // used once, when they are in nobody's memory
	ended  []credentials // signed out
}

// redis reports what the sessions cost when they are in Redis, and how soon
// another node knows that one has ended.
func (b *bench) redis(ctx context.Context) (err error) {
	if missing := realserver.RedisInstalled(); missing != nil {
		b.report.other("skipped", "everything about Redis", "%v", missing)
		return nil
	}
	t := &twins{b: b, folder: filepath.Join(b.dir, "besideredis")}
	// Without rewriting by itself, the file's size does not depend on when.
	if t.server, err = realserver.StartRedis(b.dir, realserver.RedisOptions{Config: []string{"auto-aof-rewrite-percentage 0"}}); err != nil {
		return err
	}
	defer t.server.Stop()
	if t.client, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{t.server.Addr}, DisableCache: true, ForceSingleClient: true}); err != nil {
		return fmt.Errorf("connecting to redis-server: %w", err)
	}
	defer t.client.Close()
	if err := t.fill(ctx); err != nil {
		return err
	}
	for _, measure := range []func(context.Context) error{t.cpu, t.ends, t.writes} {
		if ctx.Err() == nil {
			err = errors.Join(err, measure(ctx))
		}
	}
	return err
}

func (t *twins) open() (*redisstore.Store, error) {
	return redisstore.Open(redisstore.Options{Addresses: []string{t.server.Addr}, Prefix: redisPrefix}, slog.New(slog.DiscardHandler))
}

// fill stores the sessions in both, each of another user, and reports what they
// take in Redis.
func (t *twins) fill(ctx context.Context) error {
	cold, ended := 10_000, 500
	if t.b.short {
		cold, ended = 2000, 50
	}
	spare := t.b.inRedis - t.b.active
	if spare < 2*ended {
		return fmt.Errorf("%d sessions in Redis, %d of them in use: want at least %d more", t.b.inRedis, t.b.active, 2*ended)
	}
	empty, err := t.sample(ctx)
	if err != nil {
		return err
	}
	store, err := t.open()
	if err != nil {
		return err
	}
	beside, err := openFolder(t.folder)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	f := filling{sessions: t.b.inRedis, perUser: 1, kept: t.b.active + min(cold+ended, spare)}
	kept, err := t.b.fillStores(ctx, f, store, beside)
	if err := errors.Join(err, store.Close(), beside.Close()); err != nil {
		return fmt.Errorf("filling Redis and a folder: %w", err)
	}
	t.active, kept = kept[:t.b.active], kept[t.b.active:]
	t.ended, t.cold = kept[:ended], kept[ended:]

	full, err := t.sample(ctx)
	if err != nil {
		return err
	}
	written, err := t.fileSize()
	if err != nil {
		return err
	}
	if err := t.rewrite(ctx); err != nil {
		return err
	}
	rewritten, err := t.fileSize()
	if err != nil {
		return err
	}
	each := func(bytes int64) float64 { return float64(bytes) / float64(t.b.inRedis) }
	t.b.report.quantity(fmt.Sprintf("%.0f B", each(full.memory-empty.memory)), "of 1536 B", "memory of Redis a session of a user with 20 groups",
		"%s stored, each of another user, with the users' records; %.0f B of the system; in its append-only file %.0f B as written, %.0f B once rewritten",
		thousands(t.b.inRedis), each(full.rss-empty.rss), each(written), each(rewritten))
	return nil
}

// fileSize is how long the append-only file is, in all its parts.
func (t *twins) fileSize() (int64, error) {
	apparent, _, err := usage(filepath.Join(t.server.Folder(), "appendonlydir"))
	return apparent, err
}

// rewrite has the server write its append-only file anew, from what it holds.
func (t *twins) rewrite(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := t.client.Do(ctx, t.client.B().Bgrewriteaof().Build()).Error(); err != nil {
		return fmt.Errorf("rewriting the append-only file: %w", err)
	}
	for {
		fields, err := t.info(ctx, "persistence")
		if err != nil {
			return err
		}
		if fields["aof_rewrite_in_progress"] == "0" && fields["aof_rewrite_scheduled"] == "0" {
			if status := fields["aof_last_bgrewrite_status"]; status != "ok" {
				return fmt.Errorf("rewriting the append-only file: %q", status)
			}
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// writes reports sign-ins and sign-outs a second, beside what the server does
// for a bare command.
func (t *twins) writes(ctx context.Context) (err error) {
	lasts, value := t.b.writesLast(), string(make([]byte, 1000))
	n, began := 0, time.Now()
	for ; time.Since(began) < lasts; n++ {
		if err := t.client.Do(ctx, t.client.B().Set().Key("bare").Value(value).Build()).Error(); err != nil {
			return fmt.Errorf("setting a key: %w", err)
		}
	}
	t.b.report.other(perSecond(n, time.Since(began)), "a bare SET of 1,000 bytes in Redis", "one after the other; its file is synced once a second")
	store, err := t.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return t.b.writesOf(ctx, store, lasts, "sessions created a second in Redis", "sign-outs a second in Redis")
}
