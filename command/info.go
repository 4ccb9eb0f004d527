package command

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gtinside/corecache/engine"
)

// infoSection is one section of INFO.
type infoSection struct {
	title     string // its name in any case selects it
	write     func(*infoWriter)
	extra     bool // not in the default selection
	needsData bool // left empty while loading
}

var infoSections = []infoSection{
	{"Server", infoServer, false, false},
	{"Clients", infoClients, false, false},
	{"Memory", infoMemory, false, false},
	{"Persistence", infoPersistence, false, false},
	{"Stats", infoStats, false, false},
	{"Replication", infoReplication, false, false},
	{"CPU", infoCPU, false, false},
	{"Modules", infoModules, false, false},
	{"Commandstats", infoCommandStats, true, false},
	{"Errorstats", infoErrorStats, false, false},
	{"Latencystats", infoLatencyStats, true, false},
	{"Cluster", infoCluster, false, false},
	{"Keyspace", infoKeyspace, false, true},
	{"Engine", infoEngine, false, true},
}

// infoWriter collects the lines of INFO.
type infoWriter struct {
	*Server
	b strings.Builder
}

func (w *infoWriter) line(name string, value any) { fmt.Fprintf(&w.b, "%s:%v\r\n", name, value) }

func (w *infoWriter) sizes(name string, n int64) {
	w.line(name, n)
	w.line(name+"_human", humanBytes(n))
}

func (w *infoWriter) float(name string, f float64) {
	w.line(name, strconv.FormatFloat(f, 'f', 2, 64))
}

// info is INFO [section ...].
func info(c *Call) {
	w := &infoWriter{Server: c.Server}
	for _, s := range selectSections(c.Args[1:]) {
		if w.b.Len() > 0 {
			w.b.WriteString("\r\n")
		}
		w.b.WriteString("# " + s.title + "\r\n")
		if !s.needsData || !c.Loading() {
			s.write(w)
		}
	}
	c.Out.Verbatim("txt", w.b.String())
}

func selectSections(args [][]byte) (out []infoSection) {
	if len(args) == 0 {
		args = [][]byte{[]byte("default")}
	}
	for _, s := range infoSections {
		if slices.ContainsFunc(args, func(a []byte) bool { return s.selectedBy(a) }) {
			out = append(out, s)
		}
	}
	return out
}

func (s *infoSection) selectedBy(arg []byte) bool {
	return equalFold(arg, "everything") || equalFold(arg, "all") || equalFold(arg, "default") && !s.extra ||
		strings.EqualFold(string(arg), s.title)
}

func infoServer(w *infoWriter) {
	now := w.now()
	uptime := int64(now.Sub(w.start) / time.Second)
	w.line("redis_version", RedisVersion)
	w.line("redis_git_sha1", "00000000")
	w.line("redis_git_dirty", 0)
	w.line("redis_build_id", "0")
	w.line("redis_mode", "standalone")
	w.line("corecache_version", w.version)
	w.line("os", systemName())
	w.line("arch_bits", strconv.IntSize)
	w.line("monotonic_clock", "POSIX clock_gettime")
	w.line("multiplexing_api", "goroutines")
	w.line("atomicvar_api", "sync/atomic")
	w.line("go_version", runtime.Version())
	w.line("gcc_version", "0.0.0")
	w.line("process_id", os.Getpid())
	w.line("process_supervised", w.Config.String("supervised"))
	w.line("run_id", w.runID)
	w.line("tcp_port", w.front().Port)
	w.line("server_time_usec", now.UnixMicro())
	w.line("uptime_in_seconds", uptime)
	w.line("uptime_in_days", uptime/86400)
	w.line("hz", w.Config.String("hz"))
	w.line("configured_hz", w.Config.String("hz"))
	w.line("lru_clock", now.Unix()&(1<<24-1))
	w.line("executable", executable())
	w.line("config_file", w.Config.File())
	w.line("io_threads_active", 0)
}

// systemName is what uname -srm prints.
func systemName() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return runtime.GOOS + " " + runtime.GOARCH
	}
	return cString(u.Sysname[:]) + " " + cString(u.Release[:]) + " " + cString(u.Machine[:])
}

func executable() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	return path
}

