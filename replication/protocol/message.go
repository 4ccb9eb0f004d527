package protocol

// Kind says what a Message is.
type Kind uint8

// Messages. Each carries the epoch of its sender. One with a lower epoch than the
// receiver's is refused (Fenced), one with a higher epoch deposes.
const (
	// Beacon, leader to everybody: I lead. At, Seq (end of its log), Commit,
	// Session (of the receiver).
	Beacon Kind = iota + 1
	// Ack, follower to leader: my log is yours up to Seq, as durable as it has
	// to be (nothing, if Session is 0). In reply to a Beacon: its At, and Synced if that is on disk. Whoever sends that
	// does not claim before Grace has passed. Otherwise At is NoBeacon.
	Ack
	// Join, follower to leader: my log is Log and ends at Last. Where do we part?
	Join
	// Answer, leader to follower, to the Join with the same Log and Last. Seq (end of its log). Session 0:
	// our logs part at Point, cut yours and ask again. Otherwise the logs agree
	// and Records of this Session follow. Full: my log does not reach
	// back to where yours ends.
	Answer
	// Records, leader to follower: log records, in order, of one epoch. They
	// follow the one that ends with Seq; the last one is Last. Commit. The
	// runtime carries the records and makes this message, see action Stream.
	Records
	// Standing, between nodes that hear no leader: my log is Log and ends at
	// Last. At and Incarnation are the asker's; Reply returns them.
	Standing
	// Resign, leader to follower: I serve no more. Claim.
	Resign
	// Leave, follower to leader: I am about to stop. Take me out of the ISR.
	Leave
	// Fenced, to a sender with a lower epoch.
	Fenced
)

// NoBeacon is the At of a message that is no reply.
const NoBeacon = never

var kindNames = [...]string{"?", "Beacon", "Ack", "Join", "Answer", "Records", "Standing", "Resign", "Leave", "Fenced"}

func (k Kind) String() string { return kindNames[min(int(k), len(kindNames)-1)] }

// Message is what cores send each other. Fields that a kind does not mention are
// zero.
type Message struct {
	Kind    Kind
	Full    bool
	Reply   bool
	Synced  bool
	Epoch   uint64
	Session uint64
	At      int64 // monotonic nanoseconds of whoever asked; others only return it
	Seq     uint64
	Commit  uint64
	Last    Position
	Point   Position
	Log     LogID

	Incarnation string
}
