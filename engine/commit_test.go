package engine

import (
	"testing"
	"testing/synctest"
)

// TestPublishWaitsForEarlierBatches: Apply may not return while an earlier batch is still being inserted, as the
// applied position, at which its caller reads its own writes, stays behind both.
func TestPublishWaitsForEarlierBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pipeline
		p.pub.moved.L = &p.pub
		first, second := p.takeLocked(), p.takeLocked()
		visible := uint64(0)
		returned := false
		go func() {
			p.publish(second, 5)
			returned, visible = true, p.applied.Load()
		}()
		synctest.Wait()
		if returned {
			t.Errorf("published at position %d", visible)
		}
		p.publish(first, 3)
		synctest.Wait()
		if !returned || visible != 5 {
			t.Errorf("returned: %v, at position %d", returned, visible)
		}
	})
}
