package workload

import (
	"math"
	"math/rand/v2"
)

// zipf draws ranks 0 <= r < n with probability proportional to
// 1/(r+1)^0.99, as YCSB does: Gray et al., "Quickly Generating
// Billion-Record Synthetic Databases", SIGMOD 1994. (math/rand's Zipf needs an
// exponent above one.) It is read-only after construction.
type zipf struct {
	n                 int
	alpha, eta, zetan float64
}

const theta = 0.99

func newZipf(n int) *zipf {
	z := &zipf{n: n, alpha: 1 / (1 - theta), zetan: zeta(n)}
	z.eta = (1 - math.Pow(2/float64(n), 1-theta)) / (1 - zeta(2)/z.zetan)
	return z
}

func zeta(n int) float64 {
	sum := 0.0
	for i := 1; i <= n; i++ {
		sum += math.Pow(float64(i), -theta)
	}
	return sum
}

func (z *zipf) rank(rng *rand.Rand) int {
	u := rng.Float64()
	uz := u * z.zetan
	switch {
	case uz < 1:
		return 0
	case uz < 1+math.Pow(0.5, theta):
		return 1
	}
	return min(z.n-1, int(float64(z.n)*math.Pow(z.eta*u-z.eta+1, z.alpha)))
}

// scattered draws an index whose popularity has nothing to do with its place.
func (z *zipf) scattered(rng *rand.Rand) int {
	return int(mix(uint64(z.rank(rng))) % uint64(z.n))
}
