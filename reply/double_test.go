package reply

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestFormatDouble holds cases of all notations, negative ones included. Those
// without an exponent and with few digits were compared with redis-server 7.0 too.
func TestFormatDouble(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0", 1: "1", -1: "-1", 3: "3", 0.1: "0.1", -0.5: "-0.5", 3.25: "3.25", 1234.5678: "1234.5678",
		100: "100", 1e7: "10000000", 1e8: "1e+8", 12e8: "1.2e+9", 12e7: "120000000",
		123456789: "123456789", 1e21: "1e+21", 1.5e300: "1.5e+300", -1.5e300: "-1.5e+300",
		0.001: "0.001", 0.000001: "0.000001", 1e-7: "1e-7", 1.25e-5: "1.25e-5", 1.5e-5: "0.000015", 1.25e-6: "1.25e-6",
		0.0001234567891: "1.234567891e-4", 0.001234567891: "0.001234567891", 1234.123456789: "1234.123456789",
		12345.123456789: "1.2345123456789e+4", 5e-324: "5e-324", math.MaxFloat64: "1.7976931348623157e+308",
		0.30000000000000004: "0.30000000000000004",
		math.Inf(1):         "inf", math.Inf(-1): "-inf",
	} {
		if got := FormatDouble(f); got != want {
			t.Errorf("FormatDouble(%g) = %q, want %q", f, got, want)
		}
	}
	if got := FormatDouble(math.Copysign(0, -1)); got != "-0" {
		t.Errorf("negative zero: %q", got)
	}
	if got := FormatDouble(math.NaN()); got != "nan" {
		t.Errorf("NaN: %q", got)
	}
}

func TestFormatDoubleReadsBack(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 100_000 {
		f := math.Float64frombits(r.Uint64())
		if math.IsNaN(f) {
			continue
		}
		s := FormatDouble(f)
		if back, err := strconv.ParseFloat(s, 64); err != nil || back != f {
			t.Fatalf("seed %d: %b printed as %q, read back as %b (%v)", seed, f, s, back, err)
		}
		if len(s) > maxDouble {
			t.Fatalf("seed %d: %q is longer than %d", seed, s, maxDouble)
		}
	}
}
