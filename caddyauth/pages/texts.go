package pages

// texts is one language's catalogue. Every language has the same keys:
//
//	title.<kind>   name of a page, as its heading and window title
//	code.<code>    why something was refused, one or two whole sentences
//	code.other     the same, for a code without a text of its own
//	state.<detail> the same, for an account_restricted that names its state
//	retry.*        when to try again, with {n} for the minutes
//	grace.*        sign-ins left with an expired password, with {n} for their number
//	field.*        labels of the form
//	button.*       what a button does
//	link.*         where a link leads
//	label.*        what a part of the page is called, for screen readers
//	hint.*         what the script tells while somebody types
//	session.*      what the list of sessions says of one
//	signed_in_as   a sentence with {user} where the name goes
//	signed_out     what a sign-out did
//	needs.*        the groups that are needed, with {groups}: one, or any of several
//	reference      a sentence with {ref}
//	error          what an alert begins with
//
// Texts with a number have the keys .one and .other. The texts address the
// reader formally. A wrong name, a wrong password and a locked account share one
// text: it must not say which accounts exist.
type texts map[string]string
