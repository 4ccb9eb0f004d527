package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

// A bank moves money between accounts by transactions. Whatever becomes of one, the sum of all accounts stays.
type bank struct {
	t                 *testing.T
	transfers, audits atomic.Int64 // that had an outcome
}

const (
	accounts = 10
	deposit  = 1000
)

func account(i int) string { return "account:" + itoa(i) }

// open gives each account its first deposit.
func (b *bank) open(c *redis.Client) {
	b.t.Helper()
	var pairs []any
	for i := range accounts {
		pairs = append(pairs, account(i), deposit)
	}
	if err := c.MSet(ctx, pairs...).Err(); err != nil {
		b.t.Fatal(err)
	}
}

// run transfers and audits until stop is over, with another client after each error.
func (b *bank) run(stop context.Context, rnd *rand.Rand, dial func() *redis.Client) {
	c := dial()
	for stop.Err() == nil {
		var err error
		switch rnd.IntN(4) {
		case 0:
			err = b.audit(c, rnd.IntN(2) == 0)
		case 1:
			err = b.blind(c, rnd)
		default:
			err = b.transfer(c, rnd)
		}
		if err != nil && !errors.Is(err, redis.TxFailedErr) || rnd.IntN(50) == 0 {
			_ = c.Close()
			c = dial()
		}
	}
	_ = c.Close()
}

// transfer moves money that is there: WATCH, GET, MULTI, EXEC.
func (b *bank) transfer(c *redis.Client, rnd *rand.Rand) error {
	from, to := account(rnd.IntN(accounts)), account(rnd.IntN(accounts))
	err := c.Watch(ctx, func(tx *redis.Tx) error {
		have, err := tx.Get(ctx, from).Int64()
		if err != nil {
			return err
		}
		return b.move(tx, from, to, rnd.Int64N(have+1))
	}, from, to)
	if err == nil {
		b.transfers.Add(1)
	}
	return err
}

func (b *bank) move(c redis.Cmdable, from, to string, n int64) error {
	_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.DecrBy(ctx, from, n)
		p.IncrBy(ctx, to, n)
		return nil
	})
	return err
}

// blind moves there and back again, without looking.
func (b *bank) blind(c *redis.Client, rnd *rand.Rand) error {
	from, to := account(rnd.IntN(accounts)), account(rnd.IntN(accounts))
	_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.DecrBy(ctx, from, 10)
		p.IncrBy(ctx, to, 10)
		p.DecrBy(ctx, to, 10)
		p.IncrBy(ctx, from, 10)
		return nil
	})
	return err
}

// audit demands the sum, by MGET or by one transaction of GETs.
func (b *bank) audit(c *redis.Client, transaction bool) error {
	var keys []string
	for i := range accounts {
		keys = append(keys, account(i))
	}
	var found []any
	var err error
	if transaction {
		var cmds []redis.Cmder
		cmds, err = c.TxPipelined(ctx, func(p redis.Pipeliner) error {
			for _, key := range keys {
				p.Get(ctx, key)
			}
			return nil
		})
		for _, cmd := range cmds {
			found = append(found, cmd.(*redis.StringCmd).Val())
		}
	} else {
		found, err = c.MGet(ctx, keys...).Result()
	}
	if err != nil && err != redis.Nil { // that is an account which is lost
		return err
	}
	sum := int64(0)
	for i, v := range found {
		text, _ := v.(string)
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			b.t.Errorf("%s has %v", keys[i], v)
		}
		sum += n
	}
	if sum != accounts*deposit {
		b.t.Errorf("the sum of %v is %d instead of %d", found, sum, accounts*deposit)
	}
	b.audits.Add(1)
	return nil
}

// check audits through each node.
func (b *bank) check(c *nodes) {
	b.t.Helper()
	b.t.Logf("%d transfers, %d audits", b.transfers.Load(), b.audits.Load())
	if b.transfers.Load() == 0 || b.audits.Load() == 0 {
		b.t.Error("the bank did no business")
	}
	for _, s := range c.procs {
		cl := s.client()
		if err := b.audit(cl, true); err != nil {
			b.t.Error(fmt.Errorf("an audit through %s: %w", s.id, err))
		}
		_ = cl.Close()
	}
}
