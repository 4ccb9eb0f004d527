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
// keeping them would have taken more than Options.PinBytes, or because the log is closed or has failed.
func (p *Pin) Lost() bool {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	return p.lost || p.l.mu.err != nil
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

// Full tells whether nothing is written at the moment because the disk is full.
func (l *Log) Full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.full != nil
}

// Behind estimates how many bytes of the log, as far as it is written, come behind sequence number seq: within a
// segment, records are taken to be of the same size. It is 0 only if there are none.
func (l *Log) Behind(seq uint64) (bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.written.Load()
	if seq >= last {
		return 0
	}
	for i := len(l.mu.segments) - 1; i >= 0 && seq < last; i-- {
		s := l.mu.segments[i]
		if s.first > last {
			continue // nothing of it is written
		}
		part := float64(last-max(seq, s.first-1)) / float64(last-s.first+1)
		bytes += int64(part * float64(s.end))
		last = s.first - 1
	}
	return max(bytes, 1)
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
