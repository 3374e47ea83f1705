package browser

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Record is what the pages in a tab asked the network for, and what they made
// the browser complain about, since it was begun or cleared.
type Record struct {
	tab *Tab

	mu       sync.Mutex
	requests []*Request
	problems []string
}

// Request is one that a page caused, also if it was stopped before it left.
type Request struct {
	URL, Method string
	Type        string // Document, Stylesheet, Script, Image, ...
	Status      int64
	Bytes       int64  // of the answer on the wire, as the browser counts them
	Failure     string // why there is no answer, or not the whole of it

	id     network.RequestID
	loader cdp.LoaderID
	ended  bool
}

// Record begins to note what happens in the tab, until the test ends.
func (tab *Tab) Record() *Record {
	tab.t.Helper()
	return tab.record(tab.ctx)
}

func (tab *Tab) record(ctx context.Context) *Record {
	tab.t.Helper()
	r := &Record{tab: tab}
	if err := chromedp.Listen(ctx, r.note); err != nil {
		tab.t.Fatalf("listening to the tab: %v", err)
	}
	return r
}

// Clear forgets what there was so far.
func (r *Record) Clear() {
	r.tab.t.Helper()
	r.Requests() // what is under way would come in later
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests, r.problems = nil, nil
}

// Requests are those that went over the network or would have, in their order;
// it waits for the answers. A redirect is a request and its target another.
func (r *Record) Requests() []Request {
	r.tab.t.Helper()
	ctx, cancel := context.WithTimeout(r.tab.ctx, patience)
	defer cancel()
	for {
		r.mu.Lock()
		underWay := slices.IndexFunc(r.requests, func(q *Request) bool { return !q.ended })
		if underWay < 0 {
			defer r.mu.Unlock()
			all := make([]Request, len(r.requests))
			for i, q := range r.requests {
				all[i] = *q
			}
			return all
		}
		url := r.requests[underWay].URL
		r.mu.Unlock()
		select {
		case <-ctx.Done():
			r.tab.t.Fatalf("waiting for the answer of %s: %v", url, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Problems are the errors and warnings of the console: what scripts wrote there
// or did not catch, and what the browser did not allow or like. A failed request
// is not repeated here.
func (r *Record) Problems() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.problems)
}

func (r *Record) note(event any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch event := event.(type) {
	case *network.EventRequestWillBeSent:
		r.begin(event)
	case *network.EventResponseReceived:
		if q := r.find(event.RequestID); q != nil {
			q.Status = event.Response.Status
		}
	case *network.EventLoadingFinished:
		if q := r.find(event.RequestID); q != nil {
			q.Bytes, q.ended = int64(event.EncodedDataLength), true
		}
	case *network.EventLoadingFailed:
		if q := r.find(event.RequestID); q != nil {
			q.Failure, q.ended = strings.TrimSpace(event.ErrorText+" "+string(event.BlockedReason)), true
		}
	case *page.EventFrameNavigated:
		if event.Frame.ParentID == "" {
			r.abandon(event.Frame.LoaderID)
		}
	case *runtime.EventExceptionThrown:
		r.complain("exception", (&chromedp.ExceptionError{ExceptionDetails: event.ExceptionDetails}).Error())
	case *runtime.EventConsoleAPICalled:
		if event.Type == runtime.ConsoleAPICalledTypeError || event.Type == runtime.ConsoleAPICalledTypeWarning || event.Type == runtime.ConsoleAPICalledTypeAssert {
			var words []string
			for _, argument := range event.Args {
				words = append(words, string(argument.Value)+argument.Description)
			}
			r.complain(string(event.Type), strings.Join(words, " "))
		}
	case *cdplog.EventEntryAdded:
		entry := event.Entry
		bad := entry.Level == cdplog.EntryLevelError || entry.Level == cdplog.EntryLevelWarning
		if bad && entry.Source != cdplog.EntrySourceNetwork {
			r.complain(string(entry.Source), entry.Text)
		}
	}
}

func (r *Record) begin(event *network.EventRequestWillBeSent) {
	// A redirect goes on under the same id.
	if q := r.find(event.RequestID); q != nil && event.RedirectResponse != nil {
		q.Status, q.ended = event.RedirectResponse.Status, true
		q.Bytes = int64(event.RedirectResponse.EncodedDataLength)
	}
	if notable(event) {
		r.requests = append(r.requests, &Request{
			URL: event.Request.URL, Method: event.Request.Method, Type: string(event.Type),
			id: event.RequestID, loader: event.LoaderID,
		})
	}
}

// notable leaves out what a page does not ask the network for: data in the
// address itself, and the icon that the browser looks for of its own accord,
// sometimes, where no policy of the page forbids images.
func notable(event *network.EventRequestWillBeSent) bool {
	url := event.Request.URL
	return !strings.HasPrefix(url, "data:") && !(event.Type == network.ResourceTypeOther && strings.HasSuffix(url, "/favicon.ico"))
}

// abandon ends what earlier pages still waited for: not everything is told that
// it was given up.
func (r *Record) abandon(loader cdp.LoaderID) {
	for _, q := range r.requests {
		if !q.ended && q.loader != loader {
			q.Failure, q.ended = "the page was left", true
		}
	}
}

// find returns the request that is under way with that id.
func (r *Record) find(id network.RequestID) *Request {
	for _, q := range r.requests {
		if q.id == id && !q.ended {
			return q
		}
	}
	return nil
}

func (r *Record) complain(source, text string) {
	r.problems = append(r.problems, fmt.Sprintf("%s: %s", source, text))
}
