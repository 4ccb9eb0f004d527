package election

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// place names a directory as no copy of it can be named: the boot of the kernel, the device and the inode. When it is the
// same as before, the lock of the directory, which the caller holds, was the one that the earlier process held; so
// that process has ended. After a reboot, and for a copy, a clone or another host, it differs. "" = not known.
func place(dir string) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	info, err := os.Stat(dir)
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s:%d:%d", strings.TrimSpace(string(boot)), stat.Dev, stat.Ino)
}
