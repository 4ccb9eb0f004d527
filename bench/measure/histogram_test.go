package measure

import (
	"testing"
	"time"
)

func TestBucketBounds(t *testing.T) {
	for v := uint64(0); v < 1<<40; v += 1 + v/37 {
		b := bucket(v)
		if v > upper(b) || (b > 0 && v <= upper(b-1)) {
			t.Fatalf("%d lies in bucket %d with bounds (%d, %d]", v, b, upper(b-1), upper(b))
		}
		if upper(b)-v > v/32+1 {
			t.Fatalf("bucket of %d ends at %d: too wide", v, upper(b))
		}
	}
}

func TestQuantiles(t *testing.T) {
	var a, b Histogram
	for i := 1; i <= 1000; i++ {
		h := &a
		if i%2 == 0 {
			h = &b
		}
		h.Add(time.Duration(i) * time.Microsecond)
	}
	a.Merge(&b)
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 501, 0.99: 991, 1: 1000} {
		got := a.Quantile(q)
		want *= time.Microsecond
		if got < want || got > want+want/16 {
			t.Errorf("quantile %v is %v, want about %v", q, got, want)
		}
	}
	if a.Count() != 1000 || a.Max() != time.Millisecond {
		t.Errorf("count %d, max %v", a.Count(), a.Max())
	}
}
