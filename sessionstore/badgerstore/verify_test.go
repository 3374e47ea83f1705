package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

// image is the files of a folder, as a kill leaves them.
type image map[string]file

type file struct {
	content []byte // without the zeros at the end
	size    int
}

// take copies a folder that is open. What Badger does in the background makes
// it try again.
func take(t *testing.T, dir string) image {
	t.Helper()
	read := func() image {
		i := image{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			i[e.Name()] = file{trimZeros(b), len(b)}
		}
		return i
	}
	for {
		first, second := read(), read()
		if first.equal(second) {
			return first
		}
	}
}

func (i image) equal(other image) bool {
	return maps.EqualFunc(i, other, func(a, b file) bool { return a.size == b.size && bytes.Equal(a.content, b.content) })
}

// lay makes a folder of it.
func (i image) lay(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "sessions")
	mkdir(t, dir, 0o700)
	for name, f := range i {
		f.lay(t, filepath.Join(dir, name))
	}
	return dir
}

func (f file) lay(t *testing.T, path string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, f.content, 0o600), os.Truncate(path, int64(f.size))); err != nil {
		t.Fatal(err)
	}
}

// with returns the image with another file of this name, nil for none.
func (i image) with(name string, f *file) image {
	i = maps.Clone(i)
	delete(i, name)
	if f != nil {
		i[name] = *f
	}
	return i
}

// changed returns the file after a change to its content, or close behind it.
func (f file) changed(change func(b []byte)) *file {
	b := append(bytes.Clone(f.content), make([]byte, min(f.size-len(f.content), 64))...)
	change(b)
	return &file{trimZeros(b), f.size}
}

// cut returns the file cut to n bytes.
func (f file) cut(n int) *file { return &file{trimZeros(f.content[:min(n, len(f.content))]), n} }

func newFile(b []byte) *file { return &file{trimZeros(b), len(b)} }

// named returns the only file, or the last one, of a kind.
func (i image) named(t *testing.T, suffix string) string {
	t.Helper()
	names := slices.Sorted(maps.Keys(i))
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, suffix) })
	if len(names) == 0 {
		t.Fatalf("there is no %s file in %v", suffix, slices.Sorted(maps.Keys(i)))
	}
	return names[len(names)-1]
}

// acknowledged tells which sessions there are, and which have ended.
type acknowledged map[sessionstore.Key]bool

var encrypted = Options{EncryptionKey: bytes.Repeat([]byte("k"), 32)}

// sample returns a folder with tables and a log, in which the last thing
// acknowledged is a sign-out.
func sample(t *testing.T, options Options) (image, acknowledged) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sample")
	want := acknowledged{}
	for round := range 3 {
		s, err := Open(dir, options, nil)
		if err != nil {
			t.Fatal(err)
		}
		var before []sessionstore.Key
		for key, in := range want {
			if in {
				before = append(before, key)
			}
		}
		for range 9 {
			key := storetest.NewKey()
			if err := s.Create(t.Context(), key, storetest.NewSession(fmt.Sprint("user-", round)), nil); err != nil {
				t.Fatal(err)
			}
			want[key] = true
			before = append(before, key)
		}
		for _, key := range before[:len(before)/3] {
			if ok, err := s.Delete(t.Context(), key); !ok || err != nil {
				t.Fatal(ok, err)
			}
			want[key] = false
		}
		if round == 2 {
			i := take(t, dir)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return i, want
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	panic("unreachable")
}

// tryOpen opens a folder. Either everything is there, or it is an error that
// names the file and the folder is as it was.
func tryOpen(t *testing.T, what, name string, i image, options Options, want acknowledged) error {
	t.Helper()
	dir := i.lay(t)
	defer os.RemoveAll(dir)
	s, err := Open(dir, options, nil)
	if err != nil {
		if !namesFile(err, dir, name) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error does not name the file: %v", what, err)
		}
		if !take(t, dir).equal(i) {
			t.Errorf("%s: the folder was changed, with error %v", what, err)
		}
		return err
	}
	lost, back := 0, 0
	for key, in := range want {
		_, _, ok, err := s.Get(t.Context(), key)
		switch {
		case err != nil:
			t.Errorf("%s: reading: %v", what, err)
		case in && !ok:
			lost++
		case !in && ok:
			back++
		}
	}
	if lost+back > 0 {
		t.Errorf("%s: %d acknowledged sessions are gone, %d that had ended are back", what, lost, back)
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: closing: %v", what, err)
	}
	return nil
}

