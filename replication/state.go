package replication

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gtinside/corecache/election"
	"github.com/gtinside/corecache/replication/protocol"
)

// In ZooKeeper the log of a member is the text "lineage.tears", in decimal, as election.Member.Data.

func logText(id protocol.LogID) string { return fmt.Sprintf("%d.%d", id.Lineage, id.Tears) }

// parseLog returns the zero LogID, which is nobody's, for any other text.
func parseLog(s string) protocol.LogID {
	a, b, _ := strings.Cut(s, ".")
	lineage, err1 := strconv.ParseUint(a, 10, 64)
	tears, err2 := strconv.ParseUint(b, 10, 32)
	if err1 != nil || err2 != nil {
		return protocol.LogID{}
	}
	return protocol.LogID{Lineage: lineage, Tears: uint32(tears)}
}

// coreState is what the core sees of a state. Before the first claim its member is whoever founded the cluster, with a text that
// names no log.
func coreState(s election.State) protocol.State {
	c := protocol.State{Epoch: s.Epoch, Leader: s.Leader, Incarnation: s.Incarnation}
	for _, m := range s.ISR {
		c.ISR = append(c.ISR, protocol.Member{Node: m.ID, Log: parseLog(m.Data)})
	}
	return c
}

// wantedState is base, with what the core wants in it.
func wantedState(base election.State, c protocol.State) election.State {
	s := base.Clone()
	s.Epoch, s.Leader, s.Incarnation, s.ISR = c.Epoch, c.Leader, c.Incarnation, nil
	for _, m := range c.ISR {
		member, _ := base.Member(m.Node)
		member.ID, member.Data = m.Node, logText(m.Log)
		s.ISR = append(s.ISR, member)
	}
	return s
}

// result is the outcome of a compare-and-set for the core.
func result(err error) protocol.Result {
	switch {
	case err == nil:
		return protocol.Applied
	case errors.Is(err, election.ErrUnknown):
		return protocol.Unknown
	case errors.Is(err, election.ErrConflict):
		return protocol.Conflict
	}
	return protocol.Refused
}
