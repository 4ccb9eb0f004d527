package reply

import (
	"math/big"
	"testing"
)

func TestEncoding(t *testing.T) {
	cases := []struct {
		name         string
		write        func(w *Writer)
		resp2, resp3 string
	}{
		{"ok", func(w *Writer) { w.OK() }, "+OK\r\n", "+OK\r\n"},
		{"simple", func(w *Writer) { w.Simple("PONG") }, "+PONG\r\n", "+PONG\r\n"},
		{"error", func(w *Writer) { w.Error("ERR a\r\nb") }, "-ERR a  b\r\n", "-ERR a  b\r\n"},
		{"error with newlines behind it", func(w *Writer) { w.Error("ERR option \r\n\n") }, "-ERR option \r\n", "-ERR option \r\n"},
		{"int", func(w *Writer) { w.Int(-12) }, ":-12\r\n", ":-12\r\n"},
		{"one digit", func(w *Writer) { w.Int(7) }, ":7\r\n", ":7\r\n"},
		{"bulk", func(w *Writer) { w.Bulk([]byte("a\r\nb")) }, "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"},
		{"empty bulk", func(w *Writer) { w.Bulk(nil) }, "$0\r\n\r\n", "$0\r\n\r\n"},
		{"bulk string", func(w *Writer) { w.BulkString("0123456789") }, "$10\r\n0123456789\r\n", "$10\r\n0123456789\r\n"},
		{"bulk int", func(w *Writer) { w.BulkInt(-9223372036854775808) },
			"$20\r\n-9223372036854775808\r\n", "$20\r\n-9223372036854775808\r\n"},
		{"bulk in parts", func(w *Writer) { w.BulkHeader(2); w.Raw([]byte("ab")); w.BulkEnd() }, "$2\r\nab\r\n", "$2\r\nab\r\n"},
		{"null", func(w *Writer) { w.Null() }, "$-1\r\n", "_\r\n"},
		{"null array", func(w *Writer) { w.NullArray() }, "*-1\r\n", "_\r\n"},
		{"array", func(w *Writer) { w.Array(2); w.Int(1); w.Int(2) }, "*2\r\n:1\r\n:2\r\n", "*2\r\n:1\r\n:2\r\n"},
		{"map", func(w *Writer) { w.Map(1); w.Int(1); w.Int(2) }, "*2\r\n:1\r\n:2\r\n", "%1\r\n:1\r\n:2\r\n"},
		{"set", func(w *Writer) { w.Set(1); w.Int(1) }, "*1\r\n:1\r\n", "~1\r\n:1\r\n"},
		{"push", func(w *Writer) { w.Push(1); w.Int(1) }, "*1\r\n:1\r\n", ">1\r\n:1\r\n"},
		{"attribute", func(w *Writer) {
			if w.Attribute(1) {
				w.Int(1)
				w.Int(2)
			}
			w.OK()
		}, "+OK\r\n", "|1\r\n:1\r\n:2\r\n+OK\r\n"},
		{"true", func(w *Writer) { w.Bool(true) }, ":1\r\n", "#t\r\n"},
		{"false", func(w *Writer) { w.Bool(false) }, ":0\r\n", "#f\r\n"},
		{"double", func(w *Writer) { w.Double(0.1) }, "$3\r\n0.1\r\n", ",0.1\r\n"},
		{"big number", func(w *Writer) { w.BigNumber(new(big.Int).Lsh(big.NewInt(1), 70)) },
			"$22\r\n1180591620717411303424\r\n", "(1180591620717411303424\r\n"},
		{"verbatim", func(w *Writer) { w.Verbatim("txt", "hi") }, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"},
		{"inserted array", func(w *Writer) {
			w.OK()
			at := w.Len()
			w.BulkString("abc")
			w.InsertArray(at, 12)
		}, "+OK\r\n*12\r\n$3\r\nabc\r\n", "+OK\r\n*12\r\n$3\r\nabc\r\n"},
		{"inserted map", func(w *Writer) { w.Int(1); w.Int(2); w.InsertMap(0, 1) }, "*2\r\n:1\r\n:2\r\n", "%1\r\n:1\r\n:2\r\n"},
		{"inserted set", func(w *Writer) { w.Int(1); w.InsertSet(0, 1) }, "*1\r\n:1\r\n", "~1\r\n:1\r\n"},
	}
	for _, c := range cases {
		var w2, w3 Writer
		w3.Proto = 3
		c.write(&w2)
		c.write(&w3)
		if string(w2.Buf) != c.resp2 {
			t.Errorf("%s in RESP2: %q, want %q", c.name, w2.Buf, c.resp2)
		}
		if string(w3.Buf) != c.resp3 {
			t.Errorf("%s in RESP3: %q, want %q", c.name, w3.Buf, c.resp3)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	w := Writer{Buf: make([]byte, 0, 4096), Proto: 3}
	value := make([]byte, 64)
	n := testing.AllocsPerRun(100, func() {
		w.Reset()
		w.OK()
		w.Bulk(value)
		w.Int(1 << 40)
		w.BulkInt(1 << 40)
		w.Double(1.0 / 3)
		w.Map(12)
		w.Null()
		w.Error("ERR no")
		w.InsertArray(0, 8)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkBulk(b *testing.B) {
	w := Writer{Buf: make([]byte, 0, 4096)}
	value := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		w.Reset()
		w.Bulk(value)
	}
}
