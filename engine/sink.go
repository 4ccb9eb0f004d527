package engine

import (
	"errors"

	"github.com/gtinside/corecache/engine/base"
	"github.com/gtinside/corecache/engine/sstable"
	"github.com/gtinside/corecache/engine/vfs"
)

// sink writes sorted records into new tables for one level.
type sink struct {
	db     *DB
	level  int
	file   vfs.File
	num    uint64
	writer *sstable.Writer
	tables []*fileMeta
	bytes  int64         // of finished tables
	clean  func() uint64 // cleanSeq of what is being finished
}

func (s *sink) add(key []byte, tr base.Trailer, value []byte) error {
	if s.writer == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	return s.writer.Add(key, tr, value)
}

func (s *sink) open() error {
	s.num = s.db.nextFile.Add(1) - 1
	f, err := s.db.opts.FS.Create(s.db.tables.path(s.num))
	if err != nil {
		return err
	}
	s.file = f
	s.writer = sstable.NewWriter(f, sstable.WriterOptions{
		BlockSize:   s.db.opts.BlockSize,
		FilterBits:  s.db.opts.FilterBits,
		Compression: s.db.opts.compression(s.level),
		CreatedAt:   s.db.opts.Now(),
	})
	return nil
}

// size is the estimated size of the table being written.
func (s *sink) size() int64 {
	if s.writer == nil {
		return 0
	}
	return s.writer.EstimatedSize()
}

// cut finishes the table being written, if there is one.
func (s *sink) cut() error {
	if s.writer == nil {
		return nil
	}
	props, err := s.writer.Finish()
	size := int64(0)
	if err == nil {
		size, err = s.file.Size()
	}
	err = errors.Join(err, s.file.Close())
	s.writer, s.file = nil, nil
	if err != nil {
		return errors.Join(err, s.db.opts.FS.Remove(s.db.tables.path(s.num)))
	}
	s.tables = append(s.tables, newFileMeta(s.num, size, &props, s.clean()))
	s.bytes += size
	return nil
}

// finish makes the tables durable.
func (s *sink) finish() error {
	if err := s.cut(); err != nil {
		return err
	}
	if len(s.tables) == 0 {
		return nil
	}
	return s.db.opts.FS.SyncDir(s.db.dir)
}

// abandon removes what was written. It is for tables that no edit names.
func (s *sink) abandon() {
	if s.writer != nil {
		s.writer.Abandon()
		s.db.logError(s.file.Close())
		s.db.logError(s.db.opts.FS.Remove(s.db.tables.path(s.num)))
		s.writer, s.file = nil, nil
	}
	for _, t := range s.tables {
		s.db.logError(s.db.opts.FS.Remove(s.db.tables.path(t.num)))
	}
	s.tables = nil
}

func (s *sink) placed() []placed {
	out := make([]placed, len(s.tables))
	for i, t := range s.tables {
		out[i] = placed{s.level, t}
	}
	return out
}

func (db *DB) logError(err error) {
	if err != nil {
		db.opts.Logger.Errorf("%v", err)
	}
}
