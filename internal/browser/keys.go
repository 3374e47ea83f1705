package browser

import (
	"context"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Keys that are no character of a text, for Press.
const (
	KeyTab       = kb.Tab
	KeyEnter     = kb.Enter
	KeyEscape    = kb.Escape
	KeyBackspace = kb.Backspace
	KeyCapsLock  = kb.CapsLock
)

// Press presses keys one after the other, wherever the focus is: those of a
// text, or those above.
func (tab *Tab) Press(keys string) {
	tab.t.Helper()
	tab.do(chromedp.KeyEvent(keys))
}

// PressShifted presses keys while Shift is held: with KeyTab it moves the focus
// back.
func (tab *Tab) PressShifted(keys string) {
	tab.t.Helper()
	tab.do(chromedp.KeyEvent(keys, chromedp.KeyModifiers(chromedp.ModifierShift)))
}

// LeaveByPressing presses keys that make the page go elsewhere, and returns the
// status of the answer that the tab ends at.
func (tab *Tab) LeaveByPressing(keys string) int64 {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	response, err := chromedp.RunResponse(ctx, chromedp.KeyEvent(keys))
	if err != nil {
		tab.t.Fatalf("leaving the page by pressing %q: %v", keys, err)
	}
	if response == nil {
		return 0
	}
	return response.Status
}

// CapsLock switches the lock for the keys that are pressed in this document.
// The protocol knows no such state, so it is put where pages look it up; letters
// stay as they are typed.
func (tab *Tab) CapsLock(on bool) {
	tab.t.Helper()
	Eval[bool](tab, `(() => {
		const real = KeyboardEvent.prototype.getModifierState.real ?? KeyboardEvent.prototype.getModifierState
		KeyboardEvent.prototype.getModifierState = function (name) {
			return name === "CapsLock" ? `+either(on, "true", "false")+` : real.call(this, name)
		}
		KeyboardEvent.prototype.getModifierState.real = real
		return true
	})()`)
}
