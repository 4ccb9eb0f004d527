package command

import (
	"fmt"
	"strings"
	"testing"
)

// show prints an argument tree in one line.
func show(args []argument) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(a.name + ":" + a.kind)
		if a.token != "" {
			b.WriteString("=" + a.token)
		}
		if f := a.flags(); len(f) > 0 {
			fmt.Fprint(&b, f)
		}
		if len(a.args) > 0 {
			b.WriteString("(" + show(a.args) + ")")
		}
	}
	return b.String()
}

func TestSyntax(t *testing.T) {
	for syntax, want := range map[string]string{
		"":                                "",
		"key":                             "key:key",
		"key [key ...]":                   "key:key[multiple]",
		"key:string":                      "key:string",
		"[message]":                       "message:string[optional]",
		"[a [a ...]]":                     "a:string[optional multiple]",
		"ip:port":                         "ip:port:string",
		"key value [k v ...]":             "data:block[multiple](key:key value:string)",
		"[NX | XX] [GET]":                 "nx_xx:oneof[optional](nx:pure-token=NX xx:pure-token=XX) get:pure-token=GET[optional]",
		"[c: EX seconds | KEEPTTL]":       "c:oneof[optional](seconds:integer=EX keepttl:pure-token=KEEPTTL)",
		"[LIMIT offset count]":            "limit:block=LIMIT[optional](offset:integer count:integer)",
		"[MATCH pattern] [COUNT count]":   "pattern:pattern=MATCH[optional] count:integer=COUNT[optional]",
		"[GET pattern [GET pattern ...]]": "pattern:pattern=GET[optional multiple multiple_token]",
		"<x: <hp: host port> | <no-one: NO ONE>>": "x:oneof(hp:block(host:string port:integer) no-one:block(no:pure-token=NO one:pure-token=ONE))",
		"key increment:double":                    "key:key increment:double",
	} {
		if got := show(parseSyntax(syntax)); got != want {
			t.Errorf("%s\n got %s\nwant %s", syntax, got, want)
		}
	}
}

func TestKeyNumbers(t *testing.T) {
	two := Command{Syntax: "source destination", Keys: []KeySpec{keyAt(1, KeyRO), keyAt(2, KeyOW)}}
	one := Command{Syntax: "key1 key2", Keys: keys(1, 2, 1, KeyRO)}
	if a := two.arguments(); a[0].keySpec != 0 || a[1].keySpec != 1 {
		t.Errorf("%+v", a)
	}
	if a := one.arguments(); a[0].keySpec != 0 || a[1].keySpec != 0 {
		t.Errorf("%+v", a)
	}
}

func TestKeyRefs(t *testing.T) {
	keyword := KeySpec{Flags: KeyRW, Keyword: "streams", From: 1, Last: -1, Step: 1, Limit: 2}
	for _, tc := range []struct {
		specs []KeySpec
		line  string
		want  string
	}{
		{keys(1, 1, 1, KeyRO), "get a", "a"},
		{keys(1, -1, 1, KeyRO), "mget a b c", "a b c"},
		{keys(1, -1, 2, KeyOW), "mset a 1 b 2", "a b"},
		{[]KeySpec{keyAt(1, KeyRW), keyAt(2, KeyOW)}, "rename a b", "a b"},
		{[]KeySpec{keyNum(2, KeyRO), keyAt(1, KeyOW)}, "zunionstore dst 2 a b weights 1 2", "a b dst"},
		{[]KeySpec{keyNum(1, KeyRO)}, "zunion 3 a b", "error"},
		{[]KeySpec{keyNum(1, KeyRO)}, "zunion x a b", "error"},
		{[]KeySpec{keyNum(1, KeyRO)}, "zunion -1 a b", "error"},
		{[]KeySpec{keyNum(1, KeyRO)}, "zunion 999999999999999999 a b", "error"},
		{[]KeySpec{keyword}, "xread count 2 STREAMS a b 0 0", "a b"},
		{[]KeySpec{keyword}, "xread count 2", "error"},
		{keys(2, 2, 1, KeyRO), "object encoding", "error"},
		{nil, "ping", "error"},
	} {
		var args [][]byte
		for _, w := range strings.Fields(tc.line) {
			args = append(args, []byte(w))
		}
		cmd := Command{Keys: tc.specs}
		got := "error"
		if refs, ok := cmd.keyRefs(args); ok {
			var names []string
			for _, r := range refs {
				names = append(names, string(args[r.Arg]))
			}
			got = strings.Join(names, " ")
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.line, got, tc.want)
		}
	}
}

