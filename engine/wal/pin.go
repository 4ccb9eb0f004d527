package wal

import "fmt"

// Pin keeps the log from a sequence number on for somebody who will read it, also while he
// has no reader. What it keeps beyond what recovery needs is bounded by
// Options.PinBytes: behind that the oldest segments go, and the pin is lost. A firm pin has no bound; it
// is for what does not take long.
type Pin struct {
	l    *Log
	firm bool
	from uint64 // guarded by Log.mu, as is lost
	lost bool
}

// Pin keeps the records from sequence number from on. The error wraps ErrGone if that
// was released. The caller must Close the result.
func (l *Log) Pin(from uint64) (*Pin, error) { return l.pin(from, false) }

// PinFirmly is Pin without a bound.
func (l *Log) PinFirmly(from uint64) (*Pin, error) { return l.pin(from, true) }

func (l *Log) pin(from uint64, firm bool) (*Pin, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.err != nil {
		return nil, l.mu.err
	}
	if first := l.firstLocked(); from < first {
		return nil, fmt.Errorf("pin from %d: %w: it begins with %d", from, ErrGone, first)
	}
	p := &Pin{l: l, firm: firm, from: from}
	l.mu.pins[p] = struct{}{}
	return p, nil
}

// Advance lets the records before from go, at the next Release. It never goes back.
func (p *Pin) Advance(from uint64) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.from = max(p.from, from)
}

// Lost tells whether records that the pin was to keep are gone, because
// keeping them would have taken more than Options.PinBytes.
func (p *Pin) Lost() bool {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	return p.lost
}

// Close lets go what only this pin kept. A second Close does nothing.
func (p *Pin) Close() {
	p.l.mu.Lock()
	_, open := p.l.mu.pins[p]
	delete(p.l.mu.pins, p)
	released := p.l.mu.released
	p.l.mu.Unlock()
	if open {
		p.l.Release(released)
	}
}

// keepLocked returns how many bytes of released segments must remain behind the
// oldest one, which ends before sequence number end, for it to go; or that it must stay.
func (l *Log) keepLocked(end uint64) (bytes int64, stays bool) {
	bytes = l.keepBytes.Load()
	for p := range l.mu.pins {
		if p.from < end {
			bytes = max(bytes, l.pinBytes.Load())
			stays = stays || p.firm
		}
	}
	return bytes, stays
}

// loseLocked notes whose records go with the oldest segment.
func (l *Log) loseLocked(end uint64) {
	for p := range l.mu.pins {
		p.lost = p.lost || p.from < end
	}
}
