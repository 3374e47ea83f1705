package browser

import (
	"context"
	"errors"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Back goes to the page before, as the browser's button does: to what the
// browser has kept of it if it has, and by a request if not. The status is that
// of the request's answer, 0 without one. A page that was kept is the page as it
// was left, whatever has become of the session since.
func (tab *Tab) Back() int64 {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	record := tab.record(ctx)
	arrived := make(chan struct{}, 1)
	// A page that was kept is shown without the events of a load, for which
	// chromedp's own step back waits.
	err := chromedp.Listen(ctx, func(event any) {
		switch event := event.(type) {
		case *page.EventFrameNavigated:
			if event.Frame.ParentID != "" {
				return
			}
		case *page.EventNavigatedWithinDocument:
		default:
			return
		}
		select {
		case arrived <- struct{}{}:
		default:
		}
	})
	if err != nil {
		tab.t.Fatalf("going back: listening: %v", err)
	}
	history, err := chromedp.Run(ctx, chromedp.NavigationEntries())
	if err == nil && history.CurrentIndex <= 0 {
		err = errors.New("there is no page before")
	}
	if err != nil {
		tab.t.Fatalf("going back: %v", err)
	}
	before := history.Entries[history.CurrentIndex-1]
	if _, err := chromedp.Call(ctx, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: before.ID}); err != nil {
		tab.t.Fatalf("going back to %s: %v", before.URL, err)
	}
	select {
	case <-arrived:
	case <-ctx.Done():
		tab.t.Fatalf("going back to %s: %v", before.URL, ctx.Err())
	}
	Eval[bool](tab, `new Promise(done => document.readyState === "complete" ? done(true) : addEventListener("load", () => done(true)))`)
	var status int64
	for _, request := range record.Requests() {
		if request.Type == "Document" {
			status = request.Status
		}
	}
	return status
}
