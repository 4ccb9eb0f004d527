package workload

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/gtinside/corecache/bench/store"
)

func TestValuesProveThemselves(t *testing.T) {
	v := newValues(128)
	value := v.append(nil, 77<<insertBits, 3)
	if version, err := v.check(77<<insertBits, value); err != nil || version != 3 {
		t.Fatalf("good value: version %d, %v", version, err)
	}
	for i := range value {
		bad := bytes.Clone(value)
		bad[i] ^= 0x40
		if _, err := v.check(77<<insertBits, bad); err == nil {
			t.Errorf("flipped byte %d is not noticed", i)
		}
	}
	if _, err := v.check(78<<insertBits, value); err == nil {
		t.Error("another record's value is not noticed")
	}
	if _, err := v.check(77<<insertBits, value[:100]); err == nil {
		t.Error("a short value is not noticed")
	}
}

func TestScatterVisitsAll(t *testing.T) {
	for _, n := range []int{1, 2, 7, 1000, 150_000} {
		seen := make([]bool, n)
		for i := range n {
			seen[scatter(i, n)] = true
		}
		for i, ok := range seen {
			if !ok {
				t.Fatalf("%d of %d is never visited", i, n)
			}
		}
	}
}

func TestZipf(t *testing.T) {
	const n, draws = 10_000, 200_000
	z, rng := newZipf(n), rand.New(rand.NewPCG(1, 1))
	counts := make([]int, n)
	for range draws {
		counts[z.rank(rng)]++
	}
	if first := float64(counts[0]) * z.zetan / draws; first < 0.9 || first > 1.1 {
		t.Errorf("rank 0 comes %.2f times as often as it should", first)
	}
	half := 0
	for _, c := range counts[n/2:] {
		half += c
	}
	if share := float64(half) / draws; share < 0.04 || share > 0.12 {
		t.Errorf("the less popular half gets %.3f of the draws", share)
	}
}

func TestInsertsDoNotMeetPreparedRecords(t *testing.T) {
	for k := range uint64(1000) {
		if id := insertedID(k, 100); id&(1<<insertBits-1) == 0 || id>>insertBits >= 100 {
			t.Fatalf("insert %d has the id %x", k, id)
		}
	}
}

// TestRows runs every row on every engine in miniature: the values must be right.
func TestRows(t *testing.T) {
	scale := sized("tiny", 4000, 256<<10, 0.02)
	for _, e := range store.Engines() {
		t.Run(e.Name, func(t *testing.T) {
			versions := filepath.Join(t.TempDir(), "versions")
			runIn := func(row, dir string) {
				t.Helper()
				r, err := Run(Spec{Engine: e.Name, Workload: row, Dir: dir, Versions: versions, Scale: scale})
				if err != nil {
					t.Fatal(err)
				}
				if r.Ops == 0 && row != Prepare && row != Reopen {
					t.Errorf("%s: no operations", row)
				}
			}
			prepared := t.TempDir()
			runIn(Prepare, prepared)
			for _, w := range Rows() {
				dir := t.TempDir()
				if w.Prepared {
					dir = filepath.Join(dir, "copy")
					if err := os.CopyFS(dir, os.DirFS(prepared)); err != nil {
						t.Fatal(err)
					}
				}
				runIn(w.Name, dir)
			}
		})
	}
}
