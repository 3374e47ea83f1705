package sessionstore

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// The first byte decides: whatever follows it, only a newer version can tell.
func TestRecordsOfNewerFormats(t *testing.T) {
	var key Key
	session := mustAppend(t, key, exampleSession())
	record := UserRecord{}.SignedIn(exampleSession())
	user, err := AppendUserRecord(nil, &record)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := AppendSecret(nil, "device", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	counter, err := AppendCounter(nil, &Counter{Value: []byte("value"), Expires: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]struct {
		newest byte
		good   []byte
		decode func([]byte) error
	}{
		"session": {sessionFormat, session, func(b []byte) error { _, err := DecodeSession(b, key); return err }},
		"user": {userFormat, user, func(b []byte) error {
			_, err := DecodeUserRecord(b, record.Directory, record.ID)
			return err
		}},
		"secret":  {secretFormat, secret, func(b []byte) error { _, err := DecodeSecret(b, "device"); return err }},
		"counter": {counterFormat, counter, func(b []byte) error { _, err := DecodeCounter(b, [16]byte{}); return err }},
	} {
		if err := kind.decode(kind.good); err != nil || kind.good[0] != kind.newest {
			t.Errorf("%s of format %d: %v", name, kind.good[0], err)
		}
		for format := range 256 {
			b := append([]byte{byte(format)}, kind.good[1:]...)
			for what, b := range map[string][]byte{
				"as it is":          b,
				"its format alone":  b[:1],
				"longer than today": append(b, make([]byte, MaxRecord)...),
				"sealed":            seal(b[:len(b)-checksum]),
			} {
				err := kind.decode(b)
				switch newer := byte(format) > kind.newest && format < 0x20; {
				case newer && (!errors.Is(err, ErrNewerRecord) || errors.Is(err, ErrInvalidRecord)):
					t.Errorf("%s of format %d, %s: %v, want ErrNewerRecord", name, format, what, err)
				case !newer && errors.Is(err, ErrNewerRecord):
					t.Errorf("%s of format %d, %s: %v", name, format, what, err)
				case (format == 0 || format >= 0x20) && !errors.Is(err, ErrInvalidRecord):
					t.Errorf("%s of format %d, %s: %v, want ErrInvalidRecord", name, format, what, err)
				}
			}
		}
	}
}

// updated has a newer version write the record of a session, on another node.
func (n *node) updated(token Token) {
	n.mu.Lock()
	n.newer[token.Key()] = true
	n.mu.Unlock()
	n.tell(token.Key())
}

// wantNewer looks token up and wants that nothing is known of it.
func (w *world) wantNewer(token Token) {
	w.t.Helper()
	for range 3 {
		if h, got, err := w.Lookup(w.t.Context(), token, hour, true); !errors.Is(err, ErrNewerRecord) || got != Unknown || h.Session != nil {
			w.t.Fatalf("Lookup: %v, %v, want ErrNewerRecord", got, err)
		}
	}
	if !w.store.has(token.Key()) {
		w.t.Fatal("the record is gone")
	}
}

// A node that was not updated yet must not end what the others have written.
func TestANewerRecordIsNoReasonToEndASession(t *testing.T) {
	var told reports
	clock := &testClock{}
	clock.at.Store(time.Date(2025, 11, 21, 12, 0, 0, 0, time.UTC).UnixNano())
	options := Options{Now: clock.now, Ended: told.ended}
	here, there, store := newNodesWith(t, [2]Options{options, options}, [2]*testClock{clock, clock}, nil)
	limits := Limits{Idle: time.Hour, Absolute: 3 * time.Hour}
	token, h := here.signIn(limits)
	other, _ := here.signIn(limits)
	answer := here.open(h, false)
	store.updated(token)

	here.wantNewer(token)
	if h.ended() || answer.told.Load() != 0 {
		t.Error("its answers end")
	}
	if _, ok, err := here.Regroup(t.Context(), h, groups("b"), ""); ok || !errors.Is(err, ErrNewerRecord) {
		t.Errorf("Regroup: %v, %v, want ErrNewerRecord", ok, err)
	}
	if _, ok, err := here.Show(t.Context(), h.ID, Limits{}); ok || !errors.Is(err, ErrNewerRecord) {
		t.Errorf("Show: %v, %v, want ErrNewerRecord", ok, err)
	}
	if entries := here.listAll(ListQuery{Limit: 1}, Limits{}); len(entries) != 1 || entries[0].ID == h.ID {
		t.Errorf("%d are listed, want the other one", len(entries))
	}

	// Once this node is updated, all is as it was.
	store.mu.Lock()
	clear(store.newer)
	store.mu.Unlock()
	if !here.want(Live, token, limits, false).Alive() || !h.Alive() {
		t.Error("it has ended")
	}
	store.updated(token)

	// Past its limits by what stands beside the record: that it is so, only the
	// record says.
	clock.pass(4 * time.Hour)
	here.away(token)
	here.swept()
	if !store.has(token.Key()) || told.of(h.ID) != 0 {
		t.Error("the sweep has ended it")
	}
	if store.has(other.Key()) {
		t.Error("it keeps the sweep from the others")
	}
	next, _ := here.signIn(limits)
	if _, err := here.KeepNewest(t.Context(), here.want(Live, next, Limits{}, true), 1); err != nil {
		t.Errorf("KeepNewest: %v", err)
	}
	here.wantNewer(token)
	there.wantNewer(token)
	if told.invalid != 0 || len(told.late) != 0 {
		t.Errorf("%d were told to be invalid, %d to have ended", told.invalid, len(told.late))
	}
}

func TestANewerRecordCanBeEnded(t *testing.T) {
	for name, end := range map[string]func(w *world, token Token, h Handle) error{
		"End":    func(w *world, token Token, _ Handle) error { _, err := w.End(w.t.Context(), token); return err },
		"EndID":  func(w *world, _ Token, h Handle) error { _, err := w.EndID(w.t.Context(), h.ID); return err },
		"EndOwn": func(w *world, _ Token, h Handle) error { _, err := w.EndOwn(w.t.Context(), h, h.ID); return err },
		"EndUser": func(w *world, _ Token, _ Handle) error {
			_, err := w.EndUser(w.t.Context(), "d", "1", Handle{})
			return err
		},
		"Revoke": func(w *world, _ Token, h Handle) error { _, err := w.Revoke(w.t.Context(), h); return err },
		"a sign-in that replaces it": func(w *world, token Token, h Handle) error {
			_, _, err := w.SignIn(w.t.Context(), h.User, "", hour, &token)
			return err
		},
		"a sign-in that is one too many": func(w *world, _ Token, _ Handle) error {
			w.clock.pass(time.Second)
			_, h := w.signIn(hour)
			_, err := w.KeepNewest(w.t.Context(), h, 1)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			here, there, store := newNodes(t)
			token, h := here.signIn(hour)
			answer := here.open(h, false)
			store.updated(token)
			here.wantNewer(token)
			if err := end(here, token, h); err != nil {
				t.Fatal(err)
			}
			if store.has(token.Key()) || h.Alive() {
				t.Error("it is still there")
			}
			answer.wantTold(t)
			here.want(Unknown, token, hour, true)
			there.want(Unknown, token, hour, true)
		})
	}
}

// Open answers of sessions that other nodes have written anew go on: they were not
// ended, and asking again and again would keep the ends of others waiting.
func TestSuspectsWithNewerRecordsHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSuspectWorld(t, 5000, io.Discard)
		w.store.mu.Lock()
		for _, token := range w.tokens[:4000] {
			w.store.newer[token.Key()] = true
		}
		w.store.mu.Unlock()
		w.endElsewhere(w.tokens[4999])
		for _, token := range w.tokens {
			w.node.changed(token.Key())
		}
		w.wantOpen(4999, "at once")
		time.Sleep(2 * suspectFor)
		w.wantOpen(4999, "after a while")
		w.endElsewhere(w.tokens[0])
		w.node.changed(w.tokens[0].Key())
		w.wantOpen(4998, "after the end of one of them")
	})
}

