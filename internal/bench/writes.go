package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// writes reports how many sessions the store creates and deletes in a second,
// beside what the disk alone can do. Both are on disk when they return.
func (b *bench) writes(ctx context.Context) (err error) {
	lasts := b.writesLast()
	raw, err := rawSyncs(filepath.Join(b.dir, "raw"), lasts)
	if err != nil {
		return err
	}
	b.report.other(raw, "raw pwrite and fdatasync of 512 bytes on the same disk", "one after the other")

	store, err := openFolder(b.folder.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return b.writesOf(ctx, store, lasts, "sessions created a second", "sign-outs a second, durable")
}

// writesLast is how long one kind of writes is measured.
func (b *bench) writesLast() time.Duration {
	if b.short {
		return time.Second / 2
	}
	return 3 * time.Second
}

// writesOf measures one store, and reports under these names.
func (b *bench) writesOf(ctx context.Context, store sessionstore.Store, lasts time.Duration, creations, signOuts string) error {
	for _, clients := range []int{1, 16, 64} {
		var mu sync.Mutex
		var keys []sessionstore.Key
		began := time.Now()
		err := atOnce(clients, func(worker int) error {
			var own []sessionstore.Key
			for time.Since(began) < lasts {
				key := sessionstore.NewToken().Key()
				if err := store.Create(ctx, key, newSession(b.sessions+worker), nil); err != nil {
					return err
				}
				own = append(own, key)
			}
			mu.Lock()
			defer mu.Unlock()
			keys = append(keys, own...)
			return nil
		})
		if err != nil {
			return err
		}
		how := fmt.Sprintf("%d at once", clients)
		if clients == 1 {
			how = "one after the other"
		}
		b.report.other(perSecond(len(keys), time.Since(began)), creations, "%s", how)

		began = time.Now()
		var next atomic.Int64
		err = atOnce(clients, func(int) error {
			for i := next.Add(1) - 1; i < int64(len(keys)); i = next.Add(1) - 1 {
				if ok, err := store.Delete(ctx, keys[i]); !ok || err != nil {
					return fmt.Errorf("deleting a session that is there: %t, %w", ok, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		b.report.other(perSecond(len(keys), time.Since(began)), signOuts, "%s", how)
	}
	return nil
}

// rawSyncs writes on in a file that is there already, as a log does.
func rawSyncs(name string, lasts time.Duration) (rate string, err error) {
	const block, size = 512, 8 << 20
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(make([]byte, size)); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	n, began := 0, time.Now()
	for ; time.Since(began) < lasts; n++ {
		if _, err := f.WriteAt(make([]byte, block), int64(n)*block%size); err != nil {
			return "", err
		}
		if err := dataSync(f); err != nil {
			return "", err
		}
	}
	return perSecond(n, time.Since(began)), nil
}
