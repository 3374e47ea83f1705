package browser

import "testing"

const form = blank + `<form action="about:blank"><input id="one"><input id="two"><button>x</button></form>
<script>
window.seen = []
addEventListener("keydown", e => seen.push([e.key, e.shiftKey, e.isTrusted, e.getModifierState("CapsLock"), e.getModifierState("Shift")].join(" ")))
</script>`

func TestPressMovesTheFocus(t *testing.T) {
	tab := newTab(t)
	tab.Visit(form)
	focus := func() string { return Eval[string](tab, `document.activeElement.id || document.activeElement.tagName`) }
	for _, c := range []struct {
		name  string
		press func()
		want  string
	}{
		{"Tab", func() { tab.Press(KeyTab) }, "one"},
		{"text", func() { tab.Press("aB") }, "one"},
		{"Tab twice", func() { tab.Press(KeyTab + KeyTab) }, "BUTTON"},
		{"Shift and Tab", func() { tab.PressShifted(KeyTab) }, "two"},
	} {
		c.press()
		if got := focus(); got != c.want {
			t.Errorf("after %s the focus is on %q, want %q", c.name, got, c.want)
		}
	}
	if got := Eval[string](tab, `one.value`); got != "aB" {
		t.Errorf("the field has %q", got)
	}
}

func TestLeaveByPressingEnter(t *testing.T) {
	tab := newTab(t)
	site := serve(t)
	tab.Visit(site + "/form")
	tab.Press(KeyTab + "x")
	if status := tab.LeaveByPressing(KeyEnter); status != 401 || tab.URL() != site+"/refused?name=x" {
		t.Errorf("status %d at %s", status, tab.URL())
	}
}

func TestCapsLock(t *testing.T) {
	tab := newTab(t)
	tab.Visit(form)
	tab.Press(KeyTab + "a")
	tab.CapsLock(true)
	tab.Press("B")
	tab.PressShifted("c")
	tab.CapsLock(false)
	tab.Press("d")
	if got := Eval[string](tab, `seen.slice(1).join(", ")`); got != "a false true false false, B true true true true, c true true true true, d false true false false" {
		t.Errorf("the page saw %s", got)
	}
}