// Whether the session was used elsewhere, this node never learns: then the idle
// limit holds as it is known here, and the absolute one in any case.
func TestAnswersOfNewerRecordsEndWithTheirLimits(t *testing.T) {
	here, _, store := newNodes(t)
	token, h := here.signIn(Limits{Idle: time.Hour, Absolute: 3 * time.Hour})
	stream, download := here.open(h, true), here.open(h, false)
	store.updated(token)
	here.clock.pass(time.Hour - 1)
	here.look()
	if stream.told.Load() != 0 || download.told.Load() != 0 {
		t.Error("ended before a limit")
	}
	here.clock.pass(1)
	here.look()
	if stream.told.Load() != 1 || download.told.Load() != 0 {
		t.Errorf("at the idle limit: the stream was told %d times, the download %d times", stream.told.Load(), download.told.Load())
	}
	here.clock.pass(2 * time.Hour)
	here.look()
	if download.told.Load() != 1 {
		t.Error("the download goes on past the absolute limit")
	}
	if !store.has(token.Key()) {
		t.Error("the session was dropped")
	}
}

// An end that failed, of a record that cannot be read: it is not asked for ever.
func TestADoubtAboutANewerRecordIsSettled(t *testing.T) {
	here, _, store := newNodes(t)
	token, _ := here.signIn(hour)
	store.fail("Delete", errors.New("disk on fire"))
	if _, err := here.End(t.Context(), token); err == nil {
		t.Fatal("no error")
	}
	store.fail("Delete", nil)
	store.updated(token)
	here.askDoubts(t.Context())
	if here.doubts.all() == nil {
		t.Fatal("it is in doubt no more, before a minute has passed")
	}
	here.clock.pass(doubtFor)
	here.askDoubts(t.Context())
	if here.doubts.all() != nil {
		t.Error("it is in doubt for ever")
	}
	here.wantNewer(token)
}
