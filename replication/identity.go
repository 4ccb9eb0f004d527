package replication

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"sync"

	"github.com/gtinside/corecache/engine/vfs"
	"github.com/gtinside/corecache/replication/protocol"
)

// identity is the file LINEAGE in the data directory: which log it is, see protocol.LogID, and what a next start has to know to
// tell whether it still is. Two lines:
//
//	{"corecache":1,"lineage":1311768467463790320,"tears":0,"boot":"6f1c...","synced":false,"closed":true,"syncing":false}
//	crc32c 1c2d3e4f                                     CRC32C of the first line with its end, in hex
type identity struct {
	Format  int    `json:"corecache"` // 1: the first
	Lineage uint64 `json:"lineage"`
	Tears   uint32 `json:"tears"`
	Boot    string `json:"boot"`    // of the kernel under which the log was opened last; "" = unknown, or the log has failed since
	Synced  bool   `json:"synced"`  // since then a record was acknowledged only when it was synced
	Closed  bool   `json:"closed"`  // the log was closed in order since
	Syncing bool   `json:"syncing"` // a full sync has begun and not ended: the data is no log's
}

// kept is the identity while the node runs. The worker changes it, and whoever changes settings: not under the lock of the Node, as that takes an fsync.
type kept struct {
	o  *Options
	mu sync.Mutex
	id identity // as it is on disk
}

// change changes the identity durably, and returns what it is then.
func (k *kept) change(f func(*identity)) (identity, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := k.id
	if f(&next); next == k.id {
		return next, nil
	}
	if err := k.o.saveIdentity(next); err != nil {
		return k.id, err
	}
	k.id = next
	return next, nil
}

// IdentityFile is the file in the data directory that says which log is in it.
const IdentityFile = "LINEAGE"

const (
	identityFormat = 1
	maxIdentity    = 4 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (id identity) logID() protocol.LogID {
	return protocol.LogID{Lineage: id.Lineage, Tears: id.Tears}
}

func newLineage() uint64 { return rand.Uint64N(1<<63-1) + 1 }

// boot identifies the run of the kernel, "" where there is no telling.
func boot() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// openIdentity determines which log was opened, whose last record is last, and writes it down.
func (o *Options) openIdentity(last uint64, boot string) (identity, error) {
	id, err := o.loadIdentity()
	if err != nil {
		return id, err
	}
	same := id.Closed || id.Synced || id.Boot != "" && id.Boot == boot
	switch {
	case id.Lineage == 0, last == 0, id.Syncing:
		id.Lineage, id.Tears = newLineage(), 0
	case !same:
		id.Tears++
	}
	id.Format, id.Boot, id.Synced, id.Closed, id.Syncing = identityFormat, boot, o.Settings.AckSynced, false, false
	return id, o.saveIdentity(id)
}

// loadIdentity returns the zero identity when there is none.
func (o *Options) loadIdentity() (id identity, err error) {
	b, err := vfs.ReadFile(o.FS, o.path(IdentityFile), maxIdentity)
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err == nil {
		end := bytes.IndexByte(b, '\n') + 1
		if sum := fmt.Sprintf("crc32c %08x\n", crc32.Checksum(b[:end], castagnoli)); string(b[end:]) != sum {
			err = errors.New("wrong checksum")
		} else {
			err = json.Unmarshal(b[:end], &id)
		}
	}
	if err == nil && (id.Format != identityFormat || id.Lineage == 0) {
		err = fmt.Errorf("format %d, lineage %d", id.Format, id.Lineage)
	}
	if err != nil {
		return identity{}, fmt.Errorf("%s: %w", o.path(IdentityFile), err)
	}
	return id, nil
}

// saveIdentity replaces the file, durably.
func (o *Options) saveIdentity(id identity) error {
	line, err := json.Marshal(id)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	line = fmt.Appendf(line, "crc32c %08x\n", crc32.Checksum(line, castagnoli))
	temp := o.path(IdentityFile + ".tmp")
	err = vfs.WriteFile(o.FS, temp, line)
	if err == nil {
		err = o.FS.Rename(temp, o.path(IdentityFile))
	}
	if err == nil {
		err = o.FS.SyncDir(o.Dir)
	}
	if err != nil {
		return fmt.Errorf("remembering the identity of the log: %w", err)
	}
	return nil
}