func infoClients(w *infoWriter) {
	front := w.front()
	w.line("connected_clients", w.clients.len())
	w.line("cluster_connections", w.clients.proxied())
	w.line("maxclients", w.Config.Int("maxclients"))
	w.line("client_recent_max_input_buffer", front.MaxInput)
	w.line("client_recent_max_output_buffer", front.MaxOutput)
	w.line("blocked_clients", w.clients.blocked.Load())
	w.line("tracking_clients", 0)
	w.line("pubsub_clients", 0)
	w.line("watching_clients", w.clients.watching())
	w.line("clients_in_timeout_table", w.clients.blocked.Load())
	w.line("total_watched_keys", w.watchedKeys())
	w.line("total_blocking_keys", 0)
	w.line("total_blocking_keys_on_nokey", 0)
}

func (s *Server) watchedKeys() int64 {
	if s.Loading() {
		return 0
	}
	return s.Keyspace.Watched()
}

func infoMemory(w *infoWriter) {
	p := memoryUse()
	dataset := int64(0)
	if !w.Loading() {
		m := w.DB.Metrics()
		dataset = min(m.MemTableBytes+m.Cache.Used, p.used)
	}
	w.sizes("used_memory", p.used)
	w.sizes("used_memory_rss", p.resident)
	w.sizes("used_memory_peak", p.peak)
	w.line("used_memory_peak_perc", fmt.Sprintf("%.2f%%", percent(p.used, p.peak)))
	w.line("used_memory_overhead", p.used-dataset)
	w.line("used_memory_startup", 0)
	w.line("used_memory_dataset", dataset)
	w.line("used_memory_dataset_perc", fmt.Sprintf("%.2f%%", percent(dataset, p.used)))
	w.line("allocator_allocated", p.used)
	w.line("allocator_active", p.runtime)
	w.line("allocator_resident", p.resident)
	w.sizes("total_system_memory", p.system)
	w.sizes("used_memory_lua", 0)
	w.line("used_memory_vm_eval", 0)
	w.line("used_memory_scripts_eval", 0)
	w.line("number_of_cached_scripts", 0)
	w.line("number_of_functions", 0)
	w.line("number_of_libraries", 0)
	w.line("used_memory_vm_functions", 0)
	w.sizes("used_memory_vm_total", 0)
	w.line("used_memory_functions", 0)
	w.sizes("used_memory_scripts", 0)
	w.sizes("maxmemory", w.Config.Int("maxmemory"))
	w.line("maxmemory_policy", w.Config.String("maxmemory-policy"))
	w.float("allocator_frag_ratio", quotient(p.runtime, p.used))
	w.line("allocator_frag_bytes", p.runtime-p.used)
	w.float("allocator_rss_ratio", quotient(p.resident, p.runtime))
	w.line("allocator_rss_bytes", p.resident-p.runtime)
	w.float("rss_overhead_ratio", 1)
	w.line("rss_overhead_bytes", 0)
	w.float("mem_fragmentation_ratio", quotient(p.resident, p.used))
	w.line("mem_fragmentation_bytes", p.resident-p.used)
	w.line("mem_not_counted_for_evict", 0)
	w.line("mem_replication_backlog", 0)
	w.line("mem_total_replication_buffers", 0)
	w.line("mem_clients_slaves", 0)
	w.line("mem_clients_normal", w.clientMemory())
	w.line("mem_cluster_links", 0)
	w.line("mem_aof_buffer", 0)
	w.line("mem_allocator", "go")
	w.line("active_defrag_running", 0)
	w.line("lazyfree_pending_objects", 0)
	w.line("lazyfreed_objects", 0)
}

