//go:build !unix

package badgerstore

import "os"

// lockFolder does nothing where Badger's lock cannot be taken without it.
func lockFolder(string) (*os.File, error) { return nil, nil }

// relockFolder and unlockFolder are for the files that lockFolder does not give.
func relockFolder(*os.File, string) error { return nil }

func unlockFolder(*os.File) error { return nil }

// diskFull is not asked where a folder is made without taking space.
func diskFull(error) bool { return false }
