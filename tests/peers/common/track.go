package common

import (
	"context"
	"sync"
	"time"
)

// Tracker remembers, by name, how the last handler of that name went.
type Tracker struct {
	mu      sync.Mutex
	runs    map[string]*run
	changed chan struct{}
}

type run struct {
	state  string
	reason string
}

// NewTracker is an empty book.
func NewTracker() *Tracker {
	return &Tracker{runs: map[string]*run{}, changed: make(chan struct{})}
}

// Begin notes that a handler started. The returned function notes its end:
// cancelled if the reason is not nil, else finished.
func (t *Tracker) Begin(name string) (end func(reason error)) {
	r := &run{state: "running"}
	t.update(func() { t.runs[name] = r })
	return func(reason error) {
		t.update(func() {
			r.state = "finished"
			if reason != nil {
				r.state, r.reason = "cancelled", reason.Error()
			}
		})
	}
}

func (t *Tracker) update(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
	close(t.changed)
	t.changed = make(chan struct{})
}

// Wait waits until the named handler has ended (or, with started, begun) and
// says how it went; it gives up after the limit.
func (t *Tracker) Wait(name string, started bool, limit time.Duration) (state, reason string) {
	late := time.After(limit)
	for {
		t.mu.Lock()
		r, changed := t.runs[name], t.changed
		state, reason = "unknown", ""
		if r != nil {
			state, reason = r.state, r.reason
		}
		t.mu.Unlock()
		if r != nil && (started || state != "running") {
			return state, reason
		}
		select {
		case <-changed:
		case <-late:
			return state, reason
		}
	}
}

// Sleep waits, and fails if the context ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
