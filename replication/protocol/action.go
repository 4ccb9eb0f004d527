package protocol

// Do says what an Action is.
type Do uint8

// Actions. The runtime carries them out in the order in which they are given. Those that
// say "reports" end with an event; the core waits for it.
const (
	// Send Message to Node. It may be lost, delayed, repeated.
	Send Do = iota + 1
	// Acknowledge is to send Message, an Ack, to Node on the way back of its stream, if there is one, so that it comes by fewer
	// hands; else as with Send. It may overtake other messages, and they it.
	Acknowledge
	// Append to the log the records that came with the Records message which is being
	// stepped. Reports Appended, and Synced after an fsync. While it can not be
	// done (disk full) it waits, and what follows with it; if it never can, the process ends.
	Append
	// AppendEpoch appends a record under Epoch and makes this the epoch of
	// all records to come. Reports Appended.
	AppendEpoch
	// Truncate drops all records behind Seq, durably. Reports Truncated.
	Truncate
	// FullSync gives up this log, durably: first its LogID is replaced by one
	// of a new lineage, then its data by a checkpoint of Node's committed
	// data. Reports FullSynced.
	FullSync
	// Stream ships to Node all records behind Seq as soon as they are
	// appended, in Records messages with Epoch and Session and the newest commit
	// position. It replaces an earlier stream to Node.
	Stream
	// StopStream ends the stream to Node, if there is one.
	StopStream
	// SetCommitted: everything up to Seq is decided. It may be flushed, read, and
	// replied to.
	SetCommitted
	// Serve commands of clients from now on, under Epoch: reads while the
	// lease lasts (before the first Lease: none), and writes if Writable (else they are
	// refused before they are appended, NOREPLICAS).
	Serve
	// Lease: reads may be served while the monotonic clock is before Until.
	// Checked after the view is taken and before the reply leaves.
	Lease
	// Drain: take no more commands of clients, finish those that are being appended.
	// Reports Stopped.
	Drain
	// StopLeading: as Drain, and the lease and all streams end. Who waits for a
	// record that is not committed learns that its outcome is unknown.
	// Reports Stopped.
	StopLeading
	// ReadState reads /state, not older than now. Reports StateRead, if it works.
	ReadState
	// CompareAndSet writes State if the version is still Version. Reports
	// Swapped, always.
	CompareAndSet
	// Claim is CompareAndSet in one transaction with a check that the
	// ephemeral node of this incarnation exists.
	Claim
	// Left: the process may end, closing the log in order. Nothing follows.
	Left
)

var doNames = [...]string{"?", "Send", "Acknowledge", "Append", "AppendEpoch", "Truncate", "FullSync", "Stream", "StopStream", "SetCommitted",
	"Serve", "Lease", "Drain", "StopLeading", "ReadState", "CompareAndSet", "Claim", "Left"}

func (d Do) String() string { return doNames[min(int(d), len(doNames)-1)] }

// Action is what a core wants done. Fields that its kind does not mention are
// zero.
type Action struct {
	Do       Do
	Writable bool
	Version  int32
	Node     string
	Epoch    uint64
	Session  uint64
	Seq      uint64
	Until    int64 // monotonic nanoseconds of this node; math.MaxInt64: for as long as it leads
	Message  Message
	State    State // its ISR is not changed afterwards
}
