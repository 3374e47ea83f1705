package browser

import "testing"

func TestScriptsOff(t *testing.T) {
	tab := newTab(t)
	const page = blank + `<p>no script</p><script>document.querySelector("p").textContent = "script"</script>`
	for _, on := range []bool{true, false, true} {
		tab.Scripts(on)
		tab.Visit(page)
		want := either(on, "script", "no script")
		if got := Eval[string](tab, `document.querySelector("p").textContent`); got != want {
			t.Errorf("scripts %v: the page says %q, want %q", on, got, want)
		}
	}
}

// A policy that forbids all scripts does not keep it out.
func TestPrepend(t *testing.T) {
	tab := newTab(t)
	site := serve(t)
	tab.Visit(site + "/quiet")
	tab.Prepend(`window.prepended = document.title || "before everything"`)
	if got := Eval[string](tab, `String(window.prepended)`); got != "undefined" {
		t.Errorf("in the document that was there before: %q", got)
	}
	for _, path := range []string{"/form", "/strict"} {
		tab.Visit(site + path)
		if got := Eval[string](tab, `String(window.prepended)`); got != "before everything" {
			t.Errorf("%s: %q", path, got)
		}
	}
}