func infoPersistence(w *infoWriter) {
	v := &w.saves
	loading := w.Loading()
	var m engine.Metrics
	if !loading {
		m = w.DB.Metrics()
	}
	last := m.Last
	v.mu.Lock()
	defer v.mu.Unlock()
	w.line("loading", bit(loading))
	w.line("async_loading", 0)
	w.line("current_cow_peak", 0)
	w.line("current_cow_size", 0)
	w.line("current_cow_size_age", 0)
	w.line("current_fork_perc", "0.00")
	w.line("current_save_keys_processed", 0)
	w.line("current_save_keys_total", 0)
	w.line("rdb_changes_since_last_save", last-min(v.mu.written, last))
	w.line("rdb_bgsave_in_progress", bit(v.mu.save.running))
	w.line("rdb_last_save_time", v.mu.last.Unix())
	w.line("rdb_last_bgsave_status", status(v.mu.save.err))
	w.line("rdb_last_bgsave_time_sec", v.mu.save.seconds())
	w.line("rdb_current_bgsave_time_sec", v.mu.save.current())
	w.line("rdb_saves", v.mu.save.done)
	w.line("rdb_last_cow_size", 0)
	w.line("rdb_last_load_keys_expired", 0)
	w.line("rdb_last_load_keys_loaded", 0)
	w.line("aof_enabled", 1)
	w.line("aof_rewrite_in_progress", bit(v.mu.rewrite.running))
	w.line("aof_rewrite_scheduled", 0)
	w.line("aof_last_rewrite_time_sec", v.mu.rewrite.seconds())
	w.line("aof_current_rewrite_time_sec", v.mu.rewrite.current())
	w.line("aof_last_bgrewrite_status", status(v.mu.rewrite.err))
	w.line("aof_rewrites", v.mu.rewrite.done)
	w.line("aof_rewrites_consecutive_failures", v.mu.rewrite.failures)
	w.line("aof_last_write_status", w.writeStatus(&m))
	w.line("aof_last_cow_size", 0)
	w.line("aof_current_size", m.Log.DiskSize)
	w.line("aof_base_size", 0)
	w.line("aof_pending_rewrite", 0)
	w.line("aof_buffer_length", 0)
	w.line("aof_pending_bio_fsync", 0)
	w.line("aof_delayed_fsync", 0)
	w.line("module_fork_in_progress", 0)
	w.line("module_fork_last_cow_size", 0)
	if loading {
		w.line("loading_start_time", w.start.Unix())
		w.line("loading_total_bytes", 0)
		w.line("loading_loaded_bytes", 0)
		w.line("loading_loaded_perc", "0.00")
		w.line("loading_eta_seconds", 1)
	}
}

