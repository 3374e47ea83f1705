package throttle

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"
)

func TestCodec(t *testing.T) {
	for name, want := range map[string]savedCounter{
		"one failure":         {kind: kindAccount, window: 900_000, times: []int64{1_772_366_400_000}},
		"several, some alike": {kind: kindSource, window: 1000, times: []int64{5, 5, 7, 1_000_000}},
		"the largest":         {kind: kindDevice, window: MaxWindow.Milliseconds(), times: make([]int64, MaxFailures)},
		"the latest":          {window: 1000, times: []int64{0, latest}},
	} {
		t.Run(name, func(t *testing.T) {
			got, alias, err := decodeValue(appendCounter(nil, want))
			if err != nil || alias != nil {
				t.Fatal(alias, err)
			}
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("got %+v, want %+v", *got, want)
			}
		})
	}
	t.Run("a value has at most 4 KiB", func(t *testing.T) {
		// Steps of five bytes are as many as fit into the longest window, the
		// others of four: no more is possible.
		const long, short = 1 << 28, 1 << 21
		c := savedCounter{window: MaxWindow.Milliseconds(), times: make([]int64, MaxFailures)}
		left := MaxWindow.Milliseconds() - (MaxFailures-1)*short
		for i := len(c.times) - 1; i >= 0; i-- {
			c.times[i] = latest
			if i < len(c.times)-1 {
				step := int64(short)
				if left > long {
					step, left = long, left-long
				}
				c.times[i] = c.times[i+1] - step
			}
		}
		if n := len(appendCounter(nil, c)); n > 4<<10 {
			t.Errorf("it has %d bytes", n)
		}
	})
	t.Run("an alias", func(t *testing.T) {
		want := alias{account: key{1, 2, 15: 3}, learned: 1_772_366_400_000}
		counter, got, err := decodeValue(appendAlias(nil, want))
		if err != nil || counter != nil || *got != want {
			t.Errorf("got %+v, %+v, %v", counter, got, err)
		}
	})
}

func TestMalformedValues(t *testing.T) {
	good := appendCounter(nil, savedCounter{window: 1000, times: []int64{10, 20}})
	for name, value := range map[string][]byte{
		"nothing":                          {},
		"only a format":                    {counterFormat},
		"an unknown format":                append([]byte{9}, good[1:]...),
		"cut":                              good[:len(good)-1],
		"a byte more":                      append(bytes.Clone(good), 0),
		"an unknown kind":                  {counterFormat, byte(kinds), 1, 1, 1},
		"no failures":                      {counterFormat, 0, 1, 0, 1},
		"more failures than bytes":         {counterFormat, 0, 1, 0xe8, 0x07, 1},
		"a number of failures that is not": {counterFormat, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"a step to before 1970":            {counterFormat, 0, 1, 2, 5, 6},
		"a window too long":                append([]byte{counterFormat, 0, 0xff, 0xff, 0xff, 0xff, 0x7f}, good[4:]...),
		"a time too late":                  {counterFormat, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"an alias cut in its account":      append([]byte{aliasFormat}, make([]byte, 15)...),
		"an alias without a time":          append([]byte{aliasFormat}, make([]byte, 16)...),
		"an alias with a tail":             append(appendAlias(nil, alias{}), 0),
	} {
		t.Run(name, func(t *testing.T) {
			if counter, alias, err := decodeValue(value); err == nil {
				t.Errorf("%s is read as %+v, %+v", hex.EncodeToString(value), counter, alias)
			}
		})
	}
}

func FuzzDecodeValue(f *testing.F) {
	f.Add(appendCounter(nil, savedCounter{kind: kindDevice, window: 1000, times: []int64{10, 20, 20}}))
	f.Add(appendAlias(nil, alias{account: key{1}, learned: 5}))
	f.Add([]byte{counterFormat, 0, 1, 0xe8, 0x07, 1})
	f.Fuzz(func(t *testing.T, value []byte) {
		counter, named, err := decodeValue(value)
		if err != nil {
			return
		}
		if (counter == nil) == (named == nil) {
			t.Fatalf("%+v and %+v", counter, named)
		}
		if named != nil {
			if _, again, err := decodeValue(appendAlias(nil, *named)); err != nil || *again != *named {
				t.Fatalf("%+v comes back as %+v, %v", named, again, err)
			}
			return
		}
		if n := len(counter.times); n == 0 || n > MaxFailures {
			t.Fatalf("%d failures", n)
		}
		for i := range counter.times {
			if i > 0 && counter.times[i] < counter.times[i-1] || counter.times[i] < 0 {
				t.Fatalf("times in disorder: %v", counter.times)
			}
		}
		again, _, err := decodeValue(appendCounter(nil, *counter))
		if err != nil || !reflect.DeepEqual(again, counter) {
			t.Fatalf("%+v comes back as %+v, %v", counter, again, err)
		}
	})
}
