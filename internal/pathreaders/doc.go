// Package pathreaders imitates how servers read the path of a request. Tests
// compare what the gate decides with all of them: what one reads as another
// resource than the gate did is a way past it.
package pathreaders