// writeStatus is "err" while writes are refused, also if only until there is space on the disk again.
func (s *Server) writeStatus(m *engine.Metrics) string {
	if s.refused.Load() != nil || m.Log.Failed || m.Log.Full {
		return "err"
	}
	return "ok"
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func status(err error) string {
	if err != nil {
		return "err"
	}
	return "ok"
}

// secondsOr prints a time in whole seconds, -1 when there is none.
func secondsOr(there bool, d time.Duration) int64 {
	if !there {
		return -1
	}
	return int64(d / time.Second)
}

func infoStats(w *infoWriter) {
	front, base := w.front(), FrontStats{}
	if p := w.stats.base.Load(); p != nil {
		base = p.front
	}
	data := w.dataStats()
	w.line("total_connections_received", front.Connections-base.Connections)
	w.line("total_commands_processed", w.stats.commands.Load())
	w.line("instantaneous_ops_per_sec", w.stats.rate(rateCommands))
	w.line("total_net_input_bytes", front.BytesIn-base.BytesIn)
	w.line("total_net_output_bytes", front.BytesOut-base.BytesOut)
	w.line("total_net_repl_input_bytes", 0)
	w.line("total_net_repl_output_bytes", 0)
	w.float("instantaneous_input_kbps", float64(w.stats.rate(rateInput))/1024)
	w.float("instantaneous_output_kbps", float64(w.stats.rate(rateOutput))/1024)
	w.float("instantaneous_input_repl_kbps", 0)
	w.float("instantaneous_output_repl_kbps", 0)
	w.line("rejected_connections", front.Rejected-base.Rejected)
	var st ReplicationStatus
	if w.replication != nil {
		st = w.replication.Status()
	}
	w.line("sync_full", st.FullSyncs)
	w.line("sync_partial_ok", st.Streams)
	w.line("sync_partial_err", 0)
	w.line("expired_keys", data.Expired)
	w.line("expired_stale_perc", "0.00")
	for _, name := range []string{"expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds", "evicted_keys"} {
		w.line(name, 0)
	}
	w.line("evicted_clients", front.Evicted-base.Evicted)
	for _, name := range []string{"total_eviction_exceeded_time", "current_eviction_exceeded_time"} {
		w.line(name, 0)
	}
	w.line("keyspace_hits", data.Hits)
	w.line("keyspace_misses", data.Misses)
	for _, name := range []string{"pubsub_channels", "pubsub_patterns", "pubsubshard_channels", "latest_fork_usec", "total_forks",
		"migrate_cached_sockets", "slave_expires_tracked_keys", "active_defrag_hits", "active_defrag_misses", "active_defrag_key_hits",
		"active_defrag_key_misses", "total_active_defrag_time", "current_active_defrag_time", "tracking_total_keys",
		"tracking_total_items", "tracking_total_prefixes", "unexpected_error_replies"} {
		w.line(name, 0)
	}
	w.line("total_error_replies", w.stats.errors.Load())
	if w.cluster != nil {
		w.line("total_forwarded_commands", w.stats.forwarded.Load())
	}
	w.line("acl_access_denied_auth", w.stats.denied.Load())
	w.line("acl_access_denied_cmd", 0)
	w.line("acl_access_denied_key", 0)
	w.line("acl_access_denied_channel", 0)
	w.line("dump_payload_sanitizations", 0)
	w.line("total_reads_processed", w.stats.units.Load())
	w.line("total_writes_processed", w.stats.units.Load())
	w.line("io_threaded_reads_processed", 0)
	w.line("io_threaded_writes_processed", 0)
	w.line("reply_buffer_shrinks", 0)
	w.line("reply_buffer_expands", 0)
	w.line("client_query_buffer_limit_disconnections", front.QueryBufferClosed-base.QueryBufferClosed)
	w.line("client_output_buffer_limit_disconnections", front.OutputBufferClosed-base.OutputBufferClosed)
}

func infoCPU(w *infoWriter) {
	var self, children unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &self) != nil || unix.Getrusage(unix.RUSAGE_CHILDREN, &children) != nil {
		return
	}
	w.line("used_cpu_sys", seconds(self.Stime))
	w.line("used_cpu_user", seconds(self.Utime))
	w.line("used_cpu_sys_children", seconds(children.Stime))
	w.line("used_cpu_user_children", seconds(children.Utime))
	w.line("used_cpu_sys_main_thread", seconds(self.Stime))
	w.line("used_cpu_user_main_thread", seconds(self.Utime))
}

func seconds(t unix.Timeval) string { return fmt.Sprintf("%d.%06d", t.Sec, t.Usec) }

func infoModules(*infoWriter) {}

func infoCommandStats(w *infoWriter) {
	w.table.each(func(cmd *Command) {
		calls, rejected, failed := cmd.calls.Load(), cmd.rejected.Load(), cmd.failed.Load()
		if calls == 0 && rejected == 0 && failed == 0 {
			return
		}
		nanos := cmd.nanos.Load()
		fmt.Fprintf(&w.b, "cmdstat_%s:calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d\r\n",
			cmd.full, calls, nanos/1000, quotient(nanos, calls*1000), rejected, failed)
	})
}

func infoErrorStats(w *infoWriter) {
	for _, e := range w.stats.errorCounts() {
		fmt.Fprintf(&w.b, "errorstat_%s:count=%d\r\n", strings.Map(statName, e.prefix), e.n)
	}
}

// statName replaces what would break the syntax of INFO.
func statName(r rune) rune {
	if r == ':' || r == '=' || r == ',' || r < ' ' {
		return '_'
	}
	return r
}

func infoLatencyStats(w *infoWriter) {
	percentiles := w.Config.List("latency-tracking-info-percentiles")
	if !w.set.latencyTracking.Bool() {
		return
	}
	w.table.each(func(cmd *Command) {
		h := cmd.latency.Load()
		if h == nil || h.total.Load() == 0 {
			return
		}
		var parts []string
		for _, p := range percentiles {
			f, err := strconv.ParseFloat(p, 64)
			if err == nil {
				parts = append(parts, fmt.Sprintf("p%s=%.3f", strconv.FormatFloat(f, 'g', -1, 64), float64(h.percentile(f))/1000))
			}
		}
		fmt.Fprintf(&w.b, "latency_percentiles_usec_%s:%s\r\n", cmd.full, strings.Join(parts, ","))
	})
}