func FuzzKeyRefs(f *testing.F) {
	f.Add("zunion 2 a b", 1, 1, 1, -1, 2)
	f.Add("xread streams a 0", 0, -1, 0, 3, 1)
	f.Fuzz(func(t *testing.T, line string, index, last, first, from, limit int) {
		var args [][]byte
		for _, w := range strings.Fields(line) {
			args = append(args, []byte(w))
		}
		if len(args) == 0 {
			return
		}
		bound := func(n int) int { return n % 100 }
		num := KeySpec{Index: max(bound(index), 1), NumKeys: true, First: max(bound(first), 1), Step: 1}
		word := KeySpec{Keyword: "streams", From: bound(from), Last: bound(last), Step: 1, Limit: max(bound(limit), 0)}
		for _, spec := range []KeySpec{num, word} {
			cmd := Command{Keys: []KeySpec{spec}}
			refs, _ := cmd.keyRefs(args)
			for _, r := range refs {
				if r.Arg < 0 || r.Arg >= len(args) {
					t.Fatalf("argument %d of %d", r.Arg, len(args))
				}
			}
		}
	})
}

// Every row is complete and consistent.
func TestTableIsSound(t *testing.T) {
	s := newLoadingServer(t)
	s.table.each(func(cmd *Command) {
		switch {
		case cmd.Handler == nil && len(cmd.subList) == 0:
			t.Errorf("%s has no handler", cmd.full)
		case cmd.Arity == 0, len(cmd.full) > maxName, strings.ToLower(cmd.Name) != cmd.Name:
			t.Errorf("%s: name or arity", cmd.full)
		case cmd.Summary == "" || cmd.Since == "" || cmd.Group == "":
			t.Errorf("%s is not documented", cmd.full)
		case cmd.Flags&Write != 0 && cmd.Flags&ReadOnly != 0:
			t.Errorf("%s both reads and writes", cmd.full)
		}
		for _, spec := range cmd.Keys {
			if n := spec.Flags & (KeyRO | KeyRW | KeyOW | KeyRM); n&(n-1) != 0 || n == 0 {
				t.Errorf("%s: key flags %v", cmd.full, spec.Flags.names())
			}
			if spec.Keyword == "" && (spec.Index < 1 || cmd.Arity > 0 && spec.Index >= cmd.Arity) {
				t.Errorf("%s: a key at %d of %d arguments", cmd.full, spec.Index, cmd.Arity)
			}
		}
		for _, a := range cmd.arguments() {
			if a.name == "" {
				t.Errorf("%s: syntax %q", cmd.full, cmd.Syntax)
			}
		}
		for _, h := range append(cmd.History, cmd.Deprecated) {
			if version, what := cutHistory(h); h != "" && (what == "" || strings.Count(version, ".") != 2) {
				t.Errorf("%s: history %q", cmd.full, h)
			}
		}
	})
}

func TestCommandReplies(t *testing.T) {
	c := newClient(t, newServer(t))
	c.wantAll([][2]string{
		{"command count x", "-ERR wrong number of arguments for 'command|count' command¦"},
		{"command info nosuch", "*1¦$-1¦"},
		{"command info ping", "*1¦*10¦$4¦ping¦:-1¦*1¦+fast¦:0¦:0¦:0¦*2¦+@fast¦+@connection¦*2¦$25¦request_policy:all_shards¦$29¦response_policy:all_succeeded¦*0¦*0¦"},
		{"command info memory|usage", "*1¦*10¦$12¦memory|usage¦:-3¦*1¦+readonly¦:2¦:2¦:1¦*2¦+@read¦+@slow¦*0¦*1¦" +
			"*6¦$5¦flags¦*1¦+RO¦$12¦begin_search¦*4¦$4¦type¦$5¦index¦$4¦spec¦*2¦$5¦index¦:2¦" +
			"$9¦find_keys¦*4¦$4¦type¦$5¦range¦$4¦spec¦*6¦$7¦lastkey¦:0¦$7¦keystep¦:1¦$5¦limit¦:0¦*0¦"},
		{"command docs nosuch", "*0¦"},
		{"command list filterby pattern sele*", "*1¦$6¦select¦"},
		{"command list filterby aclcat nosuch", "*0¦"}, {"command list filterby module x", "*0¦"},
		{"command list filterby x y", "-ERR syntax error¦"}, {"command list x", "-ERR syntax error¦"},
		{"command getkeys get a", "*1¦$1¦a¦"}, {"command getkeys nosuch a", "-ERR Invalid command specified¦"},
		{"command getkeys ping a", "-ERR The command has no key arguments¦"},
		{"command getkeys get a b", "-ERR Invalid number of arguments specified for command¦"},
		{"command getkeys memory usage a", "*1¦$1¦a¦"},
		{"command getkeysandflags get a", "*1¦*2¦$1¦a¦*2¦+RO¦+access¦"},
	})
	c.do("hello 3")
	c.want("command docs echo", "%1¦$4¦echo¦%5¦$7¦summary¦$20¦Answers the message.¦$5¦since¦$5¦1.0.0¦$5¦group¦$10¦connection¦$10¦complexity¦$4¦O(1)¦"+
		"$9¦arguments¦*1¦%3¦$4¦name¦$7¦message¦$4¦type¦$6¦string¦$12¦display_text¦$7¦message¦")
	for _, line := range []string{"command", "command docs", "command list", "command info"} {
		if got := c.do(line); strings.HasPrefix(got, "-") {
			t.Errorf("%s: %s", line, got)
		}
	}
}
