// Package screenshots takes the pictures of docs/images: the real program, with
// a directory of its own, seen by a headless Chromium. scripts/screenshots.sh
// puts new ones there; without it the tests take them all the same, to see that
// they can be taken, and keep none.
package screenshots