func infoCluster(w *infoWriter) { w.line("cluster_enabled", 0) }

func infoKeyspace(w *infoWriter) {
	for db := 0; db < int(w.set.databases.Int()); db++ {
		if keys, expires := w.Keyspace.Size(db); keys > 0 {
			fmt.Fprintf(&w.b, "db%d:keys=%d,expires=%d,avg_ttl=0\r\n", db, keys, expires)
		}
	}
}

// infoEngine describes the log-structured merge tree.
func infoEngine(w *infoWriter) {
	m := w.DB.Metrics()
	w.line("engine_tables", m.Tables)
	w.line("engine_table_bytes", m.TableBytes)
	w.line("engine_memtables", m.MemTables)
	w.line("engine_memtable_bytes", m.MemTableBytes)
	for i := range m.Levels {
		l := &m.Levels[i]
		if l.Tables == 0 && l.Written == 0 {
			continue
		}
		fmt.Fprintf(&w.b, "level%d:tables=%d,bytes=%d,score=%.2f,read=%d,written=%d\r\n", i, l.Tables, l.Bytes, l.Score, l.Read, l.Written)
	}
	w.line("range_tombstones", m.RangeTombstones)
	w.line("ingested_bytes", m.Ingested)
	w.line("flushes", m.Flushes)
	w.line("flushed_bytes", m.Flushed)
	w.line("compactions", m.Compactions)
	w.line("compacted_bytes", m.Compacted)
	w.line("compactions_running", m.Running)
	w.line("compaction_debt_bytes", m.Debt)
	w.float("write_amplification", m.WriteAmplification)
	w.float("space_amplification", m.SpaceAmplification)
	w.line("read_amplification", m.ReadAmplification)
	w.float("write_slowdown", m.Slowdown)
	w.line("stalls", m.Stalls)
	w.line("stall_usec", m.StallTime.Microseconds())
	w.line("snapshots", m.Snapshots)
	w.line("open_files", m.OpenFiles)
	w.line("last_sequence", m.Last)
	w.line("committed_sequence", m.Committed)
	w.line("flushed_sequence", m.FlushedSeq)
	w.line("background_errors", m.BackgroundErrors)
	w.line("background_status", status(m.BackgroundError))
	infoCache(w, &m)
	infoLog(w, &m)
}

func infoCache(w *infoWriter, m *engine.Metrics) {
	w.line("cache_capacity_bytes", m.Cache.Capacity)
	w.line("cache_used_bytes", m.Cache.Used)
	fmt.Fprintf(&w.b, "cache_rows:lookups=%d,hits=%d,bytes=%d,capacity=%d\r\n", m.Rows.Lookups, m.Rows.Hits, m.Rows.Used, m.Rows.Capacity)
	for i := range m.Cache.Classes {
		c := &m.Cache.Classes[i]
		fmt.Fprintf(&w.b, "cache_%s:hits=%d,misses=%d,evictions=%d,blocks=%d,bytes=%d\r\n", cacheClass(i), c.Hits, c.Misses, c.Evictions, c.Count, c.Bytes)
	}
}

func infoLog(w *infoWriter, m *engine.Metrics) {
	l := &m.Log
	w.line("log_bytes", l.Bytes)
	w.line("log_records", l.Records)
	w.line("log_segments", l.Segments)
	w.line("log_disk_bytes", l.DiskSize)
	w.line("log_waiting", l.Waiting)
	w.float("log_records_per_write", quotient(int64(l.Groups.Sum), int64(l.Groups.Count)))
	w.line("log_syncs", l.Syncs.Count)
	w.float("log_sync_usec_avg", quotient(int64(l.Syncs.Sum), int64(l.Syncs.Count)))
	w.line("log_sync_usec_p50", l.Syncs.Quantile(0.5))
	w.line("log_sync_usec_p99", l.Syncs.Quantile(0.99))
	w.line("log_disk_full", bit(l.Full))
	w.line("log_failed", bit(l.Failed))
	w.line("log_cleanup_errors", l.CleanupErrors)
}

var cacheClasses = []string{"data", "index"}

func cacheClass(i int) string {
	if i < len(cacheClasses) {
		return cacheClasses[i]
	}
	return strconv.Itoa(i)
}
