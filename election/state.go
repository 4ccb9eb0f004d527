package election

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// State is what the nodes of a cluster agree on through ZooKeeper: the content of the znode state. It is changed by
// CompareAndSet and Claim only.
//
// To change it, Clone the current one, so that fields and members' fields of a newer version are kept.
//
//	{
//	  "cluster":     "k3xq...",                        made with the state, never changed
//	  "corecache":   1,                                format
//	  "epoch":       7,                                grows by one with each claim; 0 = nobody has led yet
//	  "incarnation": "mz2a...",                        of the leader; absent before the first claim
//	  "isr":         [{"data":"p7ha...","id":"n1"}],   the in-sync replicas; never empty
//	  "leader":      "n1"                              absent before the first claim; one of isr
//	}
type State struct {
	Cluster     string
	Epoch       uint64
	Leader      string // id of a node
	Incarnation string // the run of the leader's process which made the claim
	ISR         []Member

	extra fields // of a newer version
}

// Member is a node with a copy of the data.
type Member struct {
	ID   string
	Data string // names the copy: a node that lost its disk comes back with another one

	extra fields
}

const (
	maxStateSize = 512 << 10 // bytes; ZooKeeper takes 1 MiB
	maxMembers   = 1000
)

// Clone returns a copy that shares nothing that can be changed.
func (s State) Clone() State {
	s.ISR = slices.Clone(s.ISR)
	s.extra = maps.Clone(s.extra)
	return s
}

// Equal tells whether two states have the same encoding.
func (s State) Equal(o State) bool { return bytes.Equal(s.encode(), o.encode()) }

// Member returns the member of the ISR with this id.
func (s State) Member(id string) (Member, bool) {
	i := slices.IndexFunc(s.ISR, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return s.ISR[i], true
}

// check finds what no state may be.
func (s State) check() error {
	switch {
	case !validID(s.Cluster):
		return errors.New("no cluster id")
	case len(s.ISR) == 0 || len(s.ISR) > maxMembers:
		return fmt.Errorf("%d in-sync replicas", len(s.ISR))
	case (s.Leader == "") != (s.Incarnation == "") || (s.Leader == "") != (s.Epoch == 0):
		return fmt.Errorf("epoch %d, leader %q and incarnation %q do not go together", s.Epoch, s.Leader, s.Incarnation)
	case s.Incarnation != "" && !validID(s.Incarnation):
		return fmt.Errorf("incarnation %q", s.Incarnation)
	}
	seen := map[string]bool{}
	for _, m := range s.ISR {
		if !validID(m.ID) || m.Data != "" && !validID(m.Data) || seen[m.ID] {
			return fmt.Errorf("in-sync replica %q with data %q", m.ID, m.Data)
		}
		seen[m.ID] = true
	}
	if s.Leader != "" && !seen[s.Leader] {
		return fmt.Errorf("leader %q is not in sync", s.Leader)
	}
	return nil
}

func (s State) encode() []byte {
	f := maps.Clone(s.extra)
	if f == nil {
		f = fields{}
	}
	f.put(formatKey, format)
	f.put("cluster", s.Cluster)
	f.put("epoch", s.Epoch)
	if s.Leader != "" {
		f.put("leader", s.Leader)
		f.put("incarnation", s.Incarnation)
	}
	isr := make([]fields, len(s.ISR))
	for i, m := range s.ISR {
		isr[i] = m.fields()
	}
	f.put("isr", isr)
	return f.encode()
}

func (m Member) fields() fields {
	f := maps.Clone(m.extra)
	if f == nil {
		f = fields{}
	}
	f.put("id", m.ID)
	if m.Data != "" {
		f.put("data", m.Data)
	}
	return f
}

// decodeState reads what encode has written, in this or a newer version.
func decodeState(data []byte) (State, error) {
	if len(data) > maxStateSize {
		return State{}, fmt.Errorf("%w: %d bytes", errNotOurs, len(data))
	}
	f, err := parseFields(data)
	if err != nil {
		return State{}, err
	}
	var s State
	var isr []fields
	err = errors.Join(f.take("cluster", &s.Cluster), f.take("epoch", &s.Epoch), f.take("leader", &s.Leader),
		f.take("incarnation", &s.Incarnation), f.take("isr", &isr))
	for _, m := range isr {
		var member Member
		err = errors.Join(err, m.take("id", &member.ID), m.take("data", &member.Data))
		member.extra = m.rest()
		s.ISR = append(s.ISR, member)
	}
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return State{}, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	s.extra = f.rest()
	return s, nil
}
