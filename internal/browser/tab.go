package browser

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// patience is how long anything in the browser may take: long enough for a
// machine that does much else.
const patience = 90 * time.Second

// Tab is a tab in a profile of its own: it has no cookies yet.
type Tab struct {
	t   testing.TB
	ctx context.Context
}

// Tab opens a tab until the test ends.
func (s *Shared) Tab(t testing.TB) *Tab {
	t.Helper()
	return open(t, s.browser(t), chromedp.WithNewBrowserContext())
}

// Another opens a further tab in the same profile.
func (tab *Tab) Another() *Tab {
	tab.t.Helper()
	return open(tab.t, tab.ctx)
}

func open(t testing.TB, parent context.Context, options ...chromedp.ContextOption) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	t.Cleanup(cancel)
	// Without a deadline: the tab lives as long as the context of its first use.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	return &Tab{t, ctx}
}

// Visit goes to an address as if it was typed, and returns the status of the
// answer that it ends at.
func (tab *Tab) Visit(url string) int64 {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	response, err := chromedp.Run(ctx, chromedp.NavigateResponse(url))
	if err != nil {
		tab.t.Fatalf("visiting %s: %v", url, err)
	}
	if response == nil {
		return 0
	}
	return response.Status
}

// Eval returns what a script comes to in the page, once it is settled.
func Eval[T any](tab *Tab, script string) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		tab.t.Fatalf("evaluating %.300s: %v", script, err)
	}
	return value
}

// Leave runs a script that makes the page go elsewhere, and returns the status
// of the answer that the tab ends at.
func (tab *Tab) Leave(script string) int64 {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	response, err := chromedp.RunResponse(ctx, chromedp.Evaluate[chromedp.Void](script))
	if err != nil {
		tab.t.Fatalf("leaving the page by %.300s: %v", script, err)
	}
	if response == nil {
		return 0
	}
	return response.Status
}

// Type enters text into the field that a CSS selector finds, key by key.
func (tab *Tab) Type(selector, text string) {
	tab.t.Helper()
	tab.do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Click clicks what a CSS selector finds, which makes the page go elsewhere, and
// returns the status of the answer that the tab ends at.
func (tab *Tab) Click(selector string) int64 {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	response, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
	if err != nil {
		tab.t.Fatalf("clicking %s: %v", selector, err)
	}
	if response == nil {
		return 0
	}
	return response.Status
}

// URL is the address that the tab shows.
func (tab *Tab) URL() string { return Eval[string](tab, "location.href") }

// Text is the text of the page.
func (tab *Tab) Text() string { return Eval[string](tab, "document.body.innerText") }

// Frames are the addresses of the documents in the page's frames: where one may
// not be framed, an address of the browser's own.
func (tab *Tab) Frames() []string {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	tree, err := chromedp.Call(ctx, page.GetFrameTree, cdp.Empty{})
	if err != nil {
		tab.t.Fatalf("looking at the frames: %v", err)
	}
	var addresses []string
	for _, child := range tree.FrameTree.ChildFrames {
		addresses = append(addresses, child.Frame.URL)
	}
	// Those of another site have a process, and a target, of their own.
	targets, err := chromedp.Targets(ctx)
	if err != nil {
		tab.t.Fatalf("looking at the frames: %v", err)
	}
	for _, target := range targets {
		if target.Type == "iframe" && target.ParentID == chromedp.FromContext(ctx).Target.TargetID {
			frame := open(tab.t, tab.ctx, chromedp.WithTargetID(target.TargetID), chromedp.WithDetachOnCancel())
			addresses = append(addresses, frame.URL())
		}
	}
	return addresses
}

func (tab *Tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tab.t.Fatal(err)
	}
}
