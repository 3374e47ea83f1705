(function () {
  // Each part does without the others, and the page without all of them.
  var page = document, hash = location.hash;
  var password = page.getElementById("password"), form = password && password.form;

  // The browser keeps what stands after # through the redirect to this page, and
  // sends it to nobody.
  if (hash.length > 1) {
    var next = form && form.elements.next;
    if (next && next.value.indexOf("#") < 0) next.value += hash;
    page.querySelectorAll("nav a,#continue").forEach(function (link) {
      if (link.href.indexOf("#") < 0) link.href += hash;
    });
    page.querySelectorAll("nav form").forEach(function (list) { list.action += hash; });
  }

  page.querySelectorAll("time").forEach(function (time) {
    time.textContent = new Date(time.dateTime).toLocaleString(page.documentElement.lang, {dateStyle: "medium", timeStyle: "short"});
  });

  if (!form) return;
  var reveal = page.getElementById("reveal"), caps = page.getElementById("caps"), sent = 0;
  function show(yes) {
    password.type = yes ? "text" : "password";
    reveal.setAttribute("aria-pressed", yes);
  }
  reveal.hidden = false;
  reveal.addEventListener("click", function () { show(password.type === "password"); });

  function hint(event) {
    if (event.getModifierState) caps.textContent = event.getModifierState("CapsLock") ? caps.dataset.text : "";
  }
  password.addEventListener("keydown", hint);
  password.addEventListener("keyup", hint);
  password.addEventListener("blur", function () { caps.textContent = ""; });

  // A directory may take its time; a second click would be a second attempt.
  form.addEventListener("submit", function (event) {
    if (Date.now() - sent < 8000) return event.preventDefault();
    sent = Date.now();
    show(false);
    form.setAttribute("aria-busy", "true");
    setTimeout(ready, 8000);
  });
  function ready() { sent = 0; form.removeAttribute("aria-busy"); }
  addEventListener("pageshow", ready);
})();
