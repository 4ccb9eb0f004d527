package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

// absent is the state of a key that does not exist. No test writes this value.
const absent = "\x00absent"

// model is what one writer knows of its keys. A key has one state after a write that
// was acknowledged; each write with unknown outcome adds one that it may have.
type model map[string][]string

func (m model) states(key string) []string {
	if s := m[key]; s != nil {
		return s
	}
	return []string{absent}
}

// op is one write and the state that it leads to.
type op struct {
	key   string
	state string
	cmd   redis.Cmder
	want  func() error // checks the reply, when the state before was known
}

// batch is a pipeline under construction; its own operations build on each other.
type batch struct {
	m      model
	p      redis.Pipeliner
	ops    []op
	latest map[string]string // state after the operations of the batch so far
}

func newBatch(m model, c *redis.Client) *batch {
	return &batch{m: m, p: c.Pipeline(), latest: map[string]string{}}
}

// before returns the state that key has before the next operation, if that is known.
func (b *batch) before(key string) (state string, known bool) {
	if s, ok := b.latest[key]; ok {
		return s, len(b.m.states(key)) == 1
	}
	s := b.m.states(key)
	return s[len(s)-1], len(s) == 1
}

func (b *batch) add(key, state string, cmd redis.Cmder, want func() error) {
	b.ops = append(b.ops, op{key, state, cmd, want})
	b.latest[key] = state
}

func (b *batch) set(key, value string) {
	b.add(key, value, b.p.Set(ctx, key, value, 0), nil)
}

func (b *batch) del(key string) {
	state, known := b.before(key)
	cmd := b.p.Del(ctx, key)
	b.add(key, absent, cmd, func() error {
		if n := int64(b2i(state != absent)); known && cmd.Val() != n {
			return fmt.Errorf("DEL %s = %d; want %d", key, cmd.Val(), n)
		}
		return nil
	})
}

// incr needs a key whose state is known: with more than one the result is open.
func (b *batch) incr(key string) {
	state, known := b.before(key)
	if !known {
		return
	}
	n := int64(0)
	if state != absent {
		n, _ = strconv.ParseInt(state, 10, 64) // counters hold nothing else
	}
	cmd := b.p.Incr(ctx, key)
	b.add(key, strconv.FormatInt(n+1, 10), cmd, func() error {
		if cmd.Val() != n+1 {
			return fmt.Errorf("INCR %s = %d; want %d", key, cmd.Val(), n+1)
		}
		return nil
	})
}

func (b *batch) append(key, suffix string) {
	state, known := b.before(key)
	if !known {
		return
	}
	if state == absent {
		state = ""
	}
	b.add(key, state+suffix, b.p.Append(ctx, key, suffix), nil)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// run sends the pipeline and records what is known afterwards. It returns how many
// operations were acknowledged; fewer than all means that the connection is gone.
func (b *batch) run(ctx context.Context) (acked int, err error) {
	_, _ = b.p.Exec(ctx) // each command has its own error
	for _, o := range b.ops {
		err := o.cmd.Err()
		var reply redis.Error
		switch {
		case err == nil:
			if o.want != nil {
				if err := o.want(); err != nil {
					return acked, err
				}
			}
			b.m[o.key] = []string{o.state}
			acked++
		case errors.As(err, &reply):
			return acked, fmt.Errorf("%v: %w", o.cmd.Args()[:2], err)
		default:
			b.m[o.key] = append(slices.Clip(b.m.states(o.key)), o.state)
		}
	}
	return acked, nil
}

// verify reads every key of the model, demands one of its possible states, and from
// then on knows which it is. It returns how many keys exist.
func (m model) verify(t testing.TB, c *redis.Client) (exist int) {
	t.Helper()
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	for part := range slices.Chunk(keys, 256) {
		values, err := c.MGet(ctx, part...).Result()
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			state := absent
			if s, ok := v.(string); ok {
				state = s
				exist++
			}
			if !slices.Contains(m[part[i]], state) {
				t.Fatalf("%s = %s; want one of %s", part[i], brief(state), brief(m[part[i]]...))
			}
			m[part[i]] = []string{state}
		}
	}
	return exist
}

// brief shows states in a failure without printing megabytes.
func brief(states ...string) string {
	text := ""
	for _, s := range states {
		if len(s) > 60 {
			s = fmt.Sprintf("%s...(%d bytes)...%s", s[:30], len(s), s[len(s)-30:])
		}
		text += fmt.Sprintf("%q ", s)
	}
	return text
}
