package protocol

import "slices"

// Position is a place in a log: the sequence number of a record's last
// operation and the epoch under which the record was written. Two logs that
// both have a record at one position are the same up to there, because only
// one incarnation of one node ever appends under an epoch (see State).
type Position struct {
	Epoch uint64
	Seq   uint64 // 0: before the first record
}

// Less orders positions: a later epoch beats a longer log.
func (p Position) Less(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Seq < q.Seq
}

// EpochStart says that the records from First on were written under Epoch, up
// to where the next epoch begins.
type EpochStart struct {
	Epoch uint64
	First uint64 // sequence number
}

// history is the epoch table of a log: which sequence numbers were written
// under which epoch, from base (exclusive) to last. It is what finds the place
// where two logs part, without looking at records (KIP-101).
type history struct {
	base   Position     // of the record before the first one that the log still has
	starts []EpochStart // ascending in both fields; none of them empty
	last   uint64
}

// end returns the position of the last record.
func (h *history) end() Position {
	if len(h.starts) == 0 {
		return h.base
	}
	return Position{h.starts[len(h.starts)-1].Epoch, h.last}
}

// extend says that everything between the present end and last is of one epoch.
func (h *history) extend(epoch, last uint64) {
	if last <= h.last {
		return
	}
	if h.end().Epoch != epoch || len(h.starts) == 0 {
		h.starts = append(h.starts, EpochStart{epoch, h.last + 1})
	}
	h.last = last
}

// cut forgets what is behind seq, which is not before the base.
func (h *history) cut(seq uint64) {
	for len(h.starts) > 0 && h.starts[len(h.starts)-1].First > seq {
		h.starts = h.starts[:len(h.starts)-1]
	}
	h.last = min(h.last, seq)
}

// release says that the log now begins behind seq.
func (h *history) release(seq uint64) {
	seq = min(seq, h.last)
	if seq <= h.base.Seq {
		return
	}
	h.base = Position{h.epochAt(seq), seq}
	for len(h.starts) > 1 && h.starts[1].First <= seq+1 {
		h.starts = slices.Delete(h.starts, 0, 1)
	}
	if seq == h.last {
		h.starts = h.starts[:0]
	} else if h.starts[0].First <= seq {
		h.starts[0].First = seq + 1
	}
}

// epochAt returns the epoch of the record with seq, base <= seq <= last.
func (h *history) epochAt(seq uint64) uint64 {
	epoch := h.base.Epoch
	for _, s := range h.starts {
		if s.First > seq {
			break
		}
		epoch = s.Epoch
	}
	return epoch
}

// floor returns the end of the last epoch that is not above the given one.
// It is not ok if the log does not reach back that far.
func (h *history) floor(epoch uint64) (end Position, ok bool) {
	end, ok = h.base, h.base.Epoch <= epoch
	for i, s := range h.starts {
		if s.Epoch > epoch {
			break
		}
		end, ok = Position{s.Epoch, h.last}, true
		if i+1 < len(h.starts) {
			end.Seq = h.starts[i+1].First - 1
		}
	}
	return end, ok
}

// divergence answers a log that ends with p: with p itself if this log has
// it, else with a position that this log has and behind which the other one
// has nothing in common with it. It is not ok if that is before the base.
func (h *history) divergence(p Position) (Position, bool) {
	end, ok := h.floor(p.Epoch)
	if !ok || p.Seq < h.base.Seq {
		return Position{}, false
	}
	if end.Epoch == p.Epoch && p.Seq <= end.Seq {
		return p, true
	}
	return end, true
}

// keep returns how much of this log may agree with another one that gave
// point as divergence. It is not ok if that is before the base.
func (h *history) keep(point Position) (seq uint64, ok bool) {
	end, ok := h.floor(point.Epoch)
	if end.Epoch == point.Epoch {
		end.Seq = min(end.Seq, point.Seq)
	}
	return end.Seq, ok && end.Seq >= h.base.Seq
}
