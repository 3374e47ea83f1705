package sessionstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/gob"
	"errors"
	"maps"
	"slices"
)

func (f *fakeStore) DeleteUser(ctx context.Context, directory, id string, keep *Key) ([]Listed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "DeleteUser"); err != nil {
		return nil, err
	}
	var deleted []Listed
	for _, l := range f.sorted() {
		if l.Directory != directory || l.UserID != id || keep != nil && l.Key == *keep {
			continue
		}
		delete(f.records, l.Key)
		delete(f.invalid, l.Key)
		deleted = append(deleted, l)
	}
	return deleted, nil
}

// sorted is all that is there, in the order of List. The caller holds the lock.
func (f *fakeStore) sorted() []Listed {
	var all []Listed
	for key, r := range f.records {
		s := r.session
		all = append(all, Listed{
			Key: key, ID: s.ID, Directory: s.User.Directory, UserID: s.User.ID,
			Created: s.Created, LastSeen: r.seen, Limits: s.Limits,
		})
	}
	slices.SortFunc(all, func(a, b Listed) int { return a.compare(&b) })
	return all
}

func (l *Listed) compare(other *Listed) int {
	return cmp.Or(
		cmp.Compare(l.Directory, other.Directory), cmp.Compare(l.UserID, other.UserID),
		l.Created.Compare(other.Created), cmp.Compare(l.ID, other.ID),
	)
}

func (f *fakeStore) List(ctx context.Context, query ListQuery) ([]Listed, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "List"); err != nil {
		return nil, "", err
	}
	if query.Limit < 1 || (query.Directory == "") != (query.UserID == "") {
		return nil, "", errors.New("listing sessions: bad query")
	}
	var after *Listed
	if query.After != "" {
		after = new(Listed)
		if err := readCursor(query.After, after); err != nil {
			return nil, "", err
		}
	}
	var page []Listed
	for _, l := range f.sorted() {
		switch {
		case query.Directory != "" && (l.Directory != query.Directory || l.UserID != query.UserID):
		case after != nil && l.compare(after) <= 0:
		case len(page) == query.Limit:
			return page, writeCursor(page[len(page)-1]), nil
		default:
			page = append(page, l)
		}
	}
	return page, "", nil
}

func writeCursor(last any) string {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(last); err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b.Bytes())
}

func readCursor(cursor string, last any) error {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return err
	}
	return gob.NewDecoder(bytes.NewReader(b)).Decode(last)
}

func (f *fakeStore) Find(ctx context.Context, id string) (Key, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "Find"); err != nil {
		return Key{}, false, err
	}
	for key, r := range f.records {
		if r.session.ID == id {
			return key, true, nil
		}
	}
	return Key{}, false, nil
}

func (f *fakeStore) Count(ctx context.Context) (Counts, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "Count"); err != nil {
		return Counts{}, err
	}
	return Counts{Sessions: len(f.records), Users: len(f.users)}, nil
}

func (f *fakeStore) Users(ctx context.Context, after string, limit int) ([]UserRecord, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, "Users"); err != nil {
		return nil, "", err
	}
	if limit < 1 {
		return nil, "", errors.New("listing users: bad limit")
	}
	var last [2]string
	if after != "" {
		if err := readCursor(after, &last); err != nil {
			return nil, "", err
		}
	}
	compare := func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }
	var page []UserRecord
	for _, user := range slices.SortedFunc(maps.Keys(f.users), compare) {
		if compare(user, last) <= 0 {
			continue
		}
		if len(page) == limit {
			r := page[len(page)-1]
			return page, writeCursor([2]string{r.Directory, r.ID}), nil
		}
		page = append(page, f.users[user])
	}
	return page, "", nil
}