// seeded is a source that differs in each run, and can be had again.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// positions are places in a file of n bytes, in order: some at each of its ends,
// the very first and last among them, and some between. All of them would take
// minutes; every run has others.
func positions(r *rand.Rand, n, ends, between int) []int {
	const end = 60
	at := map[int]bool{}
	pick := func(from, to, count int) {
		for ; from < to && count > 0; count-- {
			at[from+r.IntN(to-from)] = true
		}
	}
	if n > 0 {
		at[0], at[n-1] = true, true
	}
	pick(0, min(end, n), ends)
	pick(max(0, n-end), n, ends)
	pick(min(end, n), max(0, n-end), between)
	return slices.Sorted(maps.Keys(at))
}

func TestDamagedFiles(t *testing.T) {
	for _, kind := range []struct {
		name    string
		options Options
	}{
		{"plain", Options{}},
		{"encrypted", encrypted},
	} {
		i, want := sample(t, kind.options)
		t.Logf("%s: %v", kind.name, slices.Sorted(maps.Keys(i)))
		if err := tryOpen(t, "unchanged", "", i, kind.options, want); err != nil {
			t.Fatal(err)
		}
		for name := range i {
			if !isBadgers(name) || name == "000002.vlog" {
				continue // the next one is the same
			}
			t.Run(kind.name+" "+name, func(t *testing.T) {
				t.Parallel()
				damage(t, i, name, kind.options, want)
			})
		}
	}
}

// damage does all kinds of damage to one file.
func damage(t *testing.T, i image, name string, options Options, want acknowledged) {
	old, content := i[name], len(i[name].content)
	dir := i.lay(t)
	random := seeded(t)
	tried, refused := 0, 0
	try := func(f *file, format string, args ...any) {
		t.Helper()
		tried++
		f.lay(t, filepath.Join(dir, name))
		err := errors.Join(checkFormat(dir), verify(dir, options))
		if err != nil {
			refused++
		}
		// Opening takes long, and what is refused is refused before it.
		if err == nil && tried%3 == 0 || tried%25 == 1 {
			what := fmt.Sprintf(format, args...)
			if opened := tryOpen(t, what, name, i.with(name, f), options, want); err != nil && opened == nil {
				t.Errorf("%s: was opened in spite of %v", what, err)
			}
		}
	}
	for _, at := range positions(random, content, 20, 20) {
		try(old.changed(func(b []byte) { b[at] ^= 1 << (at % 8) }), "byte %d of %d changed", at, content)
	}
	t.Logf("%d of %d changes were refused", refused, tried)
	for _, at := range positions(random, content, 8, 10) {
		try(old.cut(at), "cut to %d of %d bytes", at, content)
	}
	if old.size > content {
		try(old.cut(content), "cut behind its content")
	}
	for _, n := range []int{1, 20, content, old.size} {
		garbage := make([]byte, n)
		for j := range garbage {
			garbage[j] = byte(random.Uint32())
		}
		try(newFile(garbage), "replaced by %d bytes of garbage", n)
		at := random.IntN(max(content, 1))
		try(old.changed(func(b []byte) { copy(b[at:], garbage[:min(n, 50)]) }), "%d bytes of garbage at %d", min(n, 50), at)
	}
	sectors := (content + sector - 1) / sector
	if filepath.Ext(name) == logSuffix {
		sectors-- // the last one may be missing after a power cut
	}
	for _, n := range random.Perm(max(0, sectors))[:min(10, max(0, sectors))] {
		at := n * sector
		try(old.changed(func(b []byte) { clear(b[at:min(at+sector, len(b))]) }), "a sector at %d zeroed", at)
	}
	tryOpen(t, "emptied", name, i.with(name, &file{}), options, want)
	tryOpen(t, "removed", name, i.with(name, nil), options, want)
	folder := i.with(name, nil).lay(t)
	mkdir(t, filepath.Join(folder, name), 0o700)
	if s, err := Open(folder, options, nil); err == nil {
		t.Error("a folder in its place was opened", s.Close())
	}
}

// namesFile tells whether an error is about a file. That the format is another
// one needs no name, and of a log that is gone nobody knows it.
func namesFile(err error, dir, name string) bool {
	if name == "" {
		return true
	}
	text := err.Error()
	for _, part := range []string{fmt.Sprintf("%q", name), fmt.Sprintf("%q", filepath.Join(dir, name)), "has format", "another program", "*" + filepath.Ext(name)} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
