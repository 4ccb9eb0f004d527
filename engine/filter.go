package engine

// Filter lets the owner of the data drop records that its own data makes
// unreachable, while a compaction passes over them. One Filter serves one
// compaction, in key order, on one goroutine.
type Filter interface {
	// Drop says whether the record may go. It is asked only about the newest
	// version of a key, when no open snapshot can see it. Key and value are
	// valid during the call only.
	Drop(key, value []byte) bool
}
